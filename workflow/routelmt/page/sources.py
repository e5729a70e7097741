"""Reading the tables of a page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from routelmt import tables
from routelmt.errors import UserError
from routelmt.page.payload import Source
from routelmt.page.registry import PAGE_TABLES, REQUIRED


def read_sources(paths: Iterable[Path]) -> dict[str, Source]:
    """The tables by name, which is the stem of the file and what its record says.

    Raises UserError for a file that is no table, is called differently, that the page does not
    show, or for two of a name; and if one is missing that the page cannot do without.
    """
    found: dict[str, Source] = {}
    for path in paths:
        record = tables.record_of(path)
        name = record["table"]
        if name != path.stem:
            raise UserError(f"{path}: holds the table '{name}'; rename the file to {name}.parquet.")
        if name not in PAGE_TABLES:
            raise UserError(
                f"{path}: the page does not show the table '{name}'; it shows "
                f"{', '.join(PAGE_TABLES)}."
            )
        if name in found:
            raise UserError(f"{path}: a second table '{name}' beside {found[name].path}; give one.")
        found[name] = Source(path.as_posix(), tables.read(path, name), record)
    missing = [name for name in REQUIRED if name not in found]
    if missing:
        raise UserError(f"--tables: the page needs {' and '.join(missing)} too.")
    return found
