# How the demo's two translators were made: make demo-models (recipe: workflow/demo_models.yaml).
# Weights go to results/demo-models; the last rule copies them over the ones that ship.


configfile: "profiles/demo/experiment.yaml"


include: "rules/common.smk"
include: "rules/data.smk"


RECIPE = "workflow/demo_models.yaml"
CORPUS = "data/corpora/gettext.parquet"
MODELS = "results/demo-models"


rule ship_demo_models:
    default_target: True
    input:
        small=f"{MODELS}/small",
        large=f"{MODELS}/large",
        losses=f"{MODELS}/losses.png",
    shell:
        r"""
        for size in small large; do
            mkdir -p data/demo/$size
            cp {MODELS}/$size/*.json {MODELS}/$size/*.jinja {MODELS}/$size/model.safetensors \
                data/demo/$size/
        done
        cp {input.losses:q} docs/demo-losses.png
        """


rule train_tokenizer:
    input:
        corpus=CORPUS,
        recipe=RECIPE,
        experiment="profiles/demo/experiment.yaml",
    output:
        directory(f"{MODELS}/tokenizer"),
    log:
        "logs/train_tokenizer.log",
    shell:
        r"""
        python -m routelmt demo-models tokenizer --corpus {input.corpus:q} \
            --recipe {input.recipe:q} --experiment {input.experiment:q} --out {output:q} &>{log:q}
        """


rule train_translator:
    input:
        corpus=CORPUS,
        recipe=RECIPE,
        experiment="profiles/demo/experiment.yaml",
        tokenizer=f"{MODELS}/tokenizer",
    output:
        directory(f"{MODELS}/{{size}}"),
    log:
        "logs/train_translator/{size}.log",
    wildcard_constraints:
        size="small|large",
    shell:
        r"""
        python -m routelmt demo-models {wildcards.size} --corpus {input.corpus:q} \
            --recipe {input.recipe:q} --experiment {input.experiment:q} \
            --tokenizer {input.tokenizer:q} --threads {threads} --out {output:q} &>{log:q}
        """


rule plot_losses:
    input:
        small=f"{MODELS}/small",
        large=f"{MODELS}/large",
    output:
        f"{MODELS}/losses.png",
    log:
        "logs/plot_losses.log",
    shell:
        r"""
        python -m routelmt demo-models losses --models {input:q} --out {output:q} &>{log:q}
        """
