# Tables from predictions and gains; figures from tables, and from nothing else.


def table_predictions(wildcards):
    return plan.predictions(wildcards.experiment)


def table_gains(wildcards):
    return plan.gains(wildcards.experiment, "test")


rule evaluate:
    input:
        predictions=table_predictions,
        gains=table_gains,
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
        table="|".join(configuration.TABLES),
    params:
        table=lookup("tables/{experiment}/{table}", within=settings),
    shell:
        r"""
        python -m routelmt evaluate --table {wildcards.table} --settings {params.table:q} \
            --predictions {input.predictions:q} --gains {input.gains:q} \
            --out {output.table:q} &>{log:q}
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
        style=lookup("figures/{figure}", within=settings),
    shell:
        r"""
        python -m routelmt plot --figure {wildcards.figure} --tables {input.tables:q} \
            --settings {params.style:q} --out {output.pdf:q} &>{log:q}
        """
