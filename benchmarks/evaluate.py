"""How long the evaluation tables take, and how much memory: CPU seconds and peak resident set.

    python benchmarks/evaluate.py                                        # 13 x 4 x 3,368 x 1,000
    python benchmarks/evaluate.py --requests 1000000 --directions 1 --tables routers

Made-up predictions and gains are written as the workflow's own Parquet files; every table is then
built by a process of its own that reads them, as a rule does. CPU time counts, since other work on
the machine stretches the clock; it includes the start of Python, reading and joining.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.__main__ import without_pandas
from routelmt.evaluate import build
from routelmt.evaluate.cases import cases
from routelmt.evaluate.costs import costs
from routelmt.evaluate.deployment import read_deployment
from routelmt.evaluate.guard_costs import guard_costs
from routelmt.evaluate.requests import evaluated_requests
from routelmt.stats import streaming

DEPLOYED = build.DEPLOYMENTS
COSTS = {"costs": costs, "guard_costs": guard_costs}
TABLES = (*build.EVALUATIONS, "cases", *DEPLOYED, *COSTS)
DOMAINS = ("literary", "news", "social", "speech")
JUDGES = ("comet", "bleu")
# Every sixth router rates in whole numbers, as many do: large ties.
ROUNDED = 6
Parts = dict[str, list[pa.Table]]  # by kind, the table of every direction


def make(folder: Path, directions: int, requests: int, routers: int, calibration: int) -> None:
    """Files of the test sets and of the validation sets, and the rates of the models."""
    generator = np.random.default_rng(0)
    for role, size in (("test", requests), ("valid", calibration)):
        made: Parts = {}
        for d in range(directions):
            add_direction(made, generator, f"en-l{d}", size, routers)
        for kind, parts in made.items():
            table, router = ("predictions", kind) if kind.isdecimal() else (kind, "")
            for d, part in enumerate([pa.concat_tables(parts)] if router else parts):
                # As the workflow's: predictions have a file for all sets, the rest one for each.
                name = f"{router or d}.parquet"
                save(folder / role / table / name, OF_KIND.get(table, table), part)
    rates = [("s", "prefill", 1e-4), ("s", "decode", 1e-3), ("l", "prefill", 1e-3),
             ("l", "decode", 1e-2)]  # fmt: skip
    name, step, seconds = zip(*rates, strict=True)
    about = {"low": np.nan, "high": np.nan, "origin": "given", "device": "any", "batches": None,
             "date": None}  # fmt: skip
    columns = {"name": name, "step": step, "seconds": seconds, **about, "measurements": 0}
    save(folder / "rates.parquet", "rates", tables.from_columns("rates", columns))


# Kinds of files that are not named as their table is.
OF_KIND = {
    **dict.fromkeys(JUDGES, "gains"),
    **{
        f"{table}_{size}": table
        for table in ("hypotheses", "scores")
        for size in ("small", "large")
    },
}


def add_direction(
    made: Parts, generator: np.random.Generator, direction: str, requests: int, routers: int
) -> None:
    """Made-up tables of one direction, added by kind; the kind of predictions is the router."""
    ids = [f"{i:07d}" for i in range(requests)]
    key = {"dataset": "test", "direction": direction, "segment_id": ids}

    def add(kind: str, table: str, columns: dict[str, Any]) -> None:
        made.setdefault(kind, []).append(tables.from_columns(table, {**key, **columns}))

    gain = np.where(generator.random(requests) < 0.2, 0, generator.normal(3, 10, requests))
    small = generator.uniform(40, 90, requests)
    for metric in ("gains", *JUDGES):
        error = 0 if metric == "gains" else generator.normal(0, 5, requests)
        columns = {"group_id": ids, "quality_small": small, "quality_large": small + gain}
        add(metric, "gains", columns | {"gain": gain + error})
    words = generator.integers(1, 60, requests)
    domain = [DOMAINS[i] for i in generator.integers(0, len(DOMAINS), requests)]
    add("segments", "segments", {
        "group_id": ids, "doc_id": None, "domain": domain, "split": "test",
        "source": ["word " * n for n in words], "reference": "any",
    })  # fmt: skip
    for size, score in (("small", small), ("large", small + gain)):
        add(f"hypotheses_{size}", "hypotheses", {
            "model": size[0], "hypothesis": ["Wort " * n for n in words],
            "prompt_tokens": words + 20,
            "output_tokens": words + generator.integers(0, 9, requests),
            "finish_reason": "stop", "mean_logprob": -1.0, "degenerate": False,
        })  # fmt: skip
        add(f"scores_{size}", "scores", {
            "metric": "own", "model": size[0], "score": score, "truncated": False,
            "error_spans": None,
        })  # fmt: skip
    for r in range(routers):
        noise = generator.normal(0, 15, requests)
        priority = np.round(noise / 5) if r % ROUNDED == 0 else gain + noise
        run = {"router": f"router-{r}", "seed": 0, "prediction": priority, "priority": priority}
        add(str(r), "predictions", run)


def save(path: Path, name: str, table: pa.Table) -> None:
    """One file of the workflow's."""
    tables.write(table, path, name, {"stage": "benchmark"})


