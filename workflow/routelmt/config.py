"""The config: validation with readable errors, and defaults.

`resolve` turns what the user wrote into a complete config; what each stage takes of it is cut out
by `settings`.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import fnmatch
import math
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from routelmt import plugins
from routelmt.data import published
from routelmt.data.registry import READERS
from routelmt.derived import derived_name, slice_name, sliced, sweep_points, transfer_points
from routelmt.errors import UserError
from routelmt.evaluate.registry import TRANSFER
from routelmt.pool_config import expand_pools
from routelmt.roles import AVERAGE, IN_DOMAIN
from routelmt.routers.registry import (
    RouterType,
    check_settings,
    is_seeded,
    needs_of,
    router_type,
)
from routelmt.score import tokenisers
from routelmt.score.registry import METRICS
from routelmt.strict_json import cut
from routelmt.translate import keys, prompts
from routelmt.translate.registry import ENGINES

Config = dict[str, Any]
SCHEMA = Path(__file__).parents[1] / "schemas" / "config.schema.yaml"
SOURCES = Path(__file__).parents[2] / "data" / "sources.yaml"
RESERVED_DOMAINS = (IN_DOMAIN, AVERAGE)
RAW = Path("data/raw")  # where sources are fetched to
PATHS = ("path", "local", "encoder", "tokenizer")  # keys that hold a path, of any section
NAMED = ("sources", "corpora", "datasets", "models", "metrics", "routers", "experiments")
ROLES = ("train", "valid", "test")
# Groups of plug-ins that bring settings, and the section of the config that these stand in.
PLUG_INS = {"routers": "routers", "metrics": "metrics", "engines": "models", "sources": "datasets"}
# Keys that were elsewhere once, and where they are now.
_PRICE = (
    "prices stand in one place: 'prices: {currency: EUR, per_million: {MODEL: [input, output]}}'"
)
MOVED = {"price_input": _PRICE, "price_output": _PRICE}
LONGEST_ERROR = 4000  # characters: lists of names are long
LONGEST_NAME = 200  # characters of a key: many are parts of paths
MOST_VALUES = 300_000  # of a config; the paper's has some hundred
ROUTERS_GROUP = "routers"  # an experiment's own, as against those derived from them
ELSEWHERE = "elsewhere"  # role of test sets that only the table of domains is about
_REFERENCES = {
    "small": "models",
    "large": "models",
    "metric": "metrics",
    "judge_metrics": "metrics",
    "raters": "metrics",
    "train": "datasets",
    "valid": "datasets",
    "test": "datasets",
    ELSEWHERE: "datasets",
    "routers": "routers",
}


@cache
def load_schema() -> Config:
    """The schema, with the `common` keys of each kind merged into its entries."""
    schema: Config = yaml.safe_load(SCHEMA.read_text())
    for group, kinds in PLUG_INS.items():
        of = schema["kinds"][kinds]["of"]
        for name, settings in plugins.declared(group, of, plugins.SETTINGS).items():
            of[name] = {"properties": settings}
    for section in schema["kinds"].values():
        for kind in section["of"].values():
            kind["properties"] = {
                section["by"]: {"type": "string"},
                **section["common"],
                **kind["properties"],
            }
            kind |= {"type": "object", "additionalProperties": False, "$defs": schema["$defs"]}
    return schema


def resolve(config: Mapping[str, Any]) -> Config:
    """A validated copy of the config with every default filled in.

    Raises UserError naming the key, what was found and what is allowed.
    """
    try:
        return _resolved(config)
    except UserError as error:
        raise UserError(cut(str(error), LONGEST_ERROR)) from None


def _resolved(config: Mapping[str, Any]) -> Config:
    schema = load_schema()
    _check_values(config)
    found = copy.deepcopy(dict(config))
    if any("/" in name for name in found.get("models") or {}):
        listed = load_sources() | (found.get("sources") or {})
        found["models"] = published.expand(
            found["models"], lambda name: Path(source_folder(found, name)), listed
        )
    _validate(found, {k: v for k, v in schema.items() if k != "kinds"}, "")
    _fill_defaults(found, schema)
    for section, kinds in schema["kinds"].items():
        for name, entry in found[section].items():
            _resolve_entry(entry, f"{section}.{name}", kinds)
    expand_pools(found)
    _expand_sweeps(found, schema["kinds"]["routers"])
    _expand_transfer(found, schema["kinds"]["routers"])
    _expand_limits(found)
    _check_references(found)
    return found


def _check_values(config: Mapping[str, Any]) -> None:
    """Keys are texts, numbers finite, paths without braces; and there are fewer values than YAML's
    aliases could multiply them to.
    """
    left: list[tuple[str, Any]] = [("", config)]
    for _ in range(MOST_VALUES):
        if not left:
            return
        key, value = left.pop()
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"config key '{key}': found {value}; needs a finite number.")
        if isinstance(value, str) and key.rpartition(".")[2] in PATHS and set("{}") & set(value):
            raise UserError(
                f"config key '{key}': '{value}': braces cannot stand in a path, where the workflow "
                "takes them for wildcards. Rename it, or link to it by another name."
            )
        entries = dict(enumerate(value)) if isinstance(value, list) else value
        if isinstance(entries, Mapping):
            if not isinstance(value, list):
                _check_keys(key, entries)
            left += [(f"{key}.{name}".lstrip("."), entry) for name, entry in entries.items()]
    raise UserError(
        f"config: more than {MOST_VALUES:,} values; do YAML aliases (*name) stand for one another?"
    )


def _check_keys(key: str, entries: Mapping[Any, Any]) -> None:
    """Keys are texts, and none is another in other letters: both may be one folder."""
    where = f"config key '{key}'" if key else "config"
    for name in entries:
        if isinstance(name, str) and len(name) > LONGEST_NAME:
            raise UserError(f"{where}: the key '{name[:60]}...' has {len(name):,} characters.")
        if not isinstance(name, str):
            raise UserError(
                f"{where}: found the key {name!r}, which YAML does not take for a text (nor no, "
                "yes, on, off and numbers): write it in quotes, such as 'no': Norwegian."
            )
    if key in NAMED:
        places: dict[str, str] = {}
        for name in entries:
            if (other := places.setdefault(name.casefold(), name)) != name:
                raise UserError(
                    f"{where}: '{other}' and '{name}' differ in capitals alone, which some file "
                    "systems do not tell apart; rename one."
                )


def _expand_sweeps(config: Config, kinds: Config) -> None:
    """Every point of a sweep becomes a router of its own; see `sweep_points`."""
    for name, experiment in config["experiments"].items():
        for sweep, spec in experiment["sweeps"].items():
            key = f"experiments.{name}.sweeps.{sweep}"
            if sweep in (ROUTERS_GROUP, TRANSFER):
                raise UserError(f"config key '{key}': the name '{sweep}' is taken; rename it.")
            _check_names([spec["router"]], config["routers"], f"{key}.router", "routers")
            base = config["routers"][spec["router"]]
            allowed = list(kinds["of"][base["type"]]["properties"])
            if spec["setting"] not in allowed:
                raise UserError(
                    f"config key '{key}.setting': '{spec['setting']}' is not a setting of router "
                    f"type '{base['type']}'{_near(spec['setting'], allowed)}; there: "
                    f"{_list(allowed)}."
                )
            for point, (label, value) in sweep_points(sweep, spec).items():
                entry = copy.deepcopy(base) | {spec["setting"]: value}
                _resolve_entry(entry, f"{key} at {label}", kinds)
                if config["routers"].setdefault(point, entry) != entry:
                    raise UserError(
                        f"config key '{key}.values': {label!r} needs the router name '{point}', "
                        "which is taken; rename the sweep."
                    )


def _expand_transfer(config: Config, kinds: Config) -> None:
    """Every router of `transfer` becomes one per part of every split; see `transfer_points`."""
    for name, experiment in config["experiments"].items():
        key, spec = f"experiments.{name}.{TRANSFER}", experiment[TRANSFER]
        _check_names(spec["routers"], config["routers"], f"{key}.routers", "routers")
        _check_splits(f"{key}.splits", spec["splits"])
        for point, (router, split, part, domains) in transfer_points(spec).items():
            base = config["routers"][router]
            trained = base.get("of", router)
            _check_names([trained], spec["routers"], f"{key}.routers", f"{key}.routers")
            if "train_domains" not in kinds["of"][config["routers"][trained]["type"]]["properties"]:
                raise UserError(
                    f"config key '{key}.routers': '{router}' (type {base['type']}) is not trained, "
                    "so it has seen no domain; name routers that are."
                )
            change = (
                {"train_domains": domains}
                if trained == router
                else {"of": derived_name(trained, split, part)}
            )
            entry = copy.deepcopy(base) | copy.deepcopy(change)
            if config["routers"].setdefault(point, entry) != entry:
                raise UserError(
                    f"config key '{key}.splits.{split}': '{part}' needs the router name '{point}', "
                    "which is taken; rename the split."
                )


def _expand_limits(config: Config) -> None:
    """Experiments with a limit read slices of their datasets; see `slice_name`."""
    whole = dict(config["datasets"])
    limited = {name: e for name, e in config["experiments"].items() if e["limit"] is not None}
    for name, experiment in limited.items():
        limit = experiment["limit"]
        _check_limit(config, name)
        experiment["limit"] = None  # done: its datasets have it
        # Names that are not there stay as they are, for the check of references.
        slices = {dataset: slice_name(dataset, limit) for dataset in whole}
        for role in (*ROLES, ELSEWHERE):
            names = experiment[role]
            experiment[role] = [slices.get(dataset, dataset) for dataset in names]
            for dataset in whole.keys() & set(names):
                config["datasets"][slices[dataset]] = sliced(whole[dataset], limit)
        experiment["drift"] = {
            side: names and [slices.get(dataset, dataset) for dataset in names]
            for side, names in experiment["drift"].items()
        }
        experiment["domains"] = {
            key: domain | {"datasets": [slices.get(d, d) for d in domain["datasets"]]}
            if "datasets" in domain
            else domain
            for key, domain in experiment["domains"].items()
        }


def _check_limit(config: Config, name: str) -> None:
    """Files of translations and scores name their dataset, so no slice of it has any."""
    experiment = config["experiments"][name]
    for field, section, kinds in (
        ("small", "models", ENGINES),
        ("large", "models", ENGINES),
        ("metric", "metrics", METRICS),
    ):
        entry = config[section].get(experiment[field], {})
        kind = entry.get("engine") or entry.get("type")
        if kind and kinds[kind].precomputed:
            raise UserError(
                f"config key 'experiments.{name}.limit': '{experiment[field]}' is a file, whose "
                "rows are of whole datasets. Cut these with 'datasets.NAME.part' instead."
            )


def _check_splits(key: str, splits: Config) -> None:
    for split, parts in splits.items():
        for name in (split, *parts):
            if name == AVERAGE:
                raise UserError(f"config key '{key}.{split}': the name '{name}' is taken.")
        first, second = parts.values()
        if both := sorted(set(first) & set(second)):
            raise UserError(
                f"config key '{key}.{split}': {_list(both)} in both {' and '.join(parts)}; a "
                "domain may be in one."
            )


def _resolve_entry(entry: Any, key: str, kinds: Config) -> None:
    if not isinstance(entry, dict) or kinds["by"] not in entry:
        raise UserError(f"config key '{key}': needs '{kinds['by']}', one of {_list(kinds['of'])}.")
    kind = entry[kinds["by"]]
    if not isinstance(kind, str) or kind not in kinds["of"]:
        raise UserError(
            f"config key '{key}.{kinds['by']}': {kind!r} is unknown{_near(kind, kinds['of'])}; "
            f"allowed: {_list(kinds['of'])}."
        )
    _validate(entry, kinds["of"][kind], key)
    _fill_defaults(entry, kinds["of"][kind])


def _list(names: Any) -> str:
    return ", ".join(str(n) for n in names)


def _near(name: Any, names: Any) -> str:
    near = difflib.get_close_matches(str(name), [str(n) for n in names], 1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _validate(value: Any, schema: Config, prefix: str) -> None:
    from jsonschema import Draft202012Validator

    errors = sorted(Draft202012Validator(schema).iter_errors(value), key=lambda e: list(e.path))
    if errors:
        raise UserError(_message(errors[0], prefix))


def _message(error: Any, prefix: str) -> str:
    key = ".".join([prefix] * bool(prefix) + [str(p) for p in error.path])
    where = f"config key '{key}'" if key else "config"
    if error.validator == "additionalProperties":
        allowed = list(error.schema.get("properties", {}))
        unknown = next(k for k in error.instance if k not in allowed)
        if unknown in MOVED:
            return f"{where}: '{unknown}' is no key any more; {MOVED[unknown]}."
        return (
            f"{where}: unknown key '{unknown}'{_near(unknown, allowed)}; allowed: {_list(allowed)}."
        )
    if error.validator == "required":
        missing = [k for k in error.validator_value if k not in error.instance]
        return f"{where}: required key '{missing[0]}' is missing."
    about = error.schema.get("description")
    about = " ".join(filter(None, (about, _cure(error))))
    rule = f"{error.validator} {error.validator_value!r}"
    rule = f"one of {_list(error.validator_value)}" if error.validator == "enum" else rule
    found = (
        "a text that may be a key"
        if key.endswith(".api_key_variable")
        else cut(repr(error.instance))
    )
    return f"{where}: found {found}, allowed: {rule}." + (f" ({about})" if about else "")


def _cure(error: Any) -> str:
    """How to write in YAML what was meant, where it took a text for a number or another value."""
    if error.validator != "type":
        return ""
    types = error.validator_value
    wanted = {types} if isinstance(types, str) else set(types)
    if isinstance(error.instance, bool | int | float) and "string" in wanted:
        return "YAML takes it for no text (yes, no, on and off are true and false): quote it."
    if isinstance(error.instance, str) and wanted & {"number", "integer"}:
        with contextlib.suppress(ValueError, OverflowError):
            return f"As a number: {_number(error.instance)}, without quotes."
    return ""


def _number(text: str) -> str:
    """As YAML reads a number: a point, and the exponent's sign. Raises ValueError if it is none."""
    if not math.isfinite(float(text)):
        raise ValueError(text)
    mantissa, e, exponent = text.strip().lower().partition("e")
    point = "" if "." in mantissa or not e else ".0"
    sign = "" if not e or exponent[0] in "+-" else "+"
    return f"{mantissa}{point}{e}{sign}{exponent}"


