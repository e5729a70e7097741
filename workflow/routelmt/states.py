"""Frozen states: what every layer of the small model makes of a prompt, in a file to stream.

A states file is an uncompressed Arrow IPC file with the join key and two columns of fp16, each a
fixed-size list of layers of a fixed-size list of the hidden size: `last`, the states of the last
prompt token, and `mean`, their mean over the prompt's tokens. Layer 0 is the embeddings, the final
norm is applied to the last one. It carries the same record as every table; its content hash is the
one that `tables.content_hash` would give, found without holding the file in memory.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from routelmt import tables
from routelmt.errors import UserError
from routelmt.join import align, row_keys

TABLE = "states"
Pool = Literal["last", "mean"]
POOLS: tuple[Pool, Pool] = ("last", "mean")
HalfArray = npt.NDArray[np.float16]
IntArray = npt.NDArray[np.int64]

BLOCK_BYTES = 2**26  # of one record batch, and of what a writer has in memory
_HALF = np.dtype(np.float16).itemsize


def state_type(layers: int, hidden: int) -> pa.DataType:
    """Arrow type of `last` and `mean`."""
    return pa.list_(pa.list_(pa.field("item", pa.float16(), False), hidden), layers)


# --- reading -------------------------------------------------------------------------------------


class States:
    """States of some rows on disk: rows, layers (embeddings included) and hidden size.

    model: what made them, as the files' records have it: the model's settings.
    Made by `open_states`; `filter` keeps some rows. Nothing is read before `take`.
    """

    def __init__(self, files: Sequence[_File], positions: IntArray) -> None:
        self.layers, self.hidden = files[0].layers, files[0].hidden
        self.model: Mapping[str, Any] = files[0].record["settings"]
        self._files, self._positions = files, positions
        blocks = [(file.handle.fileno(), block) for file in files for block in file.blocks]
        self._handles = np.array([handle for handle, _ in blocks], dtype=np.int64)
        self._places = {
            pool: np.array([block.places[pool] for _, block in blocks], np.int64) for pool in POOLS
        }
        self._starts = np.cumsum([0, *(block.rows for _, block in blocks)])[:-1]

    @property
    def rows(self) -> int:
        """How many."""
        return len(self._positions)

    def filter(self, keep: npt.NDArray[np.bool_]) -> States:
        """The rows where `keep` (rows,) is true."""
        return States(self._files, self._positions[np.asarray(keep, dtype=np.bool_)])

    def take(
        self,
        column: Pool,
        rows: npt.ArrayLike,
        layers: slice | int | None = None,
        out: HalfArray | None = None,
    ) -> HalfArray:
        """States of some rows, in their order: (n, layers, hidden), fp16.

        layers: all, a run of them, or one (negative from the end), which keeps its axis. out: an
        array of that shape or longer, C-contiguous, to read into: fresh memory takes more time than
        reading. The file is read, not mapped: mapped pages would count as this process's memory.
        """
        wanted = range(*_layer_slice(layers, self.layers).indices(self.layers))
        if wanted.step != 1:
            raise ValueError(f"layers {layers}: not a run")
        positions = self._positions[np.asarray(rows, dtype=np.int64)]
        blocks = np.searchsorted(self._starts, positions, side="right") - 1
        size = self.hidden * _HALF
        places = self._places[column][blocks] + wanted.start * size
        places += (positions - self._starts[blocks]) * self.layers * size
        shape = len(positions), len(wanted), self.hidden
        found = np.empty(shape, dtype=np.float16) if out is None else out[: len(positions)]
        view, length = found.reshape(-1).view(np.uint8).data, len(wanted) * size
        handles = self._handles[blocks]
        for first, stop in _stretches(places, handles, length):  # neighbours in one call
            part = view[first * length : stop * length]
            _read_at(int(handles[first]), part, int(places[first]))
        return found

    def batches(self, rows: int) -> Iterator[IntArray]:
        """Row numbers 0, 1, 2, ... in runs of `rows`."""
        for start in range(0, self.rows, rows):
            yield np.arange(start, min(start + rows, self.rows))


def open_states(paths: Sequence[str | Path], segments: pa.Table) -> States:
    """The states of the segments, in their order, from one or several states files.

    Every file is read once in whole and compared with the content hash of its record: its values
    have no checksums of their own. Raises UserError for a file that is missing, cut short, changed
    or no states file, where the files are not of one model, and where rows of the segments are
    missing, extra or there twice.
    """
    if not paths:
        raise UserError("no states files given; `python -m routelmt signals --states` makes them.")
    files = [_File(Path(path)) for path in paths]
    for file in files:
        if file.content() != file.record["content"]:
            raise UserError(
                f"{file.path}: its values are not those that were written; delete it and run again."
            )
    for file in files[1:]:
        _check_alike(files[0], file)
    keys = pa.concat_tables([file.keys for file in files])
    numbered = keys.append_column("row", pa.array(np.arange(keys.num_rows)))
    return States(files, align(segments, numbered, "segments", "states").column("row").to_numpy())


def content_hash(path: str | Path) -> str:
    """SHA-256 of a states file's values, as `tables.content_hash` defines it; little memory.

    Raises UserError if it is not a valid states file.
    """
    file = _File(Path(path))
    if pc.count_distinct(row_keys(file.keys)).as_py() < file.keys.num_rows:
        raise UserError(f"{path}: some keys of the states occur more than once; make it again.")
    return file.content()


def _hash(keys: pa.Table, layers: int, hidden: int, values: Iterator[tuple[str, Any]]) -> str:
    """The hash of keys and of the columns' values, which come in order: all of one, then the next.

    values: (column, its next bytes). As in tables._canonical: the name, then for every level of
    fixed-size lists its size, then the values.
    """
    digest = hashlib.sha256()
    tables.hash_columns(digest, keys)
    current = None
    for pool, part in values:
        if pool != current:
            digest.update(pool.encode() + np.array([layers, hidden], np.int64).tobytes())
            current = pool
        digest.update(part)
    return digest.hexdigest()


@dataclass(frozen=True)
class _Block:
    """A record batch: its rows, and where in the file each column's values begin."""

    rows: int
    places: Mapping[str, int]


