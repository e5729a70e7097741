"""What changed between two runs: where their chains part, their settings, versions and numbers.

Two artifacts belong together if they stand in the same place; where a name in the path is another
(of a metric, a model), those whose paths have most in common.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePath
from typing import Any

import pyarrow.parquet as pq

from routelmt import stages, tables
from routelmt.errors import UserError
from routelmt.progress import progress
from routelmt.trail.artifacts import (
    FILE,
    FOLDER,
    Artifact,
    below,
    is_router,
    is_table,
    kind_at,
    open_made,
    shown,
)
from routelmt.trail.numbers import TableDiff, compare

RUN = "{run}"  # stands for the folder of a run in the names of its artifacts
ABSENT = "not set"
SOURCE = "source"  # stage of what carries no record


@dataclass(frozen=True)
class Link:
    """An artifact of a chain as its children had it.

    made: its record, None for a source, and for what was made again or deleted since. level: links
    to the furthest source. parents: their names.
    """

    name: str
    what: str
    content: str
    made: Artifact | None
    level: int
    parents: tuple[str, ...]

    @property
    def stage(self) -> str:
        """Of the workflow."""
        return self.made.stage if self.made else SOURCE


@dataclass(frozen=True)
class Setting:
    """A setting that differs, in how many pairs of artifacts of a stage."""

    stage: str
    key: str
    a: Any
    b: Any
    artifacts: int


@dataclass(frozen=True)
class Parting:
    """Artifacts that differ though nothing that they were made from does, and why.

    names: pairs of them, of one stage and for the same reasons; level as in Link.
    """

    stage: str
    level: int
    reasons: tuple[str, ...]
    names: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Diff:
    """What changed from run a to run b.

    packages: by package, versions on each side and the stages; code: stages by other code;
    only: names of artifacts on one side; partings: the earliest stage first; same: pairs of the
    chain with equal content; numbers: of the evaluation tables that both have.
    """

    a: str
    b: str
    settings: tuple[Setting, ...]
    packages: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]
    code: Mapping[str, int]
    only: tuple[tuple[str, ...], tuple[str, ...]]
    partings: tuple[Parting, ...]
    same: int
    numbers: tuple[TableDiff, ...]
    notes: tuple[str, ...]


def diff(a: Path, b: Path) -> Diff:
    """Compare two runs' folders, or two tables. UserError for what is neither, or not alike."""
    sides = _Side(a), _Side(b)
    if sides[0].single != sides[1].single:
        raise UserError(f"{a} and {b}: one is a table, one a folder; give two of a kind.")
    pairs = _pairs(*(side.chain for side in sides))
    joined = dict(pairs)
    linked = [(sides[0].chain[x], sides[1].chain[y]) for x, y in pairs]
    differing = {x.name for x, y in linked if x.content != y.content}
    numbers = tuple(_numbers(sides, pairs))
    notes = [f"{side.name}: {note}" for side in sides for note in side.notes]
    return Diff(
        a=shown(a),
        b=shown(b),
        settings=tuple(_settings(linked)),
        packages=_packages(linked),
        code=Counter(x.stage for x, y in linked if _code_differs(x, y)),
        only=(
            tuple(sorted(sides[0].chain.keys() - joined.keys())),
            tuple(sorted(sides[1].chain.keys() - set(joined.values()))),
        ),
        partings=tuple(_partings(linked, differing)),
        same=len(linked) - len(differing),
        numbers=numbers,
        notes=tuple(notes),
    )


# --- the chain of one run ------------------------------------------------------------------------


