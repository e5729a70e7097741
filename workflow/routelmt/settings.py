"""What each stage takes from the config: the settings that shape its bytes, and those of its speed.

Settings are JSON strings that rules hand to commands: an edit re-runs the stages whose string it
changes, and no other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from routelmt.config import (
    ELSEWHERE,
    ROLES,
    Config,
    artifact,
    base_of,
    groups,
    in_model,
    rated_by,
    references,
    scores_files,
    sources_of,
    type_of,
)
from routelmt.derived import sweep_points, transfer_points
from routelmt.evaluate.registry import OWN, TABLES, TRANSFER
from routelmt.figures.registry import FIGURES, SWEEP_FIGURES
from routelmt.pool_config import pool_settings
from routelmt.routers.registry import costs_of, needs_of, predicts_gain
from routelmt.translate.registry import ENGINES


def stage_settings(config: Config) -> dict[str, Any]:
    """For every stage and name, what shapes its bytes, as a JSON string (see the rules' params)."""
    models = {
        name: {k: v for k, v in model.items() if k not in ("speed", "samples", "cost")}
        | {"languages": config["languages"]}
        for name, model in config["models"].items()
    }
    samples = {
        name: models[name] | {"samples": model["samples"]}
        for name, model in config["models"].items()
        if model.get("samples")
    }
    sources = sources_of(config)
    settings = {
        "sources": sources,
        "corpora": {
            name: corpus | {"files": sources[corpus["source"]]["files"]}
            for name, corpus in config["corpora"].items()
        },
        "datasets": {
            name: {
                k: v
                for k, v in dataset.items()
                if k not in ("directions", "shards", "running_text", "unscored")
            }
            | ({"scored": scores_files(config, name)} if dataset["unscored"] == "drop" else {})
            for name, dataset in config["datasets"].items()
        },
        "models": models,
        "samples": samples,
        "bases": {name: _bases(config, e, models) for name, e in config["experiments"].items()},
        "in_model": {name: _in_model(config, name) for name in config["experiments"]},
        "adapted": {
            name: {job: models[base] for job, base in _adapted(config, name).items()}
            for name in config["experiments"]
        },
        "metrics": {
            name: {k: v for k, v in metric.items() if k != "speed"}
            for name, metric in config["metrics"].items()
        },
        "routers": config["routers"],
        "overlaps": {name: e["contamination"] for name, e in config["experiments"].items()},
        "tables": {name: _table_settings(config, e) for name, e in config["experiments"].items()},
        "sweeps": {name: _sweep_settings(config, e) for name, e in config["experiments"].items()},
        "rates": {name: given_rates(config, e) for name, e in config["experiments"].items()},
        "figures": {name: _figure_settings(config, e) for name, e in config["experiments"].items()},
        "pages": {name: _page_settings(config, name) for name in config["experiments"]},
    }
    return {
        section: {name: _dump(value, section) for name, value in entries.items()}
        for section, entries in settings.items()
    }


def _dump(value: Any, section: str) -> Any:
    if section in ("tables", "bases", "in_model", "adapted", "sweeps", "figures"):
        return {name: json.dumps(v, ensure_ascii=False) for name, v in value.items()}
    return json.dumps(value, ensure_ascii=False)


def _figure_settings(config: Config, experiment: Config) -> dict[str, Config]:
    """The style of each figure, and the metric whose points its axes are in."""
    style = config["figures"] | {"metric": experiment["metric"]}
    return dict.fromkeys([*FIGURES, *SWEEP_FIGURES], style)


def _page_settings(config: Config, experiment: str) -> dict[str, Any]:
    """What the page says of an experiment beside its tables, and its colours."""
    spec = config["experiments"][experiment]
    return {
        "experiment": experiment,
        **_about(config, spec, spec["routers"]),
        "languages": config["languages"],
        "no_costs": no_costs(config, spec),
        **{key: config["figures"][key] for key in ("palette", "curves")},
    }


def _bases(config: Config, experiment: Config, models: Config) -> dict[str, Any]:
    """The model that each router reads, if it does; the languages' names for an encoder."""
    # A router on frozen states runs the model itself where it is used outside the workflow.
    found = {}
    for router, spec in config["routers"].items():
        reads = needs_of(spec) & {"model", "states"}
        prompted = "encoder" in costs_of(spec)
        named = {"languages": config["languages"]} if prompted else {}
        found[router] = models[base_of(config, experiment, router)] if reads else named
    return found


def _in_model(config: Config, experiment: str) -> dict[str, Any]:
    """For each pass, the routers that are asked in it: name, seed, folder, settings."""
    return {
        job: {
            "ask": [
                {
                    "router": router,
                    "seed": seed,
                    "artifact": artifact(config, experiment, router, seed),
                    "settings": config["routers"][router],
                }
                for router, seed in asked
            ]
        }
        for group in groups(config["experiments"][experiment])
        for job, asked in in_model(config, experiment, group).items()
    }


def _adapted(config: Config, experiment: str) -> dict[str, str]:
    """The model that is read in each pass of adapters."""
    spec = config["experiments"][experiment]
    return {
        job: base_of(config, spec, asked[0][0])
        for group in groups(spec)
        for job, asked in in_model(config, experiment, group).items()
    }


# What shapes tables and is no key of the experiment itself.
COMPUTED: dict[str, Callable[[Config, Config], Any]] = {
    "action": lambda _, experiment: experiment["contamination"]["action"],
    "cost": lambda config, experiment: _cost(config, experiment),
    "gain_routers": lambda config, experiment: gain_routers(config, experiment),
    "chosen_on_validation": lambda config, experiment: [
        r for r in experiment["routers"] if chosen_on_validation(config, r)
    ],
    "pool": lambda config, experiment: _pool(config, experiment),
    "splits": lambda _, experiment: _splits(experiment),
    "atlas": lambda config, experiment: _atlas(config, experiment),
}


def _table_settings(config: Config, experiment: Config) -> dict[str, Any]:
    """What shapes each table (see evaluate.registry): no table can tell oracles from its data."""
    judged = {"": {}, OWN: _evaluated(config, experiment, experiment["routers"])}
    if TRANSFER in groups(experiment):
        routers = [*transfer_points(experiment[TRANSFER]), *references(config, experiment)]
        about = _about(config, experiment, experiment[TRANSFER]["routers"])
        judged[TRANSFER] = _evaluated(config, experiment, routers) | {"about": about}
    return {
        name: judged[kind.of]
        | {
            key: COMPUTED[key](config, experiment) if key in COMPUTED else experiment[key]
            for key in kind.settings
        }
        for name, kind in TABLES.items()
        if kind.of in judged
    }


def _splits(experiment: Config) -> Config:
    """The splits with the routers trained on each part, by the router they derive from."""
    transfer = experiment[TRANSFER]
    splits = {
        split: {part: {"domains": domains, "routers": {}} for part, domains in parts.items()}
        for split, parts in transfer["splits"].items()
    }
    for name, point in transfer_points(transfer).items():
        splits[point.split][point.part]["routers"][point.router] = name
    return splits


def _atlas(config: Config, experiment: Config) -> Config | None:
    """The pool, which of its metrics share a rater, and how intervals are drawn."""
    atlas: Config | None = experiment["atlas"]
    if not atlas:
        return None
    raters = {metric: rated_by(config, metric) for metric in atlas["metrics"]}
    sharing = {m: [n for n in raters if raters[m] & raters[n]] for m in raters}
    return atlas | {"sharing": sharing, "bootstrap": _bootstrap(config, experiment)}


def gain_routers(config: Config, experiment: Config) -> list[str]:
    """The routers of an experiment whose prediction is a gain."""
    return [r for r in experiment["routers"] if predicts_gain(config["routers"][r])]


def chosen_on_validation(config: Config, router: str) -> bool:
    """Whether validation rows choose something of a router: its epoch, rate, strength or t*."""
    spec = config["routers"][router]
    if spec.get("of"):
        return chosen_on_validation(config, spec["of"])
    if not type_of(config, router).trained:
        return False
    rates = spec.get("learning_rate")
    several = isinstance(rates, list) and len(rates) > 1
    # What has no epochs is found in closed form, at the strength that is best there.
    return several or spec.get("epochs") != 1 or spec.get("target") == "small-within"


def _cost(config: Config, experiment: Config) -> Config:
    """What a request costs under each router, as terms of the ledger (see evaluate.ledger)."""
    drawn = config["models"][experiment["small"]].get("samples") or {}
    routers = {}
    for router in experiment["routers"]:
        spec, other = config["routers"][router], _other_base(config, experiment, router)
        terms = costs_of(spec if other else {**spec, "base": None})
        routers[router] = {
            "terms": terms,
            "of": spec.get("of"),
            **other,
            "metric": spec.get("metric"),
            "samples": drawn.get("count") if "samples" in terms else None,
        }
    sizes = {size: experiment[size] for size in ("small", "large")}
    return {**sizes, "routers": routers, "prices": config["prices"]}


def _other_base(config: Config, experiment: Config, router: str) -> dict[str, str]:
    """The model whose prefill a router costs, where that is not the small one."""
    base = base_of(config, experiment, router)
    return {"base": base} if base != experiment["small"] else {}


def _pool(config: Config, experiment: Config) -> Config:
    """What the tables of a pool are shaped by; nothing of a pair."""
    if not experiment["models"]:
        return {}
    pairs = [experiment | {"large": model} for model in experiment["models"][1:]]
    return pool_settings(config, experiment, [_cost(config, pair) for pair in pairs])


def is_timed(config: Config, model: str) -> bool:
    """Whether a model is timed here: it runs here, and the config states no rates of it."""
    return ENGINES[config["models"][model]["engine"]].weights and model not in config["rates"]


def no_costs(config: Config, experiment: Config) -> str | None:
    """Why an experiment has no tables of costs, naming the `rates` they lack; None if it has."""
    models = [experiment["small"], experiment["large"]]
    unknown = [m for m in models if not is_timed(config, m) and m not in config["rates"]]
    if not unknown:
        return None
    files = [m for m in unknown if ENGINES[config["models"][m]["engine"]].precomputed]
    if files:
        return f"translations of {', '.join(files)} are precomputed, without token counts and rates"
    keys = " and ".join(f"rates.{model}" for model in unknown)
    return f"{keys} must be stated in the config: tokens a second, which nothing here can time"


def given_rates(config: Config, experiment: Config) -> Config:
    """Rates that the config states of what an experiment uses."""
    used = {experiment["small"], experiment["large"], *experiment["routers"]}
    used |= {base_of(config, experiment, r) for r in experiment["routers"]}
    used |= {config["routers"][r]["metric"] for r in experiment["routers"]
             if config["routers"][r].get("metric")}  # fmt: skip
    return {name: rates for name, rates in config["rates"].items() if name in used}


def _evaluated(config: Config, experiment: Config, routers: list[str]) -> Config:
    return {
        "about": _about(config, experiment, routers),
        "routers": routers,
        "bootstrap": _bootstrap(config, experiment),
        "leave_out": experiment["leave_out"],
        "oracles": [r for r in routers if not type_of(config, r).deployable],
        "random": [r for r in routers if config["routers"][r]["type"] == "random"],
    }


def _bootstrap(config: Config, experiment: Config) -> Config:
    """How replicates are drawn, and the datasets whose documents are no running text."""
    used = {name for role in (*ROLES, ELSEWHERE) for name in experiment[role]}
    strings = sorted(name for name in used if not config["datasets"][name]["running_text"])
    bootstrap: Config = experiment["bootstrap"] | {"strings": strings}
    return bootstrap


def _about(config: Config, experiment: Config, routers: list[str]) -> Config:
    """What every table and page says of an experiment, and of those routers that need it said."""
    return {
        **{key: experiment[key] for key in ("metric", "small", "large")},
        "from_scratch": [r for r in routers if config["routers"][r].get("from_scratch")],
    }


def _sweep_settings(config: Config, experiment: Config) -> dict[str, Any]:
    """What shapes the table of each sweep; chance and the gain oracle are its reference lines."""
    found = {}
    for name, sweep in experiment["sweeps"].items():
        points = {router: label for router, (label, _) in sweep_points(name, sweep).items()}
        routers = [*points, *references(config, experiment)]
        evaluated = _evaluated(config, experiment, routers)
        found[name] = evaluated | {
            "about": evaluated["about"] | {"router": sweep["router"]},
            "sweep": name,
            "setting": sweep["setting"],
            "points": points,
            "budgets": experiment["budgets"],
        }
    return found


_RUNS_A_NETWORK = frozenset({"prefill", "encoder", "answer"})


def speeds_of(config: Config) -> dict[str, Any]:
    """Speed settings by model, metric, and experiment and router: never part of an identity.

    A router that runs a network of its own runs as the model does that it reads (an encoder as the
    small one); others need no GPU.
    """
    prices = (config["prices"] or {}).get("per_million", {})
    models = {
        name: _numbers(model["speed"]) | {"price": "{},{}".format(*prices.get(name, (0, 0)))}
        for name, model in config["models"].items()
    }
    metrics = {name: _numbers(metric["speed"]) for name, metric in config["metrics"].items()}
    routers = {
        name: {
            router: models[base_of(config, e, router)]
            if _RUNS_A_NETWORK.intersection(costs_of(spec))
            else models[e["small"]] | {"device": "cpu", "gpu": 0, "mem_mb": 2000}
            for router, spec in config["routers"].items()
        }
        for name, e in config["experiments"].items()
    }
    adapted = {
        name: {job: models[base] for job, base in _adapted(config, name).items()}
        for name in config["experiments"]
    }
    return {"models": models, "adapted": adapted, "metrics": metrics, "routers": routers}


def too_much(name: str, asked: int, limit: int, where: str) -> str:
    """What to say of a job that asks for more of a resource than a run may use at a time."""
    return (
        f"{name}: {where} asks for {asked}, and all jobs together get {limit} ({name} under "
        "'resources' of the profile, or --resources). With less than it needs the job would "
        f"fail: raise {name} there if the machine has it, or lower it in the config."
    )


def _numbers(speed: Config) -> Config:
    """Resources are numbers and texts: no and yes as 0 and 1."""
    return {k: int(v) if isinstance(v, bool) else v for k, v in speed.items()}
