"""One request through the whole chain: why did this go to the large model?

Everything is read from what the run's own table of routers was made from, and chosen by the very
functions of the evaluation, so that the answer is the one that counted.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.quality_tables import role_of
from routelmt.evaluate.requests import evaluated_requests
from routelmt.progress import progress
from routelmt.roles import AVERAGE, RISK_BUCKETS, ROUTER
from routelmt.stats.arrays import FloatArray, KeyArray
from routelmt.stats.metrics import RISK_EDGES, risk_bucket_of
from routelmt.stats.selection import budget_count, ranking, route
from routelmt.tables import JOIN_KEY
from routelmt.trail.artifacts import Artifact, open_table
from routelmt.trail.chain import all_rows, changed, nearest, of_kind, rows_where
from routelmt.views.summary import ranked

RUN_TABLE = "tables/routers.parquet"
SUGGESTIONS = 5
# Unknown ids are compared with this many: comparing takes time, and a wrong id needs no more.
COMPARED = 20_000


@dataclass(frozen=True)
class Output:
    """What one model made of the request; None where a table is missing or has no such column.

    scores: of the metric that the gains are of first, then of what it was averaged from.
    """

    model: str | None
    hypothesis: str | None
    prompt_tokens: int | None
    output_tokens: int | None
    finish_reason: str | None
    mean_logprob: float | None
    degenerate: bool | None
    scores: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class Decision:
    """What one router and seed decide at one budget.

    rank: 1 is sent first, of `requests` in the direction; ties: requests of the same priority,
    itself included; k: how many are sent; margin: priority minus that of the last one sent, NaN
    where none is; by_hash: requests of its priority stand on both sides of the cut, so that the
    hash of the segment id decided.
    """

    router: str
    seed: int
    role: str
    target: str
    prediction: float
    priority: float
    budget: float
    rank: int
    requests: int
    ties: int
    k: int
    large: bool
    margin: float
    by_hash: bool


@dataclass(frozen=True)
class Explanation:
    """All that the run knows of one request; quality and gain in points of the metric."""

    run: str
    key: Mapping[str, str]
    segment: Mapping[str, str | None]
    outputs: Mapping[str, Output]
    quality: Mapping[str, float]
    gain: float
    bucket: str
    gain_rank: int
    gain_ties: int
    requests: int
    focus: str
    decisions: tuple[Decision, ...]
    notes: tuple[str, ...] = field(default=())


def explain(
    run: Path,
    segment_id: str,
    dataset: str | None = None,
    direction: str | None = None,
    budget: float | None = None,
    router: str | None = None,
) -> Explanation:
    """Follow a request from the run's table of routers back to its text.

    budget: by default those of the run. router: the one that the last sentence is about; by
    default the deployable one with the highest MeanΔ. Raises UserError for a folder that is no
    run, an id that is unknown or stands for several requests, or tables that are missing.
    """
    table = run_table(run)
    settings = dict(table.settings)
    gains = [parent.path for parent in of_kind(table, "gains")]
    key = _find(run, gains, segment_id, dataset, direction)
    here = {"direction": key["direction"]}
    said = [parent.path for parent in of_kind(table, "predictions")]
    predictions = pa.concat_tables(
        [rows_where(path, "predictions", **here) for path in _shown_progress(said)]
    )
    labels = all_rows(gains, "gains", **here)
    evaluation = evaluated_requests(predictions, labels, settings.get("routers"))
    (requests,) = evaluation.directions
    row = _row(labels, key)
    own = labels.slice(row, 1).to_pylist()[0]
    label = open_table(_holding(gains, "gains", key))
    budgets = [budget] if budget is not None else settings["budgets"]
    decisions = [
        decision
        for p in budgets
        for name, columns in evaluation.columns.items()
        for decision in _decisions(
            name, columns, requests.priorities, requests.tie_keys, row, p,
            role_of(name, settings), _stated(predictions, name, key), _targets(said),
        )
    ]  # fmt: skip
    focus = _focus(run, settings, evaluation.routers, budgets[0], router)
    order = ranking(requests.gain, requests.tie_keys)
    bucket = risk_bucket_of([own["gain"]], _risk_edges(run))[0]
    return Explanation(
        run=str(run),
        key=key,
        segment=_segment(label, key),
        outputs=_outputs(label, key),
        quality={size: own[f"quality_{size}"] for size in ("small", "large")},
        gain=own["gain"],
        bucket=RISK_BUCKETS[bucket],
        gain_rank=_rank(order, row),
        gain_ties=int((requests.gain == own["gain"]).sum()),
        requests=len(order),
        focus=focus,
        decisions=tuple(decisions),
        notes=(*changed(table), *changed(label)),
    )


def run_table(run: Path) -> Artifact:
    """The table of routers of a run. UserError for a folder that is no run that was evaluated."""
    path = run / RUN_TABLE
    if not path.is_file():
        raise UserError(
            f"{run}: not a run that was evaluated, it has no {RUN_TABLE}. Give the folder of an "
            "experiment, e.g. --run results/runs/demo, after `snakemake tables`."
        )
    return open_table(path)


def _shown_progress(paths: Sequence[Path]) -> Any:
    return progress(paths, "predictions", "file") if len(paths) > 200 else paths


# --- which request -------------------------------------------------------------------------------


def _find(
    run: Path, gains: Sequence[Path], segment_id: str, dataset: str | None, direction: str | None
) -> dict[str, str]:
    """The key of the one request that is meant."""
    keys = pa.concat_tables([tables.read(p, "gains", list(JOIN_KEY)) for p in gains])
    of_id = keys.filter(pc.equal(keys.column("segment_id"), segment_id)).to_pylist()
    if not of_id:
        raise UserError(f"{_unknown(run, keys, segment_id)}")
    asked = {"dataset": dataset, "direction": direction}
    found: list[dict[str, str]] = [
        row for row in of_id if all(v in (None, row[name]) for name, v in asked.items())
    ]
    if len(found) == 1:
        return found[0]
    listed = "; ".join(
        f"--dataset {row['dataset']} --direction {row['direction']}" for row in found or of_id
    )
    if found:
        raise UserError(f"'{segment_id}' stands for {len(found)} requests; choose one: {listed}.")
    raise UserError(f"'{segment_id}' is not among those requests, but here: {listed}.")


def _unknown(run: Path, keys: pa.Table, segment_id: str) -> str:
    ids = pc.unique(keys.column("segment_id"))
    alike = ids.filter(pc.starts_with(ids, segment_id[:8])).to_pylist()[:SUGGESTIONS]
    if not alike:
        alike = difflib.get_close_matches(segment_id, ids[:COMPARED].to_pylist(), SUGGESTIONS)
    hint = f"; like it: {', '.join(alike)}" if alike else ""
    return (
        f"'{segment_id}': no such segment among the {keys.num_rows:,} evaluated requests of "
        f"{run}{hint}. `segment_id` is a column of its gains and predictions."
    )


def _row(labels: pa.Table, key: Mapping[str, str]) -> int:
    """Row of the request among those of its direction."""
    same = pc.and_(*(pc.equal(labels.column(c), key[c]) for c in ("dataset", "segment_id")))
    return int(pc.index(same, True).as_py())


def _holding(paths: Sequence[Path], table: str, key: Mapping[str, str]) -> Path:
    """The file that has the request."""
    return next(path for path in paths if rows_where(path, table, **key).num_rows)


# --- what is known of it -------------------------------------------------------------------------


def _segment(label: Artifact, key: Mapping[str, str]) -> dict[str, str | None]:
    names = ("group_id", "doc_id", "domain", "source", "reference")
    found = [row for path in nearest(label, "segments") for row in _rows(path, "segments", key)]
    return {name: found[0].get(name) if found else None for name in names}


def _rows(path: Path, table: str, key: Mapping[str, str]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = rows_where(path, table, **key).to_pylist()
    return rows


def _outputs(label: Artifact, key: Mapping[str, str]) -> dict[str, Output]:
    """Of the small and the large model: the gains' record names its scores in this order."""
    held = {parent.path: _table_in(parent.path) for parent in label.parents}
    scored = [path for path, table in held.items() if table == "scores"]
    if len(scored) != 2:
        missing = [str(path) for path, table in held.items() if table is None]
        raise UserError(
            f"{label.path}: of the two tables of scores that it was made from {len(scored)} "
            f"can be read (missing or damaged: {', '.join(missing) or 'none'}). Run the workflow "
            "again."
        )
    return {size: _output(path, key) for size, path in zip(("small", "large"), scored, strict=True)}


