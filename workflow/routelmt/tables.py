"""Every Parquet table of the workflow: its schema, and the only way to read and write it.

A table is declared once, here. `write` checks it, stamps provenance into the Parquet metadata and
puts the file in place atomically; `read` checks it again. A file is whole and valid, or absent.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from routelmt.errors import UserError

SCHEMA_VERSION = 1
METADATA_KEY = b"routelmt"
JOIN_KEY = ("dataset", "direction", "segment_id")


@dataclass(frozen=True)
class Column:
    """A column: Arrow type, whether it may be null, and its closed range (numbers only)."""

    type: pa.DataType
    about: str
    nullable: bool = False
    low: float | None = None
    high: float | None = None
    nan: bool = False  # whether NaN may stand for "undefined, see the reason column"


@dataclass(frozen=True)
class Table:
    """A table: its columns in order, and the columns that identify a row."""

    about: str
    key: tuple[str, ...]
    columns: Mapping[str, Column]
    may_be_empty: bool = False


_TEXT = pa.string()
_KEY = {
    "dataset": Column(_TEXT, "dataset name from the config"),
    "direction": Column(_TEXT, "source-target, e.g. en-zh"),
    "segment_id": Column(_TEXT, "identifies the segment within dataset and direction"),
}


def _number(about: str, **limits: Any) -> Column:
    return Column(pa.float64(), about, **limits)


def _count(about: str, **limits: Any) -> Column:
    return Column(pa.int64(), about, low=0, **limits)


_INTERVAL = {
    "low": _number("lower end of the bootstrap interval", nan=True),
    "high": _number("upper end of the bootstrap interval", nan=True),
}
_RUN = {
    "router": Column(_TEXT, "router name from the config"),
    "direction": Column(_TEXT, "direction, or 'average' over the directions"),
    "budget": _number("share of the requests that the large model gets", low=0, high=1),
}
_ROLE = Column(_TEXT, "router, random (its exact expectation) or oracle (not deployable)")

TABLES: dict[str, Table] = {
    "corpus": Table(
        "one text of a gettext corpus and its translation",
        ("text_id", "language"),
        {
            "text_id": Column(_TEXT, "hash of the normalised English text"),
            "group_id": Column(_TEXT, "texts that share a normalised string in any language"),
            "language": Column(_TEXT, "language of `translation`"),
            "package": Column(_TEXT, "PyPI package that carries the catalog"),
            "catalog": Column(_TEXT, "path of the catalog in the wheel"),
            "split": Column(_TEXT, "translator-train, router-train, valid, test or unused"),
            "english": Column(_TEXT, "msgid"),
            "translation": Column(_TEXT, "msgstr"),
        },
    ),
    "segments": Table(
        "one text to translate, with its human reference",
        JOIN_KEY,
        {
            **_KEY,
            "group_id": Column(_TEXT, "ties the same text across directions"),
            "doc_id": Column(_TEXT, "document the text stands in", nullable=True),
            "domain": Column(_TEXT, "domain or origin", nullable=True),
            "split": Column(_TEXT, "split it was drawn from"),
            "source": Column(_TEXT, "text to translate"),
            "reference": Column(_TEXT, "human translation"),
        },
    ),
    "overlaps": Table(
        "a training or validation row whose text is also in held-out data, one row a held-out set",
        (*JOIN_KEY, "held_out"),
        {
            **_KEY,
            "role": Column(_TEXT, "train or valid"),
            "held_out": Column(_TEXT, "dataset that has the text too"),
            "kind": Column(_TEXT, "exact, near, or group (shares the group of an exact or near)"),
            "side": Column(_TEXT, "source or reference of this row; null for group", nullable=True),
            "similarity": _number("Jaccard of character n-grams; of the match for group", high=1),
            "held_out_id": Column(_TEXT, "segment_id of the best match in the held-out set"),
        },
        may_be_empty=True,  # as it should be
    ),
    "datasheet": Table(
        "what the data of an experiment is: counts and lengths by domain",
        ("dataset", "direction", "domain"),
        {
            "dataset": _KEY["dataset"],
            "direction": _KEY["direction"],
            "domain": Column(_TEXT, "domain, or 'all'"),
            "role": Column(_TEXT, "train, valid or test"),
            "segments": _count("rows"),
            "groups": _count("distinct texts, as tied across directions"),
            "documents": _count("distinct documents; 0 where upstream names none"),
            **{
                f"{side}_words_{name}": _number(f"{about} of words per {side}, see words()", low=0)
                for side in ("source", "reference")
                for name, about in (
                    ("mean", "mean"),
                    ("p05", "5th percentile"),
                    ("p25", "lower quartile"),
                    ("p50", "median"),
                    ("p75", "upper quartile"),
                    ("p95", "95th percentile"),
                )
            },
            "source_chars_mean": _number("mean characters per source", low=0),
            "reference_chars_mean": _number("mean characters per reference", low=0),
        },
    ),
    "contamination": Table(
        "training and validation rows whose text is in held-out data, and what was removed",
        ("dataset", "held_out", "direction"),
        {
            "dataset": _KEY["dataset"],
            "role": Column(_TEXT, "train or valid"),
            "held_out": Column(_TEXT, "dataset compared with, or 'any'"),
            "direction": Column(_TEXT, "direction, or 'all'"),
            "rows": _count("rows of the training or validation set"),
            "exact": _count("rows with a normalised text that the held-out set has"),
            "near": _count("rows that are near-duplicates only"),
            "group": _count("rows that share the group of such a row"),
            "removed": _count("rows kept away from the routers; 0 where the config only counts"),
        },
        may_be_empty=True,  # an experiment that trains nothing has nothing to keep apart
    ),
    "hypotheses": Table(
        "one model's translation of one segment",
        (*JOIN_KEY, "model"),
        {
            **_KEY,
            "model": Column(_TEXT, "model name from the config"),
            "hypothesis": Column(_TEXT, "decoded translation; may be blank, see degenerate"),
            "prompt_tokens": _count("tokens of the prompt; null if precomputed", nullable=True),
            "output_tokens": _count(
                "tokens decoded, end of sequence included; null if precomputed", nullable=True
            ),
            "finish_reason": Column(
                _TEXT, "stop, length, too_long, ...; null if precomputed", nullable=True
            ),
            "mean_logprob": _number(
                "mean log-probability (nats) of the decoded tokens", nan=True, high=1e-6
            ),
            "degenerate": Column(pa.bool_(), "blank, runaway, or one piece repeated"),
        },
    ),
    "signals": Table(
        "what one prefill of the small model says before anything is decoded",
        (*JOIN_KEY, "model"),
        {
            **_KEY,
            "model": Column(_TEXT, "model name from the config"),
            "prompt_tokens": _count("tokens of the prompt"),
            "entropy": _number("entropy (nats) of the first target token", low=-1e-6),
            "margin": _number("p1 - p2 of the first target token", low=0, high=1),
            "max_logit": _number("largest logit of the first target token"),
            "state": Column(pa.list_(pa.float16()), "final hidden state at the last prompt token"),
        },
    ),
    "scores": Table(
        "quality of one hypothesis",
        (*JOIN_KEY, "metric", "model"),
        {
            **_KEY,
            "metric": Column(_TEXT, "metric name from the config"),
            "model": Column(_TEXT, "model name from the config"),
            "score": _number("quality, higher is better; 0-100 unless the metric says otherwise"),
            "truncated": Column(pa.bool_(), "the metric saw only part of the texts"),
            "error_spans": Column(
                _TEXT, "errors that the metric marks, as JSON; null if it marks none", nullable=True
            ),
        },
    ),
    "gains": Table(
        "what the large model adds to each segment",
        JOIN_KEY,
        {
            **_KEY,
            "group_id": Column(_TEXT, "ties the same text across directions"),
            "quality_small": _number("score of the small model's hypothesis"),
            "quality_large": _number("score of the large model's hypothesis"),
            "gain": _number("quality_large - quality_small"),
        },
    ),
    "predictions": Table(
        "what one router says of each request; higher priority goes to the large model first",
        (*JOIN_KEY, "router", "seed"),
        {
            **_KEY,
            "router": Column(_TEXT, "router name from the config"),
            "seed": Column(pa.int64(), "training or sampling seed", low=0),
            "prediction": _number("in the router's own unit (gain points, nats, tokens, ...)"),
            "priority": _number("higher = large model first"),
        },
    ),
    "routers": Table(
        "Spearman, HitRate and mean gain of the routed requests (RouteLMT Table 2)",
        ("router", "direction", "budget", "metric"),
        {
            **_RUN,
            "role": _ROLE,
            "metric": Column(_TEXT, "spearman, hit_rate (0-100), mean_delta or headroom (0-1)"),
            "value": _number("mean over the seeds", nan=True),
            **_INTERVAL,
            "seeds": _count("number of seeds; 0 where all draws are averaged exactly"),
            "seed_spread": _number("standard deviation over the seeds", nan=True),
            "requests": _count("evaluated requests"),
            "reason": Column(_TEXT, "why the value is undefined", nullable=True),
        },
    ),
    "comparisons": Table(
        "paired differences between routers on the same bootstrap replicates",
        ("router", "other", "direction", "budget", "metric"),
        {
            "router": Column(_TEXT, "router name"),
            "other": Column(_TEXT, "router it is compared with"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "metric": Column(_TEXT, "hit_rate (0-100) or mean_delta"),
            "difference": _number("router - other"),
            **_INTERVAL,
            "p_value": _number("two-sided, normal; bootstrap error", low=0, high=1, nan=True),
            "p_holm": _number("Holm-corrected over the router pairs", low=0, high=1, nan=True),
            "detectable": _number("smallest difference found with 80 % power", nan=True),
        },
        may_be_empty=True,  # one deployable router has nothing to be compared with
    ),
    "pareto": Table(
        "mean system quality at every call rate",
        ("router", "direction", "call_rate"),
        {
            "router": Column(_TEXT, "router name"),
            "direction": _RUN["direction"],
            "role": _ROLE,
            "call_rate": _number("share of requests sent to the large model", low=0, high=1),
            "quality": _number("mean quality of the mixed system"),
            **_INTERVAL,
        },
    ),
    "risk_buckets": Table(
        "what happens to the routed requests (RouteLMT section 6.3)",
        ("router", "direction", "budget", "bucket"),
        {
            **_RUN,
            "role": _ROLE,
            "bucket": Column(_TEXT, "severe_loss, minor_loss, tie or substantial_gain"),
            "share": _number("share of the routed requests", low=0, high=1),
            **_INTERVAL,
        },
    ),
    "guards": Table(
        "routing with an eligibility guard (RouteLMT section 6.4)",
        ("router", "guard", "direction", "budget", "quantile"),
        {
            "router": Column(_TEXT, "router that ranks"),
            "guard": Column(_TEXT, "router whose priority decides who is eligible, or none"),
            "oracle": Column(pa.bool_(), "the guard needs the reference, so it cannot be deployed"),
            "direction": _RUN["direction"],
            "budget": _RUN["budget"],
            "quantile": _number("share of requests that are eligible", low=0, high=1),
            "severe_loss": _number("share of the routed requests with a severe loss"),
            "severe_loss_low": _number("lower end of its bootstrap interval", nan=True),
            "severe_loss_high": _number("upper end of its bootstrap interval", nan=True),
            "mean_delta": _number("mean gain of the routed requests"),
            "mean_delta_low": _number("lower end of its bootstrap interval", nan=True),
            "mean_delta_high": _number("upper end of its bootstrap interval", nan=True),
        },
        may_be_empty=True,  # an experiment need not have guards
    ),
}


@cache
def arrow_schema(table: str) -> pa.Schema:
    """The Arrow schema of a table, without metadata."""
    columns = TABLES[table].columns
    return pa.schema([pa.field(n, c.type, nullable=c.nullable) for n, c in columns.items()])


def from_columns(table: str, columns: Mapping[str, Any]) -> pa.Table:
    """Arrow table of the declared schema from arrays, lists or scalars (scalars are repeated)."""
    schema = arrow_schema(table)
    lengths = {len(v) for v in columns.values() if _is_sequence(v)}
    if len(lengths) > 1:
        raise ValueError(f"columns of {table} have different lengths: {sorted(lengths)}")
    rows = lengths.pop() if lengths else 1
    missing = set(schema.names) ^ set(columns)
    if missing:
        raise ValueError(f"columns of {table} and of its schema differ: {sorted(missing)}")
    arrays = [_array(columns[field.name], field, rows) for field in schema]
    return pa.Table.from_arrays(arrays, schema=schema)


def _is_sequence(value: Any) -> bool:
    return not isinstance(value, str) and hasattr(value, "__len__")


def _array(value: Any, field: pa.Field, rows: int) -> pa.Array | pa.ChunkedArray:
    if isinstance(value, pa.Array | pa.ChunkedArray):
        return value.cast(field.type)
    if not _is_sequence(value):
        return pa.repeat(pa.scalar(value, field.type), rows)
    if pa.types.is_floating(field.type):  # NaN stays NaN: null and undefined differ
        return pa.array(np.asarray(value, dtype=np.float64), field.type, from_pandas=False)
    return pa.array(value, field.type)


def check(data: pa.Table, table: str, where: str) -> None:
    """Raise UserError unless `data` is a valid `table`; `where` begins the message."""
    spec, schema = TABLES[table], arrow_schema(table)
    found = data.schema.remove_metadata()
    if found.names != schema.names:
        lost, extra = set(schema.names) - set(found.names), set(found.names) - set(schema.names)
        raise UserError(
            f"{where}: not a '{table}' table: missing columns {sorted(lost)}, unexpected columns "
            f"{sorted(extra)}. Delete the file and let the workflow rebuild it."
        )
    for name, column in spec.columns.items():
        _check_column(data.column(name), name, column, schema.field(name), where)
    if not data.num_rows and not spec.may_be_empty:
        raise UserError(f"{where}: the '{table}' table is empty; look at what it was made from.")
    _check_key(data, spec.key, table, where)


def _check_column(
    values: pa.ChunkedArray, name: str, column: Column, field: pa.Field, where: str
) -> None:
    if values.type != field.type:
        raise UserError(f"{where}: column '{name}' is {values.type}, expected {field.type}.")
    if values.null_count and not column.nullable:
        row = pc.index(pc.is_null(values), True).as_py()
        raise UserError(
            f"{where}: column '{name}' has {values.null_count} empty values, the first in row "
            f"{row}; none is allowed."
        )
    if not pa.types.is_floating(field.type) and not pa.types.is_integer(field.type):
        return
    if not column.nan and pa.types.is_floating(field.type):
        undefined = pc.sum(pc.is_nan(values)).as_py() or 0
        if undefined:
            row = pc.index(pc.is_nan(values), True).as_py()
            raise UserError(
                f"{where}: column '{name}' has {undefined} NaN values, the first in row {row}."
            )
    for bound, outside, word in (
        (column.low, pc.less, "below"),
        (column.high, pc.greater, "above"),
    ):
        if bound is not None and pc.any(outside(values, bound)).as_py():
            row = pc.index(outside(values, bound), True).as_py()
            raise UserError(
                f"{where}: column '{name}' has {values[row].as_py()} in row {row}, {word} {bound}."
            )


def _check_key(data: pa.Table, key: tuple[str, ...], table: str, where: str) -> None:
    # A column that never varies cannot tell rows apart, and grouping by it costs time.
    varying = [k for k in key if pc.count_distinct(data.column(k)).as_py() > 1] or [key[0]]
    groups = data.select(varying).group_by(varying).aggregate([([], "count_all")])
    if groups.num_rows == data.num_rows:
        return
    twice = groups.filter(pc.greater(groups.column("count_all"), 1))
    examples = twice.select(varying).slice(0, 3).to_pylist()
    raise UserError(
        f"{where}: {twice.num_rows} keys of the '{table}' table occur more than once, "
        f"first: {examples}; every {', '.join(key)} may occur once."
    )


def content_hash(data: pa.Table) -> str:
    """SHA-256 of the values, independent of file layout, chunking and metadata."""
    digest = hashlib.sha256()
    for name in data.column_names:
        digest.update(name.encode())
        for buffer in _canonical(data.column(name)):
            digest.update(buffer)
    return digest.hexdigest()


def _canonical(values: pa.ChunkedArray) -> Iterable[bytes | memoryview]:
    array = values.combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # zero chunks
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], values.type)
    if array.null_count:
        yield np.asarray(array.is_null()).tobytes()
    if pa.types.is_list(array.type):
        yield np.asarray(pc.list_value_length(array).fill_null(0)).astype(np.int64).tobytes()
        yield from _canonical(pa.chunked_array([array.flatten()]))
    elif pa.types.is_string(array.type):
        filled = array.fill_null("")
        yield np.asarray(pc.binary_length(filled)).astype(np.int64).tobytes()
        yield "".join(filled.to_pylist()).encode()
    else:
        filled = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
        yield np.ascontiguousarray(filled.to_numpy(zero_copy_only=False)).tobytes()


def write(data: pa.Table, path: str | Path, table: str, provenance: Mapping[str, Any]) -> None:
    """Check `data`, add `provenance`, and put it at `path` atomically.

    Raises UserError if the data break the table's schema; nothing is written then.
    """
    path = Path(path)
    check(data, table, str(path))
    record = {
        "table": table,
        "schema_version": SCHEMA_VERSION,
        "rows": data.num_rows,
        "content": content_hash(data),
        **provenance,
    }
    stamped = data.replace_schema_metadata({METADATA_KEY: json.dumps(record, ensure_ascii=False)})
    with atomic_path(path) as temporary:
        pq.write_table(stamped, temporary, compression="zstd")


class atomic_path:
    """Context: a temporary path beside `path` that replaces it, synced to disk, on success."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __enter__(self) -> Path:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            prefix=f".{self.path.stem}.", suffix=self.path.suffix, dir=self.path.parent
        )
        os.close(handle)
        self.temporary = Path(name)
        return self.temporary

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.temporary.unlink(missing_ok=True)
            return
        with self.temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        mask = os.umask(0)
        os.umask(mask)
        self.temporary.chmod(0o666 & ~mask)  # mkstemp makes private files; results are shared
        self.temporary.replace(self.path)