class _File:
    """One states file: its record, keys, and where its values are."""

    def __init__(self, path: Path) -> None:
        self.path, self.record = path, tables.record_of(path)
        if self.record["table"] != TABLE:
            raise UserError(f"{path}: holds a '{self.record['table']}' table, expected '{TABLE}'.")
        self.handle = path.open("rb")
        mapped = mmap.mmap(self.handle.fileno(), 0, access=mmap.ACCESS_READ)
        with tables.readable(path):
            reader = pa.ipc.open_file(pa.BufferReader(pa.py_buffer(mapped)))
            self.layers, self.hidden = _shape(reader.schema, path)
            batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
            names = list(tables.JOIN_KEY)
            schema = pa.schema([reader.schema.field(name) for name in names])
            keys = pa.Table.from_batches([b.select(names) for b in batches], schema)
            keys.validate(full=True)
            self.keys = _copied(keys)
            start = pa.py_buffer(mapped).address
            self.blocks = [
                _Block(b.num_rows, {p: _values(b.column(p)).address - start for p in POOLS})
                for b in batches
            ]
        if self.keys.num_rows != self.record["rows"]:
            raise UserError(
                f"{path}: has {self.keys.num_rows} rows, its record says {self.record['rows']}; "
                "delete it and run again."
            )

    def content(self) -> str:
        """The content hash of what is in the file now."""
        return _hash(self.keys, self.layers, self.hidden, self.values())

    def values(self) -> Iterator[tuple[str, Any]]:
        """(column, bytes of one block), all blocks of a column before the next column."""
        for pool in POOLS:
            for block in self.blocks:
                part = np.empty(block.rows * self.layers * self.hidden * _HALF, dtype=np.uint8)
                _read_at(self.handle.fileno(), part.data, block.places[pool])
                yield pool, part