def _fill_defaults(value: Any, schema: Config) -> None:
    if not isinstance(value, dict):
        return
    for key, sub in schema.get("properties", {}).items():
        if "default" in sub:
            value.setdefault(key, copy.deepcopy(sub["default"]))
        if key in value:
            _fill_defaults(value[key], sub)
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value.keys() - schema.get("properties", {}).keys():
            _fill_defaults(value[key], extra)


def _check_references(config: Config) -> None:
    directions = config["directions"]
    for direction in directions:
        for code in direction.split("-"):
            if code not in config["languages"]:
                raise UserError(
                    f"config key 'directions': '{direction}' uses language '{code}', which has no "
                    f"name under 'languages' ({_list(config['languages'])})."
                )
    for name, model in config["models"].items():
        _check_prompt(model, f"models.{name}")
        if "base_url" in model:
            where = f"config key 'models.{name}.base_url'"
            keys.check_address(model["base_url"], where, model["speed"]["api_key_variable"])
    for name, metric in config["metrics"].items():
        _check_metric(config, name, metric)
    sources = load_sources() | config["sources"]
    _settle_published(config, sources)
    for name, corpus in config["corpora"].items():
        _check_names([corpus["source"]], sources, f"corpora.{name}.source", "sources")
    for name, dataset in config["datasets"].items():
        _check_dataset(config, sources, name, dataset)
    for name, experiment in config["experiments"].items():
        _check_experiment(config, name, experiment)
    _check_names(config["run"], config["experiments"], "run", "experiments")
    timed = [*config["models"], *config["metrics"], *config["routers"]]
    _check_names(list(config["rates"]), timed, "rates", "models, metrics or routers")
    priced = (config["prices"] or {}).get("per_million", {})
    _check_names(list(priced), config["models"], "prices.per_million", "models")


