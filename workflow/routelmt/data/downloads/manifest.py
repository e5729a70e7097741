"""What was downloaded, in a file beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAME = "SOURCE.json"


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Write `content` into the folder: the same download, whenever and wherever, the same bytes."""
    text = json.dumps(content, ensure_ascii=False, indent=1, sort_keys=True) + "\n"
    (folder / NAME).write_text(text, encoding="utf-8", newline="\n")
