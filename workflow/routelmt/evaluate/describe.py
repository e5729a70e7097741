"""What the data of an experiment is, how much of it is in its own held-out data or doubtful.

All tables have a row for everything that was looked at: a zero says that nothing was found.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.data.overlaps import KINDS, ROLES
from routelmt.data.words import words
from routelmt.errors import UserError
from routelmt.evaluate import flags
from routelmt.evaluate.given import Given

ALL = "all"  # in the place of a domain or direction
ANY = "any"  # in the place of a held-out set
PERCENTILES = (5, 25, 50, 75, 95)
LENGTH = "length"  # the finish_reason of a translation that the limit of new tokens cut
SIDES = ("source", "reference")


class _Lengths(NamedTuple):
    """Words and characters of every row's source and reference, shape (rows, 2)."""

    words: np.ndarray
    characters: np.ndarray

    @classmethod
    def of(cls, data: pa.Table) -> _Lengths:
        counted = cache(words)  # a text stands in up to four directions
        texts = [data.column(side).to_pylist() for side in SIDES]
        shape = (data.num_rows, len(SIDES))
        lengths = cls(np.empty(shape, np.int64), np.empty(shape, np.int64))
        for side, own in enumerate(texts):
            lengths.words[:, side] = np.fromiter(map(counted, own), np.int64, len(own))
            lengths.characters[:, side] = np.fromiter(map(len, own), np.int64, len(own))
        return lengths


def datasheet_table(_: Mapping[str, Any], given: Given) -> pa.Table:
    """The datasheet of a table's inputs (see evaluate.registry)."""
    return datasheet(**_by_role(given))


def contamination_table(settings: Mapping[str, Any], given: Given) -> pa.Table:
    """The contamination of a table's inputs; settings: action, remove or count."""
    action = settings.get("action")
    if action not in ("remove", "count"):
        raise UserError(f"--settings: 'action' is {action!r}; allowed: remove, count.")
    overlaps = given.read("overlaps")
    return contamination(**_by_role(given, list(tables.JOIN_KEY)), overlaps=overlaps, action=action)


def _by_role(given: Given, columns: list[str] | None = None) -> dict[str, pa.Table | None]:
    return {role: given.read_if(role, columns) for role in ROLES}


def datasheet(train: pa.Table | None, valid: pa.Table | None, test: pa.Table | None) -> pa.Table:
    """The `datasheet` table: counts and lengths by dataset, direction and domain.

    train, valid, test: `segments` tables of every dataset and direction of the role, or None.
    Datasets and directions keep their order; in each, the row 'all' comes first, then the domains
    from large to small. Rows without a domain are in 'all' only.
    """
    rows = [
        row
        for role, data in zip(ROLES, (train, valid, test), strict=True)
        if data is not None
        for row in _described(data, role)
    ]
    columns = tables.TABLES["datasheet"].columns
    return tables.from_columns("datasheet", {name: [row[name] for row in rows] for name in columns})


def _described(data: pa.Table, role: str) -> Iterator[dict[str, Any]]:
    lengths = _Lengths.of(data)
    place = _codes(data, "dataset", "direction")
    group, document, domain = (_codes(data, name) for name in ("group_id", "doc_id", "domain"))
    names = data.column("domain").to_pylist()
    for code in range(place.max(initial=-1) + 1):
        here = np.flatnonzero(place == code)
        first = {name: data.column(name)[int(here[0])].as_py() for name in ("dataset", "direction")}
        for name, rows in _by_domain(here, domain, names, first["dataset"]):
            has_document = rows[document[rows] >= 0]
            yield first | {
                "domain": name,
                "role": role,
                "segments": len(rows),
                "groups": len(np.unique(group[rows])),
                "documents": len(np.unique(document[has_document])),
                **_statistics(lengths, rows),
            }


def _codes(data: pa.Table, *names: str) -> np.ndarray:
    """A number for each distinct value in the order of first occurrence; -1 for null."""
    seen: dict[Any, int] = {}
    columns = [data.column(name).to_pylist() for name in names]
    return np.fromiter(
        (
            -1 if None in value else seen.setdefault(value, len(seen))
            for value in zip(*columns, strict=True)
        ),
        np.int64,
        data.num_rows,
    )


def _by_domain(
    here: np.ndarray, domain: np.ndarray, names: list[str | None], dataset: str
) -> Iterator[tuple[str, np.ndarray]]:
    """('all', its rows), then (domain, rows) from large to small, equal ones by name."""
    yield ALL, here
    here = here[domain[here] >= 0]
    own = [here[domain[here] == code] for code in np.unique(domain[here])]
    named = sorted(((str(names[rows[0]]), rows) for rows in own), key=lambda d: (-len(d[1]), d[0]))
    for name, rows in named:
        if name == ALL:
            raise UserError(
                f"dataset '{dataset}': a domain is called '{ALL}', which stands for the whole "
                "dataset in the datasheet; give it another name."
            )
        yield name, rows


def _statistics(lengths: _Lengths, rows: np.ndarray) -> dict[str, float]:
    found = {}
    for i, side in enumerate(SIDES):
        own = lengths.words[rows, i]
        found[f"{side}_words_mean"] = float(own.mean())
        for percent, value in zip(PERCENTILES, np.percentile(own, PERCENTILES), strict=True):
            found[f"{side}_words_p{percent:02d}"] = float(value)
        found[f"{side}_chars_mean"] = float(lengths.characters[rows, i].mean())
    return found


