"""How long models and routers take on a device: timed, from the workflow's own jobs, or given."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from routelmt.errors import UserError
from routelmt.stats.arrays import FloatArray

PREFILL, DECODE, REQUEST = "prefill", "decode", "request"
# Jobs that three unknowns can be found from, with something left to see the error.
LEAST_JOBS = 5
TIMED, BENCHMARKS, RECORD, GIVEN = "timed", "benchmarks", "record", "given"
# What a user gives: rates by second for tokens, seconds for requests.
GIVEN_KEYS = {
    "prefill_tokens_per_second": PREFILL,
    "decode_tokens_per_second": DECODE,
    "seconds_per_request": REQUEST,
}

Row = dict[str, Any]


def rate_key(name: str, step: str) -> str:
    """The key of the config that states a rate."""
    return f"rates.{name}.{next(key for key, of in GIVEN_KEYS.items() if of == step)}"


class Jobs(NamedTuple):
    """Jobs of one model, each (n,): wall seconds, processes started, tokens read and decoded."""

    seconds: FloatArray
    starts: FloatArray
    prompt: FloatArray
    output: FloatArray


class Fit(NamedTuple):
    """Seconds to start a process and load the model, for a prompt's token, for a decoded one."""

    start: float
    prefill: float
    decode: float


def fit_jobs(jobs: Jobs) -> Fit:
    """Least squares of seconds = starts x start + prompt x prefill + output x decode, none below 0.

    All sets of unknowns that may be zero are tried: with three that is exact (Lawson and Hanson's
    conditions hold for the best of them).
    """
    design = np.stack([jobs.starts, jobs.prompt, jobs.output], axis=1)
    best, least = np.zeros(3), float(jobs.seconds @ jobs.seconds)
    for used in itertools.chain.from_iterable(
        itertools.combinations(range(3), size) for size in (1, 2, 3)
    ):
        columns = list(used)
        found = np.linalg.lstsq(design[:, columns], jobs.seconds, rcond=None)[0]
        error = float(np.sum((design[:, columns] @ found - jobs.seconds) ** 2))
        if np.all(found >= 0) and error < least:
            best, least = np.zeros(3), error
            best[columns] = found
    return Fit(*best.tolist())


def benchmark_rows(model: str, jobs: Jobs, device: str, date: str) -> list[Row]:
    """Rates of a model from its jobs, with the range over leaving out one job at a time.

    Raises UserError for fewer than LEAST_JOBS jobs, or where they do not tell decoding from
    starting (all of one size).
    """
    count = len(jobs.seconds)
    if count < LEAST_JOBS:
        raise UserError(
            f"rates of '{model}': {count} jobs with benchmark files, at least {LEAST_JOBS} of "
            "different sizes are needed; time the model instead (--segments)."
        )
    found, unknowns = fit_jobs(jobs), np.stack(jobs[1:], axis=1)
    rank = np.linalg.matrix_rank(unknowns / np.maximum(unknowns.max(axis=0), 1.0))
    if found.decode == 0 or rank < unknowns.shape[1]:
        raise UserError(
            f"rates of '{model}': its {count} jobs do not tell decoding from starting; they are "
            "too alike, or the machine was busy. Time the model instead (--segments)."
        )
    without = [
        fit_jobs(Jobs(*(np.delete(column, index) for column in jobs))) for index in range(count)
    ]
    return [
        _row(model, step, getattr(found, step), [getattr(fit, step) for fit in without],
             BENCHMARKS, device, None, date, count)
        for step in (PREFILL, DECODE)
    ]  # fmt: skip


def timed_rows(
    model: str, prefill: Sequence[float], decode: Sequence[float], batches: str, device: str,
    date: str,
) -> list[Row]:  # fmt: skip
    """Rates of a model from several timed passes: seconds by token of each; their median."""
    return [
        _row(model, step, float(np.median(passes)), passes, TIMED, device, batches, date,
             len(passes))
        for step, passes in ((PREFILL, prefill), (DECODE, decode))
    ]  # fmt: skip


def record_row(router: str, records: Sequence[Mapping[str, Any]], date: str) -> Row | None:
    """Rate of a trained router, from what its training measured on the validation rows.

    records: one a seed. None where none has it.
    """
    costs = [record["cost"] for record in records if (record.get("cost") or {}).get("milliseconds")]
    if not costs:
        return None
    seconds = [cost["milliseconds"] / 1000 for cost in costs]
    devices = ", ".join(dict.fromkeys(cost["device"] for cost in costs))
    return _row(router, REQUEST, float(np.mean(seconds)), seconds, RECORD, devices,
                costs[0].get("batches"), date, len(seconds))  # fmt: skip


def mixture(rates: pa.Table, names: Sequence[str]) -> str | None:
    """What a reader must know of costs that add up these names' rates, if they are of two kinds.

    rates: a `rates` table. None where all were measured on one device and in batches of one kind,
    or are given. Decoding has batches of its own, which are not compared.
    """
    measured = [r for r in rates.to_pylist() if r["name"] in names and r["origin"] != GIVEN]
    devices = {r["name"]: r["device"] for r in measured}
    batches = {r["name"]: r["batches"] for r in measured if r["batches"] and r["step"] != DECODE}
    said = [
        f"measured {what}: {', '.join(f'{name} ({kind})' for name, kind in found.items())}"
        for what, found in (("on several devices", devices),
                            ("in batches of several kinds", batches))
        if len(set(found.values())) > 1
    ]  # fmt: skip
    return "; ".join(said) or None


def given_rows(given: Mapping[str, Mapping[str, float]]) -> list[Row]:
    """Rates that the config states, {name: {one of GIVEN_KEYS: number}}.

    Raises UserError for an unknown key or a number that is not positive.
    """
    rows = []
    for name, values in given.items():
        for key, value in values.items():
            if key not in GIVEN_KEYS or value <= 0:
                raise UserError(
                    f"config key 'rates.{name}.{key}': found {value}; allowed are positive numbers "
                    f"for {', '.join(GIVEN_KEYS)}."
                )
            step = GIVEN_KEYS[key]
            seconds = value if step == REQUEST else 1 / value
            rows.append(_row(name, step, seconds, [], GIVEN, "stated in the config", None, None, 0))
    return rows


def _row(
    name: str, step: str, seconds: float, measured: Sequence[float], origin: str, device: str,
    batches: str | None, date: str | None, count: int,
) -> Row:  # fmt: skip
    return {
        "name": name,
        "step": step,
        "seconds": seconds,
        "low": min(measured, default=float("nan")),
        "high": max(measured, default=float("nan")),
        "origin": origin,
        "device": device,
        "batches": batches,
        "date": date,
        "measurements": count,
    }
