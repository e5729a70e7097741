"""An audit for readers: the artifacts as a tree of folders, and what there is by stage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePath
from typing import Any

from routelmt import stages
from routelmt.trail.artifacts import ALIKE, FILE, FOLDER, OLDER, Artifact, renderings
from routelmt.trail.audit import Audit

WIDTH = 100
SHORT = 8  # digits of a hash in the tree
BROKEN, UNREADABLE = "BROKEN", "unreadable"
FEW = 3  # files without a record that are named; more are counted
_NAME_WIDTH = 38
_INDENT = "  "
_Place = tuple[tuple[str, ...], Artifact]  # the parts of an artifact's path below the top


def tree(report: Audit, depth: int | None = None) -> Iterator[str]:
    """The artifacts by folder; a line each with kind, rows, content, state of the code, and faults.

    depth: folders further down are a line of counts. At most WIDTH columns wide, paths as long as
    they are.
    """
    unreadable = [Artifact(path, UNREADABLE) for path in report.unreadable]
    everything = [*report.artifacts.values(), *unreadable]
    places = sorted(((_parts(a.path), a) for a in everything), key=lambda place: place[0])
    usual = usual_versions(report)
    at_fault = {path for path, _ in report.faults}
    deepest = max((2 * len(p) - 2 + len(p[-1]) for p, _ in places), default=0)
    width = min(deepest, _NAME_WIDTH)
    yield f"{'':<{width}}  {'what':<14} {'rows':>9}  {'content':<{SHORT}} code"
    yield from _folder(places, 0, depth, (width, usual, at_fault))


_Context = tuple[int, Mapping[str, str | None], set[str]]


def _parts(path: str) -> tuple[str, ...]:
    return PurePath(path).parts


def _folder(
    places: Sequence[_Place], level: int, depth: int | None, context: _Context
) -> Iterator[str]:
    """Lines of the artifacts whose paths agree up to `level`."""
    for name, group in groupby(places, key=lambda place: place[0][level]):
        inside = list(group)
        parts, found = inside[0]
        if len(parts) == level + 1 and len(inside) == 1:
            yield _leaf(level, found, context)
            continue
        head = f"{_INDENT * level}{name}{'' if name.endswith('/') else '/'}"
        if depth is not None and level + 1 >= depth:
            yield _counted(head, [found for _, found in inside], context)
            continue
        yield head
        for parts, found in inside:
            if len(parts) == level + 1:  # a folder that is an artifact and has others below
                yield _leaf(level + 1, found, context, ".")
        rest = [place for place in inside if len(place[0]) > level + 1]
        plain = [p for p in rest if len(p[0]) == level + 2 and _is_sound_file(p[1], context)]
        if len(plain) > FEW:
            yield _counted(f"{_INDENT * (level + 1)}...", [found for _, found in plain], context)
            rest = [place for place in rest if place not in plain]
        yield from _folder(rest, level + 1, depth, context)


def _is_sound_file(found: Artifact, context: _Context) -> bool:
    return found.what == FILE and bool(found.content) and found.path not in context[2]


def _leaf(level: int, found: Artifact, context: _Context, name: str = "") -> str:
    width, usual, at_fault = context
    label = _clipped(f"{_INDENT * level}{name or PurePath(found.path).name}", width)
    rows = "" if found.rows is None else f"{found.rows:,}"
    content = found.content[:SHORT] if found.content else "-" * SHORT
    marks = [BROKEN] if found.path in at_fault else []
    marks += [f"{p} {v}" for p, v in found.packages.items() if v and v != usual.get(p)]
    line = f"{label:<{width}}  {found.what:<14} {rows:>9}  {content} {found.code:<8}"
    line = f"{line} {', '.join(marks)}".rstrip()
    return line if len(line) <= WIDTH else f"{line[: WIDTH - 1]}…"


def _counted(head: str, inside: Sequence[Artifact], context: _Context) -> str:
    """One line for all that is below a folder."""
    width, _, at_fault = context
    kinds = Counter(found.what for found in inside)
    what = next(iter(kinds)) if len(kinds) == 1 else "several kinds"
    rows = sum(found.rows or 0 for found in inside)
    older = sum(found.code == OLDER for found in inside)
    bad = sum(found.path in at_fault for found in inside)
    marks = [f"{len(inside):,} artifacts"]
    marks += [f"{older:,} older"] if older else []
    marks += [f"{bad:,} {BROKEN}"] if bad else []
    total = f"{rows:,}" if rows else ""
    return f"{_clipped(head, width):<{width}}  {what:<14} {total:>9}  {', '.join(marks)}"


def _clipped(label: str, width: int) -> str:
    """The label, with an ellipsis in the middle where it is too long."""
    if len(label) <= width:
        return label
    return f"{label[: width // 2]}…{label[len(label) - (width - width // 2 - 1) :]}"


def usual_versions(report: Audit) -> dict[str, str | None]:
    """The version of each package that most artifacts were made with."""
    return {package: found.most_common(1)[0][0] for package, found in _versions(report).items()}


def _versions(report: Audit) -> dict[str, Counter[str]]:
    found: dict[str, Counter[str]] = {}
    for artifact in report.artifacts.values():
        for package, version in artifact.packages.items():
            if version:
                found.setdefault(package, Counter())[version] += 1
    return dict(sorted(found.items()))


def summarised(report: Audit) -> dict[str, Any]:
    """Counts by stage, distinct versions of packages, models, and sources without a record."""
    made = list(report.seen.values())
    order = [*stages.STAGES, *sorted({a.stage for a in made} - set(stages.STAGES))]
    faults = Counter(path for path, _ in report.faults)
    by_stage = {
        stage: {
            "artifacts": len(own),
            "rows": sum(a.rows or 0 for a in own),
            "alike_code": sum(a.code == ALIKE for a in own),
            "older_code": sum(a.code == OLDER for a in own),
            "broken_links": sum(faults[a.path] for a in own),
        }
        for stage in order
        if (own := [a for a in made if a.stage == stage])
    }
    plain = [a for a in report.artifacts.values() if a.what in (FILE, FOLDER)]
    return {
        "stages": by_stage,
        "tables": len(made),
        "rows": sum(a.rows or 0 for a in made),
        "broken_links": len(report.faults),
        "packages": {p: dict(v.most_common()) for p, v in _versions(report).items()},
        "models": dict(_models(made).most_common()),
        "sources": {a.path: a.content for a in plain},
    }


def _models(made: Sequence[Artifact]) -> Counter[str]:
    """Path and revision of the models and metrics that the settings name, and by how many."""
    found: Counter[str] = Counter()
    for artifact in made:
        path = artifact.settings.get("path")
        if isinstance(path, str):
            revision = artifact.settings.get("revision")
            found[f"{path}@{revision}" if revision else path] += 1
    return found


def summary_lines(report: Audit) -> Iterator[str]:
    """The summary for readers."""
    found = summarised(report)
    counted = ("artifacts", "rows", "alike_code", "older_code", "broken_links")
    heads = (f" {count.replace('_', ' '):>12}" for count in counted)
    yield f"{'stage':<17}{''.join(heads)}"
    for stage, counts in found["stages"].items():
        yield f"{stage:<17}{''.join(f' {counts[count]:>12,}' for count in counted)}"
    yield ""
    if any(counts["alike_code"] for counts in found["stages"].values()):
        yield "alike code: other code than today's, with the same declared behaviour; not a fault."
    versions = [
        f"{package} {' and '.join(f'{v} ({n})' if len(own) > 1 else v for v, n in own.items())}"
        for package, own in found["packages"].items()
    ]
    yield from folded("packages", versions)
    yield from folded("models", list(found["models"]))


def unrecorded(folders: Sequence[Path]) -> Iterator[str]:
    """A line on the files that carry no record, which the audit cannot speak of."""
    found: Counter[str] = Counter()
    for folder in folders:
        found.update(renderings(folder))
    if found:
        yield from folded("no record", [f"{n:,} {suffix}" for suffix, n in sorted(found.items())])


def folded(label: str, items: Sequence[str], width: int = 10) -> Iterator[str]:
    """'label  a, b, c' over as many lines as it takes."""
    line = ""
    for item in items:
        if line and len(line) + len(item) + width + 2 > WIDTH:
            yield f"{label:<{width}} {line},"
            label, line = "", ""
        line = f"{line}, {item}" if line else item
    if line:
        yield f"{label:<{width}} {line}"


def as_json(report: Audit) -> dict[str, Any]:
    """The audit for machines."""
    faults: dict[str, list[str]] = {}
    for path, message in report.faults:
        faults.setdefault(path, []).append(message)
    return {
        "artifacts": [
            {
                "path": path,
                "what": a.what,
                "rows": a.rows,
                "content": a.content,
                "stage": a.stage,
                "code": a.code,
                "packages": dict(a.packages),
                "settings": dict(a.settings),
                "parents": [str(parent.path) for parent in a.parents],
                "broken": faults.get(path, []),
            }
            for path, a in report.artifacts.items()
        ],
        "broken": report.broken,
        "summary": summarised(report),
    }