def read(folder: Path, kind: str, role: str = "test", columns: list[str] | None = None) -> pa.Table:
    """All files of a kind."""
    paths = sorted((folder / role / kind).glob("*.parquet"))
    return tables.read_all(paths, OF_KIND.get(kind, kind), columns)


def settings(routers: int, replicates: int) -> dict[str, Any]:
    """Those of an experiment with one oracle and one guard."""
    names = [f"router-{r}" for r in range(routers)]
    terms: dict[str, Any] = {name: {"terms": ["prefill"]} for name in names}
    return {
        "bootstrap": {"replicates": replicates, "seed": 0, "level": 0.95},
        "budgets": [0.3],
        "risk_edges": [-5, -0.5, 0.5],
        "oracles": names[-1:],
        "random": [],
        "metric": "own",
        "guards": {"rank": names[1:2], "signals": names[2:3], "quantiles": [0.4, 0.6, 0.8, 1]},
        "domains": {"talk": {"domains": ["social", "speech"]}},
        "gain_routers": [n for r, n in enumerate(names[:-1]) if r % ROUNDED],
        "stream": {"seed": 0, "window": streaming.WINDOW, "correction": streaming.CORRECTION,
                   "false_alarms": streaming.FALSE_ALARMS},
        "drift": {"from": None, "to": None},
        "within": [1.0],
        "confidence": 0.95,
        "chosen_on_validation": [],
        "bins": 10,
        "cost": {"small": "s", "large": "l", "routers": terms, "prices": None},
    }  # fmt: skip


def reader(folder: Path, name: str, asked: dict[str, Any]) -> Callable[[], pa.Table]:
    """Read what the table's command reads; what then builds it."""
    predictions, gains = read(folder, "predictions"), read(folder, "gains")
    if name in DEPLOYED:
        held_out = read(folder, "predictions", "valid"), read(folder, "gains", "valid")
        segments = read(folder, "segments", columns=[*tables.JOIN_KEY, "domain"])
        return lambda: build.build_deployment_table(
            name, asked, read_deployment(predictions, gains, *held_out, segments)
        )
    if name in COSTS:
        tokens = [*tables.JOIN_KEY, "prompt_tokens", "output_tokens"]
        hypotheses = {
            size: read(folder, f"hypotheses_{size}", columns=tokens) for size in ("small", "large")
        }
        rates = tables.read(folder / "rates.parquet", "rates")
        return lambda: COSTS[name](
            asked, evaluated_requests(predictions, gains), gains, hypotheses, rates
        )
    if name == "cases":
        kinds = ("segments", *(k for k in OF_KIND if k not in JUDGES))
        given = {"gains": gains, **{kind: read(folder, kind) for kind in kinds}}
        return lambda: cases(asked, evaluated_requests(predictions, gains), given).table
    needed = name in ("breakdown", "domains")
    segments = read(folder, "segments") if needed else None
    judged = name in ("noise", "cross_metric")
    others = {judge: read(folder, judge) for judge in JUDGES} if judged else {}
    return lambda: build.build_table(name, asked, predictions, gains, segments, others)


def built(folder: Path, name: str, routers: int, replicates: int) -> dict[str, Any]:
    """Build one table from the files; what this whole process took."""
    make_table = reader(folder, name, settings(routers, replicates))
    began = time.process_time()
    table = make_table()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "table": name,
        "rows": table.num_rows,
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 2),
        "of_it_reading": round(began, 2),
        "peak_mib": used.ru_maxrss // 1024,
    }


def main() -> None:
    """Make the data, then every table in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=3368, help="of each direction")
    parser.add_argument("--directions", type=int, default=4)
    parser.add_argument("--routers", type=int, default=13)
    parser.add_argument("--replicates", type=int, default=1000)
    parser.add_argument("--calibration", type=int, default=1000, help="requests of each direction")
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--out", type=Path, help="JSON file to add the result to")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        without_pandas()  # as every command of the workflow
        (name,) = arguments.tables
        result = built(arguments.folder, name, arguments.routers, arguments.replicates)
        print(json.dumps(result))
        return
    names = ("requests", "directions", "routers", "replicates", "calibration")
    sizes = {name: getattr(arguments, name) for name in names}
    with tempfile.TemporaryDirectory() as folder:
        made = ("directions", "requests", "routers", "calibration")
        make(Path(folder), **{key: sizes[key] for key in made})
        found = [measured(folder, name, sizes) for name in arguments.tables]
    total = round(sum(row["cpu_seconds"] for row in found), 2)
    print(f"all: {total} CPU seconds, load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    if arguments.out is not None:
        before = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
        before.append({**sizes, "cpu_seconds": total, "tables": found})
        arguments.out.write_text(json.dumps(before, indent=1) + "\n")


def measured(folder: str, name: str, sizes: dict[str, int]) -> dict[str, Any]:
    """One table by a process of its own."""
    options = [f"--{key}={value}" for key, value in sizes.items()]
    command = [sys.executable, __file__, *options, "--tables", name, "--folder", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    result: dict[str, Any] = json.loads(done.stdout)
    print(json.dumps(result), flush=True)
    return result


if __name__ == "__main__":
    main()