def _stretches(places: IntArray, handles: IntArray, length: int) -> Iterator[tuple[int, int]]:
    """(first, stop) of items of `length` bytes that follow one another in a file."""
    breaks = (np.diff(places) != length) | (np.diff(handles) != 0)
    edges = [0, *(np.flatnonzero(breaks) + 1).tolist(), len(places)]
    return (pair for pair in pairwise(edges) if pair[0] < pair[1])


def _values(column: pa.Array) -> pa.Buffer:
    """The buffer of fp16 values of a column that was not sliced."""
    return column.values.values.buffers()[1]


def _copied(keys: pa.Table) -> pa.Table:
    """Out of the mapped file, which can then be let go."""
    return pa.table({n: pa.array(keys[n].to_pylist(), pa.string()) for n in keys.column_names})


def _shape(schema: pa.Schema, path: Path) -> tuple[int, int]:
    """(layers, hidden) of a states file; UserError if its columns are others."""
    names = [*tables.JOIN_KEY, *POOLS]
    kinds = [schema.field(name).type for name in POOLS if name in schema.names]
    nested = all(
        pa.types.is_fixed_size_list(kind) and pa.types.is_fixed_size_list(kind.value_type)
        for kind in kinds
    )
    if schema.names == names and nested and kinds[0] == kinds[1]:
        layers, hidden = kinds[0].list_size, kinds[0].value_type.list_size
        if kinds[0].value_type.value_type == pa.float16():
            return layers, hidden
    raise UserError(
        f"{path}: not a states file: expected columns {names}, the last two fixed-size lists of "
        "fp16, layers x hidden size. Delete it and run the workflow again."
    )


def _check_alike(first: _File, other: _File) -> None:
    shapes = [(file.layers, file.hidden) for file in (first, other)]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{first.path} has states of {shapes[0][0]} layers of {shapes[0][1]}, {other.path} of "
            f"{shapes[1][0]} layers of {shapes[1][1]}: they are of different models."
        )
    about = difference(first.record["settings"], other.record["settings"])
    if about:
        raise UserError(f"{first.path} and {other.path} are not of one model: {about}.")


# What decides a state: the weights, the number format, and the tokens of the prompt.
IDENTITY = ("path", "revision", "dtype", "prompt", "languages")


def difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """What tells two models' states apart, in words; empty if nothing does.

    one, other: settings of models. A setting that one of them does not say is not compared.
    """
    return "; ".join(
        f"'{name}' is {one[name]!r} and {other[name]!r}"
        for name in IDENTITY
        if name in one and name in other and one[name] != other[name]
    )


def _layer_slice(layers: slice | int | None, count: int) -> slice:
    if layers is None:
        return slice(None)
    if isinstance(layers, slice):
        return layers
    if not -count <= layers < count:
        raise IndexError(f"layer {layers} of {count}")
    first = layers % count
    return slice(first, first + 1)


# --- writing -------------------------------------------------------------------------------------


