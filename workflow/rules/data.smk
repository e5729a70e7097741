# From pinned upstream files to segments.


rule fetch:
    output:
        directory("data/raw/{source}"),
    log:
        "logs/fetch/{source}.log",
    params:
        source=lookup("sources/{source}", within=settings),
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
        code=plan.code("catalogs"),
    output:
        ensure("data/corpora/{corpus}.parquet", non_empty=True),
    log:
        "logs/read_catalogs/{corpus}.log",
    params:
        corpus=lookup("corpora/{corpus}", within=settings),
    shell:
        r"""
        python -m routelmt catalogs --wheels {input.wheels:q} --settings {params.corpus:q} \
            --out {output:q} &>{log:q}
        """


def segments_origin(wildcards):
    return plan.origin(wildcards.dataset)


def reader_code(wildcards):
    return plan.code("segments", plan.reader(wildcards.dataset))


rule read_segments:
    input:
        origin=segments_origin,
        code=reader_code,
    output:
        ensure("data/segments/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/read_segments/{dataset}/{direction}.log",
    params:
        dataset=lookup("datasets/{dataset}", within=settings),
    shell:
        r"""
        python -m routelmt segments --origin {input.origin:q} --dataset {wildcards.dataset:q} \
            --direction {wildcards.direction:q} --settings {params.dataset:q} \
            --out {output:q} &>{log:q}
        """
