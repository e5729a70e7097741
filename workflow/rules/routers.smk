# Training routers, and asking every router for its priorities.
# A router's inputs follow from what its type declares: what none needs is not made.


rule train_router:
    input:
        train_segments=planned("segments", "{experiment}", "train"),
        train_gains=planned("labels", "{experiment}", "{router}", "train"),
        train_states=planned(
            "needed_for", "{experiment}", "{router}", "states", "train"
        ),
        train_hypotheses=said_of("train"),
        train_sample_scores=planned(
            "needed_for", "{experiment}", "{router}", "sample_scores", "train"
        ),
        valid_segments=planned("segments", "{experiment}", "valid"),
        valid_gains=planned("labels", "{experiment}", "{router}", "valid"),
        valid_states=planned(
            "needed_for", "{experiment}", "{router}", "states", "valid"
        ),
        valid_hypotheses=said_of("valid"),
        valid_sample_scores=planned(
            "needed_for", "{experiment}", "{router}", "sample_scores", "valid"
        ),
        removed=planned("removed", "{experiment}"),
        flagged=planned("flagged", "{experiment}"),
        weights=planned("base_weights", "{experiment}", "{router}"),
        own_weights=planned("own_weights", "{router}"),
    output:
        directory("results/runs/{experiment}/routers/{router}/seed{seed}"),
    log:
        "logs/train_router/{experiment}/{router}/seed{seed}.log",
    benchmark:
        "benchmarks/train_router/{experiment}/{router}/seed{seed}.jsonl"
    priority: 1  # few long jobs: begun late, the last would run alone
    conda:
        "../../envs/core.yaml"
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
        code=lambda w: plan.code("routers", plan.router_module(w.router)),
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
            --removed {input.removed:q} --flagged {input.flagged:q} \
            --batch-tokens {resources.batch_tokens} \
            --gradient-checkpointing {resources.gradient_checkpointing} \
            --processes {resources.processes} --save-minutes {resources.save_minutes} \
            --device {resources.device:q} --threads {threads} --out {output:q} &>{log:q}
        """


# Of the test sets, and of the validation sets, on which thresholds and budgets are chosen.
rule predict:
    input:
        segments=planned("segments", "{experiment}", "{role}"),
        router=planned("artifact", "{experiment}", "{router}", "{seed}"),
        signals=planned("needed_for", "{experiment}", "{router}", "signals", "{role}"),
        states=planned("needed_for", "{experiment}", "{router}", "states", "{role}"),
        hypotheses=planned(
            "needed_for", "{experiment}", "{router}", "hypotheses", "{role}"
        ),
        estimates=planned(
            "needed_for", "{experiment}", "{router}", "estimates", "{role}"
        ),
        samples=planned("needed_for", "{experiment}", "{router}", "samples", "{role}"),
        gains=planned("known_gains", "{experiment}", "{router}", "{role}"),
        weights=planned("base_weights", "{experiment}", "{router}"),
        own_weights=planned("own_weights", "{router}"),
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
        code=planned("prediction_code", "{experiment}", "{router}"),
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


# All routers that are adapters of one model: its weights are loaded once, every prompt is read once
# by each adapter. `group` is "routers", or the name of a sweep; with --BASE where that is another
# model than the small one.
rule predict_in_model:
    input:
        segments=planned("segments", "{experiment}", "{role}"),
        adapters=planned("in_model_artifacts", "{experiment}", "{group}"),
        weights=planned("in_model_weights", "{experiment}", "{group}"),
    output:
        ensure(
            "results/runs/{experiment}/predictions/in_model/{group}/{role}.parquet",
            non_empty=True,
        ),
    log:
        "logs/predict_in_model/{experiment}/{group}/{role}.log",
    benchmark:
        "benchmarks/predict_in_model/{experiment}/{group}/{role}.jsonl"
    conda:
        "../../envs/core.yaml"
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