def _table_in(path: Path) -> str | None:
    """The kind of table that a file holds; None if it is missing or damaged."""
    try:
        return open_table(path).what
    except UserError:
        return None


def _output(scored: Path, key: Mapping[str, str]) -> Output:
    """What one model said and got: the scores' own model, for the large one's may have taken over
    scores of the small one's equal translations, whose tables are then on the way back too.
    """
    table = open_table(scored)
    paths = [scored, *nearest(table, "scores")]
    found = [_score(path, row) for path in paths for row in _rows(path, "scores", key)]
    model = found[0]["model"]
    rows = [row for p in nearest(table, "hypotheses") for row in _rows(p, "hypotheses", key)]
    said = next((row for row in rows if row.get("model") == model), {})
    names = list(Output.__dataclass_fields__)[:-1]
    return Output(
        **{name: said.get(name) for name in names if name != "model"},
        model=model,
        scores=tuple(score for score in found if score["model"] == model),
    )


def _score(path: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    """A score with what says how it was computed, and the errors that the metric marks."""
    return {
        "metric": row["metric"],
        "model": row["model"],
        "score": row["score"],
        "truncated": row["truncated"],
        "signature": tables.record_of(path).get("signature"),
        "error_spans": json.loads(row.get("error_spans") or "[]"),
    }


def _risk_edges(run: Path) -> tuple[float, float, float]:
    """Those of the run's table of risk buckets, else the paper's."""
    path = run / "tables/risk_buckets.parquet"
    edges = open_table(path).settings.get("risk_edges") if path.is_file() else None
    low, middle, high = edges or RISK_EDGES
    return low, middle, high


# --- what the routers decide ---------------------------------------------------------------------


def _decisions(
    router: str,
    columns: Sequence[str],
    priorities: Mapping[str, FloatArray],
    keys: KeyArray,
    row: int,
    budget: float,
    role: str,
    stated: Mapping[int, float],
    targets: Mapping[str, str],
) -> list[Decision]:
    """One for every seed of a router."""
    k = budget_count(budget, len(keys))
    found = []
    for name in columns:
        priority, seed = priorities[name], int(name.rpartition("/seed")[2])
        order = ranking(priority, keys)
        cut = priority[order[k - 1]] if k else np.nan
        beyond = priority[order[k]] if k < len(order) else np.nan
        found.append(
            Decision(
                router=router,
                seed=seed,
                role=role,
                target=targets.get(router, ""),
                prediction=stated[seed],
                priority=float(priority[row]),
                budget=budget,
                rank=_rank(order, row),
                requests=len(order),
                ties=int((priority == priority[row]).sum()),
                k=k,
                large=bool(route(priority, keys, k)[row]),
                margin=float(priority[row] - cut),
                by_hash=bool(priority[row] == cut == beyond),
            )
        )
    return found


def _rank(order: Any, row: int) -> int:
    return int(np.flatnonzero(order == row)[0]) + 1


def _stated(predictions: pa.Table, router: str, key: Mapping[str, str]) -> dict[int, float]:
    """The router's prediction, in its own unit, by seed."""
    for column, value in {**key, "router": router}.items():
        predictions = predictions.filter(pc.equal(predictions.column(column), value))
    return {row["seed"]: row["prediction"] for row in predictions.to_pylist()}


def _targets(paths: Sequence[Path]) -> dict[str, str]:
    """What the routers that learned something learned, by router: gain, quality_small, ..."""
    found: dict[str, str] = {}
    for path in paths:
        settings = open_table(path).settings
        asked = settings.get("ask") or [{"router": None, "settings": settings}]
        for entry in asked:
            target = entry["settings"].get("target")
            if not isinstance(target, str):
                continue
            names = [entry["router"]] if entry["router"] else _routers(path)
            found |= dict.fromkeys(names, target)
    return found


def _routers(path: Path) -> list[str]:
    column = tables.read(path, "predictions", ["router"]).column("router")
    names: list[str] = pc.unique(column).to_pylist()
    return names


def _focus(
    run: Path, settings: dict[str, Any], routers: Sequence[str], budget: float, asked: str | None
) -> str:
    """The router that is spoken of: the one asked for, or the best that can be deployed."""
    if asked is not None:
        if asked not in routers:
            raise UserError(f"--router {asked}: not in {run}; there: {', '.join(routers)}.")
        return asked
    table = tables.read(run / RUN_TABLE, "routers").to_pylist()
    rows = [row for row in table if row["direction"] == AVERAGE]
    near = min((row["budget"] for row in rows), key=lambda p: abs(p - budget), default=budget)
    best = [row["router"] for row in ranked(row for row in rows if row["budget"] == near)]
    able = [r for r in routers if role_of(r, settings) == ROUTER] or list(routers)
    return next((router for router in best if router in able), able[0])
