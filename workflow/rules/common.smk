# The config, what each stage takes from it, and the wildcards.
from routelmt import config as configuration
from routelmt.errors import UserError
from routelmt.figures.registry import FIGURES
from routelmt.plan import Plan
from routelmt.settings import speeds_of, stage_settings

try:
    config = configuration.resolve(config)
except UserError as error:
    raise WorkflowError(str(error)) from None

if missing := list(configuration.missing_files(config)):
    raise WorkflowError("\n".join(missing))

plan = Plan(config)  # which files an experiment consists of
# What shapes the bytes belongs into params, what only shapes the speed into resources.
settings = stage_settings(config)
speeds = speeds_of(config)


def growing(query):
    """A resource of the speed settings that grows with each attempt of a job."""
    asked = lookup(query, within=speeds)

    def resource(wildcards, attempt):
        return asked(wildcards) * attempt

    return resource


NAME = r"[a-z0-9][a-z0-9._]*(?:-[a-z0-9._]+)*"  # never two dashes: {small}--{large} stays clear


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
    direction=r"[A-Za-z_]+-[A-Za-z_]+",
    seed=r"\d+",
    shard=r"\d+",
    shards=r"\d+",
    table=r"[a-z_]+",
    figure=r"[a-z_]+",
    group=NAME,
    sweep=NAME,
    role="test|valid|elsewhere",