def _check_prompt(entry: Config, key: str) -> None:
    """A prompt is a template that can be filled."""
    if entry.get("prompt") is None:
        return
    try:
        prompts.parts(entry["prompt"])
    except UserError as error:
        raise UserError(f"config key '{key}.prompt': {error}") from None


def _check_metric(config: Config, name: str, metric: Config) -> None:
    """Its range is one; a mean is of other metrics, and none of them of it."""
    low, high = metric.get("range") or (0, 1)
    if low >= high:
        raise UserError(
            f"config key 'metrics.{name}.range': found {[low, high]}, needs low below high."
        )
    _check_names(metric.get("of", []), config["metrics"], f"metrics.{name}.of", "metrics")
    seen, left = set(), list(metric.get("of", []))
    while left:
        part = left.pop()
        if part == name:
            raise UserError(
                f"config key 'metrics.{name}.of': the mean is of itself; name other metrics."
            )
        if part not in seen:
            seen.add(part)
            left += config["metrics"].get(part, {}).get("of", [])


def _check_dataset(config: Config, sources: Config, name: str, dataset: Config) -> None:
    key, directions = f"datasets.{name}", config["directions"]
    _check_names(
        dataset.setdefault("directions", list(directions)),
        directions,
        f"{key}.directions",
        "directions",
    )
    dataset.setdefault("running_text", READERS[dataset["source"]].running_text)
    if "corpus" in dataset:
        _check_names([dataset["corpus"]], config["corpora"], f"{key}.corpus", "corpora")
    if READERS[dataset["source"]].origin == "source":
        dataset.setdefault("origin", dataset["source"])
        _check_names([dataset["origin"]], sources, f"{key}.origin", "sources")
    if isinstance(dataset.get("rows"), dict):
        _check_names(list(dataset["rows"]), directions, f"{key}.rows", "directions")
    low, high = dataset.get("part", (0, 1))
    if low >= high:
        raise UserError(
            f"config key '{key}.part': found {[low, high]}, needs low below high, such as [0, 0.8]."
        )


