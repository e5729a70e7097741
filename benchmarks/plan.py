"""How long Snakemake plans: the paper's experiment, and one of thousands of jobs.

    python benchmarks/plan.py

Dry runs of a copy of the workflow in which nothing has been made; CPU seconds of Snakemake and all
that it starts, parsing of rules and the check of the config included. The large one has one small
and ten large models, 20 directions and 20 datasets. Results: benchmarks/results/plan.json.
"""

from __future__ import annotations

import argparse
import json
import re
import resource
import statistics
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml
from workflow_overhead import PROJECT, ROOT, copy_workflow, machine

PAIRS, DATASETS = 10, 20
LANGUAGES = {
    "bn": "Bengali", "cs": "Czech", "de": "German", "el": "Greek", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian", "it": "Italian",
    "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "pl": "Polish", "pt": "Portuguese",
    "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "zh": "Chinese",
}  # fmt: skip


def many() -> dict[str, Any]:
    """An experiment for each of the pairs, on all datasets and directions."""
    model = {"engine": "transformers", "path": "data/demo/small", "prompt": "{src} {tgt} {text}"}
    larges = [f"large-{n}" for n in range(PAIRS)]
    datasets = {
        f"part-{n}": {"source": "flores", "split": "devtest", "part": [n / DATASETS, 1.0]}
        for n in range(DATASETS)
    }
    return {
        "languages": {"en": "English"} | LANGUAGES,
        "directions": [f"en-{code}" for code in LANGUAGES],
        "datasets": datasets,
        "models": dict.fromkeys(("small", *larges), model),
        "metrics": {"chrf": {"type": "chrf"}},
        "routers": {"random": {"type": "random"}, "gain-oracle": {"type": "gain-oracle"}},
        "experiments": {
            large: {
                "small": "small", "large": large, "metric": "chrf", "test": list(datasets),
                "routers": ["random", "gain-oracle"],
            }
            for large in larges
        },
    }  # fmt: skip


def plan(folder: Path, *options: str) -> tuple[int, float]:
    """(jobs, CPU seconds) of a dry run."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        ["snakemake", "--dry-run", "--quiet", "rules", *options],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(done.stdout[-2000:] + done.stderr[-4000:])
    jobs = re.search(r"^total +(\d+)$", done.stdout + done.stderr, re.MULTILINE)
    assert jobs, done.stdout[-2000:] + done.stderr[-2000:]
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(jobs.group(1)), used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/plan.json")
    options = parser.parse_args()
    report: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve() / "project"
        copy_workflow(folder, (*PROJECT, "config.yaml", "data/demo"))
        (folder / "many.yaml").write_text(yaml.safe_dump(many()))
        for of, arguments in (("paper", ()), ("many", ("--configfile", "many.yaml"))):
            runs = [plan(folder, *arguments) for _ in range(options.repeats)]
            seconds = [used for _, used in runs]
            report[of] = {
                "jobs": runs[0][0], "cpu_seconds": statistics.median(seconds), "runs": seconds
            }  # fmt: skip
            print(of, json.dumps(report[of]), flush=True)
    options.out.write_text(json.dumps(report | {"machine": machine()}, indent=1) + "\n")


if __name__ == "__main__":
    main()
