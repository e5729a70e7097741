"""A trained router on a stream of requests: each is decided as it comes, and the state is kept.

Thresholds are quantiles of held-out traffic, per direction (RouteLMT §4); the decisions are made by
`routelmt.stats.streaming`, which the evaluation uses too.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
import select
import signal
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.progress import quiet
from routelmt.routers.deploy import (
    Request,
    TrainedRouter,
    cut_rows,
    parse_request,
    read_requests,
    score_requests,
)
from routelmt.stats.arrays import FloatArray
from routelmt.stats.streaming import DirectionStream, Settings
from routelmt.strict_json import LONGEST, cut

STATE_FORMAT = 2
HASH = "sha256"  # field of a state: of all others
# Lines that are scored together, if so many have arrived; nobody waits for more to come.
MICRO_BATCH = 64
SAVE_EVERY = 1000
_CHUNK = 1 << 16

Values = Mapping[str, FloatArray]  # calibration priorities by direction, ascending


class RequestStream:
    """A router's streams of all directions; `policy` is one of streaming.POLICIES."""

    def __init__(
        self,
        router: TrainedRouter,
        policy: str,
        settings: Settings,
        calibration: Values,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._router, self._policy, self._settings = router, policy, settings
        self._calibration = calibration
        kept = (state or {}).get("directions", {})
        self.last: str | None = (state or {}).get("last")  # id of the last request decided
        # The promise of few false alarms holds for all directions together (Bonferroni).
        each = replace(settings, false_alarms=settings.false_alarms / len(calibration))
        self.streams = {
            direction: DirectionStream(policy, values, each, kept.get(direction))
            for direction, values in calibration.items()
        }

    def state(self) -> dict[str, Any]:
        """All that is needed to go on, as JSON holds it."""
        return {
            "format": STATE_FORMAT,
            **identity(self._router.record, self._policy, self._settings),
            "requests": self.requests,
            "last": self.last,
            "calibration": {d: list(values) for d, values in self._calibration.items()},
            "directions": {d: stream.state() for d, stream in self.streams.items()},
        }

    @property
    def requests(self) -> int:
        """How many were decided, since the calibration."""
        return sum(stream.served for stream in self.streams.values())

    def replay(self, decided: Iterable[tuple[str, str, float]]) -> None:
        """Decide again, as before, for (id, direction, priority)."""
        for identifier, direction, priority in decided:
            self.streams[direction].decide(identifier, priority)
            self.last = identifier

    def answer(self, lines: Sequence[tuple[int, bytes]]) -> Iterator[dict[str, Any]]:
        """For each (number, line) a decision, or {line, error}; blank lines have no answer.

        The lines are scored together and decided one after the other.
        """
        parsed = [(number, self._parsed(number, line)) for number, line in lines if line.strip()]
        requests = [found for _, found in parsed if isinstance(found, Request)]
        with quiet():
            scores = iter(_rows(score_requests(self._router, requests)) if requests else ())
        cut = iter(cut_rows(self._router, len(requests)) if requests else ())
        for number, found in parsed:
            if isinstance(found, str):
                yield {"line": number, "error": found}
            else:
                about = {"truncated": True} if next(cut) else {}
                yield self._decided(number, found, *next(scores)) | about

    def _parsed(self, number: int, line: bytes) -> Request | str:
        if number == 1:
            line = line.removeprefix(b"\xef\xbb\xbf")
        found = parse_request(line, number, self._router.record["directions"])
        if isinstance(found, Request) and found.direction not in self.streams:
            known = ", ".join(self.streams)
            return f"direction '{found.direction}' has no calibration data; there is: {known}"
        return found

    def _decided(
        self, number: int, request: Request, prediction: float, priority: float
    ) -> dict[str, Any]:
        stream = self.streams[request.direction]
        before = stream.rate_alarm, stream.traffic_alarm
        try:
            decision = stream.decide(str(request.id), priority)
        except ValueError as error:
            return {"line": number, "error": str(error)}
        self.last = str(request.id)
        if before != (stream.rate_alarm, stream.traffic_alarm):
            print(alarm_text(request.direction, stream), file=sys.stderr, flush=True)
        return {
            "id": request.id,
            "direction": request.direction,
            f"predicted_{self._router.record['target']}": prediction,
            "priority": priority,
            "threshold": decision.threshold if np.isfinite(decision.threshold) else None,
            "route": "large" if decision.routed else "small",
            "alarm": stream.rate_alarm is not None or stream.traffic_alarm is not None,
        }


def identity(record: Mapping[str, Any], policy: str, settings: Settings) -> dict[str, Any]:
    """What a state belongs to: it can only be resumed with the same."""
    text = json.dumps(record, sort_keys=True, ensure_ascii=False)
    router = hashlib.sha256(text.encode()).hexdigest()
    return {"router": router, "policy": policy, "settings": asdict(settings)}


def alarm_text(direction: str, stream: DirectionStream) -> str:
    """What an operator must know when an alarm goes off, one line."""
    low, high = stream.band.limits(stream.served)
    fixed = stream.beyond_fixed / stream.served
    return (
        f"alarm: direction {direction}, after {stream.served:,} requests: "
        f"{stream.routed / stream.served:.1%} went to the large model, {fixed:.1%} are above the "
        f"calibrated threshold; expected {low:.1%} to {high:.1%} around {stream.band.rate:.1%}. "
        "The traffic is not like the calibration data: calibrate again on recent traffic."
    )


def read_calibration(
    paths: Sequence[Path], router_dir: Path, router: TrainedRouter, name: str | None = None
) -> dict[str, FloatArray]:
    """Priorities of held-out requests by direction, ascending.

    paths: predictions tables (.parquet), or JSON lines of requests, which are scored here. name:
    ROUTER or ROUTER/seedN in the tables, if they hold several and the router's folder does not say
    which (its last parts, ROUTER/seedN). Raises UserError where nothing is found, for NaN, and for
    tables of the data that the router was trained on.
    """
    found: dict[str, list[FloatArray]] = {}
    for path in paths:
        if path.suffix == ".parquet":
            directions, priority = _predicted(path, router_dir, router.record, name)
        else:
            requests = read_requests(path, router.record["directions"])
            directions = [request.direction for request in requests]
            priority = score_requests(router, requests)[1]
        for direction in dict.fromkeys(directions):
            own = priority[np.array(directions) == direction]
            if np.isnan(own).any():
                raise UserError(f"{path}: the router's priority is not a number for some requests.")
            found.setdefault(direction, []).append(own)
    known = router.record["directions"]
    return {d: np.sort(np.concatenate(found[d])) for d in known if d in found} or _nothing(paths)


def _nothing(paths: Sequence[Path]) -> dict[str, FloatArray]:
    shown = ", ".join(map(str, paths)) or "no file"
    raise UserError(
        f"--calibration: {shown} has none of this router's directions. Thresholds are quantiles "
        "of held-out traffic: give predictions on a validation set, or JSON lines of requests."
    )


def _predicted(
    path: Path, router_dir: Path, record: Mapping[str, Any], name: str | None
) -> tuple[list[str], FloatArray]:
    """(directions, priorities) of one router and seed of a predictions table."""
    table = tables.read(path, "predictions")
    runs = pc.binary_join_element_wise(
        table.column("router"), table.column("seed").cast("string"), "/seed"
    )
    there = pc.unique(runs).to_pylist()
    wanted = name or "/".join(router_dir.resolve().parts[-2:])
    fitting = [run for run in there if run == wanted or run.rsplit("/", 1)[0] == wanted]
    if name is None and len(there) == 1:
        fitting = there
    if len(fitting) != 1:
        raise UserError(
            f"{path}: holds the predictions of {', '.join(there)}; say which are this router's "
            "with --calibration-router ROUTER/seedN."
        )
    own = table.filter(pc.equal(runs, fitting[0]))
    learned = record.get("rows", {}).get("training", {}).get("by_direction", {})
    seen = {place.rsplit("/", 1)[0] for place in learned} & set(own.column("dataset").to_pylist())
    if seen:
        raise UserError(
            f"{path}: has predictions on {', '.join(sorted(seen))}, which the router was trained "
            "on; thresholds need held-out traffic."
        )
    return own.column("direction").to_pylist(), own.column("priority").to_numpy()


def read_state(path: Path, expected: Mapping[str, Any]) -> dict[str, Any]:
    """The state in a file. Raises UserError if it is damaged or belongs to something else."""
    try:
        state: dict[str, Any] = json.loads(path.read_bytes())
        found = {"format": state["format"], **{name: state[name] for name in expected}}
        if found["format"] == STATE_FORMAT and state.pop(HASH) != _hash(state):
            raise ValueError("it was changed after it was written")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path}: not the state of a stream ({error}); delete it to start anew."
        ) from None
    wanted = {"format": STATE_FORMAT, **expected}
    different = [name for name in wanted if found[name] != wanted[name]]
    if different:
        name = different[0]
        raise UserError(
            f"{path}: its {name} is {found[name]}, asked is {wanted[name]}. Go on with what it "
            "was made with, or give another --state to start anew."
        )
    return state


