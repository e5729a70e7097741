"""The router that docs/routers.md writes in three steps works as it is printed there."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import yaml
from router_toys import toy

from routelmt.routers import registry
from routelmt.routers.inputs import RouterContext

TEXT = (Path(__file__).parents[3] / "docs/routers.md").read_text(encoding="utf-8")


def test_the_new_router_of_the_docs_predicts(monkeypatch: pytest.MonkeyPatch) -> None:
    code = re.search(r"```python\n(.*?)```", TEXT, re.DOTALL)
    line = re.search(r"`(\"named-things\": \"[\w.]+\"),`", TEXT)
    entry = re.search(r"`(named-things: \{properties: \{\}\})`", TEXT)
    assert code and line and entry
    kind, module = next(iter(yaml.safe_load(f"{{{line.group(1)}}}").items()))
    assert yaml.safe_load(entry.group(1)) == {kind: {"properties": {}}}

    written = types.ModuleType(module)
    body = "\n".join(text.removeprefix("   ") for text in code.group(1).splitlines())
    exec(compile(body, module, "exec"), written.__dict__)
    monkeypatch.setitem(sys.modules, module, written)
    monkeypatch.setitem(registry.ROUTERS._all, kind, module)

    assert registry.needs_of({"type": kind}) == frozenset()
    rows = toy(5, 0)
    prediction, priority = written.predict({"type": kind}, rows, RouterContext({}, {}, {}, 0))
    expected = [sum(c.isdigit() or c.isupper() for c in text) / len(text) for text in rows.sources]
    assert np.array_equal(prediction, expected) and np.array_equal(priority, expected)
