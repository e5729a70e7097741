"""Whether artifacts are what their records say, followed back to the files they began with."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from routelmt import states, tables
from routelmt.errors import UserError
from routelmt.progress import progress
from routelmt.provenance import identity_once
from routelmt.routers import artifact
from routelmt.trail.artifacts import (
    FILE,
    FOLDER,
    NOTHING,
    OLDER,
    ROUTER,
    Artifact,
    Parent,
    is_router,
    is_table,
    kind_at,
    locate,
    open_made,
    open_recorded,
    shown,
)

SHORT = 12  # digits of a hash in a message
# Progress is shown from this number on: fewer take no time worth a bar.
MANY = 50


@dataclass
class Audit:
    """What an audit found, every artifact once, in the order in which they were reached.

    depth: how many links an artifact is away from what was asked for; faults: (path, message);
    unreadable: paths of what is no table or router, or a damaged one, but ought to be.
    """

    artifacts: dict[str, Artifact] = field(default_factory=dict)
    depth: dict[str, int] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    unreadable: set[str] = field(default_factory=set)

    @property
    def broken(self) -> list[str]:
        """The broken links."""
        return [message for _, message in self.faults]

    @property
    def seen(self) -> dict[str, Artifact]:
        """The artifacts with a record: tables and routers."""
        return {
            path: a
            for path, a in self.artifacts.items()
            if a.what not in (FILE, FOLDER) and not a.recorded
        }

    @property
    def lines(self) -> list[str]:
        """A line an artifact, what it was made from further to the right."""
        return [f"{'  ' * self.depth[p]}{p}: {line(a)}" for p, a in self.artifacts.items()]


def audit(paths: Sequence[str | Path], quick: bool = False) -> Audit:
    """Check tables and routers and, backwards, everything they were made from.

    quick: go by the contents that the records name, without reading the values; files without a
    record are only looked for. Never raises for a bad file: that is what it reports.
    """
    report = Audit()
    for path in progress(paths, "audit", "file") if len(paths) >= MANY else paths:
        _check(Path(path), report, 0, quick)
    return report


def _check(path: Path, report: Audit, depth: int, quick: bool) -> Artifact | None:
    """A table or router after its links were checked, each once; None if it is unreadable."""
    name = shown(path)
    if name in report.artifacts:
        return report.artifacts[name]
    try:
        found = open_made(path)
    except UserError as error:
        if name not in report.unreadable:
            report.faults.append((name, str(error)))
        report.unreadable.add(name)
        return None
    report.artifacts[name], report.depth[name] = found, depth
    faults = [*_own_faults(path, found, quick), *_base_faults(path, found, quick)]
    report.faults.extend((name, fault) for fault in faults)
    for parent in found.parents:
        _check_parent(found, parent, report, depth + 1, quick)
    return found


def _content(path: Path, found: Artifact) -> str:
    """Hash of what the table holds now. Raises UserError if it is not a valid table."""
    with tables.readable(path):
        if path.suffix == tables.ARROW:
            return states.content_hash(path)
        return tables.content_hash(tables.read(path, found.what))


def _own_faults(path: Path, found: Artifact, quick: bool) -> Iterator[str]:
    """What is wrong with a table or router itself."""
    try:
        actual = found.content if quick or found.what == ROUTER else _content(path, found)
    except UserError as error:  # its record can be read, and followed all the same
        yield str(error)
        actual = found.content
    if actual != found.content:
        yield (
            f"{found.path}: its values were changed after it was written (content "
            f"{_short(actual)}, recorded {_short(found.content)}). Delete it and run the "
            "workflow again."
        )
    if found.code == OLDER:
        yield (
            f"{found.path}: stale, the code of stage '{found.stage}' has changed since. "
            "Run the workflow again."
        )


def _base_faults(path: Path, found: Artifact, quick: bool) -> Iterator[str]:
    """A router on the weights of a local model that are others by now."""
    if found.what != ROUTER or quick:
        return
    base = artifact.read_record(path).get("base", {})
    folder = locate(str(base.get("path", "")), path)
    if "weights_sha256" not in base or kind_at(folder) != FOLDER:
        return  # a model from a hub, fixed by its revision
    from routelmt.routers.networks.base_model import weights_hash

    try:
        now = weights_hash(folder)
    except OSError as error:
        now = f"unreadable: {error}"
    if now != base["weights_sha256"]:
        yield (
            f"{found.path}: stale, trained on the weights {_short(base['weights_sha256'])} of "
            f"{folder}, which now are {_short(now)}. Train it again."
        )


def _check_parent(child: Artifact, parent: Parent, report: Audit, depth: int, quick: bool) -> None:
    path, name = parent.path, shown(parent.path)
    there = kind_at(path)
    if there == FOLDER and Path(child.path).absolute().is_relative_to(path.absolute()):
        message = f"{child.path}: its parent {name} is a folder that holds it."
        report.faults.append((child.path, message))
        return
    try:
        known = open_recorded(path, child.path) if there == NOTHING else None
    except UserError as error:
        report.faults.append((child.path, str(error)))
        return
    found: Artifact | None
    if known:
        found = _check_recorded(known, report, depth, quick)
    elif there != NOTHING and (is_table(path) or is_router(path)):
        found = _check(path, report, depth, quick)
    else:
        found = report.artifacts.setdefault(name, _plain(path, quick))
        report.depth.setdefault(name, depth)
    content = found.content if found else None
    if found is None or (content is None and not (quick and there in (FILE, FOLDER))):
        message = f"{child.path}: its parent {name} is missing or unreadable."
        report.faults.append((child.path, message))
    elif content not in (None, parent.content):
        message = (
            f"{child.path}: stale, made from {name} with content {_short(parent.content)}, which "
            f"now holds {_short(content)}. Run the workflow again."
        )
        report.faults.append((child.path, message))


def _check_recorded(known: Artifact, report: Audit, depth: int, quick: bool) -> Artifact:
    """What a bundle only has the record of: the links further back, each once."""
    if known.path not in report.artifacts:
        report.artifacts[known.path], report.depth[known.path] = known, depth
        for parent in known.parents:
            _check_parent(known, parent, report, depth + 1, quick)
    return report.artifacts[known.path]


def _plain(path: Path, quick: bool) -> Artifact:
    """A file or folder without a record; content None if it is not asked for, or not to be had."""
    content = None
    if not quick:
        with suppress(UserError, OSError):  # missing, no permission, a device or a pipe
            content = identity_once(str(path))
    return Artifact(shown(path), FOLDER if kind_at(path) == FOLDER else FILE, content)


def _short(content: str | None) -> str:
    return content[:SHORT] if content else "none"


def line(found: Artifact) -> str:
    """What an artifact is, in one line."""
    if found.recorded:
        return f"by its record, {found.what}, content {_short(found.content)}"
    if found.what in (FILE, FOLDER):
        return f"sha256 {_short(found.content)}" if found.content else "missing or not read"
    if found.what == ROUTER:
        rows = f", {found.rows:,} training rows" if found.rows else ""
        return f"router{rows}, content {_short(found.content)}"
    key = ", ".join(tables.TABLES[found.what].key)
    return (
        f"{found.what}, {found.rows:,} rows, unique by ({key}), content {_short(found.content)}, "
        f"stage {found.stage}"
    )
