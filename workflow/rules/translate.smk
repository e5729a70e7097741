# What the two models say: translations, and the small model's signals before it decodes.


def model_weights(wildcards):
    return plan.weights(wildcards.model)


def translation_code(wildcards):
    return plan.code("hypotheses", plan.engine(wildcards.model))


def signals_code(wildcards):
    return plan.code("signals", plan.engine(wildcards.model))


rule translate:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=model_weights,
        code=translation_code,
    output:
        ensure(
            "results/hypotheses/{model}/{dataset}/{direction}.parquet", non_empty=True
        ),
    log:
        "logs/translate/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/translate/{model}/{dataset}/{direction}.jsonl"
    resources:
        batch_tokens=lookup("models/{model}/batch_tokens", within=speeds),
        device=lookup("models/{model}/device", within=speeds),
        gpu=lookup("models/{model}/gpu", within=speeds),
        mem_mb=lookup("models/{model}/mem_mb", within=speeds),
        runtime=lookup("models/{model}/runtime", within=speeds),
    params:
        model=lookup("models/{model}", within=settings),
    shell:
        r"""
        python -m routelmt translate --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --batch-tokens {resources.batch_tokens} \
            --device {resources.device:q} --threads {threads} --out {output:q} &>{log:q}
        """


rule prefill_signals:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=model_weights,
        code=signals_code,
    output:
        ensure("results/signals/{model}/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/prefill_signals/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/prefill_signals/{model}/{dataset}/{direction}.jsonl"
    resources:
        batch_tokens=lookup("models/{model}/batch_tokens", within=speeds),
        device=lookup("models/{model}/device", within=speeds),
        gpu=lookup("models/{model}/gpu", within=speeds),
        mem_mb=lookup("models/{model}/mem_mb", within=speeds),
        runtime=lookup("models/{model}/runtime", within=speeds),
    params:
        model=lookup("models/{model}", within=settings),
    shell:
        r"""
        python -m routelmt signals --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --batch-tokens {resources.batch_tokens} \
            --device {resources.device:q} --threads {threads} --out {output:q} &>{log:q}
        """
