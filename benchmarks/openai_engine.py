"""The openai engine against a bare asyncio client, on one `vllm serve` of a local model.

    make setup-vllm
    python benchmarks/openai_engine.py --model data/demo/large

The bare client (openai's own, asyncio.gather behind a semaphore) finds the server's best
concurrency; then all run at that concurrency in turns: the engine and the bare client with the same
requests, and both again asking for the text alone (the engine with `logprobs: false`), since
log-probabilities cost the server itself some time. The engine also writes each answer to a file.
CPU seconds of client and server together are given beside: on a busy machine they say more than the
clock. Writes benchmarks/results/openai_engine.json (`--out`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[1]
TEMPLATE = "Translate the following text from English into Chinese:\nEnglish: {text}\nChinese:"
VERBS = ("Delete", "Create", "Show", "Rename", "Failed to load", "Select")
NOUNS = ("file", "volume", "user {name}", "image", "network", "list of installed packages")
ENDS = ("", " now", " at once.", " on the server, then restart it and wait until it is ready.")
MARKS = ("", ":", " (%s)")
MAX_NEW_TOKENS = 64


def main() -> None:
    options = parse()
    texts = (f"{v} the {n}{e}{m}" for v, n, e, m in product(VERBS, NOUNS, ENDS, MARKS))
    turns = [TEMPLATE.format(text=text) for text in texts][: options.rows]
    with serve(options.model) as (url, server):
        bare(url, turns[:32], 8)  # warm
        bare_text(url, turns[:32], 8)
        found = {c: round(min(bare(url, turns, c)[0] for _ in range(2)), 3) for c in options.tried}
        best = min(found, key=lambda c: found[c])
        seconds, cpu, same = alternate(url, turns, best, options.rounds, server)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    report = {
        "model": Path(options.model).name,
        "rows": len(turns),
        "max_new_tokens": MAX_NEW_TOKENS,
        "bare_seconds_by_concurrency": found,
        "concurrency": best,
        **{f"{name}_seconds": values for name, values in seconds.items()},
        **{f"{name}_cpu_seconds": v for name, v in cpu.items()},
        **{f"{name}_rows_per_second": round(len(turns) / s, 1) for name, s in medians.items()},
        **ratios("ratio", seconds["bare"], seconds["engine"]),
        **ratios("cpu_ratio", cpu["bare"], cpu["engine"]),
        **ratios("text_ratio", seconds["bare_text"], seconds["engine_text"]),
        **ratios("text_cpu_ratio", cpu["bare_text"], cpu["engine_text"]),
        **ratios("logprobs_against_text", seconds["bare_text"], seconds["engine"]),
        "same_text": same,
        "machine": machine(),
    }
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(report, indent=1) + "\n")
    print(json.dumps(report, indent=1))


def ratios(name: str, baseline: list[float], ours: list[float]) -> dict[str, Any]:
    """Throughput of ours over the baseline's: of the medians, of the best, and of the rounds."""
    return {
        name: round(statistics.median(baseline) / statistics.median(ours), 3),
        f"{name}_of_best": round(min(baseline) / min(ours), 3),
        f"{name}_median_of_rounds": round(
            statistics.median(b / o for b, o in zip(baseline, ours, strict=True)), 3
        ),
        f"{name}_of_each_round": [round(b / o, 3) for b, o in zip(baseline, ours, strict=True)],
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="folder with weights and tokenizer")
    parser.add_argument("--rows", type=int, default=400, help="at most so many turns")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tried", type=int, nargs="+", default=[8, 16, 32, 64, 128])
    here = Path(__file__).parent
    parser.add_argument("--out", type=Path, default=here / "results" / "openai_engine.json")
    return parser.parse_args()


