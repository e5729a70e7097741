# What people see: of every table CSV, LaTeX and Markdown, figures, and the page. They are made from
# tables and from nothing else.


rule render:
    input:
        "results/runs/{experiment}/{folder}/{table}.parquet",
    output:
        csv=report(
            "results/runs/{experiment}/{folder}/{table}.csv",
            category=category,
            labels={"experiment": "{experiment}", "table": "{table}"},
            caption="../report/table.rst",
        ),
        latex="results/runs/{experiment}/{folder}/{table}.tex",
        markdown="results/runs/{experiment}/{folder}/{table}.md",
    log:
        "logs/render/{experiment}/{folder}/{table}.log",
    wildcard_constraints:
        folder="tables|sweeps",
        table=NAME,
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("views"),
    shell:
        r"""
        python -m routelmt render {input:q} &>{log:q}
        """


rule plot:
    input:
        tables=lambda w: [
            f"results/runs/{w.experiment}/tables/{table}.parquet"
            for table in FIGURES[w.figure].tables
        ],
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
    conda:
        "../../envs/core.yaml"
    params:
        code=lambda w: plan.code("figures", FIGURES[w.figure].module),
        style=setting("figures/{experiment}/{figure}"),
    shell:
        r"""
        python -m routelmt plot --figure {wildcards.figure} --tables {input.tables:q} \
            --settings {params.style:q} --out {output.pdf:q} &>{log:q}
        """


rule plot_sweep:
    input:
        tables="results/runs/{experiment}/sweeps/{sweep}.parquet",
    output:
        pdf=ensure("results/runs/{experiment}/sweeps/{sweep}.pdf", non_empty=True),
        png=report(
            "results/runs/{experiment}/sweeps/{sweep}.png",
            category="Sweeps",
            labels={"experiment": "{experiment}", "sweep": "{sweep}"},
            caption="../report/table.rst",
        ),
    log:
        "logs/plot_sweep/{experiment}/{sweep}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("figures", "routelmt.figures.sweep"),
        style=setting("figures/{experiment}/sweep"),
    shell:
        r"""
        python -m routelmt plot --figure sweep --tables {input.tables:q} \
            --settings {params.style:q} --out {output.pdf:q} &>{log:q}
        """


rule page:
    input:
        tables=planned("page_tables", "{experiment}"),
    output:
        ensure("results/runs/{experiment}/page.html", non_empty=True),
    log:
        "logs/page/{experiment}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("page"),
        page=setting("pages/{experiment}"),
    shell:
        r"""
        python -m routelmt page --tables {input.tables:q} --settings {params.page:q} \
            --out {output:q} &>{log:q}
        """
