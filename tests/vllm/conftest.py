"""Commands run as the workflow runs them: in the core environment, which enters vLLM's own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from routelmt import tables
from tests.conftest import left_out

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "data/demo"
LANGUAGES = {"en": "English", "zh": "Chinese"}
PROMPT = "Translate the following text from {src} into {tgt}:\n{src}: {text}\n{tgt}:"
VERBS = ("Delete", "Create", "Show", "Rename", "Update", "Failed to load")
NOUNS = ("file", "volume", "user {name}", "image", "network", "list of installed packages")
ENDS = ("", " now", " at once.", " on the server, then restart it and wait until it is ready.")
EXTRA = ("", " \n", "保存文件", "<|im_end|> in the text", "%(count)d items", "x")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without the environment nothing here can run."""
    reason = left_out("vllm")
    if reason is None:
        return
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def segments(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A segments table of 150 English sources, short and long, all different."""
    sources = [f"{v} the {n}{e}" for v, n, e in product(VERBS, NOUNS, ENDS)] + list(EXTRA)
    ids = [f"s{n}" for n in range(len(sources))]
    table = tables.from_columns(
        "segments",
        {
            "dataset": "strings",
            "direction": "en-zh",
            "segment_id": ids,
            "group_id": ids,
            "doc_id": None,
            "domain": None,
            "split": "test",
            "source": sources,
            "reference": "x",
        },
    )
    path = tmp_path_factory.mktemp("vllm") / "segments.parquet"
    tables.write(table, path, "segments", {"settings": {}, "parents": []})
    return path


def settings(engine: str, size: str, **changed: Any) -> dict[str, Any]:
    """A model's settings as the workflow hands them over; float32, greedy, 16 new tokens."""
    return {
        "engine": engine,
        "path": str(MODELS / size),
        "revision": None,
        "dtype": "float32",
        "prompt": PROMPT,
        "beams": 1,
        "max_new_tokens": 16,
        "max_prompt_tokens": 256,
        "languages": LANGUAGES,
    } | changed


def command(name: str, segments: Path, model: dict[str, Any], out: Path, *more: str) -> list[str]:
    """A command line of `translate` or `signals`."""
    options = ["--segments", str(segments), "--model", "demo", "--settings", json.dumps(model)]
    options += ["--device", "cpu", "--out", str(out), *more]
    return [sys.executable, "-m", "routelmt", name, *options]


def environment() -> dict[str, str]:
    """No network, one thread."""
    return {**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="session")
def run(segments: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run a command to its end."""

    def call(
        name: str, model: dict[str, Any], out: Path, *more: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command(name, segments, model, out, *more),
            cwd=ROOT,
            env=environment(),
            capture_output=True,
            text=True,
            timeout=170,
        )

    return call


@pytest.fixture(scope="session")
def made(
    run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., dict[str, dict[str, Any]]]:
    """Rows of a table that a command makes, by segment; the same table is made once."""
    folder, known = tmp_path_factory.mktemp("made"), dict[str, Path]()

    def call(name: str, model: dict[str, Any], *more: str) -> dict[str, dict[str, Any]]:
        key = json.dumps([name, model, more])
        if key not in known:
            out = folder / f"{len(known)}.parquet"
            done = run(name, model, out, *more)
            assert done.returncode == 0, done.stderr[-3000:]
            known[key] = out
        table = "hypotheses" if name == "translate" else "signals"
        return {r["segment_id"]: r for r in tables.read(known[key], table).to_pylist()}

    return call
