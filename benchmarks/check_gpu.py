"""What this package does on a GPU, against the CPU and against the card: `make check-gpu`.

Runs on a bare PyTorch machine (torch, transformers, peft, accelerate, pyarrow): no hub, no data,
no vLLM. Checks use the demo's small translator and English sentences of this project's documents;
speeds are of models with Qwen3-0.6B's and -8B's shape and random weights.
Every part goes through the package's own code. Under six minutes on one card; what does not fit
is left out, and said so. Writes a JSON file and exits with 1 if a check fails.

    python benchmarks/check_gpu.py --out results/check-gpu.json
    python benchmarks/check_gpu.py --device cpu --tiny      # the same, in seconds
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "workflow"), str(ROOT / "benchmarks")]

import train_router  # noqa: E402
import translate  # noqa: E402

from routelmt import tables  # noqa: E402
from routelmt.routers.inputs import RouterContext, RouterInputs  # noqa: E402

SMALL = ROOT / "data/demo/small"
PROMPT, LANGUAGES = train_router.PROMPT, train_router.LANGUAGES
TIED = 1e-3  # difference of two tokens' logits below which float32 need not agree on the larger
SIGNALS_TOLERANCE = 5e-3  # states are kept in float16, whose step is 1e-3 of the value
LOSS_TOLERANCE = 0.02  # of the standardised target's variance
BATCH_TOLERANCE = 1e-3  # of the labels' deviation
ROOM = 1.25  # of a model's weights, that a card must have free

# hidden, layers, heads, key-value heads, width of a head, width between, ties its embeddings
SHAPES = {
    "Qwen3-0.6B": (1024, 28, 16, 8, 128, 3072, True),
    "Qwen3-8B": (4096, 36, 32, 8, 128, 12288, False),
}
TINY_SHAPES = {name: (64, 2, 4, 2, 16, 128, shape[-1]) for name, shape in SHAPES.items()}
VOCABULARY = 151936


def main() -> int:
    import torch

    options = parse()
    device = options.device
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)
    report: dict[str, Any] = {"machine": machine(device), "tiny": options.tiny}
    checks = {
        "greedy": lambda: same_outputs(options, beams=1),
        "beams": lambda: same_outputs(options, beams=3),
        "signals": lambda: same_signals(options),
        "training": lambda: same_training(options),
        "batches": lambda: same_predictions(options),
        "memory": lambda: halving(options),
    }
    speeds = {
        "card": lambda: card(options),
        "Qwen3-0.6B": lambda: speed(options, "Qwen3-0.6B", report["speeds"]["card"]),
        "Qwen3-8B": lambda: speed(options, "Qwen3-8B", report["speeds"]["card"]),
        "training": lambda: training_speed(options),
    }
    started = time.perf_counter()
    for kind, parts in (("checks", checks), ("speeds", speeds)):
        report[kind] = {}
        for name, part in parts.items():
            report[kind][name] = run(part, name, options.seconds - time.perf_counter() + started)
            if device != "cpu":
                torch.cuda.empty_cache()
    failed = [name for name, found in report["checks"].items() if found.get("ok") is False]
    failed += [name for k in ("checks", "speeds") for name, x in report[k].items() if "error" in x]
    report |= {"seconds": round(time.perf_counter() - started, 1), "failed": failed}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(f"{options.out}: {report['seconds']} s; failed: {', '.join(failed) or 'none'}")
    return 1 if failed else 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu for a trial")
    parser.add_argument("--tiny", action="store_true", help="tiny shapes and few rows")
    parser.add_argument("--seconds", type=float, default=330, help="no part starts after them")
    parser.add_argument("--out", type=Path, default=Path("results/check-gpu.json"))
    options = parser.parse_args()
    options.shapes = TINY_SHAPES if options.tiny else SHAPES
    options.rows = 12 if options.tiny else 96
    options.new_tokens = 12 if options.tiny else 96
    return options


def run(part: Callable[[], dict[str, Any]], name: str, seconds_left: float) -> dict[str, Any]:
    """What a part finds, with the seconds it took; an exception is a result too."""
    if seconds_left < 0:
        return {"left_out": "the time was over"}
    started = time.perf_counter()
    try:
        found = part()
    except Exception as error:  # one part must not hide what the others find
        found = {"error": f"{type(error).__name__}: {error}"[:2000]}
    found["seconds"] = round(time.perf_counter() - started, 2)
    print(name, json.dumps(found), flush=True)
    return found


# --- checks ------------------------------------------------------------------------------------


def sentences(count: int) -> list[str]:
    """English sentences of five words and more from the documents of this project."""
    text = " ".join(
        line
        for file in sorted((ROOT / "docs").glob("*.md"))
        for line in file.read_text(encoding="utf-8").splitlines()
        if re.match(r"[A-Z]", line)
    )
    parts = dict.fromkeys(re.findall(r"[A-Z][^.|`*\[\]]{20,140}\.", text))
    return [part for part in parts if len(part.split()) >= 5][:count]


def directions(count: int) -> list[str]:
    return ["en-zh" if n % 2 else "en-ru" for n in range(count)]


def open_engine(options: argparse.Namespace, device: str, dtype: str, beams: int = 1) -> Any:
    from routelmt.translate import engines

    model = {
        "engine": "transformers",
        "path": str(SMALL),
        "revision": None,
        "dtype": dtype,
        "prompt": PROMPT,
        "beams": beams,
        "max_new_tokens": options.new_tokens,
    }
    return engines.open_engine(model, {"batch_tokens": 4096, "device": device, "threads": 4})


def prompts(options: argparse.Namespace, engine: Any) -> list[list[int]]:
    from routelmt.translate.prompts import render

    texts = sentences(options.rows)
    pairs = zip(directions(len(texts)), texts, strict=True)
    encoded: list[list[int]] = engine.encode([render(PROMPT, LANGUAGES, *p) for p in pairs])
    return encoded


def decoded(options: argparse.Namespace, engine: Any) -> list[list[int]]:
    asked = prompts(options, engine)
    found = dict(engine.decode(asked))
    return [found[n].ids for n in range(len(asked))]


def same_outputs(options: argparse.Namespace, beams: int) -> dict[str, Any]:
    """Float32 outputs are the CPU's, but for ties; the share of bfloat16's that are."""
    cpu = open_engine(options, "cpu", "float32", beams)
    wanted = decoded(options, cpu)
    same = decoded(options, open_engine(options, options.device, "float32", beams))
    half = decoded(options, open_engine(options, options.device, "bfloat16", beams))
    different = [n for n, (a, b) in enumerate(zip(wanted, same, strict=True)) if a != b]
    found = {
        "rows": len(wanted),
        "float32_equal": translate.share_equal(wanted, same),
        "bfloat16_equal": translate.share_equal(wanted, half),
    }
    if beams > 1:  # hypotheses of nearly equal scores may change places
        return found | {"ok": found["float32_equal"] >= 0.95}
    asked = prompts(options, cpu)
    gaps = [translate.logit_gap(cpu.model, asked[n], wanted[n], same[n]) for n in different]
    return found | {
        "largest_gap_where_different": max(gaps, default=0.0),
        "ok": max(gaps, default=0) < TIED,
    }


def same_signals(options: argparse.Namespace) -> dict[str, Any]:
    """Entropy, margin, logit and the states of every layer, against the CPU's."""
    of = {}
    for device in ("cpu", options.device):
        engine = open_engine(options, device, "float32")
        passes = list(engine.prefill_layers(prompts(options, engine)))
        order = np.argsort(np.concatenate([found.rows for found, _ in passes]))
        signals = [
            np.concatenate([getattr(found, name) for found, _ in passes])[order]
            for name in ("entropy", "margin", "max_logit")
        ]
        states = [
            np.concatenate([np.asarray(getattr(kept, name)) for _, kept in passes])[order]
            for name in ("last", "mean")
        ]
        of[device] = signals, [s.astype(np.float32) for s in states]
    apart = [
        max(float(np.abs(a - b).max() / np.abs(a).max()) for a, b in zip(*pair, strict=True))
        for pair in zip(of["cpu"], of[options.device], strict=True)
    ]
    return {
        "signals_apart": apart[0],
        "states_apart": apart[1],
        "layers": int(of["cpu"][1][0].shape[1]),
        "ok": max(apart) < SIGNALS_TOLERANCE,
    }