def _settle_published(config: Config, sources: Config) -> None:
    """What is published has the folder of its source as its `path`."""
    known = [name for name, reader in READERS.items() if reader.published]
    for section in ("models", "metrics"):
        for name, entry in config[section].items():
            if published.TYPE in (entry.get("engine"), entry.get("type")):
                key = f"{section}.{name}"
                _check_names([entry["source"]], known, f"{key}.source", "sources that publish")
                entry.setdefault("origin", entry["source"])
                _check_names([entry["origin"]], sources, f"{key}.origin", "sources")
                entry["path"] = source_folder(config, entry["origin"])


def source_folder(config: Mapping[str, Any], name: str) -> str:
    """Folder of a source in upstream's layout: the user's own, or where it is fetched to."""
    local = ((config.get("sources") or {}).get(name) or {}).get("local")
    return str(local or f"data/raw/{name}")


def _check_names(names: list[str], known: Any, key: str, section: str) -> None:
    for name in names:
        if name not in known:
            raise UserError(
                f"config key '{key}': '{name}' is not in '{section}'{_near(name, known)}; "
                f"there: {_list(known)}."
            )


def _check_experiment(config: Config, name: str, experiment: Config) -> None:
    key = f"experiments.{name}"
    for field, section in _REFERENCES.items():
        names = experiment[field] if isinstance(experiment[field], list) else [experiment[field]]
        _check_names(names, config[section], f"{key}.{field}", section)
    if experiment["metric"] in experiment["judge_metrics"]:
        raise UserError(
            f"config key '{key}.judge_metrics': '{experiment['metric']}' is the experiment's own "
            "metric; name others."
        )
    if experiment["small"] == experiment["large"]:
        raise UserError(f"config key '{key}.large': the same model as 'small'; name two.")
    experiment.setdefault("directions", list(config["directions"]))
    _check_names(experiment["directions"], config["directions"], f"{key}.directions", "directions")
    _check_domains(config, key, experiment)
    drift = experiment["drift"]
    for side, names in drift.items():
        _check_names(names or [], experiment["test"], f"{key}.drift.{side}", f"{key}.test")
    before, after = (set(names or ()) for names in drift.values())
    if bool(before) != bool(after) or before & after:
        raise UserError(
            f"config key '{key}.drift': found {drift}; name test sets for both 'from' and 'to', "
            "none of them twice, or leave both out."
        )
    judges = [*experiment["judge_metrics"], *experiment["raters"]]
    _check_names(experiment["human"], judges, f"{key}.human", "its judge_metrics or raters")
    _settle_atlas(config, key, experiment)
    guards = experiment["guards"]
    for field in ("rank", "signals"):
        there = f"{key}.routers"
        _check_names(guards[field], experiment["routers"], f"{key}.guards.{field}", there)
    _settle_routers(config, key, experiment)
    for router in experiment_routers(experiment):
        _check_router(config, experiment, router)
    _check_tokenisers(config, experiment)
    _check_roles(config, key, experiment)