def is_foreign(path: str | Path) -> bool:
    """Whether this is a readable Parquet file that the workflow did not write."""
    try:
        return METADATA_KEY not in (pq.read_schema(path).metadata or {})
    except (OSError, pa.ArrowInvalid):
        return False


def record_of(path: str | Path) -> dict[str, Any]:
    """The provenance record of a Parquet file.

    Raises UserError if the file is missing, cut short, not ours, or of another schema version.
    """
    try:
        metadata = pq.read_schema(path).metadata or {}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file.") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(
            f"{path}: not a readable Parquet file ({error}). It was cut short or overwritten; "
            "delete it and run the workflow again."
        ) from None
    if METADATA_KEY not in metadata:
        raise UserError(
            f"{path}: a Parquet file without provenance, so not one that this workflow wrote."
        )
    record: dict[str, Any] = json.loads(metadata[METADATA_KEY])
    if record.get("schema_version") != SCHEMA_VERSION:
        raise UserError(
            f"{path}: written with table schema version {record.get('schema_version')}, this "
            f"version reads {SCHEMA_VERSION}. Delete the file and run the workflow again."
        )
    return record


def read(path: str | Path, table: str, columns: list[str] | None = None) -> pa.Table:
    """Read a table of the given kind, checked; `columns` selects (and checks) some only."""
    record = record_of(path)
    if record["table"] != table:
        raise UserError(f"{path}: holds a '{record['table']}' table, expected '{table}'.")
    try:
        data = pq.read_table(path, columns=columns, partitioning=None)
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it and run again.") from None
    if columns is None:
        check(data, table, str(path))
    return data.replace_schema_metadata(None)


def read_all(paths: Iterable[str | Path], table: str, columns: list[str] | None = None) -> pa.Table:
    """Several files of one table, one under the other, in the given order."""
    return pa.concat_tables([read(path, table, columns) for path in paths])
