"""docs/tables.md: every Parquet file of the workflow and every column, as they are declared.

`make docs` writes it.
"""

from __future__ import annotations

from collections.abc import Iterator

from routelmt.evaluate.registry import SWEEP, TABLES, TableType
from routelmt.tables import JOIN_KEY, Column, Table
from routelmt.tables import TABLES as SCHEMAS

# Where the tables stand that are not made of an experiment as a whole, in the order of the chain.
FILES = {
    "corpus": "data/corpora/{corpus}.parquet",
    "segments": "data/segments/{dataset}/{direction}.parquet",
    "hypotheses": "results/hypotheses/{model}/{dataset}/{direction}.parquet",
    "samples": "results/samples/{model}/{dataset}/{direction}.parquet",
    "signals": "results/signals/{model}/{dataset}/{direction}.parquet",
    "states": "results/states/{model}/{dataset}/{direction}.arrow",
    "scores": "results/scores/{metric}/{model}/{dataset}/{direction}.parquet",
    "sample_scores": "results/sample_scores/{metric}/{model}/{dataset}/{direction}.parquet",
    "gains": "results/gains/{metric}/{small}--{large}/{dataset}/{direction}.parquet",
    "rates": "results/rates/{model}.parquet, results/runs/{experiment}/rates.parquet",
    "overlaps": "results/runs/{experiment}/overlaps.parquet",
    "flagged": "results/runs/{experiment}/flagged.parquet",
    "predictions": "results/runs/{experiment}/predictions/{router}/seed{seed}/{role}.parquet, "
    "and predictions/in_model/{group}/{role}.parquet of all adapters together",
    SWEEP: "results/runs/{experiment}/sweeps/{sweep}.parquet",
}
OF_A_RUN = "results/runs/{experiment}/tables/"
HEAD = """\
# Every table and column

Made by `make docs` from `workflow/routelmt/tables.py` (columns) and
`workflow/routelmt/evaluate/registry.py` (what a table of an experiment is made of). Every file is
checked against this when it is written and when it is read. Requests are known by `dataset`,
`direction`, `segment_id`; `group_id` ties the same text across directions.
"""


def documentation() -> str:
    """The whole document, in Markdown."""
    chain = (_section(name, FILES[name]) for name in FILES)
    run = (_section(name, f"{OF_A_RUN}{name}.parquet", kind) for name, kind in TABLES.items())
    parts = [HEAD, "## The chain\n", *chain, "## Tables of an experiment\n", *run]
    return "\n".join(parts)


def _section(name: str, file: str, kind: TableType | None = None) -> str:
    schema = SCHEMAS[name]
    return "\n".join([f"### {name}\n", *_about(schema, file, kind), "", *_columns(schema), ""])


def _about(schema: Table, file: str, kind: TableType | None) -> Iterator[str]:
    yield f"{schema.about[0].upper()}{schema.about[1:].rstrip('.')}. `{file}`"
    if kind:
        shaped = ", ".join(f"`{key}`" for key in kind.settings)
        yield f"Made of {', '.join(kind.reads)}{f'; shaped by {shaped}' if shaped else ''}."
    if schema.key != JOIN_KEY:
        yield f"A row is known by {', '.join(schema.key)}."


def _columns(schema: Table) -> Iterator[str]:
    yield "| column | type | meaning |"
    yield "|---|---|---|"
    for name, column in schema.columns.items():
        yield f"| {name} | {_type(column)} | {column.about.replace('|', chr(92) + '|')} |"


def _type(column: Column) -> str:
    """The type, and whether a value may be missing."""
    missing = ", or null" if column.nullable else ", or NaN" if column.nan else ""
    return f"{column.type}{missing}"