def _settle_atlas(config: Config, key: str, experiment: Config) -> None:
    """Patterns of models become their names; everything that the atlas names is there."""
    atlas, key = experiment["atlas"], f"{key}.atlas"
    if not atlas:
        return
    named = [fnmatch.filter(config["models"], name) or [name] for name in atlas["models"]]
    atlas["models"] = list(dict.fromkeys(model for names in named for model in names))
    _check_names(atlas["models"], config["models"], f"{key}.models", "models")
    if len(atlas["models"]) < 2:
        raise UserError(f"config key '{key}.models': a pair needs two; found {atlas['models']}.")
    _check_names(atlas["metrics"], config["metrics"], f"{key}.metrics", "metrics")
    for pair in atlas["intervals"]:
        _check_names(pair, atlas["models"], f"{key}.intervals", f"{key}.models")
    _check_names(atlas["signals"], experiment["routers"], f"{key}.signals", "its routers")
    of_pair = {"estimates", "hypotheses", "samples", "sample_scores", "gains"}
    if own := [r for r in atlas["signals"] if needs_of(config["routers"][r]) & of_pair]:
        raise UserError(
            f"config key '{key}.signals': {_list(own)} read what the experiment's two systems say, "
            "which is no signal of other pairs; each small system's quality by every metric is in "
            "the table without it."
        )


def _check_domains(config: Config, key: str, experiment: Config) -> None:
    tested = [*experiment["test"], *experiment[ELSEWHERE]]
    for name, domain in experiment["domains"].items():
        there = f"{key}.test or {ELSEWHERE}"
        _check_names(domain.get("datasets", []), tested, f"{key}.domains.{name}.datasets", there)
        if name in RESERVED_DOMAINS:
            raise UserError(
                f"config key '{key}.domains.{name}': {_list(RESERVED_DOMAINS)} are taken by the "
                "table itself; name it otherwise."
            )


