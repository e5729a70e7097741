"""A trained router at work: requests in, and for each of them which model should translate it."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from routelmt.data.complaints import flaw, is_blank
from routelmt.errors import UserError
from routelmt.join import tie_keys
from routelmt.routers.artifact import CURE, RECORD, read_record
from routelmt.routers.inputs import Priorities
from routelmt.routers.objective.readout import Answers, Readout
from routelmt.routers.registry import ROUTERS
from routelmt.stats.selection import budget_count, route
from routelmt.strict_json import JsonError, cut, parse_object

SPEED: Mapping[str, Any] = {"batch_tokens": 16384, "device": "auto", "threads": 1}
_SHOWN = 5  # broken lines named in an error


@dataclass(frozen=True)
class Request:
    """A text to translate. `id` breaks ties, so it should stay with the text."""

    id: str | int
    direction: str
    source: str


class TrainedRouter(Protocol):
    """A loaded router."""

    record: Mapping[str, Any]

    def score(self, directions: Sequence[str], sources: Sequence[str]) -> Priorities:
        """(prediction in the target's unit, priority), both of shape (n,)."""

    def answers(self, directions: Sequence[str], sources: Sequence[str]) -> Answers:
        """All that the router predicts, by name ("gain", "quantile-0.1", ...), each (n,)."""


def load_router(
    path: str | Path, base: str | None = None, speed: Mapping[str, Any] = SPEED
) -> TrainedRouter:
    """The trained router in a folder, with its base model loaded.

    base: folder of the base model if it has moved. Raises UserError if the folder is not a router,
    or the base model missing or not the one it was trained on.
    """
    record = read_record(Path(path))
    module = _module(Path(path), record["type"])
    moved = {"path": base, "revision": None} if base is not None else None
    try:
        if "loss" in record:
            Readout.from_record(record)
        router: TrainedRouter = module.open_trained(Path(path), speed, moved)
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        why = cut(f"{type(error).__name__}: {error}")
        raise UserError(
            f"{Path(path) / RECORD}: its fields do not fit one another ({why}); {CURE}."
        ) from error
    return router


def _module(path: Path, kind: str) -> Any:
    """The module of a type of trained routers. UserError for another type."""
    if kind in ROUTERS:
        module = importlib.import_module(ROUTERS[kind])
        if hasattr(module, "open_trained"):
            return module
    raise UserError(
        f"{path / RECORD}: 'type' is {kind[:60]!r}, which is no type of trained router that is "
        f"installed here; install the package that brings it, or {CURE}."
    )


def score_requests(router: TrainedRouter, requests: Sequence[Request]) -> Priorities:
    """(prediction in the unit of the router's target, priority: higher = large model first)."""
    return router.score([r.direction for r in requests], [r.source for r in requests])


def cut_rows(router: TrainedRouter, rows: int) -> list[bool]:
    """Whether the end of each of the requests that were scored last was not read.

    Routers that read a model or an encoder keep this as `cut`; others read any length.
    """
    cut = getattr(router, "cut", None)
    return [False] * rows if cut is None else cut.tolist()


def route_requests(
    router_dir: str | Path,
    input_path: str | Path,
    budget: float,
    base: str | None = None,
    speed: Mapping[str, Any] = SPEED,
) -> list[dict[str, Any]]:
    """For each request of a JSON Lines file: id, direction, prediction, priority, route.

    The floor(budget n) requests of each direction with the highest priority get "large", the
    others "small"; ties go by a hash of the id. Rows are in the order of the file. One whose text
    is longer than the router reads has `truncated` as well.
    Raises UserError for a bad budget, router or request, before the model is loaded.
    """
    if not 0 <= budget <= 1:
        raise UserError(f"--budget: found {budget:g}, expected a share between 0 and 1.")
    record = read_record(Path(router_dir))
    requests = read_requests(Path(input_path), record["directions"])
    router = load_router(router_dir, base, speed)
    prediction, priority = score_requests(router, requests)
    cut = cut_rows(router, len(requests))
    large = _choose(requests, priority, budget)
    return [
        {
            "id": request.id,
            "direction": request.direction,
            f"predicted_{record['target']}": float(prediction[i]),
            "priority": float(priority[i]),
            "route": "large" if large[i] else "small",
            **({"truncated": True} if cut[i] else {}),
        }
        for i, request in enumerate(requests)
    ]


def _choose(requests: Sequence[Request], priority: Any, budget: float) -> Any:
    """Mask of the requests for the large model: the budget holds in every direction."""
    directions = np.array([r.direction for r in requests])
    keys = tie_keys(str(r.id) for r in requests)
    large = np.zeros(len(requests), dtype=np.bool_)
    for direction in np.unique(directions):
        rows = np.flatnonzero(directions == direction)
        count = budget_count(budget, len(rows))
        if not count and budget:
            print(
                f"direction {direction}: a share of {budget:g} of {len(rows)} requests is less "
                "than one request, so none goes to the large model.",
                file=sys.stderr,
            )
        large[rows] = route(priority[rows], keys[rows], count)
    return large


def read_requests(path: Path, directions: Collection[str]) -> list[Request]:
    """Requests of a JSON Lines file; blank lines are skipped, the id is the line number if absent.

    directions: those the router knows. Raises UserError naming file, line and reason of the first
    broken lines.
    """
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}).") from None
    requests: list[Request] = []
    problems: list[str] = []
    seen: dict[str | int, int] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        found = parse_request(line, number, directions)
        if isinstance(found, Request) and found.id in seen:
            found = f"id '{str(found.id)[:60]}' stands in line {seen[found.id]} already"
        if isinstance(found, str):
            problems.append(f"{path}:{number}: {found}")
        else:
            seen[found.id] = number
            requests.append(found)
    if problems:
        raise UserError("\n".join(_first(problems)))
    if not requests:
        raise UserError(f"{path}: no requests in it.")
    return requests


def _first(problems: Sequence[str]) -> Iterator[str]:
    yield from problems[:_SHOWN]
    if len(problems) > _SHOWN:
        yield f"... and {len(problems) - _SHOWN} more broken lines."


def parse_request(line: bytes, number: int, directions: Collection[str]) -> Request | str:
    """The request of a line, or what is wrong with it."""
    try:
        row = parse_object(line)
    except JsonError as error:
        return str(error)
    for name in ("direction", "source"):
        if name not in row:
            return f"'{name}' is missing"
        if not isinstance(row[name], str) or is_blank(row[name]):
            return cut(f"'{name}' must be a text with something to see, found {row[name]!r}")
        if why := flaw(row[name]):
            return f"'{name}' has {why}"
    if row["direction"] not in directions:
        known = ", ".join(directions)
        return cut(f"direction {row['direction'][:60]!r} is not one of this router's: {known}")
    identifier = row.get("id", number)
    if isinstance(identifier, bool) or not isinstance(identifier, str | int):
        return cut(f"'id' must be a text or a whole number, found {identifier!r}")
    return Request(identifier, row["direction"], row["source"])
