"""One file over HTTP, from where an interrupted download of it stopped."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NamedTuple

from routelmt.data.downloads.retry import Interrupted, status_of
from routelmt.errors import UserError

_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
TIMEOUT = 60  # seconds without a byte before a connection counts as lost


class Stream(NamedTuple):
    """An answer that is being read; errors of the connection are raised as Interrupted."""

    status: int
    headers: Mapping[str, str]
    chunks: Iterator[bytes]


Opener = Callable[[dict[str, str]], AbstractContextManager[Stream]]


class WrongSize(Exception):
    """The server's file has another size than it should; `found` bytes."""

    def __init__(self, found: int) -> None:
        super().__init__(f"{found:,} bytes")
        self.found = found


class Measured(NamedTuple):
    """What a file is known by: bytes, SHA-256, and the SHA-1 that git names it by."""

    size: int
    sha256: str
    git: str


def measure(path: Path) -> Measured:
    """Read a file once for its size and both of its hashes."""
    size = path.stat().st_size
    sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
    with path.open("rb") as handle:
        while block := handle.read(1 << 20):
            sha256.update(block)
            git.update(block)
    return Measured(size, sha256.hexdigest(), git.hexdigest())


def check_entry(where: str, found: Measured, entry: Mapping[str, Any]) -> None:
    """Raise UserError unless a file has the size and SHA-256 that its entry gives, if it does."""
    for key, what in (("size", "size in bytes"), ("sha256", "SHA-256")):
        actual = getattr(found, key)
        if key in entry and entry[key] != actual:
            raise UserError(
                f"{where}: its {what} is {actual}, '{key}' of its entry (data/sources.yaml, or "
                f"'sources' of the config) is {entry[key]}. Upstream replaced the file, or the "
                "entry is wrong."
            )


def continue_file(
    part: Path, size: int | None, open_stream: Opener, report: Callable[[int], object]
) -> None:
    """Append to `part` what it lacks of the file that `open_stream(headers)` answers with.

    size: bytes of the whole file, None if not known. `report` is told how many bytes are there.
    Raises Interrupted if the connection ends early (what has arrived stays), WrongSize if the
    server's file has another size.
    """
    have = part.stat().st_size if part.exists() else 0
    if size is not None and have > size:
        part.unlink()
        have = 0
    report(have)
    if have == size:
        return
    headers = {"Accept-Encoding": "identity"}  # ranges count the bytes of the file itself
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        with open_stream(headers) as stream:
            start, total = _extent(stream)
            if start not in (0, have):
                raise Interrupted(f"the server sent bytes from {start} on, asked for {have}")
            if size is not None and total is not None and total != size:
                raise WrongSize(total)
            size = total if size is None else size
            have = _write(part, start, stream.chunks, report)
    except Exception as error:
        if status_of(error) == 416:
            part.unlink(missing_ok=True)
            raise Interrupted(f"the server has fewer than the {have:,} bytes kept here") from None
        raise
    if size is not None and have < size:
        raise Interrupted(f"the connection ended after {have:,} of {size:,} bytes")
    if size is not None and have > size:
        raise WrongSize(have)


def _extent(stream: Stream) -> tuple[int, int | None]:
    """(position of the first byte that comes, bytes of the whole file) of an answer."""
    if stream.status == 206:
        found = _CONTENT_RANGE.match(stream.headers.get("content-range", ""))
        if not found:
            raise Interrupted("the server sent a part of the file without saying which")
        return int(found[1]), None if found[2] == "*" else int(found[2])
    length = stream.headers.get("content-length", "")
    return 0, int(length) if length.isdigit() else None


def _write(part: Path, start: int, chunks: Iterator[bytes], report: Callable[[int], object]) -> int:
    """Write the chunks from `start` on, unbuffered so that a killed process keeps them all."""
    part.parent.mkdir(parents=True, exist_ok=True)
    with part.open("ab" if start else "wb", buffering=0) as handle:
        for chunk in chunks:
            handle.write(chunk)
            start += len(chunk)
            report(start)
        os.fsync(handle.fileno())
    return start
