"""Training probes on large frozen states: seconds and peak memory of each kind.

Makes states on disk (100,000 rows x 29 layers x 1024, fp16, both columns: 12 GB, and as much again
while it writes) that are noise but for one direction in every layer, which carries the gain; then
trains each probe in a process of its own, with the whole command's work: opening, aligning,
training, validating, writing. Memory is the process's peak resident set, mapped pages included.

    python benchmarks/train_probe.py --base FOLDER --work FOLDER
    python benchmarks/train_probe.py --base FOLDER --work FOLDER --rows 5000 --hidden 256
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from routelmt import provenance, tables
from routelmt.routers import probe
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.states import StatesWriter, open_states

ENGINE = "routelmt.translate.transformers_engine"
LANGUAGES = {"en": "English", "zh": "Chinese"}
PAPER = {"target": "small-wins", "standardise": False, "learning_rate": 1e-4}
OURS = {"target": "gain", "standardise": True, "learning_rate": 1e-3}
PROBES: dict[str, dict[str, Any]] = {
    "final": {"layers": "final", **PAPER},
    "mean": {"layers": "mean", **PAPER},
    "dirichlet": {"layers": "dirichlet", **PAPER},
    "dirichlet-1e-3": {"layers": "dirichlet", **PAPER, "learning_rate": 1e-3},
    "dirichlet-input-1e-3": {"layers": "dirichlet-input", **PAPER, "learning_rate": 1e-3},
    "mix-gain": {"layers": "mix", **OURS},
}
COMMON = {"type": "probe", "pool": None, "epochs": 50, "patience": 5, "batch_size": 64,
          "weight_decay": 0.0}  # fmt: skip
NOISE_VALUES = 2**26  # of the bank of noise that rows are cut out of
WRITE_ROWS = 512


def make_rows(role: str, options: argparse.Namespace) -> None:
    """Segments, gains and states of one role."""
    rows = options.rows if role == "train" else options.valid_rows
    rng = np.random.default_rng(len(role))
    ids = [f"{role}{i}" for i in range(rows)]
    key = {"dataset": role, "direction": "en-zh", "segment_id": ids, "group_id": ids}
    unknown = pa.nulls(rows, pa.string())
    segments = tables.from_columns(
        "segments",
        key | {"doc_id": unknown, "domain": unknown, "split": role, "source": ids,
               "reference": "-"},
    )  # fmt: skip
    signal = rng.normal(size=rows)
    gain = 10 * (0.6 * signal + 0.8 * rng.normal(size=rows)) + 3
    small = np.full(rows, 50.0)
    columns = key | {"quality_small": small, "quality_large": small + gain, "gain": gain}
    record = provenance.describe("gains", {}, [])
    tables.write(segments, options.work / f"{role}-segments.parquet", "segments", record)
    gains = tables.from_columns("gains", columns)
    tables.write(gains, options.work / f"{role}-gains.parquet", "gains", record)
    write_states(role, segments, signal, options, rng)


def write_states(
    role: str, segments: pa.Table, signal: Any, options: argparse.Namespace, rng: Any
) -> None:
    """States of both columns: 3 x noise + signal x the layer's direction."""
    directions = np.random.default_rng(7).normal(size=(options.layers, options.hidden))
    directions *= 4 / np.sqrt(options.hidden)
    bank = (3 * np.random.default_rng(8).standard_normal(NOISE_VALUES, np.float32)).astype("f2")
    size = options.layers * options.hidden
    model = {"path": str(options.base), "revision": None, "dtype": "float32", "prompt": "{text}",
             "max_prompt_tokens": 256}  # fmt: skip
    rows = segments.num_rows
    with StatesWriter(options.work / f"{role}.arrow", segments, np.arange(rows), rows) as writer:
        for start in range(0, rows, WRITE_ROWS):
            part = np.arange(start, min(start + WRITE_ROWS, rows))
            carried = signal[part, None, None].astype(np.float16) * directions.astype(np.float16)
            both = []
            for _ in range(2):
                cuts = rng.integers(0, NOISE_VALUES - size, len(part))
                noise = np.stack([bank[c : c + size] for c in cuts])
                both.append(noise.reshape(len(part), options.layers, options.hidden) + carried)
            writer.put(part, *both)
        writer.finish(provenance.describe("signals", model, [], ENGINE))


