# What a deployment comes to: thresholds and budgets chosen on validation sets, and what they cost.


def held_out_predictions(wildcards):
    return plan.predictions(wildcards.experiment, "valid")


def held_out_gains(wildcards):
    return plan.gains(wildcards.experiment, "valid")


def budget_costs(stage):
    return lambda wildcards: plan.budget_costs(
        wildcards.experiment, wildcards.table, stage
    )


rule evaluate_deployment:
    input:
        predictions=evaluated("predictions"),
        gains=evaluated("gains"),
        segments=test_segments,
        calibration_predictions=held_out_predictions,
        calibration_gains=held_out_gains,
        small=budget_costs("small"),
        large=budget_costs("large"),
        rates=budget_costs("rates"),
        flagged=flagged,
        code=plan.code("deployment_tables"),
    output:
        table=ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/tables/{table}.csv",
            category="Deployment",
            labels={"experiment": "{experiment}", "table": "{table}"},
            caption="../report/deployment.rst",
        ),
        latex="results/runs/{experiment}/tables/{table}.tex",
        markdown="results/runs/{experiment}/tables/{table}.md",
    log:
        "logs/evaluate_deployment/{experiment}/{table}.log",
    wildcard_constraints:
        table="|".join(configuration.DEPLOYMENT_TABLES),
    params:
        table=setting("tables/{experiment}/{table}"),
    shell:
        r"""
        python -m routelmt evaluate-deployment --table {wildcards.table} \
            --settings {params.table:q} --predictions {input.predictions:q} \
            --gains {input.gains:q} --segments {input.segments:q} \
            --calibration-predictions {input.calibration_predictions:q} \
            --calibration-gains {input.calibration_gains:q} \
            --small {input.small:q} --large {input.large:q} --rates {input.rates:q} \
            --flagged {input.flagged:q} --out {output.table:q} &>{log:q}
        """


def timing_segments(wildcards):
    return plan.timing_segments(wildcards.model)


# How fast a model reads and decodes on the machine that this job gets, loading left out. Jobs beside
# it on the same cores would slow it: see profiles/demo.
rule time_model:
    input:
        segments=timing_segments,
        weights=model_weights,
        code=plan.code("rates"),
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
        routers=trained_routers,
        code=plan.code("rates"),
    output:
        "results/runs/{experiment}/rates.parquet",
    log:
        "logs/collect_rates/{experiment}.log",
    params:
        given=setting("rates/{experiment}"),
    shell:
        r"""
        python -m routelmt rates --routers {input.routers:q} --given {params.given:q} \
            --out {output:q} &>{log:q}
        """


def rates(wildcards):
    return plan.rates(wildcards.experiment)


rule evaluate_costs:
    input:
        predictions=evaluated("predictions"),
        gains=evaluated("gains"),
        small=small_hypotheses,
        large=large_hypotheses,
        rates=rates,
        flagged=flagged,
        code=plan.code("cost_table"),
    output:
        table=ensure("results/runs/{experiment}/tables/{table}.parquet", non_empty=True),
        csv=report(
            "results/runs/{experiment}/tables/{table}.csv",
            category="Deployment",
            labels={"experiment": "{experiment}", "table": "{table}"},
            caption="../report/deployment.rst",
        ),
        latex="results/runs/{experiment}/tables/{table}.tex",
        markdown="results/runs/{experiment}/tables/{table}.md",
    log:
        "logs/evaluate_costs/{experiment}/{table}.log",
    wildcard_constraints:
        table="|".join(configuration.COST_TABLES),
    params:
        table=setting("tables/{experiment}/{table}"),
    shell:
        r"""
        python -m routelmt costs --table {wildcards.table} --settings {params.table:q} \
            --predictions {input.predictions:q} --gains {input.gains:q} \
            --small {input.small:q} --large {input.large:q} --rates {input.rates:q} \
            --flagged {input.flagged:q} --out {output.table:q} &>{log:q}
        """
