# What the two models say: translations, and the small model's signals before it decodes.


rule translate:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=there(planned("weights", "{model}")),
    output:
        ensure(
            "results/hypotheses/{model}/{dataset}/{direction}.parquet", non_empty=True
        ),
    log:
        "logs/translate/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/translate/{model}/{dataset}/{direction}.jsonl"
    wildcard_constraints:
        dataset=plan.datasets(sharded=False),
    conda:
        engine_conda
    container:
        engine_container
    threads: speed("models/{model}/threads")
    resources:
        batch_tokens=speed("models/{model}/batch_tokens"),
        block_rows=speed("models/{model}/block_rows"),
        tensor_parallel=speed("models/{model}/tensor_parallel"),
        data_parallel=speed("models/{model}/data_parallel"),
        concurrency=speed("models/{model}/concurrency"),
        api_key_variable=speed("models/{model}/api_key_variable"),
        price=speed("models/{model}/price"),
        device=speed("models/{model}/device"),
        gpu=available("models/{model}/gpu"),
        mem_mb=growing("models/{model}/mem_mb"),
        runtime=growing("models/{model}/runtime"),
    params:
        code=lambda w: plan.code("hypotheses", plan.engine(w.model)),
        model=setting("models/{model}"),
        shard="1/1",
    shell:
        r"""
        python -m routelmt translate --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --shard {params.shard:q} \
            --batch-tokens {resources.batch_tokens} --block-rows {resources.block_rows} \
            --tensor-parallel {resources.tensor_parallel} \
            --data-parallel {resources.data_parallel} --concurrency {resources.concurrency} \
            --api-key-variable {resources.api_key_variable:q} \
            --price {resources.price} --device {resources.device:q} --threads {threads} \
            --out {output:q} &>{log:q}
        """


use rule translate as translate_shard with:
    output:
        ensure(
            "results/shards/hypotheses/{model}/{dataset}/{direction}/{shard}-of-{shards}.parquet",
            non_empty=True,
        ),
    log:
        "logs/translate_shard/{model}/{dataset}/{direction}/{shard}-of-{shards}.log",
    benchmark:
        "benchmarks/translate_shard/{model}/{dataset}/{direction}/{shard}-of-{shards}.jsonl"
    wildcard_constraints:
        dataset=plan.datasets(sharded=True),
    params:
        model=setting("models/{model}"),
        shard="{shard}/{shards}",


rule gather_hypotheses:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        shards=planned("shards", "hypotheses/{model}", "{dataset}", "{direction}"),
    output:
        ensure(
            "results/hypotheses/{model}/{dataset}/{direction}.parquet", non_empty=True
        ),
    log:
        "logs/gather_hypotheses/{model}/{dataset}/{direction}.log",
    wildcard_constraints:
        dataset=plan.datasets(sharded=True),
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("gathered"),
    shell:
        r"""
        python -m routelmt gather --table hypotheses --segments {input.segments:q} \
            --shards {input.shards:q} --out {output:q} &>{log:q}
        """


# Where a router reads the states of every layer, the same forward pass leaves them too.
rule prefill_states:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=there(planned("weights", "{model}")),
    output:
        signals=ensure(
            "results/signals/{model}/{dataset}/{direction}.parquet", non_empty=True
        ),
        states=ensure(
            "results/states/{model}/{dataset}/{direction}.arrow", non_empty=True
        ),
    log:
        "logs/prefill_states/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/prefill_states/{model}/{dataset}/{direction}.jsonl"
    wildcard_constraints:
        model=plan.models(with_states=True),
    conda:
        "../../envs/core.yaml"
    threads: speed("models/{model}/threads")
    resources:
        batch_tokens=speed("models/{model}/batch_tokens"),
        device=speed("models/{model}/device"),
        gpu=available("models/{model}/gpu"),
        mem_mb=growing("models/{model}/mem_mb"),
        runtime=growing("models/{model}/runtime"),
    params:
        code=plan.code("signals", "routelmt.translate.transformers_engine"),
        model=setting("models/{model}"),
    shell:
        r"""
        python -m routelmt signals --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --batch-tokens {resources.batch_tokens} \
            --device {resources.device:q} --threads {threads} --states {output.states:q} \
            --out {output.signals:q} &>{log:q}
        """


rule prefill_signals:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=there(planned("weights", "{model}")),
    output:
        ensure("results/signals/{model}/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/prefill_signals/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/prefill_signals/{model}/{dataset}/{direction}.jsonl"
    wildcard_constraints:
        model=plan.models(with_states=False),
    conda:
        engine_conda
    container:
        engine_container
    threads: speed("models/{model}/threads")
    resources:
        batch_tokens=speed("models/{model}/batch_tokens"),
        tensor_parallel=speed("models/{model}/tensor_parallel"),
        device=speed("models/{model}/device"),
        gpu=available("models/{model}/gpu"),
        mem_mb=growing("models/{model}/mem_mb"),
        runtime=growing("models/{model}/runtime"),
    params:
        code=lambda w: plan.code("signals", plan.engine(w.model)),
        model=setting("models/{model}"),
    shell:
        r"""
        python -m routelmt signals --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --batch-tokens {resources.batch_tokens} \
            --tensor-parallel {resources.tensor_parallel} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """


# Several translations of every segment, drawn from the model; only where a router asks for them.
rule sample:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        weights=there(planned("weights", "{model}")),
    output:
        ensure("results/samples/{model}/{dataset}/{direction}.parquet", non_empty=True),
    log:
        "logs/sample/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/sample/{model}/{dataset}/{direction}.jsonl"
    conda:
        engine_conda
    container:
        engine_container
    threads: speed("models/{model}/threads")
    resources:
        batch_tokens=speed("models/{model}/batch_tokens"),
        block_rows=speed("models/{model}/block_rows"),
        tensor_parallel=speed("models/{model}/tensor_parallel"),
        data_parallel=speed("models/{model}/data_parallel"),
        concurrency=speed("models/{model}/concurrency"),
        api_key_variable=speed("models/{model}/api_key_variable"),
        price=speed("models/{model}/price"),
        device=speed("models/{model}/device"),
        gpu=available("models/{model}/gpu"),
        mem_mb=growing("models/{model}/mem_mb"),
        runtime=growing("models/{model}/runtime"),
    params:
        code=lambda w: plan.code("samples", plan.engine(w.model)),
        model=setting("samples/{model}"),
    shell:
        r"""
        python -m routelmt samples --segments {input.segments:q} --model {wildcards.model:q} \
            --settings {params.model:q} --batch-tokens {resources.batch_tokens} \
            --block-rows {resources.block_rows} --tensor-parallel {resources.tensor_parallel} \
            --data-parallel {resources.data_parallel} --concurrency {resources.concurrency} \
            --api-key-variable {resources.api_key_variable:q} \
            --price {resources.price} --device {resources.device:q} --threads {threads} \
            --out {output:q} &>{log:q}
        """
