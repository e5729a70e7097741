"""The openai engine against a real server of the demo's small model on loopback."""

from __future__ import annotations

import math
import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from routelmt import tables
from routelmt.environments import python_of
from tests.vllm.conftest import MODELS, PROMPT, ROOT, environment, settings
from tests.vllm.test_vllm_engine import Made, agree

ON_CPU = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_CPU_NUM_OF_RESERVED_CPU": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_NO_USAGE_STATS": "1",
}
KEY = "sk-test-0123456789"
CONTEXT = 128  # tokens
STARTS_WITHIN = 120  # seconds


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of `vllm serve`; it asks for a key."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    options = ["--served-model-name", "demo", "--host", "127.0.0.1", "--port", str(port)]
    options += ["--dtype", "float32", "--max-model-len", str(CONTEXT), "--enforce-eager"]
    options += ["--generation-config", "vllm", "--api-key", KEY]
    # `vllm serve`, whose own command does not start from the CPU's package: it has another name.
    serve = [ROOT / python_of("vllm"), "-m", "vllm.entrypoints.openai.api_server"]
    with log.open("w") as file:
        process = subprocess.Popen(
            [*serve, "--model", MODELS / "small", *options],
            env={**environment(), **ON_CPU},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + STARTS_WITHIN
        while not _answers(port):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-3000:]
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=1) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False


@pytest.fixture()
def served(server: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Settings of the served model; its key is in the environment."""
    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", KEY)
    model = settings("openai", "small")
    return {
        **{n: model[n] for n in ("engine", "languages", "max_new_tokens")},
        "prompt": PROMPT,
        "path": "demo",
        "base_url": server,
        "temperature": 0,
    }


def test_a_served_model_says_what_it_says_here(made: Made, served: dict[str, Any]) -> None:
    agree(made("translate", served), made("translate", settings("transformers", "small")))


def test_a_served_model_draws_samples(
    run: Callable[..., Any], served: dict[str, Any], tmp_path: Path
) -> None:
    def rows(name: str, **changed: Any) -> list[dict[str, Any]]:
        wanted = {"count": 3, "temperature": 0.7, "seed": 0}
        out = tmp_path / f"{name}.parquet"
        done = run("samples", {**served, "samples": wanted, **changed}, out)
        assert done.returncode == 0, done.stderr[-3000:]
        return tables.read(out, "samples").to_pylist()

    first, again = rows("first"), rows("again", logprobs=False)
    assert [r["sample"] for r in first] == [0, 1, 2] * 150
    # vLLM heeds the seeds; rows that differ were drawn near the border of two tokens.
    pairs = list(zip(first, again, strict=True))
    assert sum(a["hypothesis"] != b["hypothesis"] for a, b in pairs) <= 0.02 * len(pairs)
    assert len({r["hypothesis"] for r in first}) > 2 * 150
    assert all(r["mean_logprob"] < 0 and 1 <= r["output_tokens"] <= 16 for r in first)
    assert all(math.isnan(r["mean_logprob"]) for r in again)
    for start in range(0, len(first), 3):  # equal shares of the same total
        one, other = (sum(r["output_tokens"] for r in t[start : start + 3]) for t in (first, again))
        texts = [[r["hypothesis"] for r in t[start : start + 3]] for t in (first, again)]
        assert one == other or texts[0] != texts[1]


def test_a_prompt_too_long_for_the_server_is_flagged(made: Made, served: dict[str, Any]) -> None:
    found = made("translate", {**served, "prompt": "{text}\n" * 12})
    refused = [r for r in found.values() if r["finish_reason"] == "too_long"]
    assert 0 < len(refused) < len(found)
    assert all(r["prompt_tokens"] < CONTEXT for r in found.values())
    for row in refused:
        assert row["hypothesis"] == "" and row["degenerate"] and math.isnan(row["mean_logprob"])


def test_a_wrong_key_and_a_wrong_name_are_explained(
    run: Callable[..., Any], served: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run("translate", {**served, "path": "another"}, tmp_path / "out.parquet")
    assert done.returncode == 1 and "no model 'another' there" in done.stderr
    monkeypatch.setitem(os.environ, "OPENAI_API_KEY", "sk-wrong-0123456789")
    done = run("translate", served, tmp_path / "out.parquet")
    assert done.returncode == 1 and "the key in OPENAI_API_KEY is not accepted (401)" in done.stderr
    assert "sk-wrong" not in done.stdout + done.stderr
