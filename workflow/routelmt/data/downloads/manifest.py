"""What was downloaded, in a file beside it, and whether that is what is asked for now."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.strict_json import parse_object

NAME = "SOURCE.json"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `content` into the folder: the same download, whenever and wherever, the same bytes."""
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8", newline="\n")


def difference(folder: Path, settings: Mapping[str, Any]) -> str | None:
    """How a downloaded folder differs from its source's entry: empty if it does not.

    None for a folder that says nothing of where it is from: somebody else may have put it there.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        found = parse_object(path.read_bytes())
        return _changed(found, settings) or _damaged(folder, found["files"])
    except (ValueError, KeyError, TypeError, AttributeError, OSError):
        return f"{NAME} in it is damaged"


def _changed(found: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    if found["kind"] != settings["kind"]:
        return f"it is of kind '{found['kind']}', the entry of kind '{settings['kind']}'"
    if found["kind"] == "archive":
        members = settings.get("members") or ["*"]
        if found["sha256"] != settings.get("sha256"):
            return "the entry has another 'sha256'"
        return "the entry has other 'members'" if found.get("members", members) != members else ""
    if found["kind"] == "model":
        wheels = [f["sha256"] for f in settings["files"]]
        same = found["wheels"] == wheels and found["model"] == settings["model"]
        return "" if same else "the entry has other 'files'"
    if found["repository"] != settings["repository"]:
        return f"it is of {found['repository']}, the entry of {settings['repository']}"
    if not found["commit"].startswith(str(settings["revision"])):
        return f"it is of commit {found['commit'][:12]}, the entry of {settings['revision']}"
    wanted = [{"path": f} if isinstance(f, str) else f for f in settings["files"]]
    there = {f["path"]: f for f in found["files"]}
    same = there.keys() == {f["path"] for f in wanted}
    return (
        ""
        if same and all(f.items() <= there[f["path"]].items() for f in wanted)
        else ("the entry has other 'files'")
    )


def _damaged(folder: Path, files: Sequence[Mapping[str, Any]]) -> str:
    for file in files:
        path = folder / file["path"]
        if not path.is_file() or path.stat().st_size != file["size"]:
            return f"{file['path']} is missing or has another size"
    return ""
