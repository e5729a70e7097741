"""The vllm engine says what the transformers engine says: same models, same prompts, float32."""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from routelmt import tables
from tests.vllm.conftest import MODELS, ROOT, command, environment, settings

Made = Callable[..., dict[str, dict[str, Any]]]
Rows = dict[str, dict[str, Any]]
# Rows whose text may differ: two next tokens as likely as float32 can tell, decided by the order
# in which an engine adds up.
NEAR_TIES = 0.01
NATS = 1e-3  # of a mean log-probability
BLOCKS = ("--block-rows", "10")
WHOLE = "[!.]*.parquet"  # finished blocks, not those being written


def agree(one: Rows, other: Rows) -> Rows:
    """Rows of `one` with the same text in `other`, which must be all but near-ties."""
    assert one.keys() == other.keys() and len(one) == 150
    same = {k: r for k, r in one.items() if r["hypothesis"] == other[k]["hypothesis"]}
    assert len(one) - len(same) <= NEAR_TIES * len(one)
    for key, row in same.items():
        for column in ("prompt_tokens", "output_tokens", "finish_reason", "degenerate"):
            assert row[column] == other[key][column], (key, column)
        assert row["mean_logprob"] == pytest.approx(other[key]["mean_logprob"], abs=NATS)
    return same


@pytest.mark.parametrize("size", ["small", "large"])
def test_greedy_outputs_are_those_of_transformers(made: Made, size: str) -> None:
    mine = made("translate", settings("vllm", size), *BLOCKS)
    theirs = made("translate", settings("transformers", size))
    agree(mine, theirs)
    # Both ways to end are there, and both with the right count.
    assert {r["finish_reason"] for r in mine.values()} == {"stop", "length"}
    assert all(r["output_tokens"] == 16 for r in mine.values() if r["finish_reason"] == "length")


def test_beams_are_those_of_transformers(made: Made) -> None:
    mine = made("translate", settings("vllm", "large", beams=3))
    same = agree(mine, made("translate", settings("transformers", "large", beams=3)))
    greedy = made("translate", settings("vllm", "large"), *BLOCKS)
    better = [k for k in same if mine[k]["hypothesis"] != greedy[k]["hypothesis"]]
    assert len(better) > 10


@pytest.fixture(scope="module")
def drawn(
    run: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[dict[str, Any]]]:
    """Rows of a table of samples of the small model; the same table is made once."""
    folder, known = tmp_path_factory.mktemp("samples"), dict[tuple[str, ...], Path]()
    wanted = {"count": 3, "temperature": 0.7, "seed": 0}

    def call(engine: str, *more: str) -> list[dict[str, Any]]:
        if (engine, *more) not in known:
            out = folder / f"{len(known)}.parquet"
            done = run("samples", settings(engine, "small", samples=wanted), out, *more)
            assert done.returncode == 0, done.stderr[-3000:]
            known[(engine, *more)] = out
        return tables.read(known[(engine, *more)], "samples").to_pylist()

    return call


def test_samples_are_drawn_as_by_transformers(drawn: Callable[..., Any]) -> None:
    mine, theirs = drawn("vllm"), drawn("transformers")
    assert [(r["segment_id"], r["sample"], r["prompt_tokens"]) for r in mine] == [
        (r["segment_id"], r["sample"], r["prompt_tokens"]) for r in theirs
    ]
    # Random numbers differ, what they are drawn from does not: the means over segments of what
    # depends on chance are within three standard errors of their differences.
    for column in ("mean_logprob", "output_tokens"):
        one, other = (
            np.array([r[column] for r in rows], dtype=np.float64).reshape(-1, 3).mean(axis=1)
            for rows in (mine, theirs)
        )
        error = (one - other).std() / len(one) ** 0.5
        assert abs(one.mean() - other.mean()) < 3 * error, column
    several = [len({r["hypothesis"] for r in mine[n : n + 3]}) for n in range(0, len(mine), 3)]
    assert np.mean(several) > 2  # samples, not one answer three times


def test_samples_do_not_depend_on_what_is_drawn_beside_them(drawn: Callable[..., Any]) -> None:
    whole, parts = (
        [r["hypothesis"] for r in drawn("vllm", *more)] for more in ((), ("--block-rows", "90"))
    )
    assert np.mean([a != b for a, b in zip(whole, parts, strict=True)]) <= NEAR_TIES