def requests(options: argparse.Namespace) -> tuple[RouterInputs, RouterInputs]:
    """Training and validation rows; their gain is derived from length and direction, with noise."""
    texts = sentences(4 * options.rows)
    key = {
        "dataset": "sentences",
        "direction": directions(len(texts)),
        "segment_id": [f"{n:05d}" for n in range(len(texts))],
        "group_id": [f"{n:05d}" for n in range(len(texts))],
    }
    absent = [None] * len(texts)
    more = {"doc_id": absent, "domain": absent, "split": "train", "source": texts, "reference": "-"}
    noise = np.random.default_rng(0).normal(0, 3, len(texts))
    gain = 0.2 * np.array([len(t) for t in texts]) + 5.0 * (np.arange(len(texts)) % 2) + noise
    small = np.full(len(texts), 50.0)
    quality = {"quality_small": small, "quality_large": small + gain, "gain": gain}
    inputs = RouterInputs.aligned(
        tables.from_columns("segments", key | more),
        gains=tables.from_columns("gains", key | quality),
    )
    valid, training = train_router.split(inputs, len(texts) // 4, len(texts) - len(texts) // 4)
    return training, valid


def spec(dtype: str) -> dict[str, Any]:
    """The config's entry of a LoRA router, defaults filled in."""
    from routelmt.config import load_schema

    keys = load_schema()["kinds"]["routers"]["of"]["lora"]["properties"]
    defaults = {name: key["default"] for name, key in keys.items() if "default" in key}
    changed = {"type": "lora", "target": "gain", "learning_rate": 3e-3, "batch_size": 16}
    return defaults | changed | {"dtype": dtype}


def trained(options: argparse.Namespace, device: str, dtype: str, out: Path) -> RouterContext:
    from routelmt.routers import lora

    model = {"path": str(SMALL), "revision": None, "prompt": PROMPT}
    quick = {"batch_tokens": 4096, "device": device, "threads": 4}
    context = RouterContext(model, LANGUAGES, quick, seed=0)
    lora.train(spec(dtype), *requests(options), context, out)
    return context


def same_training(options: argparse.Namespace) -> dict[str, Any]:
    """Losses along the training and the validation loss at its end, in float32."""
    curves, ends = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name, device in (("cpu", "cpu"), ("device", options.device)):
            out = Path(folder, name)
            trained(options, device, "float32", out)
            curves.append([line["train_loss"] for line in read_lines(out / "losses.jsonl")])
            ends.append(read_lines(out / "history.jsonl")[-1]["validation_loss"])
    apart = float(np.abs(np.subtract(*curves)).max())
    return {
        "points": len(curves[0]),
        "losses_apart": apart,
        "validation_loss": dict(zip(("cpu", "device"), ends, strict=True)),
        "ok": max(apart, abs(ends[0] - ends[1])) < LOSS_TOLERANCE,
    }


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def same_predictions(options: argparse.Namespace) -> dict[str, Any]:
    """A prediction in bfloat16 does not depend on what else is in its batch."""
    from dataclasses import replace

    from routelmt.routers import lora

    _, valid = requests(options)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "router")
        context = trained(options, options.device, "bfloat16", out)
        alone = replace(context, speed={**context.speed, "batch_tokens": 1})
        found = [lora.predict_trained(out, valid, c)[0] for c in (context, alone)]
    deviation = float(np.std(valid.gain("gain", "lora")))
    apart = float(np.abs(found[0] - found[1]).max()) / deviation
    return {"rows": len(found[0]), "apart_in_deviations": apart, "ok": apart <= BATCH_TOLERANCE}