def experiment_routers(experiment: Config) -> list[str]:
    """The routers of an experiment and all that are derived from them, each once."""
    return list(dict.fromkeys(r for group in groups(experiment).values() for r in group))


def _settle_routers(config: Config, key: str, experiment: Config) -> None:
    """Leave out, or refuse, the routers that read a model that is not there to be read."""
    small, routers = experiment["small"], experiment_routers(experiment)
    reading = [r for r in routers if _out_of_reach(config, experiment, r)]
    if reading and experiment["without_model"] == "error":
        raise UserError(
            f"config key '{key}.routers': {_list(reading)} read the small model, but '{small}' "
            f"(engine {config['models'][small]['engine']}) has no weights here. Take them out of "
            f"the list, or set '{key}.without_model: leave-out'."
        )
    experiment["routers"] = [r for r in experiment["routers"] if r not in reading]
    experiment["sweeps"] = {
        name: sweep
        for name, sweep in experiment["sweeps"].items()
        if not sweep_points(name, sweep).keys() & set(reading)
    }
    moved = transfer_points(experiment[TRANSFER])
    gone = {*reading, *(moved[r].router for r in moved.keys() & set(reading))}
    for spec, field in ((experiment["guards"], "rank"), (experiment["guards"], "signals"),
                        (experiment[TRANSFER], "routers")):  # fmt: skip
        spec[field] = [r for r in spec[field] if r not in gone]
    if not experiment["routers"]:
        raise UserError(f"config key '{key}.routers': none is left that needs no model.")


def _out_of_reach(config: Config, experiment: Config, router: str) -> frozenset[str]:
    """What a router needs and its models cannot give: those of another base must have weights."""
    of = config["routers"][router].get("of", router)
    _check_names([of], config["routers"], f"routers.{router}.of", "routers")
    base, small = base_of(config, experiment, router), experiment["small"]
    _check_names([base], config["models"], f"routers.{of}.base", "models")
    engine = config["models"][base]["engine"]
    if base != small and not ENGINES[engine].weights:
        raise UserError(
            f"config key 'routers.{of}.base': '{base}' (engine {engine}) has no weights here."
        )
    gone = frozenset() if ENGINES[engine].weights else frozenset({"signals", "states", "model"})
    if ENGINES[config["models"][small]["engine"]].precomputed:
        gone |= {"samples", "sample_scores"}
    return needs_of(config["routers"][router]) & gone


def _check_router(config: Config, experiment: Config, router: str) -> None:
    """What a router's settings name is there, and its models can give what it needs."""
    spec, key = config["routers"][router], f"routers.{router}"
    for field, section in (("metric", "metrics"), ("label_metric", "metrics"), ("of", "routers")):
        if spec.get(field) is not None:
            _check_names([spec[field]], config[section], f"{key}.{field}", section)
    _check_prompt(spec, key)
    try:
        check_settings(spec, sorted({d.split("-")[0] for d in experiment["directions"]}))
    except UserError as error:
        raise UserError(f"config key '{key}': {error}") from None
    directions = spec.get("train_directions") or []
    _check_names(directions, experiment["directions"], f"{key}.train_directions", "directions")
    if spec["type"] == "answer" and config["routers"][spec["of"]]["type"] != "lora":
        raise UserError(f"config key '{key}.of': '{spec['of']}' is not a router of type lora.")
    needs = needs_of(spec)
    if "estimates" in needs and not reference_free(config, spec["metric"]):
        raise UserError(
            f"config key '{key}.metric': '{spec['metric']}' reads the reference, which nobody has "
            "when a request comes. Name a reference-free metric: type comet or published with "
            "'reference: false', or precomputed."
        )
    sampled = {"samples": ["small"], "sample_scores": ["small", "large"]}
    for need in needs & sampled.keys():
        for size in sampled[need]:
            model = config["models"][experiment[size]]
            if not model.get("samples"):
                raise UserError(
                    f"router '{router}' reads several sampled translations: set "
                    f"'models.{experiment[size]}.samples', such as {{count: 5, temperature: 0.7}}."
                )


def scored_metrics(config: Config, experiment: Config) -> set[str]:
    """Metrics that both models' translations are scored by: the experiment's and its routers'."""
    wanted = [experiment["metric"], *experiment["judge_metrics"], *experiment["raters"]]
    wanted += (experiment["atlas"] or {}).get("metrics", [])
    for router in experiment_routers(experiment):
        wanted.append(config["routers"][router].get("label_metric") or experiment["metric"])
    return set().union(*(_with_parts(config, metric) for metric in wanted))


def rated_by(config: Config, metric: str) -> set[str]:
    """A metric, or those that it is a mean of in the end."""
    return {m for m in _with_parts(config, metric) if not config["metrics"][m].get("of")}


