# From hypotheses to scores to gain labels.


# The large model's outputs that equal the small one's take over its scores: the work is done once,
# and the gain is exactly 0.
rule score:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        hypotheses="results/hypotheses/{model}/{dataset}/{direction}.parquet",
        known_hypotheses=rivals(
            "results/hypotheses/{rival}/{dataset}/{direction}.parquet"
        ),
        known_scores=rivals(
            "results/scores/{metric}/{rival}/{dataset}/{direction}.parquet"
        ),
        scores=there(planned("metric_files", "{metric}")),
    output:
        ensure(
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/score/{metric}/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/score/{metric}/{model}/{dataset}/{direction}.jsonl"
    wildcard_constraints:
        dataset=plan.datasets(sharded=False),
        metric=plan.metrics(mean=False),
    conda:
        scorer_conda
    container:
        scorer_container
    threads: speed("metrics/{metric}/threads")
    resources:
        batch_tokens=speed("metrics/{metric}/batch_tokens"),
        block_rows=speed("metrics/{metric}/block_rows"),
        device=speed("metrics/{metric}/device"),
        gpu=available("metrics/{metric}/gpu"),
        mem_mb=growing("metrics/{metric}/mem_mb"),
        runtime=growing("metrics/{metric}/runtime"),
    params:
        code=lambda w: plan.code("scores", plan.scorer(w.metric)),
        metric=setting("metrics/{metric}"),
        shard="1/1",
    shell:
        r"""
        python -m routelmt score --segments {input.segments:q} --hypotheses {input.hypotheses:q} \
            --known-hypotheses {input.known_hypotheses:q} --known-scores {input.known_scores:q} \
            --metric {wildcards.metric:q} --settings {params.metric:q} --shard {params.shard:q} \
            --batch-tokens {resources.batch_tokens} --block-rows {resources.block_rows} \
            --device {resources.device:q} --threads {threads} --out {output:q} &>{log:q}
        """


use rule score as score_shard with:
    output:
        ensure(
            "results/shards/scores/{metric}/{model}/{dataset}/{direction}/{shard}-of-{shards}.parquet",
            non_empty=True,
        ),
    log:
        "logs/score_shard/{metric}/{model}/{dataset}/{direction}/{shard}-of-{shards}.log",
    benchmark:
        "benchmarks/score_shard/{metric}/{model}/{dataset}/{direction}/{shard}-of-{shards}.jsonl"
    wildcard_constraints:
        dataset=plan.datasets(sharded=True),
        metric=plan.metrics(mean=False),
    params:
        metric=setting("metrics/{metric}"),
        shard="{shard}/{shards}",


rule gather_scores:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        shards=planned("shards", "scores/{metric}/{model}", "{dataset}", "{direction}"),
    output:
        ensure(
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/gather_scores/{metric}/{model}/{dataset}/{direction}.log",
    wildcard_constraints:
        dataset=plan.datasets(sharded=True),
        metric=plan.metrics(mean=False),
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("gathered"),
    shell:
        r"""
        python -m routelmt gather --table scores --segments {input.segments:q} \
            --shards {input.shards:q} --out {output:q} &>{log:q}
        """


# A metric that is the mean of others.
rule average_scores:
    input:
        parts=lambda w: [
            f"results/scores/{part}/{w.model}/{w.dataset}/{w.direction}.parquet"
            for part in plan.parts(w.metric)
        ],
    output:
        ensure(
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/average_scores/{metric}/{model}/{dataset}/{direction}.log",
    wildcard_constraints:
        metric=plan.metrics(mean=True),
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("scores", "routelmt.score.mean_metric"),
        metric=setting("metrics/{metric}"),
    shell:
        r"""
        python -m routelmt mean-scores --scores {input.parts:q} \
            --metric {wildcards.metric:q} --settings {params.metric:q} --out {output:q} &>{log:q}
        """


# What the model's own translations and the small model's samples have been scored is not scored again.
rule score_samples:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        samples="results/samples/{model}/{dataset}/{direction}.parquet",
        known_outputs=rivals(
            "results/samples/{rival}/{dataset}/{direction}.parquet",
            "results/hypotheses/{model}/{dataset}/{direction}.parquet",
        ),
        known_scores=rivals(
            "results/sample_scores/{metric}/{rival}/{dataset}/{direction}.parquet",
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
        ),
        scores=there(planned("metric_files", "{metric}")),
    output:
        ensure(
            "results/sample_scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/score_samples/{metric}/{model}/{dataset}/{direction}.log",
    benchmark:
        "benchmarks/score_samples/{metric}/{model}/{dataset}/{direction}.jsonl"
    conda:
        scorer_conda
    container:
        scorer_container
    threads: speed("metrics/{metric}/threads")
    resources:
        batch_tokens=speed("metrics/{metric}/batch_tokens"),
        block_rows=speed("metrics/{metric}/block_rows"),
        device=speed("metrics/{metric}/device"),
        gpu=available("metrics/{metric}/gpu"),
        mem_mb=growing("metrics/{metric}/mem_mb"),
        runtime=growing("metrics/{metric}/runtime"),
    params:
        code=lambda w: plan.code("scores", plan.scorer(w.metric)),
        metric=setting("metrics/{metric}"),
    shell:
        r"""
        python -m routelmt score-samples --segments {input.segments:q} \
            --samples {input.samples:q} --known-outputs {input.known_outputs:q} \
            --known-scores {input.known_scores:q} --metric {wildcards.metric:q} \
            --settings {params.metric:q} --batch-tokens {resources.batch_tokens} \
            --block-rows {resources.block_rows} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """


rule label_gains:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        small="results/scores/{metric}/{small}/{dataset}/{direction}.parquet",
        large="results/scores/{metric}/{large}/{dataset}/{direction}.parquet",
    output:
        ensure(
            "results/gains/{metric}/{small}--{large}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/label_gains/{metric}/{small}--{large}/{dataset}/{direction}.log",
    conda:
        "../../envs/core.yaml"
    params:
        code=plan.code("gains"),
    shell:
        r"""
        python -m routelmt gains --segments {input.segments:q} --small {input.small:q} \
            --large {input.large:q} --out {output:q} &>{log:q}
        """
