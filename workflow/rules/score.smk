# From hypotheses to scores to gain labels.

from routelmt.environments import conda_file, container_image


def scorer_code(wildcards):
    return plan.code("scores", plan.scorer(wildcards.metric))


def scorer_conda(wildcards):
    return conda_file(plan.scorer_environment(wildcards.metric))


def scorer_container(wildcards):
    return container_image(plan.scorer_environment(wildcards.metric))


def metric_files(wildcards):
    return there(plan.metric_files(wildcards.metric))


def rival_hypotheses(wildcards):
    rivals = plan.rivals(wildcards.metric, wildcards.model)
    place = f"{wildcards.dataset}/{wildcards.direction}.parquet"
    return [f"results/hypotheses/{rival}/{place}" for rival in rivals]


def rival_scores(wildcards):
    rivals = plan.rivals(wildcards.metric, wildcards.model)
    place = f"{wildcards.dataset}/{wildcards.direction}.parquet"
    return [f"results/scores/{wildcards.metric}/{rival}/{place}" for rival in rivals]


# The large model's outputs that equal the small one's take over its scores: the work is done once,
# and the gain is exactly 0.
rule score:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        hypotheses="results/hypotheses/{model}/{dataset}/{direction}.parquet",
        known_hypotheses=rival_hypotheses,
        known_scores=rival_scores,
        scores=metric_files,
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
        code=scorer_code,
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


def score_shards(wildcards):
    root = f"scores/{wildcards.metric}/{wildcards.model}"
    return plan.shards(root, wildcards.dataset, wildcards.direction)


rule gather_scores:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        shards=score_shards,
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
    params:
        code=plan.code("gathered"),
    shell:
        r"""
        python -m routelmt gather --table scores --segments {input.segments:q} \
            --shards {input.shards:q} --out {output:q} &>{log:q}
        """


def part_scores(wildcards):
    place = f"{wildcards.model}/{wildcards.dataset}/{wildcards.direction}.parquet"
    return [f"results/scores/{part}/{place}" for part in plan.parts(wildcards.metric)]


# A metric that is the mean of others.
rule average_scores:
    input:
        parts=part_scores,
    output:
        ensure(
            "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/average_scores/{metric}/{model}/{dataset}/{direction}.log",
    wildcard_constraints:
        metric=plan.metrics(mean=True),
    params:
        code=plan.code("scores", "routelmt.score.mean_metric"),
        metric=setting("metrics/{metric}"),
    shell:
        r"""
        python -m routelmt mean-scores --scores {input.parts:q} \
            --metric {wildcards.metric:q} --settings {params.metric:q} --out {output:q} &>{log:q}
        """


def known_outputs(wildcards):
    place = f"{wildcards.dataset}/{wildcards.direction}.parquet"
    rivals = plan.rivals(wildcards.metric, wildcards.model)
    own = f"results/hypotheses/{wildcards.model}/{place}"
    return [own, *(f"results/samples/{rival}/{place}" for rival in rivals)]


def known_outputs_scores(wildcards):
    place = f"{wildcards.dataset}/{wildcards.direction}.parquet"
    rivals = plan.rivals(wildcards.metric, wildcards.model)
    folder = f"results/sample_scores/{wildcards.metric}"
    own = f"results/scores/{wildcards.metric}/{wildcards.model}/{place}"
    return [own, *(f"{folder}/{rival}/{place}" for rival in rivals)]


# What the model's own translations and the small model's samples have been scored is not scored again.
rule score_samples:
    input:
        segments="data/segments/{dataset}/{direction}.parquet",
        samples="results/samples/{model}/{dataset}/{direction}.parquet",
        known_outputs=known_outputs,
        known_scores=known_outputs_scores,
        scores=metric_files,
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
        code=scorer_code,
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
    params:
        code=plan.code("gains"),
    shell:
        r"""
        python -m routelmt gains --segments {input.segments:q} --small {input.small:q} \
            --large {input.large:q} --out {output:q} &>{log:q}
        """
