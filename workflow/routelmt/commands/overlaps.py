"""Find training and validation rows whose text is also in held-out data."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from typing import TYPE_CHECKING

from routelmt.commands import add_out, add_roles, add_settings, read_roles, role_files

if TYPE_CHECKING:
    import pyarrow as pa


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add_roles(parser)
    add_settings(parser, "threshold, ngram, ngram_han, permutations, action")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Compare and write."""
    from routelmt import provenance, tables
    from routelmt.data.overlaps import find_overlaps

    read = read_roles(arguments)
    found = find_overlaps(**read, settings=arguments.settings)
    record = provenance.describe("overlaps", arguments.settings, role_files(arguments))
    tables.write(found, arguments.out, "overlaps", record)
    report(found, read)


def report(found: pa.Table, read: dict[str, pa.Table | None]) -> None:
    """A line per (dataset, held-out set) on standard error, those without overlap included."""
    columns = [found.column(name).to_pylist() for name in ("dataset", "held_out", "kind")]
    count = Counter(zip(*columns, strict=True))
    rows = {
        role: Counter(table.column("dataset").to_pylist()) if table is not None else Counter()
        for role, table in read.items()
    }
    for role, others in (("train", ("valid", "test")), ("valid", ("test",))):
        for dataset, total in rows[role].items():
            for held_out in (name for other in others for name in rows[other]):
                exact, near, group = (
                    count[dataset, held_out, kind] for kind in ("exact", "near", "group")
                )
                print(
                    f"{dataset} in {held_out}: {exact:,} exact, {near:,} near and {group:,} by "
                    f"group of {total:,} rows",
                    file=sys.stderr,
                )