class _Side:
    """One run: its chain by name, and what it lacks."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, shown(path)
        self.single = path.is_file()
        if not path.exists():
            raise UserError(f"{path}: no such file or folder; give a run, e.g. results/runs/demo.")
        if self.single and not is_table(path):
            raise UserError(f"{path}: not a table of this workflow.")
        self.tops = [path] if self.single else list(below(path))
        if not self.single and not any((path / folder).is_dir() for folder in ("tables", "sweeps")):
            raise UserError(
                f"{path}: no run, it has no folder tables/. Give the folder of an evaluated "
                "experiment, results/runs/NAME, or two tables."
            )
        self.paths: dict[str, Path] = {}
        self.notes: list[str] = []

    @cached_property
    def chain(self) -> dict[str, Link]:
        """Everything that the run's artifacts were made from, and themselves."""
        found: dict[str, Link] = {}
        many = progress(self.tops, self.name, "file") if len(self.tops) > 100 else self.tops
        for path in many:
            self._add(path, None, found)
        return found

    def _add(self, path: Path, content: str | None, found: dict[str, Link]) -> str:
        """The name of the artifact, after it and what it was made from were added.

        content: as the child's record has it; None for what is now in the run itself.
        """
        name = self._label(path)
        if name in found:
            if content not in (None, found[name].content):
                self.notes.append(f"its artifacts were made from several versions of {name}")
            return name
        made = self._made(path, content)
        if made is None:
            what = made_what(path)
            found[name] = Link(name, what, content or "", None, 0, ())
            return name
        parents = tuple(self._add(p.path, p.content, found) for p in made.parents)
        level = 1 + max((found[parent].level for parent in parents), default=0)
        held = content or made.content or ""
        found[name] = Link(name, made.what, held, made, level, parents)
        self.paths[name] = path
        return name

    def _made(self, path: Path, content: str | None) -> Artifact | None:
        """The record, if there is one, of the version with this content."""
        if not kind_at(path):
            self.notes.append(f"{shown(path)} is missing, so what it was made from is unknown")
            return None
        if not (is_table(path) or is_router(path)):
            return None
        try:
            made = open_made(path)
        except UserError as error:
            if self.single and path == self.path:
                raise
            self.notes.append(str(error))
            return None
        if content not in (None, made.content):
            self.notes.append(f"{shown(path)} was made again since; what it was then is unknown")
            return None
        return made

    def _label(self, path: Path) -> str:
        own, name = Path(shown(self.path)), Path(shown(path))
        if name == own:
            return f"{RUN}/{name.name}"
        root = _root(own)
        if name.is_relative_to(own):
            return f"{RUN}/{name.relative_to(own).as_posix()}"
        return name.relative_to(root).as_posix() if name.is_relative_to(root) else name.as_posix()


def made_what(path: Path) -> str:
    """FOLDER or FILE."""
    return FOLDER if kind_at(path) == FOLDER else FILE


def _root(own: Path) -> Path:
    """The folder that a run's project is in: above results/, or data/."""
    parts = own.parts
    for top in ("results", "data"):
        if top in parts:
            return Path(*parts[: len(parts) - 1 - parts[::-1].index(top)])
    return Path()


def _pairs(a: Mapping[str, Link], b: Mapping[str, Link]) -> list[tuple[str, str]]:
    """Names that belong together, the earliest levels first."""
    found = {name: name for name in a if name in b}
    left = [link for link in b.values() if link.name not in found]
    for link in sorted(a.values(), key=lambda link: link.name):
        if link.name in found:
            continue
        alike = [other for other in left if _alike(link, other)]
        if alike:
            best = max(alike, key=lambda other: (_common(link, other), other.name))
            found[link.name] = best.name
            left.remove(best)
    return sorted(found.items(), key=lambda pair: (a[pair[0]].level, pair))


def _alike(a: Link, b: Link) -> bool:
    """Whether two artifacts without namesakes may stand for one another."""
    one, other = PurePath(a.name).parts, PurePath(b.name).parts
    if a.what != b.what or len(one) != len(other):
        return False
    if a.made is None:  # sources: not any two files
        return one[:-1] == other[:-1] or one[-1] == other[-1]
    inside = one[0] == RUN  # there a name is a router's or a table's, and means another thing
    return one[-1] == other[-1] and not inside


def _common(a: Link, b: Link) -> int:
    return sum(x == y for x, y in zip(PurePath(a.name).parts, PurePath(b.name).parts, strict=True))


# --- what differs --------------------------------------------------------------------------------

_Linked = Sequence[tuple[Link, Link]]


