"""The tables of an experiment: what each is made of, which settings shape it, where it is built.

A new table is a function in a module of this package and an entry below; its columns stand in
`tables.TABLES`, its layout in `views.layouts`. The rule, the command, the plan and the report read
what is declared here.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

from routelmt import plugins

# What a table can be made of, as options of `routelmt table`: the kind of file, and what of.
INPUTS: dict[str, tuple[str, str]] = {
    "predictions": ("predictions", "of every router on the test sets"),
    "gains": ("gains", "of every test set"),
    "segments": ("segments", "of every test set"),
    "other_gains": ("gains", "of every test set by judge_metrics, then by raters"),
    "calibration_predictions": ("predictions", "of every router on the validation sets"),
    "calibration_gains": ("gains", "of every validation set"),
    "hypotheses_small": ("hypotheses", "of the small model on every test set"),
    "hypotheses_large": ("hypotheses", "of the large model on every test set"),
    "scores_small": ("scores", "of the small model's hypotheses, which the gains were made from"),
    "scores_large": ("scores", "of the large model's"),
    "rates": ("rates", "tables of rates; where two have the same, the later counts"),
    "hypotheses": ("hypotheses", "of both models on every set that is evaluated or learned from"),
    "scores": ("scores", "of the same"),
    "pool_gains": ("gains", "of every test set, of each further model over the first"),
    "pool_predictions": ("predictions", "of every router of gains on the test sets, by pair"),
    "pool_hypotheses": ("hypotheses", "of every model of a pool on every test set"),
    "pool_other_gains": ("gains", "by pair of every test set by judge_metrics"),
    "pool_estimates": ("scores", "by the estimating metric, of every model of a pool"),
    "flagged": ("flagged", "flagged requests; needed by leave_out"),
    "train": ("segments", "segments of the training sets"),
    "valid": ("segments", "segments of the validation sets"),
    "test": ("segments", "segments of the held-out sets"),
    "overlaps": ("overlaps", "training rows whose text is in held-out data"),
    "pool_scores": ("scores", "of every model and metric of the atlas on every test set"),
    "signal_predictions": ("predictions", "of the atlas's signals on the test sets"),
    "routers": ("", "folders .../ROUTER/seedN of trained routers"),
}
_HERE = "routelmt.evaluate"
EVALUATION = f"{_HERE}.requests:evaluation"  # the subject of most tables
FLAGGED = "flagged"  # of every table that is an evaluation
_EVALUATED = ("predictions", "gains", FLAGGED)
_DEPLOYED = (*_EVALUATED, "segments", "calibration_predictions", "calibration_gains")
_TOKENS = ("hypotheses_small", "hypotheses_large", "rates")  # token counts, and what they cost
_TRACED = ("segments", "hypotheses_small", "hypotheses_large", "scores_small", "scores_large")
_SPLITS = ("train", "valid", "test")
_POOLED = ("pool_gains", "pool_predictions", "pool_hypotheses", "pool_other_gains",
           "pool_estimates", "rates", FLAGGED)  # fmt: skip
_STREAMED = ("budgets", "gain_routers", "chosen_on_validation", "stream", "drift", "within",
             "confidence", "bins")  # fmt: skip

TRANSFER = "transfer"  # group of the routers trained on parts of the domains
POOL = "pool"  # what an experiment with several models has
OWN = "routers"  # a table judges the experiment's own routers, or those of TRANSFER, or
SWEEP = "sweep"  # those of a sweep


class TableType(NamedTuple):
    """What the workflow has to know of a table to plan and make it.

    build: 'package.module:function', called with the settings and the subject.
    reads: of INPUTS. settings: keys of the experiment, or of `settings.COMPUTED`, that shape it.
    subject: 'package.module:function' that puts the inputs together, (settings, given); without it
        `build` gets `given` itself, see `given.Given`.
    of: the routers it judges, whose names, oracles, bootstrap and so on are settings too.
    when: what an experiment must have, see `Plan.has`. elsewhere: whether it is about those sets
        too. category: where the report lists it.
    """

    build: str
    reads: tuple[str, ...]
    settings: tuple[str, ...] = ()
    subject: str = ""
    of: str = ""
    when: tuple[str, ...] = ()
    elsewhere: bool = False
    category: str = "Tables"

    @property
    def module(self) -> str:
        """Full name of the module that builds it."""
        return self.build.partition(":")[0]


def _evaluation(build: str, *settings: str, more: tuple[str, ...] = (), **fields: Any) -> TableType:
    """A table of what routers come to on the test sets."""
    fields = {"of": OWN, "subject": EVALUATION} | fields
    return TableType(f"{_HERE}.{build}", (*_EVALUATED, *more), settings, **fields)


def _deployment(build: str, *settings: str, more: tuple[str, ...] = (), **fields: Any) -> TableType:
    """A table of thresholds and budgets that are chosen on the validation sets."""
    fields = {"subject": f"{_HERE}.deployment:deployment"} | fields
    when = ("valid", *fields.pop("when", ()))
    return TableType(
        f"{_HERE}.{build}", (*_DEPLOYED, *more), (*_STREAMED, *settings), of=OWN, when=when,
        category="Deployment", **fields,
    )  # fmt: skip


def _atlas(build: str) -> TableType:
    """A table of all pairs of a pool of systems."""
    return TableType(
        f"{_HERE}.atlas_tables:{build}", ("pool_scores", "segments", "signal_predictions"),
        ("atlas", "budgets", "risk_edges"), subject=f"{_HERE}.atlas_tables:subject",
        when=("atlas",), category="Atlas",
    )  # fmt: skip


def _pooled(build: str) -> TableType:
    """A table of policies over a pool of models."""
    return TableType(
        f"{_HERE}.pool_tables:{build}", _POOLED, ("budgets", "judge_metrics", "pool"), of=OWN,
        when=(POOL,), category="Pool",
    )  # fmt: skip


_BUILT_IN: dict[str, TableType] = {
    "datasheet": TableType("routelmt.evaluate.describe:datasheet_table", _SPLITS, category="Data"),
    "contamination": TableType(
        "routelmt.evaluate.describe:contamination_table", (*_SPLITS, "overlaps"), ("action",),
        category="Data",
    ),
    "flags": TableType(
        f"{_HERE}.describe:flags_table", ("hypotheses", "scores"), ("leave_out",), category="Data"
    ),
    "training": TableType(
        f"{_HERE}.training_curves:training", ("routers",), when=("trained",)
    ),
    "routers": _evaluation(
        "quality_tables:routers", "budgets", "metric", "judge_metrics", "raters",
        more=("other_gains",),
    ),
    "comparisons": _evaluation("quality_tables:comparisons", "budgets"),
    "pareto": _evaluation("quality_tables:pareto"),
    "risk_buckets": _evaluation("policy_tables:risk_buckets", "budgets", "risk_edges"),
    "guards": _evaluation("policy_tables:guards", "budgets", "risk_edges", "guards"),
    "router_metrics": _evaluation("router_metrics:router_metrics", "budgets"),
    "breakdown": _evaluation("breakdown:breakdown", "budgets", more=("segments",)),
    "noise": _evaluation(
        "noise:noise", "metric", "judge_metrics", "raters", more=("other_gains",)
    ),
    "cases": _evaluation(
        "cases:cases_table", "budgets", "risk_edges", "cases", more=_TRACED, subject=""
    ),
    "cross_metric": _evaluation(
        "cross_metric:cross_metric", "budgets", "metric", "judge_metrics",
        more=("other_gains",), when=("judge_metrics",),
    ),
    "human": _evaluation(
        "human:human", "budgets", "metric", "judge_metrics", "raters", "human",
        more=("other_gains",), when=("human",),
    ),
    "atlas": _atlas("atlas"),
    "atlas_signals": _atlas("atlas_signals"),
    "domains": _evaluation(
        "domains:domains", "budgets", "domains",
        more=("segments",), when=("domains",), elsewhere=True,
    ),
    "transfer": _evaluation(
        "transfer:transfer", "budgets", "splits",
        more=("segments",), of=TRANSFER, when=(TRANSFER,),
    ),
    "transfer_comparisons": _evaluation(
        "transfer:transfer_comparisons", "budgets", "splits",
        more=("segments",), of=TRANSFER, when=(TRANSFER,),
    ),
    "reliability": _deployment("stream_tables:reliability", when=("gain_routers",)),
    "streaming": _deployment("stream_tables:streaming_table"),
    "calibration": _deployment("stream_tables:calibration_table"),
    "drift": _deployment("drift:drift"),
    "drift_paths": _deployment("drift:drift_paths"),
    "budgets": _deployment(
        "budgets:budgets", "cost",
        more=_TOKENS, subject=f"{_HERE}.budgets:deployment_with_costs",
    ),
    "smallest_budget": _deployment("smallest_budget:smallest_budget"),
    "costs": _evaluation(
        "costs:costs_table", "budgets", "cost",
        more=_TOKENS, subject="", when=("rates",), category="Deployment",
    ),
    "guard_costs": _evaluation(
        "guard_costs:guard_costs_table", "budgets", "cost", "risk_edges", "guards",
        more=_TOKENS, subject="", when=("rates", "guards"), category="Deployment",
    ),
    "pool": _pooled("pool_table"),
    "pool_shares": _pooled("pool_shares"),
    "pool_choice": _pooled("pool_choice"),
}  # fmt: skip
TABLES = plugins.Registry("tables", _BUILT_IN)

SWEEP_TABLES: dict[str, TableType] = {
    SWEEP: _evaluation("sweeps:sweep", "budgets", of=SWEEP, subject="", category="Sweeps"),
}


def builder(name: str) -> Callable[..., Any]:
    """The function that builds a table of its settings and its subject."""
    return _function((TABLES | SWEEP_TABLES)[name].build)


def subject(name: str) -> Callable[..., Any] | None:
    """The function that puts a table's inputs together, if it has one."""
    declared = (TABLES | SWEEP_TABLES)[name].subject
    return _function(declared) if declared else None


def _function(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found
