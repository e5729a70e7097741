"""Greedy decoding of the transformers engine against `model.generate` on the same segments.

    python benchmarks/translate.py --model DIR --segments data/segments/*/en-zh.parquet
    python benchmarks/translate.py --model DIR --corpus corpus.parquet --rows 500

The baseline decodes in arrival order, 16 rows at a time, padded on the left. Both get the same
token ids and give token ids, in one process and in turns (A B A B); medians over the rounds are
compared. Writes benchmarks/results/translate.json (`--out`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "zh": "Chinese", "ru": "Russian"}
BASELINE_BATCH = 16
Outputs = list[list[int]]


def main() -> None:
    options = parse()
    sources = read_sources(options)
    report: dict[str, Any] = {
        "model": Path(options.model).name,
        "rows": len(sources),
        "machine": machine(options.threads),
        "max_new_tokens": options.max_new_tokens,
        "batch_tokens": options.batch_tokens,
        "baseline_batch": BASELINE_BATCH,
        "rounds": options.rounds,
    }
    outputs = {}
    for dtype in options.dtypes:
        report[dtype], outputs[dtype] = compare(options, sources, dtype)
        print(dtype, json.dumps(report[dtype], indent=1), flush=True)
    if len(outputs) == 2:
        one, other = outputs.values()
        report["same_output_in_both_dtypes"] = share_equal(one, other)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder with weights and tokenizer")
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--segments", nargs="+", help="'segments' tables")
    data.add_argument("--corpus", help="a 'corpus' table; its test split, both directions")
    parser.add_argument("--rows", type=int, default=500, help="at most so many segments")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--batch-tokens", type=int, default=8192)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results" / "translate.json")
    return parser.parse_args()


def read_sources(options: argparse.Namespace) -> list[tuple[str, str]]:
    """(direction, source) in arrival order."""
    from routelmt import tables

    if options.segments:
        data = tables.read_all(options.segments, "segments")
        pairs = zip(data["direction"].to_pylist(), data["source"].to_pylist(), strict=True)
        return list(pairs)[: options.rows]
    rows = [r for r in tables.read(options.corpus, "corpus").to_pylist() if r["split"] == "test"]
    from_english = [(f"en-{r['language']}", r["english"]) for r in rows]
    to_english = [(f"{r['language']}-en", r["translation"]) for r in rows]
    return [pair for both in zip(from_english, to_english, strict=True) for pair in both][
        : options.rows
    ]


def compare(
    options: argparse.Namespace, sources: list[tuple[str, str]], dtype: str
) -> tuple[dict[str, Any], Outputs]:
    """Measurements of one precision, and the engine's outputs."""
    import torch
    from transformers import AutoModelForCausalLM

    from routelmt.translate import prompts
    from routelmt.translate.engines import open_engine

    model = {
        "engine": "transformers",
        "path": str(options.model),
        "revision": None,
        "dtype": dtype,
        "prompt": TEMPLATE,
        "beams": 1,
        "max_new_tokens": options.max_new_tokens,
    }
    speed = {"batch_tokens": options.batch_tokens, "device": "auto", "threads": options.threads}
    engine: Any = open_engine(model, speed)
    plain = AutoModelForCausalLM.from_pretrained(options.model, dtype=getattr(torch, dtype))
    plain = plain.to(engine.model.device).eval()
    asked = engine.encode([prompts.render(TEMPLATE, LANGUAGES, *pair) for pair in sources])

    def ours() -> Outputs:
        found = dict(engine.decode(asked))
        return [found[i].ids for i in range(len(asked))]

    def baseline() -> Outputs:
        return generate(plain, asked, engine.end_ids, engine.pad_id, options.max_new_tokens)

    runs = alternate({"ours": ours, "baseline": baseline}, options.rounds)
    mine, theirs = runs["ours"][2], runs["baseline"][2]
    different = [i for i, (a, b) in enumerate(zip(mine, theirs, strict=True)) if a != b]
    tokens = sum(len(o) for o in mine)
    result: dict[str, Any] = {}
    for name, (wall, cpu, _) in runs.items():
        result[f"{name}_seconds"], result[f"{name}_cpu_seconds"] = wall, cpu
        result[f"{name}_tokens_per_second"] = round(tokens / statistics.median(wall))
    for kind, index in (("ratio", 0), ("cpu_ratio", 1)):
        slow, fast = (statistics.median(runs[name][index]) for name in ("baseline", "ours"))
        result[kind] = round(slow / fast, 2)
    result |= {
        "parameters": plain.num_parameters(),
        "output_tokens": tokens,
        "stopped": sum(o[-1] in engine.end_ids for o in mine) / len(mine),
        "identical": share_equal(mine, theirs),
        "different_rows": len(different),
        "largest_logit_gap_where_different": max(
            (logit_gap(plain, asked[i], mine[i], theirs[i]) for i in different), default=None
        ),
    }
    return result, mine


