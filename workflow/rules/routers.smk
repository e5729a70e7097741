# Training routers, and asking every router for its priorities.
# A router's inputs follow from what its type declares: what none needs is not made.


def needed_for(need, role):
    """Files of one need of the router for all sets of a role; none if it does not have it."""

    def files(wildcards):
        return plan.needed_for(wildcards.experiment, wildcards.router, need, role)

    return files


# One option takes them all: another would be another shell text, which trains every router again.
def said_of(role):
    """What the small model says of a role's rows, and estimates of it, if the router needs them."""
    parts = [needed_for(need, role) for need in ("hypotheses", "signals", "estimates")]
    return lambda wildcards: [path for part in parts for path in part(wildcards)]


def needed(need):
    """The same for the role that is predicted."""

    def files(wildcards):
        names = wildcards.experiment, wildcards.router, need, wildcards.role
        return plan.needed_for(*names)

    return files


def labels(role):
    """Gains that the router learns from."""

    def files(wildcards):
        return plan.labels(wildcards.experiment, wildcards.router, role)

    return files


def removed_rows(wildcards):
    return plan.removed(wildcards.experiment)


def base_weights(wildcards):
    return plan.base_weights(wildcards.experiment, wildcards.router)


def own_weights(wildcards):
    return plan.own_weights(wildcards.router)


def training_code(wildcards):
    return plan.code("routers", plan.router_module(wildcards.router))


rule train_router:
    input:
        train_segments=training_segments,
        train_gains=labels("train"),
        train_states=needed_for("states", "train"),
        train_hypotheses=said_of("train"),
        train_sample_scores=needed_for("sample_scores", "train"),
        valid_segments=validation_segments,
        valid_gains=labels("valid"),
        valid_states=needed_for("states", "valid"),
        valid_hypotheses=said_of("valid"),
        valid_sample_scores=needed_for("sample_scores", "valid"),
        removed=removed_rows,
        weights=base_weights,
        own_weights=own_weights,
    output:
        directory("results/runs/{experiment}/routers/{router}/seed{seed}"),
    log:
        "logs/train_router/{experiment}/{router}/seed{seed}.log",
    benchmark:
        "benchmarks/train_router/{experiment}/{router}/seed{seed}.jsonl"
    priority: 1  # few long jobs: begun late, the last would run alone
    threads: speed("routers/{experiment}/{router}/threads")
    resources:
        batch_tokens=speed("routers/{experiment}/{router}/batch_tokens"),
        gradient_checkpointing=speed(
            "routers/{experiment}/{router}/gradient_checkpointing"
        ),
        processes=speed("routers/{experiment}/{router}/processes"),
        save_minutes=speed("routers/{experiment}/{router}/save_minutes"),
        device=speed("routers/{experiment}/{router}/device"),
        gpu=available("routers/{experiment}/{router}/gpu"),
        mem_mb=growing("routers/{experiment}/{router}/mem_mb"),
        runtime=growing("routers/{experiment}/{router}/runtime"),
    params:
        code=training_code,
        router=setting("routers/{router}"),
        model=setting("bases/{experiment}/{router}"),
    shell:
        r"""
        python -m routelmt train --router {wildcards.router:q} --settings {params.router:q} \
            --model {params.model:q} --seed {wildcards.seed} \
            --train-segments {input.train_segments:q} --train-gains {input.train_gains:q} \
            --train-states {input.train_states:q} --train-hypotheses {input.train_hypotheses:q} \
            --train-sample-scores {input.train_sample_scores:q} \
            --valid-segments {input.valid_segments:q} --valid-gains {input.valid_gains:q} \
            --valid-states {input.valid_states:q} --valid-hypotheses {input.valid_hypotheses:q} \
            --valid-sample-scores {input.valid_sample_scores:q} \
            --removed {input.removed:q} --batch-tokens {resources.batch_tokens} \
            --gradient-checkpointing {resources.gradient_checkpointing} \
            --processes {resources.processes} --save-minutes {resources.save_minutes} \
            --device {resources.device:q} --threads {threads} --out {output:q} &>{log:q}
        """


