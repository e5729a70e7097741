# Tables from predictions and gains; figures from tables, and from nothing else.


def evaluated(stage):
    """Files of a stage for all sets that the table is about."""

    def files(wildcards):
        table = wildcards.get("table", "")
        roles = plan.evaluated(wildcards.experiment, table)
        return [
            p
            for role in roles
            for p in getattr(plan, stage)(wildcards.experiment, role)
        ]

    return files


def table_predictions(wildcards):
    return plan.table_predictions(wildcards.experiment, wildcards.table)


def table_other_gains(wildcards):
    return plan.other_gains(wildcards.experiment, wildcards.table)


def table_segments(wildcards):
    by_domain = (configuration.DOMAINS, *configuration.TRANSFER_TABLES)
    if wildcards.table not in ("breakdown", *by_domain):
        return []
    return evaluated("segments")(wildcards)


def flagged(wildcards):
    return plan.flagged(wildcards.experiment)


def judged(stage):
    """Files of both models on all sets that are evaluated."""
    return lambda wildcards: plan.judged(stage, wildcards.experiment)


# Truncated and degenerate translations: how many, and which requests may be left out for them.
rule find_flags:
    input:
        hypotheses=judged("hypotheses"),
        scores=judged("scores"),
        code=plan.code("flags"),
    output:
        flagged="results/runs/{experiment}/flagged.parquet",
        table=ensure("results/runs/{experiment}/tables/flags.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/tables/flags.csv",
            category="Data",
            labels={"experiment": "{experiment}", "table": "flags"},
            caption="../report/table.rst",
        ),
        latex="results/runs/{experiment}/tables/flags.tex",
        markdown="results/runs/{experiment}/tables/flags.md",
    log:
        "logs/find_flags/{experiment}.log",
    params:
        flags=setting("tables/{experiment}/flags"),
    shell:
        r"""
        python -m routelmt flags --hypotheses {input.hypotheses:q} --scores {input.scores:q} \
            --settings {params.flags:q} --flagged {output.flagged:q} \
            --out {output.table:q} &>{log:q}
        """


rule evaluate:
    input:
        predictions=table_predictions,
        gains=evaluated("gains"),
        other_gains=table_other_gains,
        segments=table_segments,
        flagged=flagged,
        code=plan.code("tables"),
    output:
        table=ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/tables/{table}.csv",
            category="Tables",
            labels={"experiment": "{experiment}", "table": "{table}"},
            caption="../report/table.rst",
        ),
        latex="results/runs/{experiment}/tables/{table}.tex",
        markdown="results/runs/{experiment}/tables/{table}.md",
    log:
        "logs/evaluate/{experiment}/{table}.log",
    wildcard_constraints:
        table="|".join(
            [
                *configuration.TABLES,
                configuration.JUDGED,
                configuration.DOMAINS,
                *configuration.TRANSFER_TABLES,
            ]
        ),
    params:
        table=setting("tables/{experiment}/{table}"),
    shell:
        r"""
        python -m routelmt evaluate --table {wildcards.table} --settings {params.table:q} \
            --predictions {input.predictions:q} --gains {input.gains:q} \
            --other-gains {input.other_gains:q} --segments {input.segments:q} \
            --flagged {input.flagged:q} --out {output.table:q} &>{log:q}
        """


def small_hypotheses(wildcards):
    return plan.sized_hypotheses(wildcards.experiment, "small", "test")


def large_hypotheses(wildcards):
    return plan.sized_hypotheses(wildcards.experiment, "large", "test")


def small_scores(wildcards):
    return plan.scores(wildcards.experiment, "small")


def large_scores(wildcards):
    return plan.scores(wildcards.experiment, "large")


rule evaluate_cases:
    input:
        predictions=evaluated("predictions"),
        gains=evaluated("gains"),
        segments=test_segments,
        hypotheses_small=small_hypotheses,
        hypotheses_large=large_hypotheses,
        scores_small=small_scores,
        scores_large=large_scores,
        flagged=flagged,
        code=plan.code("cases"),
    output:
        table=ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/tables/{table}.csv",
            category="Tables",
            labels={"experiment": "{experiment}", "table": "{table}"},
            caption="../report/table.rst",
        ),
        latex="results/runs/{experiment}/tables/{table}.tex",
        markdown="results/runs/{experiment}/tables/{table}.md",
    log:
        "logs/evaluate_cases/{experiment}/{table}.log",
    wildcard_constraints:
        table=configuration.CASES,
    params:
        cases=setting("tables/{experiment}/{table}"),
    shell:
        r"""
        python -m routelmt evaluate-cases --settings {params.cases:q} \
            --predictions {input.predictions:q} --gains {input.gains:q} \
            --segments {input.segments:q} --hypotheses-small {input.hypotheses_small:q} \
            --hypotheses-large {input.hypotheses_large:q} \
            --scores-small {input.scores_small:q} --scores-large {input.scores_large:q} \
            --flagged {input.flagged:q} --out {output.table:q} &>{log:q}
        """


