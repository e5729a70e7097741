"""Long computations in blocks that are kept: a killed job loses the block it was in, no more.

Blocks lie in a hidden folder beside the output and are named by what made them, so that a retry
takes up only what it would compute again to the same bits. Which rows make a block depends on the
rows alone, never on what was finished before.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from routelmt.tables import atomic_path

Columns = dict[str, list[Any]]


class Blocks:
    """Finished blocks of the output `out`; none are kept if it is None.

    identity: JSON of whatever shapes the results beside the rows themselves.
    """

    def __init__(self, out: Path | None = None, identity: Mapping[str, Any] | None = None) -> None:
        self.folder = out.parent / f".{out.name}.blocks" if out else None
        self._identity = json.dumps(identity, sort_keys=True, ensure_ascii=False, default=str)

    def compute(
        self,
        items: Sequence[Any],
        lengths: Sequence[int],
        rows: int,
        work: Callable[[list[int], Callable[[int], object]], Columns],
    ) -> Columns:
        """Columns of results in the order of the items, computed `rows` items at a time.

        lengths: of the items; long ones come first, so that a block's items are alike and a run
        that does not fit into memory fails at once. work: (positions of some items, a function to
        call with the number just finished) -> their columns.
        """
        from routelmt.progress import progress

        order = np.argsort(-np.asarray(lengths, dtype=np.int64), kind="stable").tolist()
        parts = [order[start : start + rows] for start in range(0, len(order), rows)]
        found: list[Columns] = []
        with progress((), "rows", "rows", len(items)) as bar:
            for part in parts:
                path = self._path([items[i] for i in part])
                columns = self._load(path, len(part))
                if columns is None:
                    columns = work(part, bar.update)
                    self._save(path, columns)
                else:
                    bar.update(len(part))
                found.append(columns)
        return _in_order(order, found)

    def done(self) -> None:
        """Remove the blocks: the output that they were for is whole."""
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, items: Sequence[Any]) -> Path | None:
        if self.folder is None:
            return None
        digest = blake2b(self._identity.encode(), digest_size=16)
        digest.update(json.dumps(items, ensure_ascii=False).encode("utf-8", "surrogatepass"))
        return self.folder / f"{digest.hexdigest()}.parquet"

    def _load(self, path: Path | None, rows: int) -> Columns | None:
        """A block's columns; None if it is not there or cannot be used."""
        if path is None or not path.is_file():
            return None
        try:
            table = pq.read_table(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError):
            print(f"{path}: damaged, computed again", file=sys.stderr)
            return None
        if table.num_rows != rows:
            return None
        columns: Columns = table.to_pydict()
        return columns

    def _save(self, path: Path | None, columns: Columns) -> None:
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary:
            pq.write_table(pa.table(columns), temporary, write_page_checksum=True)


def _in_order(order: list[int], found: Sequence[Columns]) -> Columns:
    """The blocks' columns joined, row order[i] at place i of the joined ones."""
    result: Columns = {}
    for name in found[0] if found else ():
        values: list[Any] = [None] * len(order)
        for i, value in zip(order, (v for columns in found for v in columns[name]), strict=True):
            values[i] = value
        result[name] = values
    return result