@pytest.mark.parametrize("dtype", ["float32"])
def test_signals_are_those_of_transformers(made: Made, dtype: str) -> None:
    mine = made("signals", settings("vllm", "large", dtype=dtype))
    theirs = made("signals", settings("transformers", "large", dtype=dtype))
    assert mine.keys() == theirs.keys()
    for key, row in mine.items():
        assert row["prompt_tokens"] == theirs[key]["prompt_tokens"]
        for column, tolerance in (("entropy", 1e-4), ("margin", 1e-5), ("max_logit", 1e-4)):
            assert row[column] == pytest.approx(theirs[key][column], abs=tolerance), column
        # States are float16 in the table: one step apart where they lie between two numbers.
        one, other = (np.array(r["state"], dtype=np.float32) for r in (row, theirs[key]))
        np.testing.assert_allclose(one, other, rtol=2**-9, atol=1e-4)


def test_a_killed_job_goes_on_where_it_was(
    segments: Path, run: Callable[..., Any], made: Made, tmp_path: Path
) -> None:
    out = tmp_path / "hypotheses.parquet"
    model = settings("vllm", "small")
    blocks = tmp_path / f".{out.name}.blocks"
    with subprocess.Popen(
        command("translate", segments, model, out, *BLOCKS),
        cwd=ROOT,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as job:
        while job.poll() is None and not list(blocks.glob(WHOLE)):
            time.sleep(0.002)
        job.send_signal(signal.SIGKILL)
    kept = [pq.read_table(path) for path in blocks.glob(WHOLE)]
    assert 1 <= len(kept) < 15 and not out.exists()
    done = run("translate", model, out, *BLOCKS)
    assert done.returncode == 0, done.stderr[-3000:]
    assert not blocks.exists()
    found = {r["segment_id"]: r for r in tables.read(out, "hypotheses").to_pylist()}
    assert found == made("translate", model, *BLOCKS)


def test_prompts_too_long_are_left_blank(made: Made) -> None:
    # Of 512 tokens of context, 497 are for the output.
    model = settings("vllm", "small", max_new_tokens=497)
    found = made("translate", model)
    greedy = made("translate", settings("vllm", "small"), *BLOCKS)
    for key, row in found.items():
        if greedy[key]["prompt_tokens"] > 15:
            assert (row["hypothesis"], row["finish_reason"]) == ("", "too_long")
        elif greedy[key]["finish_reason"] == "stop":
            assert row["hypothesis"] == greedy[key]["hypothesis"]
    assert {"too_long", "stop"} <= {r["finish_reason"] for r in found.values()}


def test_models_that_cannot_be_loaded_are_explained(
    run: Callable[..., Any], tmp_path: Path
) -> None:
    def message(**changed: Any) -> str:
        done = run("translate", settings("vllm", "small", **changed), tmp_path / "out.parquet")
        assert done.returncode == 1 and "Traceback" not in done.stderr.splitlines()[-1]
        assert not (tmp_path / "out.parquet").exists()
        return str(done.stderr)[-1500:]

    assert "no such folder" in message(path="./nothing/here")
    assert "HF_HUB_OFFLINE" in message(path="nobody/no-such-model")
    bare = shutil.copytree(MODELS / "small", tmp_path / "bare")
    (bare / "chat_template.jinja").unlink()
    assert "no chat template" in message(path=str(bare))
    torn = shutil.copytree(MODELS / "small", tmp_path / "torn")
    (torn / "model.safetensors").write_bytes(b"not weights")
    assert "cannot be loaded" in message(path=str(torn))


def test_a_model_is_timed_that_both_reads_and_decodes(
    segments: Path, run: Callable[..., Any], tmp_path: Path
) -> None:
    out, model = tmp_path / "rates.parquet", settings("vllm", "small", beams=2, max_new_tokens=4)
    done = run("rates", model, out, "--segments", str(segments), "--rows", "8")
    assert done.returncode == 0, done.stderr[-3000:]
    rates = tables.read(out, "rates").to_pylist()
    assert [r["step"] for r in rates] == ["prefill", "decode"]
    assert all(r["seconds"] > 0 and r["batches"] == "continuous (vLLM)" for r in rates)
