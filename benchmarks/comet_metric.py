"""The comet metric against `comet-score`, the command of COMET itself, on two systems' outputs.

    .venvs/comet/bin/python benchmarks/comet_metric.py
    .venvs/comet/bin/python benchmarks/comet_metric.py --checkpoint DIR --encoder DIR --device cuda

Without --checkpoint, a random one of 50 to 100 million parameters is made. Sources, references and
outputs are lines of WMT24 (--data), every n-th segment, so that natural lengths and duplicates
stay. Both sides load the same checkpoint, score both systems and run in turns in one process, at
the batch size or token budget that was fastest on a quarter of the segments. `comet-score` casts
its model to float16; for equal precision it is also run without that cast. CPU seconds are
compared, since the machine may be busy. Writes benchmarks/results/comet_metric.json (`--out`).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "workflow"))
SHAPE = {"hidden_size": 640, "num_hidden_layers": 10, "num_attention_heads": 10}
VOCABULARY = 16_000
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
BUDGETS = (512, 1024, 2048, 4096, 8192)
Triples = list[tuple[str, str, str]]


def main() -> None:
    options = parse()
    if not (options.data / "sources").is_dir():
        print(f"{options.data}: no WMT24 here (--data names its folder); nothing measured")
        return
    import torch

    torch.set_num_threads(options.threads)
    systems = read_systems(options)
    with tempfile.TemporaryDirectory() as folder:
        report: dict[str, Any] = {"machine": machine(options), "rounds": options.rounds}
        for kind in options.kinds:
            root = options.checkpoint or make_checkpoint(kind, options, Path(folder))
            report[kind] = compare(root, systems, options)
            print(kind, json.dumps(report[kind], indent=1), flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    data = HERE.parents[1] / "shared" / "data" / "wmt24"
    parser.add_argument("--data", type=Path, default=data, help="folder of WMT24 as plain lines")
    parser.add_argument("--direction", default="en-zh")
    parser.add_argument("--systems", nargs=2, default=["Aya23", "Claude-3.5"])
    parser.add_argument("--segments", type=int, default=80, help="of 998")
    parser.add_argument("--kinds", nargs="+", default=["xcomet", "regression"])
    parser.add_argument("--checkpoint", type=Path, help="a real one; then one of --kinds")
    parser.add_argument("--encoder", help="config and tokenizer of --checkpoint")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "comet_metric.json")
    return parser.parse_args()


def lines(path: Path) -> list[str]:
    """Lines as comet-score reads them."""
    return [line.strip() for line in path.read_text(encoding="utf-8").split("\n")[:-1]]


def read_systems(options: argparse.Namespace) -> list[Triples]:
    """(source, hypothesis, reference) of each system."""
    sources = lines(options.data / "sources" / f"{options.direction}.txt")
    references = lines(options.data / "references" / f"{options.direction}.refA.txt")
    step = len(sources) / options.segments
    chosen = [int(n * step) for n in range(options.segments)]
    found = []
    for system in options.systems:
        texts = lines(options.data / "system-outputs" / options.direction / f"{system}.txt")
        found.append([(sources[i], texts[i], references[i]) for i in chosen])
    return found


def make_checkpoint(kind: str, options: argparse.Namespace, folder: Path) -> Path:
    """A random checkpoint whose tokenizer was trained on the data's sources and references."""
    import torch
    import yaml
    from comet.models import RegressionMetric, XCOMETMetric
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    from transformers import XLMRobertaConfig, XLMRobertaTokenizerFast

    encoder, root = folder / "encoder", folder / kind
    if not encoder.is_dir():
        names = [f"sources/{options.direction}.txt", f"references/{options.direction}.refA.txt"]
        tokenizer = Tokenizer(models.Unigram())
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
        trainer = trainers.UnigramTrainer(
            vocab_size=VOCABULARY, special_tokens=special, unk_token="<unk>", show_progress=False
        )
        tokenizer.train([str(options.data / name) for name in names], trainer)
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 2)]
        )
        fast = XLMRobertaTokenizerFast(tokenizer_object=tokenizer)
        fast.save_pretrained(encoder)
        XLMRobertaConfig(
            vocab_size=len(fast),
            intermediate_size=4 * SHAPE["hidden_size"],
            max_position_embeddings=514,
            type_vocab_size=1,
            **SHAPE,
        ).save_pretrained(encoder)
    torch.manual_seed(0)
    settings: dict[str, Any] = {
        "encoder_model": "XLM-RoBERTa",
        "pretrained_model": str(encoder),
        "load_pretrained_weights": False,
        "local_files_only": True,
        "layer_norm": False,
    }
    if kind == "xcomet":
        model: Any = XCOMETMetric(word_layer=SHAPE["num_hidden_layers"], **settings)
    else:
        model = RegressionMetric(**settings)
    hparams = json.loads(json.dumps(dict(model.hparams)))
    (root / "checkpoints").mkdir(parents=True)
    (root / "hparams.yaml").write_text(yaml.safe_dump(hparams))
    saved = {"state_dict": model.state_dict(), "hyper_parameters": hparams}
    saved["pytorch-lightning_version"] = "2.6.6"
    torch.save(saved, root / "checkpoints" / "model.ckpt")
    return root


