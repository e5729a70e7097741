"""Scores by a program: what it is given, what is taken of it, and how its failures are told."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from routelmt import config
from routelmt.errors import UserError
from routelmt.score.registry import METRICS, command_files
from routelmt.score.scorers import open_scorer

TRIPLES = [("Hello", "Hallo", "Guten Tag"), ("a\nb\u2028", "«б» 词", ""), ("", "", "x")]
READ = "import json, sys\nrows = [json.loads(line) for line in sys.stdin.buffer]\n"
LENGTHS = f"{READ}for row in rows:\n    print(len(row['hypothesis']))\n"


def settings(tmp_path: Path, program: str, **changes: Any) -> dict[str, Any]:
    script = tmp_path / "judge.py"
    script.write_text(program)
    spec = {"type": "command", "command": [sys.executable, str(script)], "version": None,
            "reference": True, "higher_is_better": True, "timeout": 60}  # fmt: skip
    return spec | changes


def scored(spec: dict[str, Any], triples: list[tuple[str, str, str]] = TRIPLES) -> list[float]:
    return open_scorer(METRICS["command"].module, spec, {}).score(triples).values


@pytest.mark.parametrize("reference", [True, False])
def test_it_is_given_the_texts_as_they_are_and_no_reference_unless_asked(
    tmp_path: Path, reference: bool
) -> None:
    seen = tmp_path / "seen.json"
    program = f"{LENGTHS}open({str(seen)!r}, 'w').write(json.dumps(rows))\n"
    assert scored(settings(tmp_path, program, reference=reference)) == [5.0, 5.0, 0.0]
    names = ("source", "hypothesis", "reference")[: 3 if reference else 2]
    assert json.loads(seen.read_text()) == [dict(zip(names, t, strict=False)) for t in TRIPLES]


def test_errors_counted_are_negated_and_objects_read(tmp_path: Path) -> None:
    program = (
        f"{READ}for n, row in enumerate(rows):\n    print(json.dumps({{'score': n, 'why': 'x'}}))\n"
    )
    spec = settings(tmp_path, program, higher_is_better=False, range=[0, 2])
    assert scored(spec) == [0.0, -1.0, -2.0]


def test_nothing_to_score_starts_nothing(tmp_path: Path) -> None:
    assert scored(settings(tmp_path, "", command=["no-such-program"]), []) == []


def test_more_lines_than_a_pipe_holds(tmp_path: Path) -> None:
    program = "import sys\nfor line in sys.stdin:\n    print(len(line), 'x' * 0)\n    print('w' * 200, file=sys.stderr)\n"
    found = scored(settings(tmp_path, program), [("s" * 500, "h", "r")] * 5000)
    assert len(found) == 5000 and len(set(found)) == 1


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (f"{READ}print(1)", r"gave 1 scores for 3 lines of input\. Its standard error is empty"),
        (f"{LENGTHS}print(7)", "gave 4 scores for 3 lines"),
        (f"{READ}print('1\\nNaN\\n2')", "line 2, NaN is no JSON value"),
        (f"{READ}print('1\\n\\n2')", "line 2, not JSON"),
        (f"{READ}print('1\\n1e999\\n2')", "line 2, the number 1e999 is out of range"),
        (f"{READ}print('1\\ntrue\\n2')", "line 2, 'true'; a number is needed"),
        (f"{READ}print('1\\n{{\"value\": 3}}\\n2')", "a number is needed, or an object"),
        (f"{READ}print('1\\n-0.5\\n2')", r"outside the range \[0, 100\] of the config: line 2, -0.5"),
        (f"{READ}sys.exit('no GPU here')", r"exit status 1\. Its standard error ends:\nno GPU here"),
        ("import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "exit status -15"),
    ],
)  # fmt: skip
def test_what_is_refused(tmp_path: Path, program: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        scored(settings(tmp_path, program, range=[0, 100]))


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="`no-such-program` cannot be started"):
        scored(settings(tmp_path, "", command=["no-such-program"]))


def test_one_that_takes_too_long_ends_with_all_that_it_started(tmp_path: Path) -> None:
    child = tmp_path / "child"
    program = (
        "import subprocess, sys, time\nprint('loading', file=sys.stderr, flush=True)\n"
        f"p = subprocess.Popen(['sleep', '60'])\nopen({str(child)!r}, 'w').write(str(p.pid))\ntime.sleep(60)\n"
    )
    with pytest.raises(UserError, match=r"not done after 1 s \('timeout'\).*\nloading"):
        scored(settings(tmp_path, program, timeout=1))
    for _ in range(50):  # until its new parent has buried it
        stat = Path(f"/proc/{child.read_text()}/stat")
        if not stat.exists() or stat.read_text().split()[2] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("the program's child is alive")


def test_its_files_are_its_identity(tmp_path: Path) -> None:
    spec = settings(tmp_path, LENGTHS)
    weights = tmp_path / "weights.bin"
    weights.touch()
    os.truncate(weights, 2_000_000)
    spec["command"] += [str(weights), "x" * 5000, "--fast"]
    script = tmp_path / "judge.py"
    assert script in command_files(spec) and weights not in command_files(spec)

    def signature() -> Any:
        return open_scorer(METRICS["command"].module, spec, {}).signature()

    before = signature()
    assert json.loads(json.dumps(before)) == before
    script.write_text(LENGTHS + "\n")
    assert signature()["files"] != before["files"]
    for change in ({"version": "2"}, {"higher_is_better": False}, {"command": ["x"]}):
        assert open_scorer(METRICS["command"].module, spec | change, {}).signature() != signature()


def test_only_one_without_a_reference_can_defer(tmp_path: Path) -> None:
    specs = {name: settings(tmp_path, "", reference=name == "judge") for name in ("judge", "free")}
    assert not config.reference_free({"metrics": specs}, "judge")
    assert config.reference_free({"metrics": specs}, "free")