def halving(options: argparse.Namespace) -> dict[str, Any]:
    """With a cap on memory the engine goes on in smaller batches, to the same outputs."""
    import torch

    if options.device == "cpu":
        return {"left_out": "a CPU's memory has no cap"}
    engine = open_engine(options, options.device, "float32")
    asked = prompts(options, engine) * 16

    def outputs() -> list[list[int]]:
        found = dict(engine.decode(asked))
        return [found[n].ids for n in range(len(asked))]

    peaks = []
    for budget in (1024, 2**20):
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        engine.batch_tokens = budget
        whole = outputs()
        peaks.append(torch.cuda.max_memory_reserved())
    total = torch.cuda.get_device_properties(options.device).total_memory
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((peaks[0] + peaks[1]) / 2 / total)
    try:
        capped = outputs()
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    halved, equal = engine.batch_tokens < 2**20, translate.share_equal(whole, capped)
    found = {"peaks_mb": [p >> 20 for p in peaks], "batch_tokens": engine.batch_tokens}
    return found | {"equal": equal, "ok": halved and equal >= 0.95}


# --- speed and memory --------------------------------------------------------------------------


def card(options: argparse.Namespace) -> dict[str, Any]:
    """What the card reaches: bfloat16 products a second, bytes moved a second."""
    import torch

    size, count = (256, 2**20) if options.tiny else (8192, 2**30)
    one = torch.randn(size, size, device=options.device, dtype=torch.bfloat16)
    source = torch.empty(count, device=options.device, dtype=torch.uint8)
    target = torch.empty_like(source)
    product = timed(options, lambda: one @ one)
    copy = timed(options, lambda: target.copy_(source))
    return {"flops": 2 * size**3 / product, "bytes_per_second": 2 * count / copy}


