"""What the workflow adds to its jobs: 200 shards with next to nothing in them, run for real.

    python benchmarks/workflow_overhead.py                  # the local executor
    python benchmarks/workflow_overhead.py --cores 1
    python benchmarks/workflow_overhead.py --slurm -- --slurm-partition-config $PWD/FILE

A dataset of one segment per shard with ready translations is planned and run. A job's own time is
what its rule's benchmark file says: Python starting, imports, reading, writing. The rest is the
workflow's: wall time minus own time divided by the cores, per job. On Slurm, with a few jobs, own
time is compared with what Slurm accounted, and with when snakemake saw the jobs end (`sacct` is
needed). Results go to benchmarks/results/workflow_overhead.json (`--out`), under `slurm` and
`local_N_cores`; what a run does not measure is kept. With one core nothing hides behind a job.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
PROJECT = ("Snakefile", "workflow", "profiles", "slurm", "data/sources.yaml")
RULE = "translate_shard"
GATHERED = "results/hypotheses/ready/tiny/en-de.parquet"
STATED = 0.5  # seconds a job with the local executor


def main() -> None:
    options = parse()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "project"
        shards = options.shards or (8 if options.slurm else 200)
        make_project(folder, shards)
        found = on_slurm(folder, options) if options.slurm else local(folder, options, shards)
    print(json.dumps(found, indent=1))
    report = json.loads(options.out.read_text()) if options.out.is_file() else {}
    name = "slurm" if options.slurm else f"local_{options.cores}_cores"
    report[name] = found | {"machine": machine()}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, help="200, on Slurm 8")
    parser.add_argument("--cores", type=int, default=2, help="of the local executor")
    parser.add_argument("--slurm", action="store_true", help="run on the cluster of this machine")
    parser.add_argument(
        "--out", type=Path, default=ROOT / "benchmarks/results/workflow_overhead.json"
    )
    parser.add_argument("snakemake", nargs="*", help="further options of snakemake, after --")
    return parser.parse_args()


def copy_workflow(folder: Path, names: Sequence[str]) -> None:
    """Copy these files and folders of the project."""
    for name in names:
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_dir() and not (ROOT / name).is_symlink():
            shutil.copytree(ROOT / name, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / name, target, follow_symlinks=False)


def make_project(folder: Path, shards: int) -> None:
    """A copy of the workflow with one dataset of `shards` segments and ready translations."""
    copy_workflow(folder, PROJECT)
    rows = [(f"row-{i}", f"Sentence number {i}.", f"Satz Nummer {i}.") for i in range(shards)]
    segments = [
        {"segment_id": i, "direction": "en-de", "source": s, "reference": r} for i, s, r in rows
    ]
    ready = [
        {"dataset": "tiny", "direction": "en-de", "segment_id": i, "hypothesis": r}
        for i, _, r in rows
    ]
    for name, content in (("segments", segments), ("ready", ready)):
        lines = (json.dumps(row) + "\n" for row in content)
        (folder / f"{name}.jsonl").write_text("".join(lines))
    (folder / "config.yaml").write_text(yaml.safe_dump(experiment(shards)))


def experiment(shards: int) -> dict[str, Any]:
    ready = {"engine": "precomputed", "path": "ready.jsonl"}
    return {
        "languages": {"en": "English", "de": "German"},
        "directions": ["en-de"],
        "datasets": {"tiny": {"source": "jsonl", "path": "segments.jsonl", "shards": shards}},
        "models": {"ready": ready, "other": ready},
        "metrics": {"chrf": {"type": "chrf"}},
        "routers": {"random": {"type": "random"}},
        "experiments": {
            "one": {
                "small": "ready",
                "large": "other",
                "metric": "chrf",
                "test": ["tiny"],
                "routers": ["random"],
                "budgets": [0.5],
            }
        },
    }


def snakemake(folder: Path, *arguments: str) -> float:
    """Seconds of a run; the output goes to run.log of the project."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder / "workflow"),
    }
    with (folder / "run.log").open("a") as log:
        start = time.perf_counter()
        command = ["timeout", "-k", "5", "1200", "snakemake", *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, stdout=log, stderr=log, check=False
        )
        seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit((folder / "run.log").read_text()[-4000:])
    return seconds