def changed_settings(a: Any, b: Any, key: str = "") -> Iterator[tuple[str, Any, Any]]:
    """(key, a, b) of every setting that differs; keys of inner ones are joined by dots."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for name in dict.fromkeys([*a, *b]):
            inner = f"{key}.{name}" if key else str(name)
            yield from changed_settings(a.get(name, ABSENT), b.get(name, ABSENT), inner)
    elif a != b or type(a) is not type(b):
        yield key, a, b


def _settings(linked: _Linked) -> Iterator[Setting]:
    counted: Counter[tuple[str, str, str, str]] = Counter()
    for x, y in linked:
        if x.made and y.made:
            for key, a, b in changed_settings(x.made.settings, y.made.settings):
                counted[x.stage, key, json.dumps(a), json.dumps(b)] += 1
    for (stage, key, a, b), artifacts in counted.items():
        yield Setting(stage, key, json.loads(a), json.loads(b), artifacts)


def _packages(linked: _Linked) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Versions of each package on either side, where some pair has two."""
    found: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for x, y in linked:
        for package, one, other in _version_changes(x, y):
            both = found.setdefault(package, ({}, {}))
            both[0][one], both[1][other] = None, None
    return {p: (tuple(sorted(a)), tuple(sorted(b))) for p, (a, b) in sorted(found.items())}


def _version_changes(x: Link, y: Link) -> Iterator[tuple[str, str, str]]:
    if x.made and y.made:
        for package in dict.fromkeys([*x.made.packages, *y.made.packages]):
            one, other = (side.made.packages.get(package) for side in (x, y) if side.made)
            if one != other:
                yield package, one or "none", other or "none"


def _code_differs(x: Link, y: Link) -> bool:
    return bool(x.made and y.made and x.made.code_hash != y.made.code_hash)


def _partings(linked: _Linked, differing: set[str]) -> list[Parting]:
    """Where the chains part, by stage and reason, the earliest first."""
    found: dict[tuple[str, tuple[str, ...]], list[tuple[Link, Link]]] = {}
    for x, y in linked:
        if x.name in differing and not differing.intersection(x.parents):
            found.setdefault((x.stage, tuple(_reasons(x, y))), []).append((x, y))
    partings = [
        Parting(
            stage,
            min(x.level for x, _ in pairs),
            reasons,
            tuple((x.name, y.name) for x, y in pairs),
        )
        for (stage, reasons), pairs in found.items()
    ]
    order = {stage: i for i, stage in enumerate((SOURCE, *stages.STAGES))}
    return sorted(partings, key=lambda p: (order.get(p.stage, len(order)), p.level))


def _reasons(x: Link, y: Link) -> Iterator[str]:
    if x.made is None or y.made is None:
        yield "another content"
        return
    told = False
    for key, a, b in changed_settings(x.made.settings, y.made.settings):
        told = True
        yield f"{key} {brief(a)} -> {brief(b)}"
    if x.made.kind != y.made.kind:
        yield f"module {x.made.kind.rpartition('.')[2]} -> {y.made.kind.rpartition('.')[2]}"
    if _code_differs(x, y):
        told = True
        yield "other code"
    for package, one, other in _version_changes(x, y):
        told = True
        yield f"{package} {one} -> {other}"
    if {*x.parents} != {*y.parents}:
        told = True
        yield "made from other files"
    if not told:
        yield "nothing that the records name: chance or the machine"


def brief(value: Any) -> str:
    """A setting as it is shown."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = text.replace("\n", "\\n")
    return text if len(text) <= 60 else f"{text[:57]}..."


def _numbers(sides: tuple[_Side, _Side], pairs: Sequence[tuple[str, str]]) -> Iterator[TableDiff]:
    """Of the tables that are in the runs themselves and are no rows of requests."""
    single = sides[0].single
    names = [(f"{RUN}/{s.path.name}") for s in sides]
    wanted = [(names[0], names[1])] if single else [p for p in pairs if p[0].startswith(RUN)]
    for x, y in wanted:
        a, b = sides[0].chain[x], sides[1].chain[y]
        if a.what not in tables.TABLES or a.what != b.what:
            if single:
                raise UserError(f"{sides[0].path} holds {a.what}, {sides[1].path} {b.what}.")
            continue
        if not single and "segment_id" in tables.TABLES[a.what].key:
            continue
        try:
            read = [_read(side.paths[n], a.what) for side, n in zip(sides, (x, y), strict=True)]
        except UserError as error:
            if single:
                raise
            sides[0].notes.append(f"not compared: {error}")
            continue
        yield compare(x.removeprefix(f"{RUN}/"), a.what, *read)


def _read(path: Path, what: str) -> Any:
    """A table with the columns that the file has: it may be of an older version."""
    return tables.read(path, what, columns=pq.read_schema(path).names)