def write_state(path: Path, stream: RequestStream) -> None:
    """Put the stream's state in place, whole or not at all; then its journal is empty."""
    state = stream.state()
    with tables.atomic_path(path) as temporary:
        temporary.write_text(json.dumps({HASH: _hash(state), **state}), encoding="utf-8")
    journal_of(path).write_bytes(b"")


def _hash(state: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()


def journal_of(path: Path) -> Path:
    """Beside a state: the requests decided after it, one JSON list a line (see `write_journal`)."""
    return path.with_name(f"{path.name}.journal")


def write_journal(path: Path, requests: int, answers: Sequence[Mapping[str, Any]]) -> None:
    """Append the decisions among `answers`: [number, id, direction, priority].

    requests: number of the last of them, counted since the calibration.
    """
    decided = [answer for answer in answers if "error" not in answer]
    first = requests - len(decided) + 1
    rows = [[n, str(a["id"]), a["direction"], a["priority"]] for n, a in enumerate(decided, first)]
    with journal_of(path).open("ab") as journal:
        journal.write("".join(json.dumps(row) + "\n" for row in rows).encode())


def read_journal(
    path: Path, requests: int, directions: Collection[str]
) -> Iterator[tuple[str, str, float]]:
    """(id, direction, priority) of what was decided after a state of so many requests, in order.

    Lines that the state has already (the process was killed before the journal was emptied) are
    skipped, and a torn last line. Raises UserError if the journal does not follow on the state.
    """
    journal = journal_of(path)
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    for line in lines:
        try:
            number, identifier, direction, priority = json.loads(line)
            if number > requests + 1:
                raise ValueError(f"request {number} after request {requests}")
            if direction not in directions:
                raise ValueError(cut(f"direction {direction!r}"))
            if not isinstance(identifier, str) or math.isnan(priority):
                raise ValueError(cut(f"id {identifier!r} with priority {priority!r}"))
            if number <= requests:
                continue
        except (ValueError, TypeError, OverflowError, RecursionError) as error:
            raise UserError(
                f"{journal}: does not go on from {path} ({error}). Put back the state it belongs "
                "to, or delete it: the requests in it then do not count."
            ) from None
        requests = number
        yield identifier, direction, priority


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold a state, so that no other stream takes it. Raises UserError if one has it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with journal_of(path).open("ab") as journal:
        try:
            fcntl.flock(journal, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"{path}: another stream is running on this state. Stop it first, or give this one "
                "a --state of its own."
            ) from None
        yield


def open_stream(
    router_dir: Path,
    router: TrainedRouter,
    policy: str,
    settings: Settings,
    state_path: Path,
    calibration: Sequence[Path] = (),
    name: str | None = None,
) -> RequestStream:
    """The stream that the state file holds, or a new one from calibration files.

    Raises UserError where there is neither, or where calibration files differ from the state's.
    """
    given = read_calibration(calibration, router_dir, router, name) if calibration else None
    if not state_path.exists():
        return RequestStream(router, policy, settings, given or _nothing(calibration))
    state = read_state(state_path, identity(router.record, policy, settings))
    kept = {d: np.array(values) for d, values in state["calibration"].items()}
    if given is not None and not _same(kept, given):
        raise UserError(
            f"{state_path}: was calibrated on other data than --calibration has now. To go on, "
            "leave --calibration out; to calibrate anew, give another --state."
        )
    stream = RequestStream(router, policy, settings, kept, state)
    stream.replay(read_journal(state_path, stream.requests, stream.streams))
    after = f" after request {stream.requests:,}, id {stream.last!r}" if stream.last else ""
    print(f"{state_path}: going on{after}.", file=sys.stderr, flush=True)
    return stream


def _same(kept: Values, given: Values) -> bool:
    """Whether calibration values agree, but for the rounding of scores in other batches."""
    return kept.keys() == given.keys() and all(
        kept[d].shape == given[d].shape and np.allclose(kept[d], given[d], rtol=1e-4, atol=1e-4)
        for d in kept
    )


def serve(
    stream: RequestStream,
    source: int,
    out: IO[str],
    state_path: Path,
    strict: bool = False,
    save_every: int = SAVE_EVERY,
    batch: int = MICRO_BATCH,
) -> None:
    """Answer the lines of a file descriptor until it ends, or SIGTERM or SIGINT comes.

    Whatever has arrived, at most `batch` lines, is scored in one go; its answers are written and
    flushed before more is read. After a signal the lines read before it are answered first. strict:
    a broken line ends the stream with a UserError, after the answers to those before it.

    Answers first, then the journal: what counts was answered. Of a killed process, or where nobody
    reads on (OSError), the last batch may be answered and not count; asked again, it gets the same
    decisions. The state is written at the start, after every `save_every` answers and at the end.
    """
    write_state(state_path, stream)
    unsaved = 0
    for lines in _batches(source, batch):
        answers, broken = [], None
        for answer in stream.answer(lines):
            if strict and "error" in answer:
                broken = UserError(f"line {answer['line']}: {answer['error']}.")
                break
            out.write(json.dumps(answer, ensure_ascii=False) + "\n")
            answers.append(answer)
        out.flush()
        write_journal(state_path, stream.requests, answers)
        unsaved += len(answers)
        if broken or unsaved >= save_every:
            write_state(state_path, stream)
            unsaved = 0
        if broken:
            raise broken
    write_state(state_path, stream)


def _batches(source: int, batch: int) -> Iterator[list[tuple[int, bytes]]]:
    """(number, line) of whole lines as they arrive, at most `batch` at a time.

    Of a line that is too long to be parsed only so much is kept that the parser refuses it.
    """
    number, rest = 0, bytearray()
    for chunk in _chunks(source):
        first, *others = chunk.split(b"\n")
        rest += first[: LONGEST + 1 - len(rest)]
        if not others:
            continue
        lines = [bytes(rest), *others[:-1]]
        rest = bytearray(others[-1])
        for start in range(0, len(lines), batch):
            part = lines[start : start + batch]
            yield [(number + i, line) for i, line in enumerate(part, start=1)]
            number += len(part)


def _chunks(source: int) -> Iterator[bytes]:
    """What arrives, until the end (then a last line break) or until a signal to stop (without)."""
    with _signals() as stopped:
        while stopped not in (ready := select.select([source, stopped], [], [])[0]):
            chunk = os.read(ready[0], _CHUNK)
            yield chunk or b"\n"
            if not chunk:
                return


@contextmanager
def _signals() -> Iterator[int]:
    """A file descriptor that becomes readable with SIGTERM or SIGINT, which do nothing else."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    caught = (signal.SIGTERM, signal.SIGINT)
    handlers = {number: signal.signal(number, lambda *_: None) for number in caught}
    before = signal.set_wakeup_fd(writing)
    try:
        yield reading
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        os.close(reading)
        os.close(writing)


def _rows(priorities: Any) -> Iterator[tuple[float, float]]:
    prediction, priority = priorities
    return zip(prediction.tolist(), priority.tolist(), strict=True)