def timed(options: argparse.Namespace, work: Callable[[], Any], repeats: int = 5) -> float:
    """Seconds of one call, the fastest of several after one that warms up."""
    work()
    found = []
    for _ in range(repeats):
        wait(options)
        started = time.perf_counter()
        work()
        wait(options)
        found.append(time.perf_counter() - started)
    return min(found)


def wait(options: argparse.Namespace) -> None:
    import torch

    if options.device != "cpu":
        torch.cuda.synchronize()


def random_model(options: argparse.Namespace, name: str) -> Any:
    """A model of this shape with random bfloat16 weights on the device; None if it is too large."""
    import torch
    from transformers import AutoModelForCausalLM, Qwen3Config

    from routelmt.translate.key_values import register_attention

    hidden, layers, heads, kv_heads, head, between, tied = options.shapes[name]
    settings = Qwen3Config(
        vocab_size=8192 if options.tiny else VOCABULARY,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=head,
        intermediate_size=between,
        tie_word_embeddings=tied,
        max_position_embeddings=4096,
        eos_token_id=1,
        pad_token_id=0,
    )
    with torch.device("meta"):
        size = AutoModelForCausalLM.from_config(settings).num_parameters() * 2
    if options.device != "cpu" and torch.cuda.mem_get_info()[0] < ROOM * size:
        return None
    torch.manual_seed(0)
    with torch.device(options.device):
        return AutoModelForCausalLM.from_config(
            settings, dtype=torch.bfloat16, attn_implementation=register_attention()
        ).eval()


