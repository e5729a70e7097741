"""Every situation of README.md is held by a test that is there, and names a public report or none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
REPORT = re.compile(r"\[([\w.-]+/[\w.-]+)#(\d+)\]\(https://github\.com/\1/issues/\2\)")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in (HERE / "README.md").read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| situation")
]


@cache
def defined_in(path: Path) -> set[str]:
    """Names of the tests that a file defines."""
    return {
        node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef)
    }


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_a_situation_is_held_by_a_test_that_is_there(row: list[str]) -> None:
    situation, report, test = row
    path, _, name = test.strip("`").partition("::")
    assert situation and name in defined_in(ROOT / path)
    assert not report or REPORT.fullmatch(report)


def test_the_list_is_whole() -> None:
    assert len(ROWS) >= 44 and len({row[0] for row in ROWS}) == len(ROWS)
