# The page of an experiment: one HTML file, from tables and from nothing else.


def page_tables(wildcards):
    return plan.page_tables(wildcards.experiment)


rule page:
    input:
        tables=page_tables,
        code=plan.code("page"),
    output:
        ensure("results/runs/{experiment}/page.html", non_empty=True),
    log:
        "logs/page/{experiment}.log",
    params:
        page=setting("pages/{experiment}"),
    shell:
        r"""
        python -m routelmt page --tables {input.tables:q} --settings {params.page:q} \
            --out {output:q} &>{log:q}
        """
