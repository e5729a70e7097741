"""A stream of requests: a real router, real pipes and signals, a state that survives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import tracemalloc

import numpy as np
import pytest
from router_toys import LANGUAGES, SPEED, segments, toy

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers import ngram
from routelmt.routers import stream as module
from routelmt.routers.deploy import Request, load_router, score_requests
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.predictions import predictions
from routelmt.routers.stream import (
    RequestStream,
    exclusive,
    open_stream,
    read_calibration,
    serve,
    write_journal,
    write_state,
)
from routelmt.stats.streaming import POLICIES, Settings, uniform

OWN = Settings(0.3, window=40)


@pytest.fixture(scope="module")
def router(trained):
    return load_router(trained[0], speed=SPEED)


def lines_of(rows: int, seed: int) -> list[str]:
    inputs = toy(rows, seed)
    pairs = zip(inputs.directions, inputs.sources, strict=True)
    return [json.dumps({"id": f"{seed}-{i}", "direction": d, "source": s})
            for i, (d, s) in enumerate(pairs)]  # fmt: skip


def segments_of(dataset: str):
    inputs = toy(80, 9)
    return segments(list(zip(inputs.directions, inputs.sources, strict=True)), dataset)


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "held-out.jsonl"
    path.write_text("\n".join(lines_of(150, 70)) + "\n")
    return path


@pytest.fixture(scope="module")
def traffic():
    return lines_of(120, 71)


class Out:
    """What a stream has answered."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    @property
    def answers(self):
        return [json.loads(line) for line in self.text.splitlines()]


