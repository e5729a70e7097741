# From pinned upstream files to segments.


rule fetch:
    output:
        directory("data/raw/{source}"),
    log:
        "logs/fetch/{source}.log",
    conda:
        "../../envs/core.yaml"
    params:
        source=setting("sources/{source}"),
    shell:
        r"""
        python -m routelmt fetch --source {wildcards.source:q} --settings {params.source:q} \
            --out {output:q} &>{log:q}
        """


rule read_catalogs:
    input:
        wheels=planned("wheels", "{corpus}"),
    output:
        ensure("data/corpora/{corpus}.parquet", non_empty=True),
    log:
        "logs/read_catalogs/{corpus}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("catalogs"),
        corpus=setting("corpora/{corpus}"),
    shell:
        r"""
        python -m routelmt catalogs --wheels {input.wheels:q} --settings {params.corpus:q} \
            --out {output:q} &>{log:q}
        """


rule read_segments:
    input:
        origin=planned("origin", "{dataset}"),
        scores=there(planned("required_scores", "{dataset}")),
    output:
        ensure("data/segments/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/read_segments/{dataset}/{direction}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=lambda w: plan.code("segments", plan.reader(w.dataset)),
        dataset=setting("datasets/{dataset}"),
    shell:
        r"""
        python -m routelmt segments --origin {input.origin:q} --dataset {wildcards.dataset:q} \
            --direction {wildcards.direction:q} --settings {params.dataset:q} \
            --out {output:q} &>{log:q}
        """


# Training and validation rows whose text is in held-out data: routers never see them.
rule find_overlaps:
    input:
        train=planned("segments", "{experiment}", "train"),
        valid=planned("segments", "{experiment}", "valid"),
        test=planned("held_out", "{experiment}"),
    output:
        "results/runs/{experiment}/overlaps.parquet",
    log:
        "logs/find_overlaps/{experiment}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("overlaps"),
        overlaps=setting("overlaps/{experiment}"),
    shell:
        r"""
        python -m routelmt overlaps --train {input.train:q} --valid {input.valid:q} \
            --test {input.test:q} --settings {params.overlaps:q} --out {output:q} &>{log:q}
        """
