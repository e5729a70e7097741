# How fast models and routers are, for what routing costs.


# How fast a model reads and decodes on the machine that this job gets, loading left out. Jobs beside
# it on the same cores would slow it: see profiles/demo.
rule time_model:
    input:
        segments=planned("timing_segments", "{model}"),
        weights=there(planned("weights", "{model}")),
    output:
        "results/rates/{model}.parquet",
    log:
        "logs/time_model/{model}.log",
    priority: -1  # where it must run with no model beside it, it waits for the others
    conda:
        engine_conda
    container:
        engine_container
    threads: speed("models/{model}/threads")
    resources:
        batch_tokens=speed("models/{model}/batch_tokens"),
        tensor_parallel=speed("models/{model}/tensor_parallel"),
        data_parallel=speed("models/{model}/data_parallel"),
        device=speed("models/{model}/device"),
        gpu=available("models/{model}/gpu"),
        mem_mb=growing("models/{model}/mem_mb"),
        runtime=growing("models/{model}/runtime"),
    params:
        code=plan.code("rates"),
        model=setting("models/{model}"),
    shell:
        r"""
        python -m routelmt rates --model {wildcards.model:q} --settings {params.model:q} \
            --segments {input.segments:q} --batch-tokens {resources.batch_tokens} \
            --tensor-parallel {resources.tensor_parallel} \
            --data-parallel {resources.data_parallel} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """


# Rates that trainings measured, and those that the config states.
rule collect_rates:
    input:
        routers=planned("trained_routers", "{experiment}"),
    output:
        "results/runs/{experiment}/rates.parquet",
    log:
        "logs/collect_rates/{experiment}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("rates"),
        given=setting("rates/{experiment}"),
    shell:
        r"""
        python -m routelmt rates --routers {input.routers:q} --given {params.given:q} \
            --out {output:q} &>{log:q}
        """