def contamination(
    train: pa.Table | None,
    valid: pa.Table | None,
    test: pa.Table | None,
    overlaps: pa.Table,
    action: str,
) -> pa.Table:
    """The `contamination` table: overlapping rows by dataset, held-out set and direction.

    train, valid, test: `segments` tables (dataset, direction and segment_id of them), or None;
    overlaps: what `find_overlaps` says of them. A row counts under its strongest kind; under 'any'
    held-out set and 'all' directions it counts once. action: remove or count, see the config.
    Raises UserError if `overlaps` has rows that are not in the segments.
    """
    _check_rows(overlaps, train, valid)
    found = _strongest(overlaps)
    datasets = [_directions(table) for table in (train, valid, test)]
    rows = [
        row
        for i, role in enumerate(ROLES[:2])
        for dataset, directions in datasets[i].items()
        for row in _contaminated(
            dataset, role, directions, [d for held in datasets[i + 1 :] for d in held], found
        )
    ]
    kept = action != "remove"
    for row in rows:
        row["removed"] = 0 if kept else sum(row[kind] for kind in KINDS)
    columns = tables.TABLES["contamination"].columns
    return tables.from_columns(
        "contamination", {name: [row[name] for row in rows] for name in columns}
    )


def _directions(data: pa.Table | None) -> dict[str, dict[str, int]]:
    """Rows by dataset and direction."""
    found: dict[str, dict[str, int]] = {}
    if data is not None:
        names = [data.column(name).to_pylist() for name in ("dataset", "direction")]
        for dataset, direction in zip(*names, strict=True):
            rows = found.setdefault(dataset, {})
            rows[direction] = rows.get(direction, 0) + 1
    return found


def _check_rows(overlaps: pa.Table, *data: pa.Table | None) -> None:
    def keys(table: pa.Table) -> pa.Table:
        return table.select(list(tables.JOIN_KEY))

    there = [overlaps.slice(0, 0), *(table for table in data if table is not None)]
    known = pa.concat_tables([keys(table) for table in there])
    joined = keys(overlaps).join(known, list(tables.JOIN_KEY), join_type="left anti")
    if joined.num_rows:
        first = ", ".join("/".join(row.values()) for row in joined.slice(0, 3).to_pylist())
        raise UserError(
            f"{joined.num_rows:,} rows of the overlaps table are not in the training or validation "
            f"segments, first: {first}. The tables are of different experiments; run the workflow "
            "again."
        )


_Found = Mapping[tuple[str, str, str], Mapping[str, int]]  # dataset, held-out, direction: kinds


def _strongest(overlaps: pa.Table) -> _Found:
    """Rows by their strongest kind, for each held-out set and for any, each direction and all."""
    names = ("dataset", "direction", "segment_id", "held_out", "kind")
    columns = [overlaps.column(name).to_pylist() for name in names]
    best: dict[tuple[str, str, str, str], int] = {}
    for dataset, direction, segment_id, held_out, kind in zip(*columns, strict=True):
        for place in (held_out, ANY):
            key = (dataset, place, direction, segment_id)
            best[key] = min(best.get(key, len(KINDS)), KINDS.index(kind))
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for (dataset, place, direction, _), kind in best.items():
        for where in (direction, ALL):
            count = found.setdefault((dataset, place, where), dict.fromkeys(KINDS, 0))
            count[KINDS[kind]] += 1
    return found


def _contaminated(
    dataset: str, role: str, directions: Mapping[str, int], held_out: list[str], found: _Found
) -> Iterator[dict[str, Any]]:
    none = dict.fromkeys(KINDS, 0)
    for place in (*held_out, ANY):
        for direction, rows in {**directions, ALL: sum(directions.values())}.items():
            key = {"dataset": dataset, "role": role, "held_out": place, "direction": direction}
            yield key | {"rows": rows} | dict(found.get((dataset, place, direction), none))


def flags_table(settings: Mapping[str, Any], given: Given) -> pa.Table:
    """The counts of a table's inputs (see registry), told on standard error too."""
    hypotheses = given.read("hypotheses", flags.HYPOTHESIS_COLUMNS)
    counts = flag_counts(
        hypotheses, given.read("scores", flags.SCORE_COLUMNS), settings["leave_out"]
    )
    for row in counts.to_pylist():
        print(
            "{model}, {dataset}, {direction}: of {requests:,} translations {truncated:,} "
            "truncated, {degenerate:,} degenerate ({length:,} by length); requests left out: "
            "{left_out:,}".format(**row),
            file=sys.stderr,
        )
    return counts


def flag_counts(hypotheses: pa.Table, scores: pa.Table, leave_out: Sequence[str]) -> pa.Table:
    """Table `flags`: how many translations of a model, dataset and direction have each flag.

    left_out: requests of the dataset and direction that leave_out, names of flags.FLAGS, takes out,
    for a flag of either model. Raises UserError where hypotheses and scores do not match.
    """
    out = flags.left_out(flags.flagged_requests(hypotheses, scores), leave_out)
    rows: list[dict[str, Any]] = []
    for own, marks in (flags.flags_of_model(*pair) for pair in flags.by_model(hypotheses, scores)):
        place = [own.column(name).to_numpy() for name in ("dataset", "direction")]
        cut = pc.fill_null(pc.equal(own.column("finish_reason"), LENGTH), False).to_numpy()
        dropped = ~flags.kept(own, out)
        for dataset, direction in dict.fromkeys(zip(*place, strict=True)):
            here = (place[0] == dataset) & (place[1] == direction)
            rows.append(
                {"model": own.column("model")[0].as_py(), "dataset": dataset,
                 "direction": direction, "requests": int(here.sum()),
                 **{flag: int(marks[here, i].sum()) for i, flag in enumerate(flags.FLAGS)},
                 "length": int(cut[here].sum()), "left_out": int(dropped[here].sum())}
            )  # fmt: skip
    return tables.from_rows("flags", rows)