def trained_router(wildcards):
    return plan.artifact(wildcards.experiment, wildcards.router, wildcards.seed)


def known_gains(wildcards):
    return plan.known_gains(wildcards.experiment, wildcards.router, wildcards.role)


def asked_segments(wildcards):
    return plan.segments(wildcards.experiment, wildcards.role)


def prediction_code(wildcards):
    return plan.prediction_code(wildcards.experiment, wildcards.router)


def router_conda(wildcards):
    return conda_file(plan.router_environment(wildcards.experiment, wildcards.router))


def router_container(wildcards):
    return container_image(
        plan.router_environment(wildcards.experiment, wildcards.router)
    )


# Of the test sets, and of the validation sets, on which thresholds and budgets are chosen.
rule predict:
    input:
        segments=asked_segments,
        router=trained_router,
        signals=needed("signals"),
        states=needed("states"),
        hypotheses=needed("hypotheses"),
        estimates=needed("estimates"),
        samples=needed("samples"),
        gains=known_gains,
        weights=base_weights,
        own_weights=own_weights,
    output:
        ensure(
            "results/runs/{experiment}/predictions/{router}/seed{seed}/{role}.parquet",
            non_empty=True,
        ),
    log:
        "logs/predict/{experiment}/{router}/seed{seed}/{role}.log",
    conda:
        router_conda
    container:
        router_container
    threads: speed("routers/{experiment}/{router}/threads")
    resources:
        batch_tokens=speed("routers/{experiment}/{router}/batch_tokens"),
        device=speed("routers/{experiment}/{router}/device"),
        gpu=available("routers/{experiment}/{router}/gpu"),
        mem_mb=growing("routers/{experiment}/{router}/mem_mb"),
        runtime=growing("routers/{experiment}/{router}/runtime"),
    params:
        code=prediction_code,
        router=setting("routers/{router}"),
        model=setting("bases/{experiment}/{router}"),
    shell:
        r"""
        python -m routelmt predict --segments {input.segments:q} --router {wildcards.router:q} \
            --settings {params.router:q} --model {params.model:q} --seed {wildcards.seed} \
            --artifact {input.router:q} --signals {input.signals:q} --states {input.states:q} \
            --hypotheses {input.hypotheses:q} --estimates {input.estimates:q} \
            --samples {input.samples:q} --gains {input.gains:q} \
            --batch-tokens {resources.batch_tokens} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """


def adapters(wildcards):
    return plan.in_model_artifacts(wildcards.experiment, wildcards.group)


def adapted_weights(wildcards):
    return plan.in_model_weights(wildcards.experiment, wildcards.group)


# All routers that are adapters of one model: its weights are loaded once, every prompt is read once
# by each adapter. `group` is "routers", or the name of a sweep; with --BASE where that is another
# model than the small one.
rule predict_in_model:
    input:
        segments=asked_segments,
        adapters=adapters,
        weights=adapted_weights,
    output:
        ensure(
            "results/runs/{experiment}/predictions/in_model/{group}/{role}.parquet",
            non_empty=True,
        ),
    log:
        "logs/predict_in_model/{experiment}/{group}/{role}.log",
    benchmark:
        "benchmarks/predict_in_model/{experiment}/{group}/{role}.jsonl"
    threads: speed("adapted/{experiment}/{group}/threads")
    resources:
        batch_tokens=speed("adapted/{experiment}/{group}/batch_tokens"),
        device=speed("adapted/{experiment}/{group}/device"),
        gpu=available("adapted/{experiment}/{group}/gpu"),
        mem_mb=growing("adapted/{experiment}/{group}/mem_mb"),
        runtime=growing("adapted/{experiment}/{group}/runtime"),
    params:
        code=plan.code("predictions", "routelmt.routers.answer"),
        routers=setting("in_model/{experiment}/{group}"),
        model=setting("adapted/{experiment}/{group}"),
    shell:
        r"""
        python -m routelmt predict-in-model --segments {input.segments:q} \
            --settings {params.routers:q} --model {params.model:q} \
            --batch-tokens {resources.batch_tokens} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """
