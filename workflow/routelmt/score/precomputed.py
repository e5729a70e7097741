"""Scores that the user brings, or a source: human ratings, or a metric that was run elsewhere."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from routelmt import tables
from routelmt.data import published
from routelmt.data.complaints import say
from routelmt.data.parsers import Field
from routelmt.data.precomputed import in_segment_order
from routelmt.data.unscored import FIELD
from routelmt.errors import UserError

_SHOWN = 3
HASH = "hypothesis_hash"
_FIELDS = (
    FIELD,
    Field("hypothesis", required=False, blank=True),
    Field(HASH, required=False),
)


def text_hash(text: str) -> str:
    """What a translation is known by in files of scores: SHA-256 of its UTF-8, 16 digits of it."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def scores(
    hypotheses: pa.Table, metric: str, settings: Mapping[str, Any], spare: bool = False
) -> pa.Table:
    """Table `scores` of the hypotheses' model, in their order, from settings["path"] or a source.

    settings: `scale` (optional, a factor), `range` (optional, [lowest, highest] when scaled),
    `quoting` and `higher_is_better`; scores that count errors are negated; of published scores
    `system` too, see published. spare: whether scores of segments that are not there are ignored
    and counted. Raises UserError if a hypothesis has no score or several, a score, unless spare, no
    hypothesis, or a score is of another text or outside the range.
    """
    wanted = {k: hypotheses.column(k)[0].as_py() for k in ("dataset", "direction", "model")}
    brought = (
        published.rows_of("scores", settings, wanted) if published.reader_of(settings) else None
    )
    path, quoting = brought.path if brought else Path(settings["path"]), settings.get("quoting")
    cures = {
        "missing": _drop(wanted["dataset"]),
        "twice": "Of several raters give each a file and a metric of its own, and average them "
        "with a metric of type mean ('raters' of the experiment then tells how noisy they are).",
    }
    found = in_segment_order(brought or path, _FIELDS, hypotheses, wanted, spare, quoting, cures)
    ids, values = hypotheses.column("segment_id").to_pylist(), found["score"]
    _check_scored(path, values, ids, wanted)
    if brought is None:  # a source's texts and scores are of one another
        _check_texts(path, found, hypotheses, wanted["model"])
    scale = settings.get("scale", 1)
    values = [scale * value for value in values]
    if settings.get("range"):
        _check_range(path, values, ids, wanted["model"], settings["range"])
    sign = 1.0 if settings["higher_is_better"] else -1.0
    return tables.from_columns(
        "scores",
        {
            **{k: hypotheses.column(k) for k in tables.JOIN_KEY},
            "metric": metric,
            "model": wanted["model"],
            "score": [sign * v for v in values],
            "truncated": False,
            "error_spans": [None] * len(values),
        },
    )


def _drop(dataset: str) -> str:
    return (
        f"'datasets.{dataset}.unscored: drop' in the config leaves segments without a score out of "
        "the dataset, and counts them."
    )


def _check_scored(
    path: Path, values: Sequence[float | None], ids: Sequence[str], wanted: Mapping[str, str]
) -> None:
    without = [i for i, value in zip(ids, values, strict=True) if value is None]
    if without:
        raise UserError(
            f"{path}: {len(without):,} of {len(ids):,} translations of model '{wanted['model']}' "
            f"in dataset '{wanted['dataset']}' have no score (null, NaN or empty), first: segment "
            f"{', '.join(without[:_SHOWN])}. Fill them in; or {_drop(wanted['dataset'])}"
        )


def _check_texts(
    path: Path, found: Mapping[str, Sequence[Any]], hypotheses: pa.Table, model: str
) -> None:
    """The file's `hypothesis_hash`, else its `hypothesis`, is that of the translation scored."""
    ids, texts = (hypotheses.column(name).to_pylist() for name in ("segment_id", "hypothesis"))
    given, own = found[HASH], list(map(text_hash, texts))
    if not any(given):
        # A blank translation is None in an optional column.
        given, own = found["hypothesis"], texts
    tied = [i for i, value in enumerate(given) if value is not None]
    if not tied:
        say(
            f"{path}: nothing ties its scores to the texts of model '{model}': they are joined by "
            f"segment_id. A column {HASH} (`routelmt export` writes it) or hypothesis is compared."
        )
    other = [ids[i] for i in tied if given[i] != own[i]]
    if other:
        raise UserError(
            f"{path}: {len(other):,} of {len(tied):,} scores of model '{model}' are of other "
            f"texts than its translations, first: segment {', '.join(other[:_SHOWN])}. Rate "
            "the translations as they are now, or bring back those that were rated."
        )


def _check_range(
    path: Path, values: list[float], ids: list[str], model: str, limits: list[float]
) -> None:
    low, high = limits
    outside = [(i, v) for i, v in zip(ids, values, strict=True) if not low <= v <= high]
    if outside:
        listed = ", ".join(f"segment {i}: {v:g}" for i, v in outside[:_SHOWN])
        raise UserError(
            f"{path}: {len(outside):,} scores of model '{model}' are outside the range "
            f"[{low:g}, {high:g}] of the config, first: {listed}. Correct the file or the range."
        )