def inputs(role: str, work: Path) -> RouterInputs:
    """Rows of one role."""
    segments = tables.read(work / f"{role}-segments.parquet", "segments")
    return RouterInputs.aligned(
        segments,
        gains=tables.read(work / f"{role}-gains.parquet", "gains"),
        states=open_states([work / f"{role}.arrow"], segments),
    )


def train_one(name: str, options: argparse.Namespace) -> None:
    """Train one probe in this process and print what it took."""
    start = time.perf_counter()
    training, validation = (inputs(role, options.work) for role in ("train", "valid"))
    assert training.states is not None
    model = dict(training.states.model)
    speed = {"batch_tokens": 16384, "device": "cpu", "threads": options.threads}
    with tempfile.TemporaryDirectory() as folder:
        record = probe.train(
            {**COMMON, **PROBES[name]}, training, validation,
            RouterContext(model, LANGUAGES, speed, 0), Path(folder) / "router",
        )  # fmt: skip
        lines = (Path(folder) / "router" / "history.jsonl").read_text().splitlines()
    seconds = time.perf_counter() - start
    epochs = [json.loads(line)["seconds"] for line in lines]
    found = {
        "seconds": seconds,
        "cpu_seconds": time.process_time(),
        "peak_gib": peak_gib(),
        "epochs": len(epochs),
        "seconds_per_epoch": record["result"]["training_seconds"] / len(epochs),
        "best_epoch": record["result"]["epoch"],
        "validation_loss": record["result"]["validation_loss"],
        "spearman_of_gain": record["validation"]["spearman"],
    }
    print(json.dumps(found))


def peak_gib() -> float:
    """This process's own peak: getrusage would begin with that of its parent."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 2**20


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Every probe in a process of its own; with --cold the files leave the page cache first."""
    found = {}
    for name in options.probes:
        if options.cold:
            forget(options.work)
        command = [sys.executable, __file__, "--one", name, "--base", str(options.base), "--work",
                   str(options.work), "--threads", str(options.threads)]  # fmt: skip
        threads = {"OMP_NUM_THREADS": str(options.threads)}
        done = subprocess.run(
            command, env=os.environ | threads, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, check=True,
        )  # fmt: skip
        found[name] = json.loads(done.stdout.splitlines()[-1]) | {
            "machine_load": os.getloadavg()[0]
        }
        print(f"{name}: {json.dumps(found[name])}", flush=True)
    return found


def forget(work: Path) -> None:
    """Ask the system to drop the states from its cache."""
    for path in work.glob("*.arrow"):
        with path.open("rb") as handle:
            os.posix_fadvise(handle.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, required=True, help="a model: tokenizer and weights")
    parser.add_argument("--work", type=Path, help="where the states go (24 GB); kept if given")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--valid-rows", type=int, default=2000)
    parser.add_argument("--layers", type=int, default=29)
    parser.add_argument("--hidden", type=int, default=1024)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--probes", nargs="+", choices=PROBES, default=list(PROBES))
    parser.add_argument("--cold", action="store_true", help="start each from an empty page cache")
    parser.add_argument("--one", choices=PROBES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/train_probe.json"))
    return parser.parse_args()


def main() -> None:
    """Make the states, measure, write."""
    options = parse()
    if options.one:
        train_one(options.one, options)
        return
    kept, options.work = options.work, options.work or Path(tempfile.mkdtemp())
    options.work.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for role in ("train", "valid"):
        if not (options.work / f"{role}.arrow").is_file():
            make_rows(role, options)
    written = time.perf_counter() - start
    print(f"states written in {written:.0f} s", flush=True)
    found = measure(options)
    if kept is None:
        shutil.rmtree(options.work)
    shared = ("rows", "valid_rows", "layers", "hidden", "threads", "cold")
    report = {
        "probes": found,
        "settings": {name: getattr(options, name) for name in shared} | COMMON,
        "each": PROBES,
        "packages": {name: metadata.version(name) for name in ("torch", "pyarrow", "numpy")},
        "machine": platform.processor() or platform.machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
