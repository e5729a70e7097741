"""Experiments with more than two models: an experiment of the pair of the cheapest and the dearest.

Every model between them has an experiment of its pair with the cheapest one, whose routers predict
its gains; only what the tables of the pool need of it is made, unless `run` names it.
"""

from __future__ import annotations

import copy
from typing import Any

from routelmt.errors import UserError
from routelmt.routers.registry import predicts_gain
from routelmt.translate.registry import ENGINES

Config = dict[str, Any]
# Of an experiment that is about one pair of a pool alone.
_ALONE: Config = {
    "models": None,
    "sweeps": {},
    "domains": {},
    "atlas": None,
    "elsewhere": [],
    "transfer": {"routers": [], "seeds": None, "splits": {}},
}


def pairs_of(name: str, experiment: Config) -> list[str]:
    """Experiments of a pool's cheapest model and each further one, its own last."""
    return [*(f"{name}.{model}" for model in (experiment["models"] or [])[1:-1]), name]


def expand_pools(config: Config) -> None:
    """Give each experiment `small` and `large`, and a pool the experiments of `pairs_of` it."""
    experiments = config["experiments"]
    config.setdefault("run", list(experiments))
    for name, experiment in list(experiments.items()):
        key, models = f"config key 'experiments.{name}'", experiment["models"]
        for size in ("small", "large"):
            if not models and size not in experiment:
                raise UserError(f"{key}: required key '{size}' is missing.")
        if not models:
            continue
        ends = {"small": models[0], "large": models[-1]}
        if any(experiment.get(size, model) != model for size, model in ends.items()):
            raise UserError(f"{key}: 'models' is there, so leave out 'small' and 'large'.")
        for model in models:
            if model not in config["models"]:
                raise UserError(
                    f"{key[:-1]}.models': '{model}' is not in 'models'; there: "
                    f"{', '.join(config['models'])}."
                )
        experiment |= ends
        _check_costs(config, f"{key[:-1]}.cost_unit'", experiment)
        routers = experiment["routers"]
        gains = [r for r in routers if predicts_gain(config["routers"].get(r, {}))]
        for pair, model in zip(pairs_of(name, experiment), models[1:-1], strict=False):
            own = copy.deepcopy(experiment | _ALONE)
            guards = own["guards"] | {"rank": [], "signals": []}
            own |= {"large": model, "routers": gains or routers, "guards": guards}
            if experiments.setdefault(pair, own) != own:
                raise UserError(f"{key}: needs the name '{pair}', which is taken; rename one.")


def _check_costs(config: Config, key: str, experiment: Config) -> None:
    """The costs of every model are to be had in the pool's unit."""
    models, unit = experiment["models"], experiment["cost_unit"]
    prices = config["prices"] or {}
    priced = set(prices.get("per_million", {})) if unit == "money" else set()
    if unit == "stated":
        lacking = [m for m in models if "cost" not in config["models"][m]]
        cure = "give each model a 'cost'"
    else:
        timed = {
            m for m in models
            if ENGINES[config["models"][m]["engine"]].weights or m in config["rates"]
        }  # fmt: skip
        if unit == "money" and prices.get("per_hour") is None:
            timed = set()
        lacking = [m for m in models if m not in priced | timed]
        cure = (
            "state rates"
            if unit == "seconds"
            else "state prices.per_million, or rates and prices.per_hour,"
        )
        cure += " of each, or 'cost_unit: stated' and a 'cost' of each model"
    if lacking:
        raise UserError(
            f"{key}: costs in {unit} of {', '.join(lacking)} are not to be had; {cure}."
        )


def pool_settings(config: Config, experiment: Config, costs: list[Config]) -> Config:
    """What the tables of a pool take of the config; costs: `cost` of each pair."""
    metrics = [
        config["routers"][r]["metric"]
        for r in experiment["routers"]
        if config["routers"][r]["type"] == "qe-deferral"
    ]
    return {
        "models": experiment["models"],
        "routers": [r for r in experiment["routers"] if predicts_gain(config["routers"][r])],
        "unit": experiment["cost_unit"],
        "stated": [config["models"][m].get("cost") for m in experiment["models"]],
        "pairs": costs,
        "estimate": metrics[0] if metrics else None,
        "switch_cost": experiment["switch_cost"],
    }
