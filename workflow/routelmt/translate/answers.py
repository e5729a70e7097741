"""Answers of an endpoint, written down one by one as they come: none is paid for twice."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from hashlib import blake2b
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from routelmt.translate.engines import Decoded

NAME = "answers.jsonl"


class Answers:
    """A file that only grows, one JSON object a line; nothing is kept if `folder` is None.

    shape: what shapes an answer beside the turn and, where a turn has several answers, the index of
    the sample. A line is flushed to the system at once, so that it outlives the process; one that
    is cut off by a crash of the machine is read over.
    """

    def __init__(self, folder: Path | None, shape: Sequence[Any]) -> None:
        self.path = folder / NAME if folder else None
        self._shape = list(shape)
        self._file: TextIO | None = None

    def key(self, turn: str, sample: int = 0) -> str:
        """What an answer is known by."""
        text = json.dumps([*self._shape, sample, turn])
        return blake2b(text.encode(), digest_size=16).hexdigest()

    def read(self) -> dict[str, Decoded]:
        """Answers by key."""
        if self.path is None or not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                entry: Mapping[str, Any] = json.loads(line)
                found[str(entry["key"])] = Decoded(**entry["answer"])
            except (ValueError, LookupError, TypeError):
                continue  # cut off
        return found

    def append(self, turn: str, answer: Decoded, sample: int = 0) -> None:
        """Write an answer down; to be called inside `with`."""
        if self._file is not None:
            entry = {"key": self.key(turn, sample), "answer": asdict(answer)}
            self._file.write(json.dumps(entry) + "\n")
            self._file.flush()

    def __enter__(self) -> Answers:
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self.path.open("a", encoding="utf-8")
            if self._file.tell():
                self._file.write("\n")  # the last line may be cut off
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