def served(opened: RequestStream, lines, state, **options):
    """The answers to lines that come through a pipe."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as sink:
            for line in lines:
                sink.write(line if isinstance(line, bytes) else line.encode() + b"\n")

    writer = threading.Thread(target=write)
    writer.start()
    out = Out()
    try:
        serve(opened, reading, out, state, **options)
    finally:
        os.set_blocking(reading, False)
        writer.join(10)
        os.close(reading)
    return out.answers


def opened(trained, router, state, calibration, policy="fixed", own=OWN):
    return open_stream(trained[0], router, policy, own, state, [calibration] if calibration else [])


@pytest.mark.parametrize("policy", POLICIES)
def test_stopping_and_going_on_changes_no_decision(
    policy, trained, router, calibration, traffic, tmp_path
):
    whole = served(opened(trained, router, tmp_path / "whole", calibration, policy), traffic,
                   tmp_path / "whole", batch=1)  # fmt: skip
    parts = []
    for first in range(0, len(traffic), 50):
        again = opened(trained, router, tmp_path / "state", None if first else calibration, policy)
        parts += served(again, traffic[first : first + 50], tmp_path / "state", batch=1)
    assert parts == whole
    kept, expected = (json.loads((tmp_path / n).read_text()) for n in ("state", "whole"))
    assert kept == expected
    counts = [kept["directions"][d]["served"] for d in ("en-zh", "en-ru")]
    assert sum(counts) == len(traffic)
    assert sum(r["route"] == "large" for r in whole) == sum(
        kept["directions"][d]["routed"] for d in ("en-zh", "en-ru")
    )


def test_a_decision_is_the_threshold_of_the_calibration_scores(
    trained, router, calibration, traffic, tmp_path
):
    answers = served(opened(trained, router, tmp_path / "s", calibration), traffic, tmp_path / "s")
    rows = [json.loads(line) for line in calibration.read_text().splitlines()]
    requests = [Request(r["id"], r["direction"], r["source"]) for r in rows]
    scores = score_requests(router, requests)[1]
    assert len(answers) == len(traffic)
    for direction in ("en-zh", "en-ru"):
        own = np.sort(
            [s for s, r in zip(scores, requests, strict=True) if r.direction == direction]
        )
        k = int(np.ceil(0.3 * len(own) - 1e-9))
        for answer in (a for a in answers if a["direction"] == direction):
            assert answer["threshold"] == pytest.approx(own[-k], abs=1e-3)
            if answer["priority"] != answer["threshold"]:
                above = answer["priority"] > answer["threshold"]
                assert answer["route"] == ("large" if above else "small")
            assert answer["predicted_gain"] == answer["priority"]


def test_broken_lines_are_answered_in_their_place_and_nothing_stops(
    trained, router, calibration, traffic, tmp_path
):
    mixed = [traffic[0], "", "{", traffic[1], '{"direction": "en-fr", "source": "a"}', b"\xff\n",
             traffic[2]]  # fmt: skip
    answers = served(opened(trained, router, tmp_path / "s", calibration), mixed, tmp_path / "s")
    assert [a.get("id", a.get("line")) for a in answers] == ["71-0", 3, "71-1", 5, 6, "71-2"]
    reasons = [a["error"] for a in answers if "error" in a]
    for reason, part in zip(reasons, ("not JSON", "en-fr", "not UTF-8"), strict=True):
        assert part in reason
    kept = json.loads((tmp_path / "s").read_text())
    assert sum(d["served"] for d in kept["directions"].values()) == 3


HOSTILE = {
    "digits": b'{"id": ' + b"9" * 5000 + b', "direction": "en-zh", "source": "a"}',
    "brackets": b"[" * 20_000,
    "closed brackets": b'{"source": ' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "longer than 16 MB": b'{"direction": "en-zh", "source": "' + b"x" * (1 << 24) + b'"}',
    "a long direction": json.dumps({"direction": "x" * 99_999, "source": "a"}).encode(),
    "a long id": json.dumps({"id": [["y" * 99_999]], "direction": "en-zh", "source": "a"}).encode(),
    "NaN": b'{"id": NaN, "direction": "en-zh", "source": "a"}',
    "two sources": b'{"direction": "en-zh", "source": "a", "source": "b"}',
    "half a pair": rb'{"id": "\ud800", "direction": "en-zh", "source": "a"}',
    "NUL": b"\0" * 5000,
}


def test_a_hostile_line_costs_its_neighbours_nothing(
    trained, router, calibration, traffic, tmp_path
):
    expected = served(
        opened(trained, router, tmp_path / "a", calibration), traffic[:40], tmp_path / "a"
    )
    mixed: list[str | bytes] = list(traffic[:40])
    for place, line in enumerate(HOSTILE.values()):
        mixed.insert(4 * place + 1, line + b"\n")
    answers = served(opened(trained, router, tmp_path / "b", calibration), mixed, tmp_path / "b")
    broken = [a for a in answers if "error" in a]
    assert [a["line"] for a in broken] == [4 * place + 2 for place in range(len(HOSTILE))]
    assert all(set(a) == {"line", "error"} and len(a["error"]) <= 500 for a in broken)
    # What is computed together may differ in the last bit; the decisions may not.
    good = [a for a in answers if "error" not in a]
    assert [(a["id"], a["route"]) for a in good] == [(a["id"], a["route"]) for a in expected]
    assert [a["priority"] for a in good] == pytest.approx([a["priority"] for a in expected], 1e-5)


def test_of_a_line_without_end_little_is_kept(trained, router, calibration, traffic, tmp_path):
    stream = opened(trained, router, tmp_path / "s", calibration)
    endless = [b"x" * (1 << 22)] * 20 + [b"\n"]  # 80 MB
    tracemalloc.start()
    answers = served(stream, [*endless, traffic[0]], tmp_path / "s")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [a.get("id", a.get("line")) for a in answers] == [1, "71-0"]
    assert "longer than 16,777,216 bytes" in answers[0]["error"]
    assert peak < 3 * (1 << 24)


def test_a_request_that_is_too_long_is_answered_as_truncated(
    trained, router, calibration, tmp_path
):
    rows = [{"id": i, "direction": "en-zh", "source": "save " * n} for i, n in enumerate((90, 1))]
    stream = opened(trained, router, tmp_path / "state", calibration)
    found = stream.answer([(i, json.dumps(row).encode()) for i, row in enumerate(rows, start=1)])
    assert [row.get("truncated") for row in found] == [True, None]


def test_strict_stops_at_the_first_broken_line_with_the_state_before_it(
    trained, router, calibration, traffic, tmp_path
):
    stream = opened(trained, router, tmp_path / "s", calibration)
    with pytest.raises(UserError, match=r"line 2: not JSON"):
        served(stream, [traffic[0], "{", traffic[1]], tmp_path / "s", strict=True)
    kept = json.loads((tmp_path / "s").read_text())
    assert sum(d["served"] for d in kept["directions"].values()) == 1


def test_the_last_line_needs_no_line_break(trained, router, calibration, traffic, tmp_path):
    stream = opened(trained, router, tmp_path / "s", calibration)
    answers = served(stream, [traffic[0].encode()], tmp_path / "s")
    assert [a["id"] for a in answers] == ["71-0"]


def test_a_direction_without_calibration_data_is_an_error_of_its_lines(
    trained, router, traffic, tmp_path
):
    only = tmp_path / "only.jsonl"
    only.write_text("\n".join(line for line in lines_of(60, 5) if "en-zh" in line))
    answers = served(opened(trained, router, tmp_path / "s", only), traffic[:20], tmp_path / "s")
    for line, answer in zip(traffic, answers, strict=False):
        if '"en-ru"' in line:
            assert "direction 'en-ru' has no calibration data; there is: en-zh" in answer["error"]
        else:
            assert answer["route"] in ("small", "large")


def test_calibration_comes_from_predictions_tables_too(trained, router, tmp_path):
    inputs = RouterInputs.aligned(segments_of("held-out"))
    prediction, priority = router.score(inputs.directions, inputs.sources)
    for name, seed in (("a", 1), ("b", 1)):
        table = predictions(inputs.segments, name, seed, prediction, priority)
        tables.write(table, tmp_path / f"{name}.parquet", "predictions", {"parents": []})
    one = read_calibration([tmp_path / "a.parquet"], trained[0], router)
    for direction in ("en-zh", "en-ru"):
        own = np.array([d == direction for d in inputs.directions])
        assert one[direction] == pytest.approx(np.sort(priority[own]))
    both = tables.read_all([tmp_path / "a.parquet", tmp_path / "b.parquet"], "predictions")
    tables.write(both, tmp_path / "both.parquet", "predictions", {"parents": []})
    with pytest.raises(UserError, match=r"holds the predictions of a/seed1, b/seed1"):
        read_calibration([tmp_path / "both.parquet"], trained[0], router)
    named = read_calibration([tmp_path / "both.parquet"], trained[0], router, "b")
    assert named["en-zh"].tolist() == one["en-zh"].tolist()
    seen = predictions(toy(80, 9).segments, "a", 1, prediction, priority)  # dataset "toy"
    tables.write(seen, tmp_path / "seen.parquet", "predictions", {"parents": []})
    with pytest.raises(UserError, match="has predictions on toy, which the router was trained on"):
        read_calibration([tmp_path / "seen.parquet"], trained[0], router)
    # The folder ROUTER/seedN says which, too.
    there = tmp_path / "b" / "seed1"
    assert read_calibration([tmp_path / "both.parquet"], there, router).keys() == one.keys()


def test_states_of_another_kind_are_refused(trained, router, calibration, tmp_path):
    state = tmp_path / "s"
    with pytest.raises(UserError, match="--calibration: no file has none of"):
        opened(trained, router, state, None)
    write_state(state, opened(trained, router, state, calibration))
    with pytest.raises(UserError, match="its policy is fixed, asked is rolling"):
        opened(trained, router, state, None, "rolling")
    with pytest.raises(UserError, match="its settings is"):
        opened(trained, router, state, None, own=Settings(0.4, window=40))
    other = tmp_path / "other.jsonl"
    other.write_text("\n".join(lines_of(20, 4)))
    with pytest.raises(UserError, match="was calibrated on other data"):
        opened(trained, router, state, other)
    assert opened(trained, router, state, calibration).streams.keys() == {"en-ru", "en-zh"}
    state.write_text("{}")
    with pytest.raises(UserError, match="not the state of a stream"):
        opened(trained, router, state, None)


def test_an_alarm_is_told_once_and_stands_in_the_answers(
    trained, router, calibration, tmp_path, capsys
):
    rows = [json.dumps({"id": i, "direction": "en-zh", "source": "error error of the file"})
            for i in range(200)]  # fmt: skip
    stream = opened(trained, router, tmp_path / "s", calibration, "controller")
    answers = served(stream, rows, tmp_path / "s")
    flags = [a["alarm"] for a in answers]
    assert not flags[0] and flags[-1] and flags == sorted(flags)
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("alarm:")]
    assert 1 <= len(told) <= 2 and "direction en-zh" in told[0]
    again = RequestStream(router, "controller", OWN, stream._calibration, stream.state())
    assert again.streams["en-zh"].traffic_alarm == stream.streams["en-zh"].traffic_alarm


def test_the_state_is_saved_on_the_way(
    trained, router, calibration, traffic, tmp_path, monkeypatch
):
    saved = []
    real = module.write_state
    monkeypatch.setattr(module, "write_state", lambda *a: (saved.append(a), real(*a)))
    stream = opened(trained, router, tmp_path / "s", calibration)
    served(stream, traffic[:40], tmp_path / "s", save_every=10, batch=5)
    assert len(saved) == 6  # at the start, four times ten, and at the end


def test_a_signal_ends_the_stream_with_everything_answered_and_saved(
    trained, calibration, traffic, tmp_path
):
    command = [sys.executable, "-m", "routelmt", "route", "--stream", "--router", str(trained[0]),
               "--budget", "0.3", "--state", str(tmp_path / "s"), "--calibration",
               str(calibration), "--device", "cpu"]  # fmt: skip
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.PIPE) as process:  # fmt: skip
        assert process.stdin and process.stdout
        for line in traffic[:3]:  # one answer for each line, before the next comes
            process.stdin.write(line + "\n")
            process.stdin.flush()
            assert json.loads(process.stdout.readline())["id"] == json.loads(line)["id"]
        process.stdin.write('{"direction": "en-zh", "sour')  # half a line is not a request
        process.stdin.flush()
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0
        assert process.stdout.read() == ""
    kept = json.loads((tmp_path / "s").read_text())
    assert sum(d["served"] for d in kept["directions"].values()) == 3


NGRAM = {"type": "ngram", "target": "gain", "ngrams": [1, 2], "columns": 2**10, "alpha": 1.0}


@pytest.fixture(scope="module")
def light(tmp_path_factory):
    """Folder of a router that loads in a second."""
    out = tmp_path_factory.mktemp("light") / "seed0"
    ngram.train(NGRAM, toy(200, 0), toy(40, 1), RouterContext({}, LANGUAGES, SPEED, 0), out)
    return out


def start(router, state, calibration=None):
    command = [sys.executable, "-m", "routelmt", "route", "--stream", "--router", str(router),
               "--budget", "0.3", "--policy", "rolling", "--window", "40", "--state", str(state),
               *(["--calibration", str(calibration)] if calibration else [])]  # fmt: skip
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    return subprocess.Popen(command, text=True, **pipes)


def ask(process, lines):
    """One answer after the other."""
    answers = []
    for line in lines:
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answers.append(json.loads(process.stdout.readline()))
    return answers


def test_after_kill_9_the_next_stream_goes_on_exactly(light, calibration, traffic, tmp_path):
    state = tmp_path / "s"
    loaded = load_router(light)
    own = Settings(0.3, window=40)
    whole = served(open_stream(light, loaded, "rolling", own, tmp_path / "w", [calibration]),
                   traffic, tmp_path / "w", batch=1)  # fmt: skip
    places, place = {json.loads(line)["id"]: i for i, line in enumerate(traffic)}, 0
    for stop in (35, 80, len(traffic)):
        with start(light, state, None if place else calibration) as process:
            answers = ask(process, traffic[place:stop])
            assert answers == whole[place:stop]
            process.kill()
        with exclusive(state):
            reached = open_stream(light, loaded, "rolling", own, state)
        # Answers come before the journal: of the last line, one may be without the other.
        assert stop - 1 <= reached.requests <= stop
        assert reached.last is not None and places[reached.last] == reached.requests - 1
        place = reached.requests


def test_a_second_stream_on_a_state_is_refused(light, calibration, traffic, tmp_path):
    with start(light, tmp_path / "s", calibration) as first:
        ask(first, traffic[:1])
        with start(light, tmp_path / "s") as second:
            _, said = second.communicate()
        assert second.returncode == 1
        assert f"{tmp_path / 's'}: another stream is running on this state. Stop it" in said
        ask(first, traffic[1:2])
        first.stdin.close()
        assert first.wait(60) == 0
    assert json.loads((tmp_path / "s").read_text())["requests"] == 2
    with start(light, tmp_path / "s") as third:
        assert "s: going on after request 2, id '71-1'." in third.communicate("")[1]


class Closed(Out):
    """A pipe that nobody reads after so many flushes."""

    def __init__(self, flushes: int) -> None:
        super().__init__()
        self.left = flushes

    def flush(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise BrokenPipeError


def test_a_stream_without_a_state_says_what_to_give(light):
    command = [sys.executable, "-m", "routelmt", "route", "--stream", "--router", str(light),
               "--budget", "0.3"]  # fmt: skip
    ended = subprocess.run(command, text=True, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert "Give --state FILE; where it is not there yet, it is made from" in ended.stderr


def test_answers_that_nobody_takes_do_not_count(light, calibration, traffic, tmp_path):
    router, state = load_router(light), tmp_path / "s"
    source = tmp_path / "requests.jsonl"
    source.write_text("\n".join(traffic) + "\n")
    stream = open_stream(light, router, "fixed", OWN, state, [calibration])
    with source.open("rb") as lines, pytest.raises(BrokenPipeError):
        serve(stream, lines.fileno(), Closed(3), state, batch=10)
    again = open_stream(light, router, "fixed", OWN, state)
    assert (again.requests, again.last) == (30, "71-29")


def test_a_journal_is_read_once_and_without_its_torn_end(light, calibration, traffic, tmp_path):
    router, state = load_router(light), tmp_path / "s"
    lines = [(i, line.encode()) for i, line in enumerate(traffic[:20], start=1)]
    stream = open_stream(light, router, "rolling", OWN, state, [calibration])
    write_state(state, stream)
    write_journal(state, 10, list(stream.answer(lines[:10])))
    between = stream.state()
    journal = module.journal_of(state)
    kept = journal.read_bytes()
    journal.write_bytes(kept + b'[11, "71-10", "en-')
    assert open_stream(light, router, "rolling", OWN, state).state() == between
    write_state(state, stream)
    assert journal.read_bytes() == b""
    for after in (b"", b"\0" * 512):  # killed between the two; the power went
        journal.write_bytes(kept + after)
        assert open_stream(light, router, "rolling", OWN, state).state() == between
    for text in (b"{}\n", b'[12, "a", "en-zh", 1.0]\n', b'[1, "a", "en-fr", 1.0]\n', b"[\n"):
        journal.write_bytes(text)
        with pytest.raises(UserError, match=r"s\.journal: does not go on from .*/s "):
            open_stream(light, router, "rolling", OWN, state)


def test_draws_of_equal_priorities_depend_on_the_id(router, tmp_path):
    row = {"direction": "en-zh", "source": "save the file"}
    _, priority = router.score([row["direction"]], [row["source"]])
    stream = RequestStream(router, "fixed", OWN, {"en-zh": np.repeat(priority, 10)})
    lines = [json.dumps(row | {"id": f"x{i}"}) for i in range(60)]
    answers = served(stream, lines, tmp_path / "s", batch=1)
    expected = [uniform(f"x{i}", 0) < 0.3 for i in range(60)]
    assert [a["route"] == "large" for a in answers] == expected