def _with_parts(config: Config, metric: str) -> set[str]:
    """A metric, the metrics that it is a mean of, and theirs."""
    parts = config["metrics"][metric].get("of", [])
    return {metric}.union(*(_with_parts(config, part) for part in parts))


def scores_files(config: Config, dataset: str) -> dict[str, Config]:
    """Path, quoting and models of every metric that is a file and is read for this dataset."""
    models: dict[str, set[str]] = {}
    for experiment in config["experiments"].values():
        if any(dataset in experiment[role] for role in (*ROLES, ELSEWHERE)):
            for metric in scored_metrics(config, experiment):
                if METRICS[config["metrics"][metric]["type"]].precomputed:
                    sizes = {experiment["small"], experiment["large"]}
                    atlas = experiment["atlas"] or {"metrics": ()}
                    pool = atlas["models"] if metric in atlas["metrics"] else ()
                    models.setdefault(metric, set()).update(sizes, pool)
    return {
        metric: _scored_models(config, metric, sorted(models[metric])) for metric in sorted(models)
    }


def _scored_models(config: Config, metric: str, models: list[str]) -> Config:
    spec = config["metrics"][metric]
    if not published.reader_of(spec):
        return {"path": spec["path"], "quoting": spec["quoting"], "models": models}
    systems = {m: config["models"][m].get("system") for m in models}
    if strangers := [model for model, system in systems.items() if system is None]:
        raise UserError(
            f"config key 'metrics.{metric}': it has the scores of a source's systems, and "
            f"{_list(strangers)} are no such models (engine {published.TYPE})."
        )
    own = {key: value for key, value in spec.items() if key != "speed"}
    return own | {"models": models, "systems": systems}


def _check_tokenisers(config: Config, experiment: Config) -> None:
    """Metrics that count words can cut the experiment's target languages into them."""
    for name in sorted(scored_metrics(config, experiment)):
        metric = config["metrics"][name]
        if metric["type"] == "bleu":
            for direction in experiment["directions"]:
                try:
                    tokenisers.tokeniser(metric, direction.partition("-")[2])
                except UserError as error:
                    raise UserError(f"config key 'metrics.{name}': {error}") from None


def reference_free(config: Config, metric: str) -> bool:
    """Whether a metric can be computed before anybody has translated the text well."""
    spec = config["metrics"][metric]
    if spec["type"] == "mean":
        return all(reference_free(config, part) for part in spec["of"])
    return spec.get("reference", not METRICS[spec["type"]].precomputed) is False


def _check_roles(config: Config, key: str, experiment: Config) -> None:
    """Every direction has data in each role that is used, and no dataset has two roles."""
    trained = [r for r in experiment_routers(experiment) if type_of(config, r).trained]
    for field in ROLES:
        if not experiment[field] and (trained or field == "test"):
            raise UserError(
                f"config key '{key}.{field}': no dataset, but "
                + (f"{_list(trained)} must be trained." if trained else "something must be tested.")
            )
    seen: dict[str, str] = {}
    for field in (*ROLES, ELSEWHERE):
        for dataset in experiment[field]:
            if seen.setdefault(dataset, field) != field:
                raise UserError(
                    f"config key '{key}.{field}': '{dataset}' is in '{seen[dataset]}' too; a "
                    "dataset has one role. To cut one file into several datasets, see 'part'."
                )
    for direction in experiment["directions"]:
        for field in (*ROLES, ELSEWHERE):
            names = experiment[field]
            if names and not any(direction in config["datasets"][d]["directions"] for d in names):
                raise UserError(
                    f"config key '{key}.directions': no dataset of '{field}' "
                    f"({_list(names)}) has direction '{direction}'."
                )


def router_seeds(config: Config, experiment: str, router: str) -> list[int]:
    """Seeds of a router: all of the experiment's if chance plays a part, else the first."""
    spec = config["experiments"][experiment]
    seeds: list[int] = spec["seeds"]
    if router in transfer_points(spec[TRANSFER]):
        seeds = spec[TRANSFER]["seeds"] or seeds
    return seeds if is_seeded(config["routers"][router]) else seeds[:1]


def type_of(config: Config, router: str) -> RouterType:
    """What the type of a router declares."""
    return router_type(config["routers"][router]["type"])


def dataset_directions(config: Config, experiment: str, role: str) -> Iterator[tuple[str, str]]:
    """(dataset, direction) of an experiment's train, valid or test sets."""
    spec = config["experiments"][experiment]
    for dataset in spec[role]:
        for direction in spec["directions"]:
            if direction in config["datasets"][dataset]["directions"]:
                yield dataset, direction


@cache
def load_sources() -> Config:
    """data/sources.yaml: pinned upstream files by source name."""
    sources: Config = yaml.safe_load(SOURCES.read_text())
    return sources


