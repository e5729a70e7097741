# Training routers, and asking every router for its priorities.


def training_gains(wildcards):
    return plan.gains(wildcards.experiment, "train")


def validation_gains(wildcards):
    return plan.gains(wildcards.experiment, "valid")


def removed_rows(wildcards):
    return plan.removed(wildcards.experiment)


def base_weights(wildcards):
    return plan.base_weights(wildcards.experiment, wildcards.router)


def training_code(wildcards):
    return plan.code("routers", plan.router(wildcards.router).module)


rule train_router:
    input:
        train_segments=training_segments,
        train_gains=training_gains,
        valid_segments=validation_segments,
        valid_gains=validation_gains,
        removed=removed_rows,
        weights=base_weights,
        code=training_code,
    output:
        directory("results/runs/{experiment}/routers/{router}/seed{seed}"),
    log:
        "logs/train_router/{experiment}/{router}/seed{seed}.log",
    benchmark:
        "benchmarks/train_router/{experiment}/{router}/seed{seed}.jsonl"
    threads: lookup("routers/{experiment}/{router}/threads", within=speeds)
    resources:
        batch_tokens=lookup("routers/{experiment}/{router}/batch_tokens", within=speeds),
        device=lookup("routers/{experiment}/{router}/device", within=speeds),
        gpu=lookup("routers/{experiment}/{router}/gpu", within=speeds),
        mem_mb=growing("routers/{experiment}/{router}/mem_mb"),
        runtime=growing("routers/{experiment}/{router}/runtime"),
    params:
        router=lookup("routers/{router}", within=settings),
        model=lookup("bases/{experiment}/{router}", within=settings),
    shell:
        r"""
        python -m routelmt train --router {wildcards.router:q} --settings {params.router:q} \
            --model {params.model:q} --seed {wildcards.seed} \
            --train-segments {input.train_segments:q} --train-gains {input.train_gains:q} \
            --valid-segments {input.valid_segments:q} --valid-gains {input.valid_gains:q} \
            --removed {input.removed:q} \
            --batch-tokens {resources.batch_tokens} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """


def trained_router(wildcards):
    return plan.artifact(wildcards.experiment, wildcards.router, wildcards.seed)


def router_signals(wildcards):
    needed = "signals" in plan.router(wildcards.router).needs
    names = wildcards.experiment, wildcards.testset, wildcards.direction
    return [plan.signals_of(*names)] if needed else []


def router_gains(wildcards):
    router = plan.router(wildcards.router)
    names = wildcards.experiment, wildcards.testset, wildcards.direction
    # A trained router learned from gains; on the test set only an oracle may see them.
    return (
        [plan.gains_of(*names)]
        if "gains" in router.needs and not router.trained
        else []
    )


def prediction_code(wildcards):
    return plan.code("predictions", plan.router(wildcards.router).module)


rule predict:
    input:
        segments="data/segments/{testset}/{direction}.parquet",
        router=trained_router,
        signals=router_signals,
        gains=router_gains,
        weights=base_weights,
        code=prediction_code,
    output:
        ensure(
            "results/runs/{experiment}/predictions/{router}/seed{seed}/{testset}/{direction}.parquet",
            non_empty=True,
        ),
    log:
        "logs/predict/{experiment}/{router}/seed{seed}/{testset}/{direction}.log",
    threads: lookup("routers/{experiment}/{router}/threads", within=speeds)
    resources:
        batch_tokens=lookup("routers/{experiment}/{router}/batch_tokens", within=speeds),
        device=lookup("routers/{experiment}/{router}/device", within=speeds),
        gpu=lookup("routers/{experiment}/{router}/gpu", within=speeds),
        mem_mb=growing("routers/{experiment}/{router}/mem_mb"),
        runtime=growing("routers/{experiment}/{router}/runtime"),
    params:
        router=lookup("routers/{router}", within=settings),
        model=lookup("bases/{experiment}/{router}", within=settings),
    shell:
        r"""
        python -m routelmt predict --segments {input.segments:q} --router {wildcards.router:q} \
            --settings {params.router:q} --model {params.model:q} --seed {wildcards.seed} \
            --artifact {input.router:q} --signals {input.signals:q} --gains {input.gains:q} \
            --batch-tokens {resources.batch_tokens} --device {resources.device:q} \
            --threads {threads} --out {output:q} &>{log:q}
        """
