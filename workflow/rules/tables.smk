# Tables, each of what evaluate/registry.py says that it is made of.


# Requests with truncated or degenerate translations, which may be left out for them.
rule find_flagged:
    input:
        hypotheses=planned("judged", "hypotheses", "{experiment}"),
        scores=planned("judged", "scores", "{experiment}"),
    output:
        "results/runs/{experiment}/flagged.parquet",
    log:
        "logs/find_flagged/{experiment}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("flags"),
        leave_out=planned("leave_out", "{experiment}"),
    shell:
        r"""
        python -m routelmt flagged --hypotheses {input.hypotheses:q} --scores {input.scores:q} \
            --leave-out {params.leave_out} --out {output:q} &>{log:q}
        """


rule evaluate:
    input:
        unpack(planned("table_inputs", "{experiment}", "{table}")),
    output:
        ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
    log:
        "logs/evaluate/{experiment}/{table}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=lambda w: plan.code("tables", TABLES[w.table].module),
        settings=setting("tables/{experiment}/{table}"),
        files=as_options,
    shell:
        r"""
        python -m routelmt table {wildcards.table} --settings {params.settings:q} \
            {params.files} --out {output:q} &>{log:q}
        """


rule evaluate_sweep:
    input:
        unpack(planned("sweep_inputs", "{experiment}", "{sweep}")),
    output:
        ensure("results/runs/{experiment}/sweeps/{sweep}.parquet", non_empty=True),
    log:
        "logs/evaluate_sweep/{experiment}/{sweep}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("tables", SWEEP_TABLES[SWEEP].module),
        settings=setting("sweeps/{experiment}/{sweep}"),
        files=as_options,
    shell:
        r"""
        python -m routelmt table sweep --settings {params.settings:q} {params.files} \
            --out {output:q} &>{log:q}
        """
