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
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import tables
from routelmt.evaluate.build import build_table

TABLES = (
    "routers", "comparisons", "pareto", "risk_buckets", "guards",
    "router_metrics", "breakdown", "noise", "cross_metric",
)  # fmt: skip
DOMAINS = ("literary", "news", "social", "speech")
JUDGES = ("comet", "bleu")


def make(folder: Path, directions: int, requests: int, routers: int) -> None:
    """Files of predictions, gains, other gains and segments, as many as there are directions."""
    generator = np.random.default_rng(0)
    for d in range(directions):
        ids = [f"{i:07d}" for i in range(requests)]
        key = {"dataset": "test", "direction": f"en-l{d}", "segment_id": ids}
        gain = np.where(generator.random(requests) < 0.2, 0, generator.normal(3, 10, requests))
        small = generator.uniform(40, 90, requests)
        for metric in ("own", *JUDGES):
            error = 0 if metric == "own" else generator.normal(0, 5, requests)
            columns = {"group_id": ids, "quality_small": small, "quality_large": small + gain,
                       "gain": gain + error}  # fmt: skip
            save(folder / metric / f"{d}.parquet", "gains", {**key, **columns})
        words = ["word " * n for n in generator.integers(1, 60, requests)]
        domain = [DOMAINS[i] for i in generator.integers(0, len(DOMAINS), requests)]
        about = {"group_id": ids, "doc_id": None, "domain": domain, "split": "test",
                 "source": words, "reference": "any"}  # fmt: skip
        save(folder / "segments" / f"{d}.parquet", "segments", {**key, **about})
        for r in range(routers):
            noise = generator.normal(0, 15, requests)
            # Every sixth router rates in whole numbers, as many do: large ties.
            priority = np.round(noise / 5) if r % 6 == 0 else gain + noise
            run = {"router": f"router-{r}", "seed": 0, "prediction": priority, "priority": priority}
            save(folder / "predictions" / f"{d}-{r}.parquet", "predictions", {**key, **run})


def save(path: Path, name: str, columns: dict[str, Any]) -> None:
    """One file of the workflow's."""
    tables.write(tables.from_columns(name, columns), path, name, {"stage": "benchmark"})


def read(folder: Path, kind: str, name: str) -> pa.Table:
    """All files of a kind."""
    return tables.read_all(sorted((folder / kind).glob("*.parquet")), name)


def settings(routers: int, replicates: int) -> dict[str, Any]:
    """Those of an experiment with one oracle and one guard."""
    return {
        "bootstrap": {"replicates": replicates, "seed": 0, "level": 0.95},
        "budgets": [0.3],
        "risk_edges": [-5, -0.5, 0.5],
        "oracles": [f"router-{routers - 1}"],
        "random": [],
        "metric": "own",
        "guards": {"rank": ["router-1"], "signals": ["router-2"], "quantiles": [0.4, 0.6, 0.8, 1]},
    }


def build(folder: Path, name: str, routers: int, replicates: int) -> dict[str, Any]:
    """Build one table from the files; what this whole process took."""
    segments = read(folder, "segments", "segments") if name == "breakdown" else None
    judged = name in ("noise", "cross_metric")
    others = {judge: read(folder, judge, "gains") for judge in JUDGES} if judged else {}
    predictions, gains = read(folder, "predictions", "predictions"), read(folder, "own", "gains")
    began = time.process_time()
    table = build_table(name, settings(routers, replicates), predictions, gains, segments, others)
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
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--out", type=Path, help="JSON file to add the result to")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.folder is not None:
        (name,) = arguments.tables
        result = build(arguments.folder, name, arguments.routers, arguments.replicates)
        print(json.dumps(result))
        return
    sizes = {k: getattr(arguments, k) for k in ("requests", "directions", "routers", "replicates")}
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), arguments.directions, arguments.requests, arguments.routers)
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
