"""config/README.md: every key of the config, as workflow/schemas/config.schema.yaml declares it.

`make docs` writes it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import yaml

from routelmt.config import SCHEMA

NAME = "NAME"  # stands for a name that the user chooses
HEAD = """\
# The config

Made by `make docs` from `workflow/schemas/config.schema.yaml`; a key that is not below is an error
that names the nearest one. `config.yaml` is the paper's experiment: edit it.

Deployed from the Snakemake Workflow Catalog, or as a `module:` of a workflow of yours, the package
comes with the rules, and its code runs in `envs/core.yaml`, `comet.yaml` and `vllm.yaml`. Planning
needs `pyarrow` where Snakemake runs. The second flag is in profiles/default:

```
snakemake --cores all --sdm conda --conda-not-block-search-path-envvars
```
"""


def documentation() -> str:
    """The whole document, in Markdown."""
    schema = yaml.safe_load(SCHEMA.read_text())
    kinds, names = schema["kinds"], schema["$defs"]
    parts = [HEAD]
    for section, entry in schema["properties"].items():
        rows = list(_keys(entry, names, "")) if section not in kinds else []
        required = ", required" if section in schema["required"] else ""
        parts.append(f"## `{section}`{required}\n\n{_sentence(entry, names)}\n")
        if rows:
            parts.append(_table(rows))
        if section in kinds:
            parts += _kinds(kinds[section], names)
    return "\n".join(parts)


def _kinds(kinds: dict[str, Any], names: dict[str, Any]) -> Iterator[str]:
    """The keys that all entries of a section have, and those of each type."""
    common = list(_keys({"properties": kinds["common"]}, names, ""))
    yield f"Every entry has `{kinds['by']}`, one of {', '.join(f'`{k}`' for k in kinds['of'])}.\n"
    if common:
        yield _table(common)
    for kind, entry in kinds["of"].items():
        if rows := list(_keys(entry, names, "")):
            yield f"### `{kinds['by']}: {kind}`\n\n{_table(rows)}"


def _keys(entry: dict[str, Any], names: dict[str, Any], prefix: str) -> Iterator[tuple[str, ...]]:
    """(key, meaning, values, default) of every key below an entry."""
    required = entry.get("required", ())
    for key, value in entry.get("properties", {}).items():
        value = _resolved(value, names)
        default = "required" if key in required else _default(value)
        yield f"`{prefix}{key}`", _sentence(value, names), _values(value), default
        yield from _keys(value, names, f"{prefix}{key}.")
    if isinstance(more := entry.get("additionalProperties"), dict):
        yield from _keys(_resolved(more, names), names, f"{prefix}{NAME}.")


def _resolved(value: dict[str, Any], names: dict[str, Any]) -> dict[str, Any]:
    return names[value["$ref"].rpartition("/")[2]] | value if "$ref" in value else value


def _sentence(value: dict[str, Any], names: dict[str, Any]) -> str:
    about: str = _resolved(value, names).get("description", "")
    return about and f"{about.rstrip('.')}."


def _values(value: dict[str, Any]) -> str:
    """Type or choices, and the range of a number."""
    if "enum" in value:
        return ", ".join(f"`{json.dumps(v).strip(chr(34))}`" for v in value["enum"])
    types = value.get("type", "")
    kind = types if isinstance(types, str) else " or ".join(types)
    ranges = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {value[key]}" for key, sign in ranges.items() if key in value]
    return ", ".join([kind, *limits])


def _default(value: dict[str, Any]) -> str:
    default = value.get("default")
    return "" if default in (None, {}, []) else f"`{json.dumps(default)}`"


def _table(rows: list[tuple[str, ...]]) -> str:
    lines = ["| key | meaning | values | default |", "|---|---|---|---|"]
    lines += [f"| {' | '.join(c.replace('|', chr(92) + '|') for c in row)} |" for row in rows]
    return "\n".join([*lines, ""])