@contextmanager
def serve(model: str) -> Iterator[tuple[str, int]]:
    """Address and process of a server of the model; on a GPU, or on the CPU where there is none."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [ROOT / ".venvs/vllm/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    command += ["--model", model, "--served-model-name", "served", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--generation-config", "vllm", "--enforce-eager"]
    command += ["--disable-uvicorn-access-log"]
    changed = {
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_NO_USAGE_STATS": "1",
        "HF_HUB_OFFLINE": "1",
    }
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env={**os.environ, **changed}, stdout=log, stderr=log)
        try:
            while not answers(port):
                if process.poll() is not None:
                    log.seek(0)
                    raise SystemExit(log.read().decode(errors="replace")[-3000:])
                time.sleep(0.5)
            yield f"http://127.0.0.1:{port}/v1", process.pid
        finally:
            process.terminate()
            process.wait()


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


def bare(
    url: str, turns: list[str], concurrency: int, logprobs: bool = True
) -> tuple[float, list[str]]:
    """(seconds, texts) of the simplest client."""
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    async def run() -> list[str]:
        http = DefaultAsyncHttpxClient(trust_env=False)
        async with AsyncOpenAI(base_url=url, api_key="none", http_client=http) as client:
            limit = asyncio.Semaphore(concurrency)

            async def ask(turn: str) -> str:
                async with limit:
                    found = await client.chat.completions.create(
                        model="served",
                        messages=[{"role": "user", "content": turn}],
                        temperature=0,
                        max_tokens=MAX_NEW_TOKENS,
                        logprobs=logprobs,
                    )
                return found.choices[0].message.content or ""

            return await asyncio.gather(*map(ask, turns))

    start = time.perf_counter()
    texts = asyncio.run(run())
    return time.perf_counter() - start, texts


def bare_text(url: str, turns: list[str], concurrency: int) -> tuple[float, list[str]]:
    """The same, for the text alone."""
    return bare(url, turns, concurrency, logprobs=False)


def engine(
    url: str, turns: list[str], concurrency: int, logprobs: bool = True
) -> tuple[float, list[str]]:
    """(seconds, texts) of the engine, with a folder to keep answers in."""
    from routelmt.translate.engines import open_engine

    model = {
        "engine": "openai",
        "path": "served",
        "base_url": url,
        "api_key_variable": "OPENAI_API_KEY",
        "temperature": 0,
        "logprobs": logprobs,
        "max_new_tokens": MAX_NEW_TOKENS,
        "price": [0, 0],
    }
    with tempfile.TemporaryDirectory() as kept:
        start = time.perf_counter()
        opened = open_engine(model, {"concurrency": concurrency, "kept": Path(kept)})
        found = dict(opened.translate(opened.encode(turns)))
        seconds = time.perf_counter() - start
    return seconds, [found[i].text for i in range(len(turns))]


def engine_text(url: str, turns: list[str], concurrency: int) -> tuple[float, list[str]]:
    """The same, for the text alone."""
    return engine(url, turns, concurrency, logprobs=False)


def alternate(
    url: str, turns: list[str], concurrency: int, rounds: int, server: int
) -> tuple[dict[str, list[float]], dict[str, list[float]], float]:
    """(seconds and CPU seconds by client and round, share of equal texts)."""
    contenders = {
        "engine": engine,
        "bare": bare,
        "engine_text": engine_text,
        "bare_text": bare_text,
    }
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    cpu: dict[str, list[float]] = {name: [] for name in contenders}
    texts = {}
    engine(url, turns[:32], concurrency)  # warm
    for n in range(rounds):
        for name in random.Random(n).sample(list(contenders), len(contenders)):
            before = cpu_seconds(server)
            taken, texts[name] = contenders[name](url, turns, concurrency)
            seconds[name].append(round(taken, 3))
            cpu[name].append(round(cpu_seconds(server) - before, 3))
    pairs = list(zip(texts["engine"], texts["bare"], strict=True))
    pairs += zip(texts["engine_text"], texts["bare_text"], strict=True)
    return seconds, cpu, sum(a == b for a, b in pairs) / len(pairs)


def cpu_seconds(server: int) -> float:
    """CPU time so far of this process, and of the server with its workers."""
    root = psutil.Process(server)
    times = [p.cpu_times() for p in (root, *root.children(recursive=True))]
    return time.process_time() + sum(t.user + t.system for t in times)


def machine() -> dict[str, Any]:
    return {
        "cpus": os.cpu_count(),
        "processor": processor(),
        "load": [round(x, 2) for x in os.getloadavg()],
        "python": platform.python_version(),
        "openai": metadata.version("openai"),
    }


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((x.split(": ")[1] for x in lines if x.startswith("model name")), "unknown")


if __name__ == "__main__":
    main()
