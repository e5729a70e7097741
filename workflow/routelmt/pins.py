"""What a run downloads without a pinned revision: the same config may give other numbers later."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from routelmt.config import Config, base_of, experiment_routers, fetched_model, scored_metrics

_WITH_ENCODER = ("comet", "sentinel-src")  # kinds whose checkpoint has an encoder to find


def unpinned(config: Config) -> list[str]:
    """The config's key and the hub name of everything that the planned experiments use unpinned.

    config: resolved. An encoder that a checkpoint names is known only once it is read, so it counts
    as unpinned unless `encoder_revision` is there, or `encoder` is a folder.
    """
    experiments = [config["experiments"][name] for name in config["run"]]
    models = {e[size] for e in experiments for size in ("small", "large")}
    models |= {base_of(config, e, r) for e in experiments for r in experiment_routers(e)}
    metrics = {m for e in experiments for m in scored_metrics(config, e)}
    routers = {r for e in experiments for r in experiment_routers(e)}
    metrics |= {m for r in routers if (m := config["routers"][r].get("metric"))}
    used = (("models", models), ("metrics", metrics), ("routers", routers))
    return [
        line
        for section, names in used
        for name, entry in config[section].items()
        if name in names
        if not fetched_model(config, entry.get("path"))
        for line in _of_entry(f"{section}.{name}", entry)
    ]


def _of_entry(key: str, entry: dict[str, Any]) -> Iterator[str]:
    kind = entry.get("engine") or entry["type"]
    path = entry.get("path")
    if "revision" in entry and _on_the_hub(path) and not entry["revision"]:
        yield f"{key} ({path})"
    if _on_the_hub(entry.get("tokenizer")) and not entry["tokenizer_revision"]:
        yield f"{key}.tokenizer ({entry['tokenizer']})"
    if kind in _WITH_ENCODER and not entry["encoder_revision"]:
        named = entry["encoder"]
        if named is None or _on_the_hub(named):
            yield f"{key}.encoder ({named or 'the one that the checkpoint names'})"


def _on_the_hub(path: str | None) -> bool:
    return bool(path) and not Path(str(path)).exists()
