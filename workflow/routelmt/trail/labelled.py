"""What the labels of a training came from: the two models and the metric, by their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt import tables
from routelmt.errors import UserError
from routelmt.trail.artifacts import locate

_MODEL = ("path", "revision", "model")  # of its settings: which it is, not where it is served


def labelled(gains: Sequence[Path], out: Path) -> dict[str, Any]:
    """experiment, metric, signature, and small and large ({name, path, ...}) of a router's labels.

    gains: the tables it learns from; out: its folder, EXPERIMENT/routers/ROUTER/seedN of a run.
    What nothing on disk says is left out: scores that somebody brought, files that are gone.
    """
    place = out.absolute().parts
    found: dict[str, Any] = {}
    if len(place) > 4 and place[-3] == "routers":
        found["experiment"] = place[-4]
    for role, scores in zip(("small", "large"), _parents(gains[0])[1:], strict=False):
        try:
            found |= _scored(scores, role)
        except UserError:
            continue
    return found


def _scored(path: Path, role: str) -> dict[str, Any]:
    """Metric and model of a scores table; UserError if it is gone."""
    first = tables.read(path, "scores", ["metric", "model"]).slice(0, 1).to_pylist()[0]
    found = {"metric": first["metric"], role: {"name": first["model"], **_model(path)}}
    signature = tables.record_of(path).get("signature", {}).get("signature")
    return found | ({"signature": signature} if signature else {})


def _model(scores: Path) -> Mapping[str, Any]:
    """Which model made the translations of a scores table, as far as they are there."""
    for path in _parents(scores):
        try:
            record = tables.record_of(path)
        except UserError:
            continue
        if record["table"] == "hypotheses":
            settings = record.get("settings", {})
            return {name: settings[name] for name in _MODEL if settings.get(name)}
        if record["table"] == "scores":  # a mean of metrics: its parts have the translations
            return _model(path)
    return {}


def _parents(path: Path) -> list[Path]:
    return [locate(parent["path"], path) for parent in tables.record_of(path).get("parents", [])]