def compare(root: Path, systems: list[Triples], options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second of both sides, their ratios, and the largest differences of scores."""
    quarter = [system[::4] for system in systems]
    sizes = {n: timed(lambda n=n: theirs(root, quarter, n, options))[1] for n in BATCH_SIZES}
    budgets = {n: timed(lambda n=n: ours(root, quarter, n, options))[1] for n in BUDGETS}
    size, budget = (min(found, key=lambda n: found[n]) for found in (sizes, budgets))
    runs: dict[str, Callable[[], list[float]]] = {
        "comet-score": lambda: theirs(root, systems, size, options),
        "ours": lambda: ours(root, systems, budget, options),
        "ours, nothing deduplicated": lambda: ours(root, systems, budget, options, dedup=False),
        "ours, bfloat16": lambda: ours(root, systems, budget, options, "bfloat16"),
        "comet-score as it is, float16": lambda: theirs(root, systems, size, options, half=True),
        "ours, float16": lambda: ours(root, systems, budget, options, "float16"),
    }
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    walls: dict[str, list[float]] = {name: [] for name in runs}
    scores = {}
    for _ in range(options.rounds):
        for name, run in runs.items():
            wall, cpu, scores[name] = timed(run)
            seconds[name].append(round(cpu, 2))
            walls[name].append(round(wall, 2))

    def ratio(slow: str, fast: str) -> float:
        pairs = zip(seconds[slow], seconds[fast], strict=True)
        return round(statistics.median(a / b for a, b in pairs), 3)

    def deviation(one: str, other: str) -> dict[str, float]:
        gaps = [abs(a - b) for a, b in zip(scores[one], scores[other], strict=True)]
        return {"largest": max(gaps), "mean": statistics.mean(gaps)}

    base, rows = "comet-score", sum(map(len, systems))
    return {
        "rows": rows,
        "distinct_rows": len({t for system in systems for t in system}),
        "batch_size_of_comet_score": size,
        "batch_tokens_of_ours": budget,
        "cpu_seconds_while_tuning": {
            "comet-score": {n: round(s, 2) for n, s in sizes.items()},
            "ours": {n: round(s, 2) for n, s in budgets.items()},
        },
        "cpu_seconds": seconds,
        "wall_seconds": walls,
        "rows_per_cpu_second": {
            name: round(rows / statistics.median(s), 3) for name, s in seconds.items()
        },
        "ratios_float32": {
            "ours_to_comet_score": ratio(base, "ours"),
            "by_deduplication": ratio("ours, nothing deduplicated", "ours"),
            "by_batching": ratio(base, "ours, nothing deduplicated"),
        },
        "ratios_reduced": {
            "ours_bfloat16_to_ours": ratio("ours", "ours, bfloat16"),
            "ours_bfloat16_to_comet_score_float32": ratio(base, "ours, bfloat16"),
            "ours_bfloat16_to_comet_score_float16": ratio(
                "comet-score as it is, float16", "ours, bfloat16"
            ),
            "ours_float16_to_comet_score_float16": ratio(
                "comet-score as it is, float16", "ours, float16"
            ),
        },
        "deviation_0_to_1": {
            "ours_from_comet_score": deviation("ours", base),
            "bfloat16_from_float32": deviation("ours, bfloat16", "ours"),
            "float16_from_float32": deviation("ours, float16", "ours"),
            "comet_score_float16_from_float32": deviation("comet-score as it is, float16", base),
        },
        "spread_of_scores_0_to_1": statistics.stdev(scores[base]),
    }


def timed(run: Callable[[], Any]) -> tuple[float, float, Any]:
    """(wall seconds, CPU seconds, result)."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = run()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def ours(
    root: Path,
    systems: list[Triples],
    budget: int,
    options: argparse.Namespace,
    dtype: str = "float32",
    dedup: bool = True,
) -> list[float]:
    """Scores (0 to 1), one system after the other as the workflow does it."""
    from routelmt.score.comet_metric import open_scorer

    settings = {
        "path": str(root),
        "revision": None,
        "encoder": options.encoder,
        "reference": True,
        "dtype": dtype,
    }
    speed = {"batch_tokens": budget, "device": options.device, "threads": options.threads}
    found: list[float] = []
    known: dict[tuple[str, str, str], float] = {}
    with contextlib.redirect_stderr(io.StringIO()):
        scorer = open_scorer(settings, speed)
        for system in systems:
            new = [t for t in dict.fromkeys(system) if t not in known] if dedup else system
            values = scorer.score(new).values
            known |= dict(zip(new, values, strict=True))
            found += [known[t] for t in system] if dedup else values
    return [v / 100 for v in found]