def speed(options: argparse.Namespace, name: str, reached: dict[str, Any]) -> dict[str, Any]:
    """Tokens a second of prefill and greedy decoding, beside `generate` and the card's floor."""
    import torch
    from transformers import AutoTokenizer

    from routelmt.translate.transformers_engine import TransformersEngine

    model = random_model(options, name)
    if model is None:
        return {"left_out": "the card's memory does not hold the weights"}
    rows, new = (8, 8) if options.tiny else (256, 64)
    tokenizer = AutoTokenizer.from_pretrained(SMALL)
    described = {"beams": 1, "max_new_tokens": new}
    engine = TransformersEngine(model, tokenizer, described, 65536)
    engine.end_ids = [model.config.vocab_size - 1]  # so rare that every row has all its tokens
    lengths = np.random.default_rng(0).integers(24, 96, rows)
    asked = [np.random.default_rng(n).integers(2, 8000, k).tolist() for n, k in enumerate(lengths)]
    weights = sum(p.numel() for p in model.get_decoder().layers.parameters())
    everything = model.num_parameters()
    if options.device != "cpu":
        torch.cuda.reset_peak_memory_stats()
    read = timed(options, lambda: list(engine.prefill(asked)), 3)
    layers = timed(options, lambda: list(engine.prefill_layers(asked)), 2)
    ours = timed(options, lambda: list(engine.decode(asked, logprobs=False)), 2)
    few = asked[: rows // 4]
    theirs = 4 * timed(
        options, lambda: translate.generate(model, few, engine.end_ids, engine.pad_id, new), 1
    )
    per_token = 2 * weights / reached["flops"]
    step = max(
        2 * everything / reached["bytes_per_second"], rows * 2 * everything / reached["flops"]
    )
    tokens, out = int(lengths.sum()), rows * new
    return {
        "parameters": everything,
        "rows": rows,
        "prompt_tokens": tokens,
        "output_tokens": out,
        "prefill_tokens_per_second": tokens / read,
        "prefill_floor_share": tokens * per_token / read,
        "prefill_with_all_states_tokens_per_second": tokens / layers,
        "decode_tokens_per_second": out / ours,
        "decode_floor_share": (new * step + tokens * per_token) / ours,
        "generate_tokens_per_second": out / theirs,
        "decode_over_generate": theirs / ours,
        "peak_mb": torch.cuda.max_memory_allocated() >> 20 if options.device != "cpu" else None,
    }


def training_speed(options: argparse.Namespace) -> dict[str, Any]:
    """Rows a second of an epoch of the LoRA router, against transformers.Trainer's."""
    from transformers import AutoTokenizer

    model = random_model(options, "Qwen3-0.6B")
    if model is None:
        return {"left_out": "the card's memory does not hold the weights"}
    training, valid = requests(SimpleNamespace(rows=options.rows if options.tiny else 384))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(SMALL).save_pretrained(folder)
        del model
        settings = argparse.Namespace(
            base=Path(folder), dtype="bfloat16", device=options.device, learning_rate=1e-4,
            epochs=1, batch_size=16 if options.tiny else 64, batch_tokens=16384, threads=4,
        )  # fmt: skip
        task = train_router.Task(settings, training, valid)
        rows = len(task.training.ids)
        found: dict[str, Any] = {"rows": rows}
        runs = {"ours": task.ours, "trainer": lambda *a: task.trainers(*a, our_warmup=True)}
        for name, once in runs.items():
            with tempfile.TemporaryDirectory() as work:
                wall, _, error = once(0, Path(work))
            found[name] = {"rows_per_second": rows / wall, "validation_mse": error}
    ratio = found["ours"]["rows_per_second"] / found["trainer"]["rows_per_second"]
    return found | {"ours_over_trainer": ratio}


def machine(device: str) -> dict[str, Any]:
    import torch

    packages = ("torch", "transformers", "peft", "accelerate", "pyarrow")
    found: dict[str, Any] = {name: metadata.version(name) for name in packages}
    if device != "cpu":
        card = torch.cuda.get_device_properties(device)
        found |= {
            "card": card.name,
            "memory_mb": card.total_memory >> 20,
            "cuda": torch.version.cuda,
        }
    return found | {"device": device, "processor": translate.processor()}


if __name__ == "__main__":
    sys.exit(main())