def sources_of(config: Config) -> Config:
    """What each source is downloaded from: data/sources.yaml with the config's changes."""
    known, changed = load_sources(), config["sources"]
    merged = {name: known.get(name, {}) | changed.get(name, {}) for name in known | changed}
    return {name: {k: v for k, v in s.items() if k != "local"} for name, s in merged.items()}


def fetched_model(config: Config, path: str | None) -> str | None:
    """The source of kind `model` whose folder a path is, there or not yet; None for another."""
    source = Path(path or "")
    known = sources_of(config).get(source.name, {})
    return source.name if source.parent == RAW and known.get("kind") == "model" else None


def missing_files(config: Config) -> Iterator[str]:
    """A sentence for each dataset's file or folder that the config names and that is not there."""
    for name, dataset in config["datasets"].items():
        if "path" in dataset:
            yield from _missing(f"datasets.{name}.path", dataset["path"])
    for name, source in config["sources"].items():
        if "local" in source and not Path(source["local"]).is_dir():
            folder = source["local"]
            yield f"config key 'sources.{name}.local': '{folder}': there is no such folder."


def missing_inputs(config: Config) -> dict[str, str]:
    """The same by path for the user's translations and scores, which may be made on the way.

    Only the stages that read one need it: translations are made, exported and rated before there
    are scores.
    """
    return {
        entry["path"]: sentence
        for section, key in (("models", "engine"), ("metrics", "type"))
        for name, entry in config[section].items()
        if entry[key] == "precomputed"
        for sentence in _missing(f"{section}.{name}.path", entry["path"])
    }


def _missing(key: str, path: str) -> Iterator[str]:
    if Path(path).is_dir():
        yield f"config key '{key}': '{path}': is a folder, a file is needed."
    elif not Path(path).is_file():
        yield f"config key '{key}': '{path}': there is no such file (below {Path.cwd()})."


def groups(experiment: Config) -> dict[str, list[str]]:
    """Routers by what they are evaluated for: the experiment's own, each sweep's, transfer's."""
    sweeps = {name: list(sweep_points(name, s)) for name, s in experiment["sweeps"].items()}
    moved = list(transfer_points(experiment[TRANSFER]))
    return {ROUTERS_GROUP: experiment["routers"], **sweeps, **({TRANSFER: moved} if moved else {})}


def base_of(config: Config, experiment: Config, router: str) -> str:
    """The model that a router reads, if it reads one: its `base`, else the small model."""
    spec = config["routers"][router]
    return str(config["routers"][spec.get("of", router)].get("base") or experiment["small"])


def in_model(config: Config, experiment: str, group: str) -> dict[str, list[tuple[str, int]]]:
    """(router, seed) of a group's adapters by what is asked in one pass: those of one model.

    Of the small model's the name is the group's, of another base's GROUP--BASE.
    """
    spec = config["experiments"][experiment]
    found: dict[str, list[tuple[str, int]]] = {}
    for router in groups(spec)[group]:
        if type_of(config, router).in_model:
            base = base_of(config, spec, router)
            name = group if base == spec["small"] else f"{group}--{base}"
            seeds = router_seeds(config, experiment, router)
            found.setdefault(name, []).extend((router, seed) for seed in seeds)
    return found


def artifact(config: Config, experiment: str, router: str, seed: str | int) -> str:
    """Folder of the trained router that a router's predictions are asked from."""
    trained = config["routers"][router].get("of", router)
    return f"results/runs/{experiment}/routers/{trained}/seed{seed}"


def references(config: Config, experiment: Config) -> list[str]:
    """Routers of an experiment that sweeps are seen against: chance and the gain oracle."""
    kinds = ("random", "gain-oracle")
    return [r for r in experiment["routers"] if config["routers"][r]["type"] in kinds]


def load(*paths: str | Path) -> Config:
    """Read and resolve config files (used outside Snakemake)."""
    return resolve(read(*paths))


def read(*paths: str | Path) -> Config:
    """What config files say, each on top of those before it, as Snakemake reads them."""
    raw: Config = {}
    for path in paths:
        try:
            more = yaml.safe_load(Path(path).read_bytes())
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: no date
            raise UserError(cut(f"{path}: not valid YAML: {error}")) from None
        if not isinstance(more, dict):
            raise UserError(f"{path}: expected a mapping of keys, found {type(more).__name__}.")
        _put_on_top(raw, more)
    return raw


def _put_on_top(raw: Config, more: Config) -> None:
    for key, value in more.items():
        if isinstance(value, dict) and isinstance(raw.get(key), dict):
            _put_on_top(raw[key], value)
        else:
            raw[key] = value