def theirs(
    root: Path,
    systems: list[Triples],
    batch_size: int,
    options: argparse.Namespace,
    half: bool = False,
) -> list[float]:
    """Scores (0 to 1) by the command `comet-score`, run in this process."""
    from comet.cli.score import score_command
    from comet.models import CometModel

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        columns = {"src": [t[0] for t in systems[0]], "ref": [t[2] for t in systems[0]]}
        columns |= {f"mt{n}": [t[1] for t in system] for n, system in enumerate(systems)}
        for column, texts in columns.items():
            (folder / column).write_text("".join(t + "\n" for t in texts), encoding="utf-8")
        arguments = ["comet-score", "--model", str(root / "checkpoints" / "model.ckpt"), "--quiet"]
        arguments += ["-s", str(folder / "src"), "-r", str(folder / "ref"), "-t"]
        arguments += [str(folder / f"mt{n}") for n in range(len(systems))]
        arguments += ["--batch_size", str(batch_size), "--to_json", str(folder / "out.json")]
        arguments += ["--gpus", "0" if options.device == "cpu" else "1"]
        precision: Any = contextlib.nullcontext()
        if not half:
            precision = mock.patch.object(CometModel, "half", lambda model: model)
        # Each run starts with an empty cache of embeddings, as a command does.
        CometModel.retrieve_sentence_embedding.cache_clear()
        quiet = io.StringIO()
        with (
            precision,
            mock.patch.object(sys, "argv", arguments),
            contextlib.redirect_stdout(quiet),
            contextlib.redirect_stderr(quiet),
        ):
            score_command()
        written = json.loads((folder / "out.json").read_text())
    return [row["COMET"] for rows in written.values() for row in rows]


def machine(options: argparse.Namespace) -> dict[str, Any]:
    from importlib.metadata import version

    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return {
        "device": options.device,
        "threads": options.threads,
        "cpus": os.cpu_count(),
        "processor": next((x.split(": ")[1] for x in lines if x.startswith("model name")), ""),
        "load": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "transformers", "unbabel-comet")},
        "data": f"WMT24 {options.direction}, systems {' and '.join(options.systems)}",
    }


if __name__ == "__main__":
    main()