def figure_tables(wildcards):
    folder = f"results/runs/{wildcards.experiment}/tables"
    return [f"{folder}/{table}.parquet" for table in FIGURES[wildcards.figure].tables]


def figure_code(wildcards):
    return plan.code("figures", FIGURES[wildcards.figure].module)


rule plot:
    input:
        tables=figure_tables,
        code=figure_code,
    output:
        pdf=ensure("results/runs/{experiment}/figures/{figure}.pdf", non_empty=True),
        png=report(
            "results/runs/{experiment}/figures/{figure}.png",
            category="Figures",
            labels={"experiment": "{experiment}", "figure": "{figure}"},
            caption="../report/figure.rst",
        ),
    log:
        "logs/plot/{experiment}/{figure}.log",
    params:
        style=setting("figures/{experiment}/{figure}"),
    shell:
        r"""
        python -m routelmt plot --figure {wildcards.figure} --tables {input.tables:q} \
            --settings {params.style:q} --out {output.pdf:q} &>{log:q}
        """


def trained_routers(wildcards):
    return plan.trained_routers(wildcards.experiment)


rule training_table:
    input:
        routers=trained_routers,
        code=plan.code("training_table"),
    output:
        table="results/runs/{experiment}/tables/training.parquet",
        csv=report(
            "results/runs/{experiment}/tables/training.csv",
            category="Tables",
            labels={"experiment": "{experiment}", "table": "training"},
            caption="../report/training.rst",
        ),
        latex="results/runs/{experiment}/tables/training.tex",
        markdown="results/runs/{experiment}/tables/training.md",
    log:
        "logs/training_table/{experiment}.log",
    shell:
        r"""
        python -m routelmt training-table --routers {input.routers:q} \
            --out {output.table:q} &>{log:q}
        """


def sweep_predictions(wildcards):
    return plan.derived_predictions(wildcards.experiment, wildcards.sweep)


rule evaluate_sweep:
    input:
        predictions=sweep_predictions,
        gains=evaluated("gains"),
        flagged=flagged,
        code=plan.code("sweeps"),
    output:
        table=ensure("results/runs/{experiment}/sweeps/{sweep}.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/sweeps/{sweep}.csv",
            category="Sweeps",
            labels={"experiment": "{experiment}", "sweep": "{sweep}"},
            caption="../report/sweep.rst",
        ),
        latex="results/runs/{experiment}/sweeps/{sweep}.tex",
        markdown="results/runs/{experiment}/sweeps/{sweep}.md",
    log:
        "logs/evaluate_sweep/{experiment}/{sweep}.log",
    params:
        sweep=setting("sweeps/{experiment}/{sweep}"),
    shell:
        r"""
        python -m routelmt evaluate-sweep --settings {params.sweep:q} \
            --predictions {input.predictions:q} --gains {input.gains:q} \
            --flagged {input.flagged:q} --out {output.table:q} &>{log:q}
        """


rule plot_sweep:
    input:
        tables="results/runs/{experiment}/sweeps/{sweep}.parquet",
        code=plan.code("figures", "routelmt.figures.sweep"),
    output:
        pdf=ensure("results/runs/{experiment}/sweeps/{sweep}.pdf", non_empty=True),
        png=report(
            "results/runs/{experiment}/sweeps/{sweep}.png",
            category="Sweeps",
            labels={"experiment": "{experiment}", "sweep": "{sweep}"},
            caption="../report/sweep.rst",
        ),
    log:
        "logs/plot_sweep/{experiment}/{sweep}.log",
    params:
        style=setting("figures/{experiment}/sweep"),
    shell:
        r"""
        python -m routelmt plot --figure sweep --tables {input.tables:q} \
            --settings {params.style:q} --out {output.pdf:q} &>{log:q}
        """
