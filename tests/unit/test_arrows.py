"""Arrows go down: a room of the package uses the rooms that stand before it, and no other."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from itertools import chain
from pathlib import Path

import pytest

from routelmt.stages import PACKAGE

# Modules, and packages with all that is in them; what is not named here is of the first room.
ROOMS = (
    (),  # reading, writing, errors, the words of the house
    ("stats",),
    ("data",),
    ("translate",),
    ("score",),
    ("routers.artifact", "routers.inputs", "routers.registry"),
    ("routers.objective",),
    ("routers.networks",),
    ("routers.training",),
    ("routers",),
    ("evaluate",),
    ("figures.registry", "page.registry"),
    (
        "config",
        "pins",
        "plan",
        "pool_config",
        "settings",
    ),  # what there is of a kind, each room says itself
    ("views", "figures", "page"),
    ("trail", "results", "bundle", "doctor", "estimate"),
    ("commands", "__main__", "demo_models"),
)


def module_name(path: Path) -> str:
    name = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
    return name.removesuffix("__init__").rstrip(".")


MODULES = {module_name(path): path for path in PACKAGE.rglob("*.py")}


def imported(path: Path) -> Iterator[str]:
    """Modules of the package that a file imports, at its head or within functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [n if n.removeprefix("routelmt.") in MODULES else node.module for n in inside]
        for name in names:
            if name and name.startswith("routelmt."):
                yield name.removeprefix("routelmt.")


# The package's own door opens `results` when it is asked for it.
IMPORTS = {name: set(imported(path)) for name, path in MODULES.items() if name}


def room_of(module: str) -> int:
    parts = module.split(".")
    heads = [".".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((r for head in heads for r, names in enumerate(ROOMS) if head in names), 0)


@pytest.mark.parametrize("module", sorted(IMPORTS))
def test_a_module_uses_only_rooms_before_its_own(module: str) -> None:
    assert [m for m in sorted(IMPORTS[module]) if room_of(m) > room_of(module)] == []


def test_no_module_uses_itself_through_others_and_every_room_is_there() -> None:
    list(TopologicalSorter(IMPORTS).static_order())
    assert all(name in MODULES for name in chain(*ROOMS))


def test_statistics_know_arrays_and_no_tables() -> None:
    for path in (PACKAGE / "stats").glob("*.py"):
        assert "pyarrow" not in path.read_text(encoding="utf-8")
        assert "tables" not in set(imported(path))