def own_seconds(folder: Path) -> dict[str, float]:
    """{shard: seconds} of the jobs of one shard each, by the rule's benchmark files."""
    paths = (folder / "benchmarks" / RULE).rglob("*.jsonl")
    return {path.stem: json.loads(path.read_text().splitlines()[-1])["s"] for path in paths}


def local(folder: Path, options: argparse.Namespace, shards: int) -> dict[str, Any]:
    """Wall time against own time with the local executor."""
    cores = ("--cores", str(options.cores))
    snakemake(folder, *cores, "segments")  # so that nothing but shards and their gathering is left
    planning = snakemake(folder, *cores, GATHERED, "--dry-run")
    wall = snakemake(folder, *cores, *options.snakemake, GATHERED)
    own = own_seconds(folder)
    assert len(own) == shards, (len(own), shards)
    added = (wall - sum(own.values()) / options.cores) / shards
    return {
        "shards": shards,
        "cores": options.cores,
        "wall_seconds": round(wall, 1),
        "own_seconds_per_job": statistics_of(list(own.values())),
        "planning_seconds": round(planning, 1),
        "added_seconds_per_job": round(added, 3),
        "added_seconds_per_job_without_planning": round(added - planning / shards, 3),
        "stated": STATED,
        "python_seconds": starts(folder),
    }


def starts(folder: Path) -> dict[str, float]:
    """Where a job's own time goes: medians of starting Python, with more and more imported."""
    translate = "import routelmt.commands.translate, routelmt.tables, routelmt.provenance"
    programs = {
        "python": "pass",
        "command line": "import routelmt.__main__",
        "pyarrow": "import pyarrow, pyarrow.parquet",
        "translate, before it runs": translate,
    }
    environment = os.environ | {"PYTHONPATH": str(folder / "workflow")}
    found = {}
    for name, program in programs.items():
        seconds = []
        for _ in range(5):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], env=environment, check=True)
            seconds.append(time.perf_counter() - start)
        found[name] = round(statistics.median(seconds), 3)
    return found


def on_slurm(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Own time against what Slurm accounted, and against when snakemake saw the end."""
    snakemake(folder, "--cores", "1", "segments")
    profile = ("--profile", "slurm", "--configfile", "config.yaml", *options.snakemake)
    wall = snakemake(folder, *profile, "--until", RULE, GATHERED)
    own = own_seconds(folder)
    time.sleep(5)  # the accounting is a little late
    accounted = slurm_jobs(folder)
    added = [job["elapsed"] - own[shard] for shard, job in accounted.items()]
    ends = [job["end"] for job in accounted.values()]
    whole = max(ends) - min(job["submit"] for job in accounted.values())
    return {
        "jobs": len(own),
        "wall_seconds": round(wall, 1),
        "own_seconds_per_job": statistics_of(list(own.values())),
        "accounted_seconds_per_job": statistics_of([j["elapsed"] for j in accounted.values()]),
        "added_seconds_per_job": round(statistics.mean(added), 1),
        "queued_seconds_per_job": statistics_of([j["queued"] for j in accounted.values()]),
        "seconds_before_and_after_slurm": round(wall - whole, 1),
        "options": [Path(o).name for o in options.snakemake],
    }


def slurm_jobs(folder: Path) -> dict[str, dict[str, float]]:
    """{shard: seconds queued and elapsed, times of submission and end} by sacct."""
    columns = "Comment,WorkDir,State,Submit,Start,End"
    command = ["sacct", "-X", "-n", "-P", "-S", "now-2hours", "-o", columns]
    listed = subprocess.run(
        command,
        env=os.environ | {"SLURM_TIME_FORMAT": "%s"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {}
    for line in listed.splitlines():
        comment, workdir, state, *times = line.split("|")
        if Path(workdir) == folder and state == "COMPLETED":
            submit, start, end = map(float, times)
            shard = "-of-".join(comment.rsplit("_", 2)[1:])
            found[shard] = {
                "queued": start - submit,
                "elapsed": end - start,
                "submit": submit,
                "end": end,
            }
    return found


def statistics_of(values: list[float]) -> dict[str, float]:
    return {
        "mean": round(statistics.mean(values), 3),
        "lowest": round(min(values), 3),
        "highest": round(max(values), 3),
    }


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "snakemake": metadata.version("snakemake"),
    }


if __name__ == "__main__":
    main()
