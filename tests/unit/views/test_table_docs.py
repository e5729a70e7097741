"""docs/tables.md is what the declarations say today."""

from pathlib import Path

from routelmt import tables
from routelmt.evaluate import registry
from routelmt.views.table_docs import FILES, documentation

ROOT = Path(__file__).parents[3]


def test_the_document_is_current() -> None:
    assert (ROOT / "docs/tables.md").read_text(encoding="utf-8") == documentation(), "make docs"


def test_every_table_and_column_is_in_it() -> None:
    assert set(FILES) | set(registry.TABLES) == set(tables.TABLES)
    text = documentation()
    for name, schema in tables.TABLES.items():
        section = text.split(f"### {name}\n")[1].split("\n### ")[0]
        assert all(f"| {column} |" in section for column in schema.columns), name


def test_what_a_table_is_made_of_is_known() -> None:
    for name, kind in (registry.TABLES | registry.SWEEP_TABLES).items():
        assert set(kind.reads) <= set(registry.INPUTS), name
        assert callable(registry.builder(name))
