"""What asking several in-model routers together costs, in plain prefill passes of their base.

The joint prediction (base loaded and hashed once, prompts tokenised once, every adapter merged,
asked and taken off again) against as many passes of the bare base over the same tokens in the same
batches, its loading left out; and against asking each router alone. Runs alternate; medians count.

    python benchmarks/predict_in_model.py --segments data/segments/software-test/*.parquet
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import tempfile
import time
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from routelmt import tables
from routelmt.routers import lora
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.networks import in_model
from routelmt.routers.networks.regressor import PromptRegressor

PROMPT = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "zh": "Chinese", "ru": "Russian"}
PACKAGES = ("torch", "transformers", "peft")
TRAINED_ON = 64  # rows: what a router says does not matter here


def make_routers(options: argparse.Namespace, context: RouterContext, folder: Path) -> list[Path]:
    """Folders of as many routers as asked for, barely trained on made-up gains."""
    whole = tables.read_all(options.segments, "segments").slice(0, TRAINED_ON)
    gain = np.random.default_rng(0).normal(0, 10, whole.num_rows)
    columns = {name: whole.column(name) for name in (*tables.JOIN_KEY, "group_id")}
    columns |= {"quality_small": 50 - gain / 2, "quality_large": 50 + gain / 2, "gain": gain}
    rows = RouterInputs.aligned(whole, gains=tables.from_columns("gains", columns))
    made = []
    for seed in range(options.routers):
        spec = {
            "type": "lora", "target": "gain", "rank": 8, "alpha": 32, "learning_rate": 1e-3,
            "epochs": 1, "batch_size": 32, "max_length": 1024, "warmup_ratio": 0.05,
            "weight_decay": 0.0, "head_init": "zeros", "dropout": 0.0,
            "scaling": "standard", "dtype": options.dtype,
        }  # fmt: skip
        made.append(folder / f"router{seed}" / "seed0")
        lora.train(spec, rows, rows, context, made[-1])
    return made


class PlainPasses:
    """The bare base over the prompts, as loaded for prediction."""

    def __init__(self, router: Path, inputs: RouterInputs, context: RouterContext) -> None:
        import torch

        artifact = in_model.Artifact.read(router)
        shared = in_model.SharedBase(context.model, artifact, context.speed, None)
        self.rows = shared.rows(artifact, inputs.directions, inputs.sources)
        head = torch.nn.Linear(shared.base.hidden_size, 1).to(shared.device)
        self.regressor = PromptRegressor(shared.base.causal, head, shared.dtype, shared.device)
        self.batch_tokens = context.speed["batch_tokens"]

    def run(self) -> None:
        """One pass."""
        self.regressor.predict(self.rows.ids, self.batch_tokens)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of every run; wall and CPU."""
    speed = {
        "batch_tokens": options.batch_tokens, "device": options.device, "threads": options.threads,
    }  # fmt: skip
    model = {"path": str(options.base), "revision": None, "prompt": PROMPT}
    context = RouterContext(model, LANGUAGES, speed, seed=0)
    segments = tables.read_all(options.segments, "segments")
    inputs = RouterInputs.aligned(segments.slice(0, options.rows))
    with tempfile.TemporaryDirectory() as folder:
        routers = make_routers(options, context, Path(folder))
        plain = PlainPasses(routers[0], inputs, context)
        runs = {
            "together": lambda: lora.predict_together(routers, inputs, context),
            "alone": lambda: [lora.predict_trained(r, inputs, context) for r in routers],
            "plain_passes": lambda: [plain.run() for _ in routers],
        }
        found: dict[str, Any] = {name: {"wall_seconds": [], "cpu_seconds": []} for name in runs}
        for _ in range(options.repeats):
            for name, run in runs.items():
                wall, cpu = time.perf_counter(), time.process_time()
                run()
                found[name]["wall_seconds"].append(time.perf_counter() - wall)
                found[name]["cpu_seconds"].append(time.process_time() - cpu)
        lengths = plain.rows.lengths
    return {
        "runs": found,
        "prompts": {"distinct": len(lengths), "tokens": int(lengths.sum())},
    }


def summary(runs: dict[str, Any]) -> dict[str, float]:
    """Together and alone in plain passes, by the medians of each clock."""
    middle = {
        (name, clock): statistics.median(values)
        for name, clocks in runs.items()
        for clock, values in clocks.items()
    }
    return {
        f"{name}_{clock.removesuffix('_seconds')}": middle[name, clock]
        / middle["plain_passes", clock]
        for name in ("together", "alone")
        for clock in ("wall_seconds", "cpu_seconds")
    }


def parse() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, default=Path("data/demo/small"))
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="segments tables")
    parser.add_argument("--rows", type=int, default=4000)
    parser.add_argument("--routers", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-tokens", type=int, default=16384)
    parser.add_argument("--dtype", choices=["bfloat16", "float32"], default="bfloat16")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument(
        "--out", type=Path, default=Path("benchmarks/results/predict_in_model.json")
    )
    return parser.parse_args()


def main() -> None:
    """Measure and write."""
    options = parse()
    found = measure(options)
    shared = ("routers", "rows", "dtype", "device", "threads", "batch_tokens")
    report = {
        "summary": summary(found["runs"]),
        **found,
        "settings": {name: getattr(options, name) for name in shared},
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(report["summary"]))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