def generate(
    model: Any, asked: list[list[int]], end_ids: list[int], pad_id: int, max_new_tokens: int
) -> Outputs:
    """The usual way: fixed batches in arrival order through `model.generate`."""
    import torch
    from transformers import GenerationConfig

    config = GenerationConfig(
        do_sample=False,
        num_beams=1,
        max_new_tokens=max_new_tokens,
        eos_token_id=end_ids,
        pad_token_id=pad_id,
    )
    outputs = []
    for start in range(0, len(asked), BASELINE_BATCH):
        batch = asked[start : start + BASELINE_BATCH]
        width = max(len(p) for p in batch)
        ids = torch.tensor([[pad_id] * (width - len(p)) + p for p in batch], device=model.device)
        mask = torch.tensor(
            [[0] * (width - len(p)) + [1] * len(p) for p in batch], device=model.device
        )
        with torch.inference_mode():
            found = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
        outputs += [cut(row, end_ids) for row in found[:, width:].tolist()]
    return outputs


def cut(ids: list[int], end_ids: list[int]) -> list[int]:
    """The tokens up to the first end of sequence."""
    end = next((n + 1 for n, token in enumerate(ids) if token in end_ids), len(ids))
    return ids[:end]


def alternate(
    contenders: dict[str, Callable[[], Outputs]], rounds: int
) -> dict[str, tuple[list[float], list[float], Outputs]]:
    """(wall seconds, CPU seconds, outputs) of each contender, run in turns."""
    runs: dict[str, tuple[list[float], list[float], Outputs]] = {
        name: ([], [], []) for name in contenders
    }
    for _ in range(rounds):
        for name, run in contenders.items():
            wall, cpu = time.perf_counter(), time.process_time()
            outputs = run()
            runs[name][0].append(round(time.perf_counter() - wall, 3))
            runs[name][1].append(round(time.process_time() - cpu, 3))
            runs[name][2][:] = outputs
    return runs


def logit_gap(model: Any, prompt: list[int], one: list[int], other: list[int]) -> float:
    """Difference of the two tokens' logits where two outputs part; near 0 if it was a tie."""
    import torch

    at = next(n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b)
    with torch.inference_mode():
        ids = torch.tensor([prompt + one[:at]], device=model.device)
        logits = model(input_ids=ids, logits_to_keep=1).logits[0, -1].float()
    return abs(float(logits[one[at]] - logits[other[at]]))


def share_equal(one: Outputs, other: Outputs) -> float:
    return sum(a == b for a, b in zip(one, other, strict=True)) / len(one)


def machine(threads: int) -> dict[str, Any]:
    import torch
    import transformers

    return {
        "cpus": os.cpu_count(),
        "usable_cpus": len(os.sched_getaffinity(0)),
        "threads": threads,
        "processor": processor(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": platform.python_version(),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(": ")[1] for x in lines if x.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
