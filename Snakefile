# routelmt: which translation requests deserve the large model.
#
#   sources -> segments -> hypotheses -> scores -> gains -+-> routers -> predictions -> tables -> figures
#                    \---> signals (one prefill) ---------/
#
# Expensive artifacts are keyed by what made them; experiments share them. Where things are:
#   data/segments/{dataset}/{direction}.parquet
#   results/hypotheses/{model}/{dataset}/{direction}.parquet    results/signals/... alike
#   results/scores/{metric}/{model}/{dataset}/{direction}.parquet
#   results/gains/{metric}/{small}--{large}/{dataset}/{direction}.parquet
#   results/runs/{experiment}/{routers,predictions,tables,figures}/...
import shutil
from pathlib import Path

from snakemake.utils import min_version

min_version("9.0")

if (
    "experiments" not in config
):  # --configfile replaces the paper's experiment, never mixes with it

    configfile: "config.yaml"


include: "workflow/rules/common.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/translate.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/routers.smk"
include: "workflow/rules/rates.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/views.smk"


# Of every job before the first one starts: what is asked for must be there.
onstart:
    if workflow.executor_plugin.name == "slurm" and not shutil.which("sbatch"):
        raise WorkflowError(
            "--profile slurm: found no 'sbatch', so Slurm is not installed here. Run it on a login "
            "node of the cluster, or take --profile local."
        )
    for job in workflow.dag.needrun_jobs():
        job.resources


onsuccess:
    for experiment in config["experiments"]:
        run = Path("results/runs", experiment)
        if Path(run, "page.html").is_file():
            logger.info(f"{run}/page.html    python -m routelmt summary {run}")


# What a profile sets itself (set-resources) is no function of the rules above.
for one in workflow.rules:
    for name in limits:
        if name in one.resources and not one.resources[name].is_evaluable():
            within_limits(name, one.resources[name].value, f"rule {one.name}")


report: "workflow/report/workflow.rst"


localrules:
    all,
    fetch,  # a compute node may have no internet
    page,  # as the next two, takes seconds
    plot,
    render,
    segments,
    hypotheses,
    gains,
    predictions,
    tables,
    figures,
    sweeps,


rule all:
    default_target: True
    input:
        plan.every("tables"),
        plan.every("views"),
        plan.every("figures"),
        plan.every("sweeps"),
        plan.every("page"),


rule segments:
    input:
        plan.every("segments"),


rule hypotheses:
    input:
        plan.every("hypotheses"),


rule gains:
    input:
        plan.every("gains"),


rule predictions:
    input:
        plan.every("predictions"),


rule tables:
    input:
        plan.every("tables"),
        plan.every("views"),


rule figures:
    input:
        plan.every("figures"),


rule sweeps:
    input:
        plan.every("sweeps"),