class StatesWriter:
    """Writes a states file: give it the states of every distinct prompt, in any order.

    Context manager. What is put lies in an unnamed file beside `path` until `finish`, which writes
    the rows in their order and puts the file in place whole; without `finish` nothing is left.
    """

    def __init__(self, path: Path, segments: pa.Table, of_segment: IntArray, prompts: int) -> None:
        """segments: rows, of which the join key is kept. of_segment: (rows,) prompt of each."""
        self.path, self._of_segment, self._prompts = path, of_segment, prompts
        self._keys = segments.select(list(tables.JOIN_KEY))
        self._shape: tuple[int, int] | None = None
        self._seen = np.zeros(prompts, dtype=np.bool_)

    def __enter__(self) -> StatesWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = tempfile.TemporaryFile(dir=self.path.parent)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._file.close()

    def put(self, prompts: IntArray, last: HalfArray, mean: HalfArray) -> None:
        """States of some prompts, by number: last and mean, each (n, layers, hidden)."""
        shape = (last.shape[1], last.shape[2])
        if self._shape is None:
            self._shape = shape
        if shape != self._shape or mean.shape != last.shape or len(prompts) != len(last):
            raise ValueError(f"states {last.shape} and {mean.shape} for {len(prompts)} prompts")
        for pool, values in ((0, last), (1, mean)):
            half = np.ascontiguousarray(values, dtype=np.float16)
            for prompt, row in zip(prompts.tolist(), half, strict=True):
                _write_at(self._file.fileno(), row.tobytes(), self._place(prompt, pool))
        self._seen[prompts] = True

    def finish(self, provenance: Mapping[str, Any]) -> None:
        """Write the file, with its record. Raises ValueError if a prompt was never put."""
        if self._shape is None or not self._seen.all():
            raise ValueError(
                f"{int((~self._seen).sum())} of {self._prompts} prompts have no states"
            )
        layers, hidden = self._shape
        blocks = ((pool, self._read(rows, i).data) for i, pool in enumerate(POOLS)
                  for rows in self._blocks())  # fmt: skip
        record = {
            "table": TABLE,
            "schema_version": tables.SCHEMA_VERSION,
            "rows": self._keys.num_rows,
            "content": _hash(self._keys, layers, hidden, blocks),
            "layers": layers,
            "hidden": hidden,
            **provenance,
        }
        kind = state_type(layers, hidden)
        fields = [pa.field(name, pa.string(), False) for name in tables.JOIN_KEY]
        fields += [pa.field(pool, kind, False) for pool in POOLS]
        text = json.dumps(record, ensure_ascii=False)
        schema = pa.schema(fields, {tables.METADATA_KEY: text})
        with tables.atomic_path(self.path) as temporary, pa.ipc.new_file(temporary, schema) as out:
            for rows in self._blocks():
                out.write_batch(self._batch(rows, schema))

    def _batch(self, rows: IntArray, schema: pa.Schema) -> pa.RecordBatch:
        layers, hidden = self._shape or (0, 0)
        keys = self._keys.take(pa.array(rows)).combine_chunks()
        kind = state_type(layers, hidden)
        columns = [keys.column(name).combine_chunks() for name in tables.JOIN_KEY]
        for i in range(len(POOLS)):
            inner = pa.FixedSizeListArray.from_arrays(
                pa.array(self._read(rows, i)), type=kind.value_type
            )
            columns.append(pa.FixedSizeListArray.from_arrays(inner, type=kind))
        return pa.RecordBatch.from_arrays([_flat(c) for c in columns], schema=schema)

    def _blocks(self) -> Iterator[IntArray]:
        """Rows of each record batch."""
        layers, hidden = self._shape or (1, 1)
        size = max(1, BLOCK_BYTES // (len(POOLS) * layers * hidden * _HALF))
        for start in range(0, len(self._of_segment), size):
            yield np.arange(start, min(start + size, len(self._of_segment)))

    def _read(self, rows: IntArray, pool: int) -> HalfArray:
        """Values of some rows, flat."""
        layers, hidden = self._shape or (0, 0)
        found = np.empty((len(rows), layers * hidden), dtype=np.float16)
        for i, prompt in enumerate(self._of_segment[rows].tolist()):
            _read_at(self._file.fileno(), found[i].view(np.uint8).data, self._place(prompt, pool))
        return found.reshape(-1)

    def _place(self, prompt: int, pool: int) -> int:
        layers, hidden = self._shape or (0, 0)
        return (prompt * len(POOLS) + pool) * layers * hidden * _HALF


def _flat(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(column, pa.ChunkedArray):
        return pa.concat_arrays(column.chunks)
    return column


def _write_at(handle: int, data: bytes, place: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(handle, view, place)
        view, place = view[done:], place + done


def _read_at(handle: int, view: memoryview, place: int) -> None:
    """Fill `view` from a place of a file; OSError where the file ends before."""
    while view:
        done = os.preadv(handle, [view], place)
        if not done:
            raise OSError(f"states end at byte {place}: the file was cut short while it was read")
        view, place = view[done:], place + done
