"""How long models and routers take on this machine, as the table that costs are computed from.

A model is timed on segments (--segments), loading left out; or its rates are fitted to the
benchmark files of jobs that have run (--benchmarks), start-up being one of the unknowns. Trained
routers bring what their training measured (--routers); --given adds what the config states.
"""

import argparse
import json
from datetime import date
from pathlib import Path
from typing import Any

from routelmt.commands import (
    add_out,
    add_speed,
    json_object,
    local_files,
    speed,
    split_languages,
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--model", help="name of the model to time or to fit")
    parser.add_argument("--settings", type=json_object, default={}, help="the model, as JSON")
    parser.add_argument("--segments", type=Path, nargs="*", default=[], help="to time it on")
    parser.add_argument("--rows", type=int, default=128, help="prompts of a timed pass")
    parser.add_argument("--benchmarks", type=Path, help="folder of the workflow's benchmark files")
    parser.add_argument(
        "--hypotheses", type=Path, nargs="*", default=[], help="of the jobs in --benchmarks"
    )
    parser.add_argument(
        "--routers",
        type=Path,
        nargs="*",
        default=[],
        help="folders ROUTER/seedN of trained routers",
    )
    parser.add_argument("--given", type=json_object, default={}, help="the config's rates, as JSON")
    add_speed(parser)
    add_out(parser)


def environment(arguments: argparse.Namespace) -> str:
    """That of the engine, if a model is timed."""
    from routelmt.translate.registry import ENGINES

    return ENGINES[arguments.settings["engine"]].environment if arguments.segments else ""


def run(arguments: argparse.Namespace) -> None:
    """Measure, collect, write."""
    from routelmt import provenance, tables
    from routelmt.errors import UserError
    from routelmt.evaluate.rates import given_rows

    rows = given_rows(arguments.given)
    if arguments.segments:
        rows += _timed(arguments)
    elif arguments.benchmarks:
        rows += _fitted(arguments)
    rows += _recorded(arguments.routers)
    if not rows:
        raise UserError("rates: nothing to measure; give --segments, --benchmarks or --routers.")
    table = tables.from_rows("rates", rows)
    parents = [*arguments.segments, *arguments.hypotheses, *arguments.routers]
    settings = {"model": arguments.settings, "given": arguments.given}
    record = provenance.describe("rates", settings, [*parents, *local_files(arguments.settings)])
    tables.write(table, arguments.out, "rates", record)


def _timed(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from routelmt import tables
    from routelmt.evaluate.rates import timed_rows
    from routelmt.translate.timing import time_model

    model, languages = split_languages(arguments.settings)
    segments = tables.read_all(arguments.segments, "segments")
    timing = time_model(segments, model, languages, speed(arguments), arguments.rows)
    return timed_rows(arguments.model, *timing, _device(arguments), _today())


def _fitted(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    from routelmt.evaluate.rates import Jobs, benchmark_rows

    scored = arguments.settings.get("engine") == "transformers" and arguments.settings["beams"] > 1
    found = [
        job for path in arguments.hypotheses for job in _jobs(arguments.benchmarks, path, scored)
    ]
    jobs = Jobs(*np_columns(found))
    return benchmark_rows(arguments.model, jobs, _device(arguments), _today())


def np_columns(rows: list[tuple[float, float, float, float]]) -> Any:
    """The four columns of rows, as arrays."""
    import numpy as np

    return np.array(rows, dtype=np.float64).reshape(-1, 4).T


def _jobs(folder: Path, hypotheses: Path, scored: bool) -> list[tuple[float, float, float, float]]:
    """(seconds, processes, tokens read, tokens decoded) of the jobs behind a hypotheses table.

    Its last parts are MODEL/DATASET/DIRECTION.parquet; prefill jobs of the same segments count too.
    Prompts that occur twice were decoded once, so only distinct outputs by prompt length count.
    scored: whether prompts and outputs were read once more, as by beam search of transformers.
    """
    import pyarrow.compute as pc

    from routelmt import tables

    place = Path(*hypotheses.with_suffix("").parts[-3:])
    read, decoded = (
        pc.sum(tables.read(hypotheses, "hypotheses").column(name)).as_py() or 0
        for name in ("prompt_tokens", "output_tokens")
    )
    translated = float(2 * read + decoded if scored else read), float(decoded)
    found = []
    for rule in ("prefill_signals", "prefill_states"):
        file = folder / rule / f"{place}.jsonl"
        if file.is_file():
            found.append((_seconds(file), 1.0, float(read), 0.0))
    shards = sorted((folder / "translate_shard" / place).glob("*.jsonl"))
    whole = folder / "translate" / f"{place}.jsonl"
    for files in ([whole] if whole.is_file() else [], shards):
        if files:
            found.append((sum(map(_seconds, files)), float(len(files)), *translated))
    return found


def _seconds(file: Path) -> float:
    """Wall seconds of the last run that a benchmark file holds."""
    from routelmt.errors import UserError

    try:
        return float(json.loads(file.read_text().strip().splitlines()[-1])["s"])
    except (ValueError, KeyError, IndexError, TypeError):
        raise UserError(f"{file}: not a benchmark file of Snakemake; delete it.") from None


def _recorded(folders: list[Path]) -> list[dict[str, Any]]:
    from routelmt.evaluate.rates import record_row
    from routelmt.routers.artifact import read_record

    by_router: dict[str, list[dict[str, Any]]] = {}
    for folder in folders:
        by_router.setdefault(folder.resolve().parent.name, []).append(read_record(folder))
    rows = (record_row(router, records, _today()) for router, records in by_router.items())
    return [row for row in rows if row is not None]


def _device(arguments: argparse.Namespace) -> str:
    from routelmt.device import device_name, find_device

    return device_name(find_device(arguments.device), arguments.threads)


def _today() -> str:
    return date.today().isoformat()
