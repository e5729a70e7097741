# From hypotheses to scores to gain labels.


def scorer_code(wildcards):
    return plan.code("scores", plan.scorer(wildcards.metric))


def scores_file(wildcards):
    return plan.scores_file(wildcards.metric)


rule score:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        hypotheses="results/hypotheses/{model}/{dataset}/{direction}.parquet",
        scores=scores_file,
        code=scorer_code,
    output:
        ensure(
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/score/{metric}/{model}/{dataset}/{direction}.log",
    params:
        metric=lookup("metrics/{metric}", within=settings),
    shell:
        r"""
        python -m routelmt score --segments {input.segments:q} --hypotheses {input.hypotheses:q} \
            --metric {wildcards.metric:q} --settings {params.metric:q} --out {output:q} &>{log:q}
        """


rule label_gains:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        small="results/scores/{metric}/{small}/{dataset}/{direction}.parquet",
        large="results/scores/{metric}/{large}/{dataset}/{direction}.parquet",
        code=plan.code("gains"),
    output:
        ensure(
            "results/gains/{metric}/{small}--{large}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/label_gains/{metric}/{small}--{large}/{dataset}/{direction}.log",
    shell:
        r"""
        python -m routelmt gains --segments {input.segments:q} --small {input.small:q} \
            --large {input.large:q} --out {output:q} &>{log:q}
        """
