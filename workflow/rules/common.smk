# The config, what each stage takes from it, the wildcards, and the functions of all rules.
import contextlib
import io
import os
import sys
import tarfile
import tempfile
from pathlib import Path


def package_folder(rules):
    """Folder of the package: beside these rules, or a copy of it if a host of Git has them."""
    if not hasattr(type(rules), "hosted_repo"):
        return Path(rules.get_path_or_uri(secret_free=True)).resolve().parent
    commit = rules.hosted_repo.repo.commit(rules.ref)
    folder = Path(".snakemake/routelmt", commit.hexsha).resolve()
    if not folder.is_dir():
        archive = io.BytesIO()
        parts = ["workflow", "data/sources.yaml"]
        commit.repo.archive(archive, commit.hexsha, path=parts)
        archive.seek(0)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as place:
            unpacked = Path(place, "copy")
            tarfile.open(fileobj=archive).extractall(unpacked, filter="data")
            with contextlib.suppress(OSError):  # another process was first
                unpacked.rename(folder)
    return folder / "workflow"


# Its own code runs a workflow, whatever else is installed.
sys.path.insert(0, str(package_folder(workflow.current_basedir)))

from routelmt import config as configuration
from routelmt.environments import conda_file, container_image, python_path
from routelmt.errors import UserError
from routelmt.evaluate.registry import SWEEP, SWEEP_TABLES, TABLES
from routelmt.figures.registry import FIGURES
from routelmt.pins import unpinned
from routelmt.plan import Plan, short
from routelmt.settings import no_costs, speeds_of, stage_settings, too_much

os.environ |= {"PYTHONPATH": python_path()}  # jobs take it over

try:
    config = configuration.resolve(config)
    plan = Plan(config)  # which files an experiment consists of
    # What shapes the bytes belongs into params, what only shapes the speed into resources.
    settings = stage_settings(config)
    speeds = speeds_of(config)
except UserError as error:
    raise WorkflowError(str(error)) from None
except ModuleNotFoundError as error:
    raise WorkflowError(
        f"Planning needs '{error.name}' where Snakemake runs: pip install {error.name}"
    ) from None

if missing := list(configuration.missing_files(config)):
    raise WorkflowError("\n".join(missing))

# What a user brings that is not there yet: an error of the stages that read it.
absent = configuration.missing_inputs(config)


def planned(what, *of):
    """What the plan says of wildcards, such as planned("segments", "{experiment}", "train")."""
    ask = getattr(plan, what)
    return lambda wildcards: ask(*(part.format_map(wildcards) for part in of))


def there(ask):
    """The same, or an error that names the config key of a file that is not there."""

    def files(wildcards):
        paths = ask(wildcards)
        if sentences := [absent[path] for path in paths if path in absent]:
            raise WorkflowError("\n".join(sentences))
        return paths

    return files


# One option takes them all: another would be another shell text, which trains every router again.
def said_of(role):
    """What the small model says of a role's rows, and estimates of it, if the router needs them."""
    of = ("{experiment}", "{router}")
    needs = ("hypotheses", "signals", "estimates")
    parts = [planned("needed_for", *of, need, role) for need in needs]
    return lambda wildcards: [path for part in parts for path in part(wildcards)]


def rivals(pattern, *known):
    """Files of the small models that this one is compared with as the large one, after others."""
    return lambda w: [
        *(path.format(**w) for path in known),
        *(pattern.format(rival=rival, **w) for rival in plan.rivals(w.metric, w.model)),
    ]


def engine_conda(wildcards):
    return conda_file(plan.engine_environment(wildcards.model))


def engine_container(wildcards):
    return container_image(plan.engine_environment(wildcards.model))


def scorer_conda(wildcards):
    return conda_file(plan.scorer_environment(wildcards.metric))


def scorer_container(wildcards):
    return container_image(plan.scorer_environment(wildcards.metric))


def router_conda(wildcards):
    return conda_file(plan.router_environment(wildcards.experiment, wildcards.router))


def router_container(wildcards):
    return container_image(
        plan.router_environment(wildcards.experiment, wildcards.router)
    )


def as_options(wildcards, input):
    """Every input with its name as an option: --gains FILE FILE --segments FILE."""
    return " ".join(
        " ".join([f"--{name.replace('_', '-')}", *short(files)])
        for name, files in input.items()
        if files
    )


def category(wildcards):
    """Where Snakemake's report lists a table."""
    sweep = wildcards.folder == "sweeps"
    return (SWEEP_TABLES[SWEEP] if sweep else TABLES[wildcards.table]).category


if workflow.is_main_process and (loose := unpinned(config)):
    logger.warning(
        "Not pinned, so the hub may give other files next time: "
        f"{', '.join(loose)}. Set 'revision' ('encoder_revision') to the commit you use."
    )

if workflow.is_main_process:
    for name in plan.experiments:
        if why := no_costs(config, config["experiments"][name]):
            logger.info(f"Experiment {name} has no tables of costs: {why}.")

# What Snakemake lowers jobs' demands to, in silence, even if they cannot run with it.
limits = {
    name: workflow.global_resources[name].value
    for name in ("gpu", "mem_mb")
    if name in workflow.global_resources
}


def entry(tree, query):
    """Of a nested mapping, by wildcards; lookup() walks all of it at every call."""
    places = query.split("/")

    def found(wildcards):
        value = tree
        for place in places:
            value = value[place.format_map(wildcards)]
        return value

    return found


def setting(query):
    """What shapes the bytes, for params."""
    return entry(settings, query)


def speed(query):
    """What shapes the speed, for threads and resources."""
    return entry(speeds, query)


def within_limits(name, asked, where):
    """The same, or an error if the profile never gives a job so much."""
    if isinstance(asked, int) and asked > limits.get(name, asked):
        raise WorkflowError(too_much(name, asked, limits[name], where))
    return asked


def available(query):
    """A resource of the speed settings that is an error where the profile cannot give it."""
    asked, (*place, name) = speed(query), query.split("/")

    def resource(wildcards):
        where = f"'speed' of {'.'.join(place).format_map(wildcards)} in the config"
        return within_limits(name, asked(wildcards), where)

    return resource


def growing(query):
    """The same, and growing with each attempt of a job; then as far as the profile goes."""
    asked = available(query)

    def resource(wildcards, attempt):
        return asked(wildcards) * attempt

    return resource


NAME = r"[A-Za-z0-9][A-Za-z0-9._]*(?:-[A-Za-z0-9._]+)*"  # never two dashes: {small}--{large} stays clear


wildcard_constraints:
    source=NAME,
    corpus=NAME,
    dataset=NAME,
    model=NAME,
    small=NAME,
    large=NAME,
    metric=NAME,
    experiment=NAME,
    router=NAME,
    direction=r"[A-Za-z0-9_]+-[A-Za-z0-9_]+",
    seed=r"\d+",
    shard=r"\d+",
    shards=r"\d+",
    table="|".join(TABLES),
    figure=r"[a-z_]+",
    group=f"{NAME}(?:--{NAME})?",
    sweep=NAME,
    role="test|valid|elsewhere",
