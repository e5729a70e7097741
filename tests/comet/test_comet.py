"""Scores by the command line against COMET's own predict, and what becomes of bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from routelmt import tables
from routelmt.environments import FOLDER_VARIABLE

from .conftest import ENVIRONMENT, HERE, Row, run_in_comet, run_score, score_command

Settings = Callable[..., dict[str, Any]]
# float32 sums come out in another order in other batches. On COMET's scale of 0 to 1.
TOLERANCE = 1e-5


def scored(data: Path, settings: dict[str, Any], out: Path, *more: object) -> Any:
    """The scores table that the command writes."""
    done = run_score(data, settings, out, *more)
    assert done.returncode == 0, done.stderr[-3000:]
    return tables.read(out, "scores")


def values(table: Any) -> list[float]:
    found: list[float] = table.column("score").to_pylist()
    return found


@pytest.mark.parametrize(
    ("kind", "reference"),
    [
        ("xcomet-xl", True),
        ("xcomet", True),
        ("xcomet", False),
        ("unified", True),
        ("kiwi", False),
        ("regression", True),
        ("normed-regression", True),
        ("referenceless", False),
    ],
)
def test_scores_are_those_of_comets_own_predict(
    kind: str,
    reference: bool,
    settings: Settings,
    data: Path,
    expected: dict[str, Any],
    tmp_path: Path,
) -> None:
    theirs = expected[kind if reference else f"{kind}:free"]
    table = scored(data, settings(kind, reference=reference), tmp_path / "out.parquet")
    assert [v / 100 for v in values(table)] == pytest.approx(theirs["scores"], abs=TOLERANCE)
    assert len({round(v, 2) for v in values(table)}) > 20  # a model that tells rows apart
    assert table.column("truncated").to_pylist() == theirs["truncated"]
    assert 0 < sum(theirs["truncated"]) < 20
    spans = table.column("error_spans").to_pylist()
    if theirs["spans"] is None:
        assert spans == [None] * len(spans)
        return
    assert sum(map(len, theirs["spans"])) > 20
    for mine, their in zip(map(json.loads, spans), theirs["spans"], strict=True):
        assert [without_confidence(s) for s in mine] == [without_confidence(s) for s in their]
        confidences = [s["confidence"] for s in their]
        assert [s["confidence"] for s in mine] == pytest.approx(confidences, abs=TOLERANCE)


def without_confidence(span: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in span.items() if k != "confidence"}


def test_identical_triples_get_one_score_and_known_ones_are_taken_over(
    settings: Settings, data: Path, tmp_path: Path
) -> None:
    metric, small_out = settings("xcomet"), tmp_path / "small.parquet"
    small = scored(data, metric, small_out)
    assert values(small)[3] == values(small)[20]
    known = ("--known-hypotheses", data / "small.parquet", "--known-scores", small_out)
    hypotheses = ("--hypotheses", data / "large.parquet")
    # A block size of its own: without the known scores the same texts meet other neighbours.
    large = scored(data, metric, tmp_path / "large.parquet", *hypotheses, *known, "--block-rows", 5)
    same = [a == b for a, b in zip(values(small), values(large), strict=True)]
    assert all(same[::3])
    cut = large.column("truncated").to_pylist()  # what was added may be cut off again
    assert not any(same[n] for n in range(len(same)) if n % 3 and not cut[n])
    assert large.column("error_spans")[3] == small.column("error_spans")[3]


def test_the_signature_says_how_a_score_was_computed(
    settings: Settings, data: Path, checkpoints: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.parquet"
    scored(data, settings("kiwi", reference=False, dtype="bfloat16"), out)
    found = tables.record_of(out)["signature"]
    file = checkpoints / "kiwi" / "checkpoints" / "model.ckpt"
    assert found.pop("encoder")
    assert found == {
        "metric": "comet",
        "class": "unified_metric",
        "checkpoint": subprocess.check_output(["sha256sum", file], text=True).split()[0],
        "comet": "2.2.7",
        "dtype": "bfloat16",
        "reference": False,
    }


def test_the_hubs_cache_serves_where_there_is_no_internet(
    settings: Settings, data: Path, checkpoints: Path, expected: dict[str, Any], tmp_path: Path
) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = tmp_path / "hub"
    weights = checkpoints / "regression" / "checkpoints" / "model.ckpt"
    blob = cache / "models--someone--metric" / "blobs" / ("ab" * 32)  # named by its SHA-256
    snapshot = cache / "models--someone--metric" / "snapshots" / commit
    (snapshot / "checkpoints").mkdir(parents=True)
    blob.parent.mkdir()
    shutil.copy(weights, blob)
    (snapshot / "checkpoints" / "model.ckpt").symlink_to(blob)
    shutil.copy(checkpoints / "regression" / "hparams.yaml", snapshot)
    encoder = cache / "models--someone--encoder"
    shutil.copytree(checkpoints / "encoder", encoder / "snapshots" / commit)
    (encoder / "refs").mkdir()
    (encoder / "refs" / "main").write_text(commit)
    metric = settings("hub", path="someone/metric", revision=commit, encoder="someone/encoder")
    out = tmp_path / "out.parquet"
    done = run_score(data, metric, out, HF_HUB_CACHE=str(cache))
    assert done.returncode == 0, done.stderr[-3000:]
    theirs = expected["regression"]["scores"]
    assert [v / 100 for v in values(tables.read(out, "scores"))] == pytest.approx(
        theirs, abs=TOLERANCE
    )
    assert tables.record_of(out)["signature"]["checkpoint"] == "ab" * 32


def test_a_gated_repository_names_its_licence_page_and_the_token(
    settings: Settings, data: Path, tmp_path: Path
) -> None:
    class Gate(BaseHTTPRequestHandler):
        """What the hub answers for a repository whose licence was not accepted."""

        def do_GET(self) -> None:
            self.send_response(401)
            self.send_header("X-Error-Code", "GatedRepo")
            self.send_header("X-Error-Message", "Access to model someone/gated is restricted.")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gate) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        hub = {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0", "HF_HUB_CACHE": str(tmp_path)}
        done = run_score(data, settings("hub", path="someone/gated"), tmp_path / "o.parquet", **hub)
        server.shutdown()
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "its licence must be accepted" in done.stderr
    assert f"{endpoint}/someone/gated" in done.stderr and "HF_TOKEN" in done.stderr


def test_reduced_precision_runs_in_every_class_and_stays_near(
    settings: Settings, comet_python: Path, rows: list[Row], expected: dict[str, Any]
) -> None:
    triples = [(r["src"], r["mt"], r["ref"]) for r in rows]
    kinds = ["xcomet-xl", "unified", "kiwi:free", "normed-regression", "referenceless:free"]
    asked = []
    for kind in kinds:
        name, _, free = kind.partition(":")
        for dtype in ("bfloat16", "float16"):
            asked.append(settings(name, reference=not free, dtype=dtype))
    found = ask(comet_python, {"settings": asked, "triples": triples}, "--scores")
    for n, kind in enumerate(kinds):
        theirs = expected[kind]["scores"]
        for values, tolerance in zip(found[2 * n : 2 * n + 2], (0.05, 0.01), strict=True):
            gaps = sorted(abs(v / 100 - t) for v, t in zip(values, theirs, strict=True))
            # A token whose error class flips moves XCOMET's score by up to 0.088: few rows may.
            assert gaps[-4] < tolerance, (kind, gaps[-4:])
            assert gaps[-1] > 0


def test_a_killed_job_goes_on_where_it_was(settings: Settings, data: Path, tmp_path: Path) -> None:
    metric, out, whole = settings("xcomet"), tmp_path / "out.parquet", tmp_path / "whole.parquet"
    small_blocks = ("--block-rows", 2)
    command = score_command(data, metric, out, *small_blocks)
    job = subprocess.Popen(command, env={**os.environ, **ENVIRONMENT}, stderr=subprocess.DEVNULL)
    blocks = tmp_path / ".out.parquet.blocks"
    wait_for(lambda: len(list(blocks.glob("*.parquet"))) >= 3, job)
    job.send_signal(signal.SIGKILL)
    job.wait()
    kept = len(list(blocks.glob("*.parquet")))
    assert not out.exists() and kept >= 3
    resumed = scored(data, metric, out, *small_blocks)
    assert not blocks.exists()
    assert resumed.equals(scored(data, metric, whole, *small_blocks))


def wait_for(condition: Callable[[], bool], job: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert job.poll() is None, "the job ended before it was killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_missing_environment_names_the_command_that_makes_it(
    settings: Settings, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(FOLDER_VARIABLE, str(tmp_path))
    done = run_score(data, settings("xcomet"), tmp_path / "out.parquet")
    assert done.returncode == 1
    assert "`make setup-comet`" in done.stderr and "Traceback" not in done.stderr


def test_a_metric_that_cannot_be_loaded_ends_the_command_in_one_sentence(
    settings: Settings, data: Path, tmp_path: Path
) -> None:
    done = run_score(data, settings("nowhere"), tmp_path / "out.parquet")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "routelmt score: error: checkpoint" in done.stderr


def test_refusals_say_what_was_found_and_what_to_do(
    settings: Settings, comet_python: Path, checkpoints: Path, tmp_path: Path
) -> None:
    def copy(name: str, kind: str = "xcomet") -> Path:
        folder = tmp_path / name
        shutil.copytree(checkpoints / kind, folder)
        return folder

    no_weights = copy("no-weights")
    (no_weights / "checkpoints" / "model.ckpt").unlink()
    cut = copy("cut") / "checkpoints" / "model.ckpt"
    cut.write_bytes(cut.read_bytes()[:5000])
    ranking = copy("ranking") / "hparams.yaml"
    ranking.write_text("class_identifier: ranking_metric\n")
    other_class = copy("other-class") / "hparams.yaml"
    other_class.write_text("class_identifier: regression_metric\n")
    other_weights = copy("other-weights")
    shutil.copy(checkpoints / "unified/checkpoints/model.ckpt", other_weights / "checkpoints")
    code = copy("code")
    run_in_comet(comet_python, "-c", HOSTILE, code / "checkpoints/model.ckpt", tmp_path / "ran")
    older, short = copy("older"), copy("short")
    run_in_comet(comet_python, "-c", EDIT, older / "checkpoints/model.ckpt", "older")
    run_in_comet(comet_python, "-c", EDIT, short / "checkpoints/model.ckpt", "short")
    cases = [
        (settings("nowhere"), "no such folder"),
        (settings("no-weights", path=str(no_weights)), "model.ckpt: no such file"),
        (settings("cut", path=str(cut.parents[1])), "not a checkpoint, or cut short"),
        (settings("ranking", path=str(ranking.parent)), "class_identifier is 'ranking_metric'"),
        (settings("other", path=str(other_class.parent)), "do not fit the model"),
        (settings("other", path=str(other_weights)), "cannot be built"),
        (settings("short", path=str(short)), "first: no estimator.ff.0.bias"),
        (settings("older", path=str(older)), None),
        (settings("code", path=str(code)), "could run code"),
        (settings("xcomet", encoder=str(tmp_path / "none")), "('encoder' in the config): no such"),
        (settings("xcomet", encoder=str(tmp_path)), "config.json: no such file"),
        (
            settings("xcomet", encoder=str(checkpoints / "encoder-xl")),
            "is of type xlm-roberta with",
        ),
        (settings("xcomet", encoder="someone/encoder"), "HF_HUB_OFFLINE forbids"),
        (settings("hub", path="someone/metric"), "`hf download someone/metric`"),
        (settings("kiwi"), "set 'reference: false'"),
        (settings("referenceless"), "set 'reference: false'"),
        (settings("regression", reference=False), "set 'reference: true'"),
        (settings("xcomet", encoder=str(checkpoints / "encoder")), None),
    ]
    messages = ask(comet_python, [case[0] for case in cases])
    for (asked, wanted), message in zip(cases, messages, strict=True):
        assert message is None if wanted is None else message and wanted in message, (
            asked,
            message,
        )
    assert not (tmp_path / "ran").exists()


# A checkpoint whose unpacking would make a file.
HOSTILE = """
import pathlib, sys, torch
class Payload:
    def __reduce__(self):
        return pathlib.Path.touch, (pathlib.Path(sys.argv[2]),)
