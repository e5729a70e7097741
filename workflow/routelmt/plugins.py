"""What other installed packages bring: routers, metrics, engines, readers, tables, figures.

A package declares an entry point of a group below, `name = package.module`, and the module declares
what the group asks for; docs/extending.md has examples. Nothing is imported where there is none.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping
from functools import cache, cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, TypeVar

from routelmt.errors import UserError

T = TypeVar("T")

# Group (entry points `routelmt.GROUP`): what its modules declare.
GROUPS = {
    "routers": "",  # they are imported when one is looked at
    "metrics": "METRIC",
    "engines": "ENGINE",
    "sources": "READER",
    "environments": "ENVIRONMENT",
    "tables": "TABLE",
    "figures": "FIGURE",
}
SETTINGS = "SETTINGS"  # of routers, metrics, engines and sources: their keys in the config
SCHEMA = "SCHEMA"  # of tables: key and columns


@cache
def _installed() -> Any:
    """All entry points: looked for once in a process, which takes some hundredths of a second."""
    return entry_points()


def modules(group: str) -> dict[str, str]:
    """Modules of a group's plug-ins by name."""
    return {entry.name: entry.module for entry in _installed().select(group=f"routelmt.{group}")}


class Registry(Mapping[str, T]):
    """What a group has by name: the built-in ones, and what plug-ins declare.

    attribute: what to read of a plug-in's module, by default that of GROUPS; "" in GROUPS is the
    module's name itself. Plug-ins are read at the first look, not at import: their modules import
    the registries. UserError for one whose name is taken, or whose module cannot be read.
    """

    def __init__(self, group: str, built_in: Mapping[str, T], attribute: str = "") -> None:
        self.built_in = built_in
        self._group, self._attribute = group, attribute or GROUPS[group]

    @cached_property
    def _all(self) -> dict[str, T]:
        return {**self.built_in, **self._plug_ins()}

    def _plug_ins(self) -> dict[str, Any]:
        return declared(self._group, self.built_in, self._attribute)

    def __getitem__(self, name: str) -> T:
        return self._all[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)

    def __or__(self, other: Mapping[str, T]) -> dict[str, T]:
        return {**self, **other}


def declared(group: str, built_in: Container[str], attribute: str) -> dict[str, Any]:
    """What a group's plug-ins declare, by name: an attribute of their modules, or "" for the name.

    built_in: names that are taken. UserError for a name among them or a module without it.
    """
    found = {}
    for name, module in modules(group).items():
        if name in built_in:
            raise UserError(f"plug-in {module}: '{name}' is the name of a built-in; take another.")
        try:
            found[name] = getattr(import_module(module), attribute) if attribute else module
        except (ImportError, AttributeError) as error:
            raise UserError(
                f"plug-in '{name}' of routelmt.{group}: {module} has no {attribute} to read "
                f"({error}). Repair or uninstall the package that brings it."
            ) from None
    return found
