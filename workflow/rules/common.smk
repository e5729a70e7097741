# The config, what each stage takes from it, and the wildcards.
from routelmt import config as configuration
from routelmt.errors import UserError
from routelmt.evaluate.registry import SWEEP, SWEEP_TABLES, TABLES
from routelmt.figures.registry import FIGURES
from routelmt.pins import unpinned
from routelmt.plan import Plan
from routelmt.settings import speeds_of, stage_settings, too_much

try:
    config = configuration.resolve(config)
    plan = Plan(config)  # which files an experiment consists of
    # What shapes the bytes belongs into params, what only shapes the speed into resources.
    settings = stage_settings(config)
    speeds = speeds_of(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

if missing := list(configuration.missing_files(config)):
    raise WorkflowError("\n".join(missing))

# What a user brings that is not there yet: an error of the stages that read it.
absent = configuration.missing_inputs(config)


def there(files):
    """The files, or an error that names the config key of one that is not there."""
    if found := [absent[file] for file in files if file in absent]:
        raise WorkflowError("\n".join(found))
    return files


if workflow.is_main_process and (loose := unpinned(config)):
    logger.warning(
        "Not pinned, so the hub may give other files next time: "
        f"{', '.join(loose)}. Set 'revision' ('encoder_revision') to the commit you use."
    )

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