torch.save({"state_dict": {}, "hyper_parameters": Payload()}, sys.argv[1])
"""

# As older libraries saved it, and with a weight lost.
EDIT = """
import sys, torch
saved = torch.load(sys.argv[1], weights_only=True)
if sys.argv[2] == "older":
    saved["state_dict"]["encoder.model.embeddings.position_ids"] = torch.arange(146)[None]
else:
    del saved["state_dict"]["estimator.ff.0.bias"]
torch.save(saved, sys.argv[1])
"""


def ask(python: Path, asked: Any, *more: str) -> Any:
    """The answer of ask.py."""
    done = subprocess.run(
        [python, HERE / "ask.py", *more],
        input=json.dumps(asked),
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(HERE.parents[1] / "workflow")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_batch_that_a_gpu_cannot_hold_is_halved(
    settings: Settings, comet_python: Path, rows: list[Row], expected: dict[str, Any]
) -> None:
    triples = [(r["src"], r["mt"], r["ref"]) for r in rows]
    asked = {"settings": settings("unified"), "triples": triples}
    (before, after), found = ask(comet_python, asked, "--out-of-memory")
    assert after < before
    theirs = expected["unified"]["scores"]
    assert [v / 100 for v in found] == pytest.approx(theirs, abs=TOLERANCE)
