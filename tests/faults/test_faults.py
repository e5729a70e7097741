"""Faults put into what the deployment reads: each is named, or changes nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers.deploy import Request, load_router, parse_request
from routelmt.routers.stream import open_stream
from routelmt.stats.streaming import Settings

BITS = np.random.default_rng(0)


def flipped(whole: bytes, place: int) -> bytes:
    """One bit of a byte, drawn."""
    changed = bytearray(whole)
    changed[place] ^= 1 << int(BITS.integers(8))
    return bytes(changed)


@pytest.mark.parametrize("name", ["ngram.safetensors", "router.json"])
def test_no_flipped_bit_of_a_router_is_used_in_silence(router, tmp_path, name, capsys):
    path = Path(shutil.copytree(router, tmp_path / "r")) / name
    whole = path.read_bytes()
    for place in BITS.integers(len(whole), size=80):
        path.write_bytes(flipped(whole, int(place)))
        try:
            load_router(path.parent)
        except UserError as error:
            assert str(path.parent) in str(error)
        else:  # the flip hit the name of the hashes' field
            assert "so they are not checked" in capsys.readouterr().err
    path.write_bytes(whole)
    load_router(path.parent)


def test_a_flipped_bit_of_a_table_is_named_or_changes_nothing(tmp_path):
    path = tmp_path / "gains.parquet"
    rows = 300
    data = tables.from_columns("gains", {
        "dataset": "d", "direction": "en-zh", "segment_id": [f"s{i}" for i in range(rows)],
        "group_id": [f"g{i}" for i in range(rows)], "quality_small": np.linspace(0, 50, rows),
        "quality_large": np.linspace(20, 90, rows), "gain": np.linspace(20, 40, rows),
    })  # fmt: skip
    tables.write(data, path, "gains", {"stage": "gains"})
    whole, found = path.read_bytes(), 0
    for place in range(0, len(whole), 23):
        path.write_bytes(flipped(whole, place))
        try:
            assert tables.read(path, "gains").equals(data), place
        except UserError as error:
            found += 1
            assert str(path) in str(error)
    assert found > len(whole) / 23 / 2


@pytest.mark.parametrize(
    "source", ["", "\u200b\u2060", "a\0b", "\ud800", 5, None, ["a"], {"text": "a"}]
)
def test_a_source_that_is_none_is_answered_with_a_reason(source):
    line = json.dumps({"direction": "en-zh", "source": source}).encode()
    found = parse_request(line, 1, ["en-zh"])
    assert not isinstance(found, Request) and 0 < len(found) <= 500


def test_kill_9_in_the_middle_loses_and_changes_no_decision(router, calibration, traffic, tmp_path):
    def start(state: Path, lines: list[str]) -> subprocess.Popen[str]:
        source = tmp_path / "requests.jsonl"
        source.write_text("\n".join(lines) + "\n")
        held_out = [] if state.exists() else ["--calibration", str(calibration)]
        return subprocess.Popen(
            [sys.executable, "-m", "routelmt", "route", "--stream", "--router", str(router),
             "--budget", "0.3", "--policy", "rolling", "--window", "40", "--save-every", "200",
             "--state", str(state), "--input", str(source), *held_out],
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    with start(tmp_path / "whole", traffic) as process:
        assert process.stdout is not None
        whole = [json.loads(line) for line in process.stdout]
    assert len(whole) == len(traffic)
    state, done = tmp_path / "state", 0
    for answers in (150, 400, None):
        with start(state, traffic[done:]) as process:
            assert process.stdout is not None
            if answers is not None:
                got = [process.stdout.readline() for _ in range(answers)]
                process.kill()
            else:
                got = []
            got += [line for line in process.stdout if line.endswith("\n")]
        assert [json.loads(line) for line in got] == whole[done : done + len(got)]
        kept = open_stream(router, load_router(router), "rolling", Settings(0.3, window=40), state)
        assert kept.requests <= done + len(got) <= kept.requests + 64
        done = kept.requests
    assert done == len(traffic)
