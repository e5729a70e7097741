# Tables, each of what evaluate/registry.py says that it is made of.
from routelmt.plan import short


def judged(stage):
    """Files of both models on all sets that are evaluated."""
    return lambda wildcards: plan.judged(stage, wildcards.experiment)


# Requests with truncated or degenerate translations, which may be left out for them.
rule find_flagged:
    input:
        hypotheses=judged("hypotheses"),
        scores=judged("scores"),
    output:
        "results/runs/{experiment}/flagged.parquet",
    log:
        "logs/find_flagged/{experiment}.log",
    params:
        code=plan.code("flags"),
    shell:
        r"""
        python -m routelmt flagged --hypotheses {input.hypotheses:q} --scores {input.scores:q} \
            --out {output:q} &>{log:q}
        """


def as_options(wildcards, input):
    """Every input with its name as an option: --gains FILE FILE --segments FILE."""
    return " ".join(
        " ".join([f"--{name.replace('_', '-')}", *short(files)])
        for name, files in input.items()
        if files
    )


def table_inputs(wildcards):
    return plan.table_inputs(wildcards.experiment, wildcards.table)


def table_code(wildcards):
    return plan.code("tables", TABLES[wildcards.table].module)


rule evaluate:
    input:
        unpack(table_inputs),
    output:
        ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
    log:
        "logs/evaluate/{experiment}/{table}.log",
    params:
        code=table_code,
        settings=setting("tables/{experiment}/{table}"),
        files=as_options,
    shell:
        r"""
        python -m routelmt table {wildcards.table} --settings {params.settings:q} \
            {params.files} --out {output:q} &>{log:q}
        """


def sweep_inputs(wildcards):
    return plan.sweep_inputs(wildcards.experiment, wildcards.sweep)


rule evaluate_sweep:
    input:
        unpack(sweep_inputs),
    output:
        ensure("results/runs/{experiment}/sweeps/{sweep}.parquet", non_empty=True),
    log:
        "logs/evaluate_sweep/{experiment}/{sweep}.log",
    params:
        code=plan.code("tables", SWEEP_TABLES[SWEEP].module),
        settings=setting("sweeps/{experiment}/{sweep}"),
        files=as_options,
    shell:
        r"""
        python -m routelmt table {SWEEP} --settings {params.settings:q} {params.files} \
            --out {output:q} &>{log:q}
        """
