"""Whether a model is on this machine: a folder, or in the Hugging Face Hub's cache."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def is_on_the_hub(entry: Mapping[str, Any]) -> bool:
    """Whether an entry of the config names a repository and no folder or file."""
    path = str(entry.get("path") or "")
    return path.count("/") == 1 and path[0] not in "./~" and not Path(path).exists()


def is_cached(name: str, revision: str | None) -> bool:
    """Whether the cache has a snapshot of a repository, of this commit if one is named."""
    home = os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")
    cache = Path(os.environ.get("HF_HUB_CACHE", Path(home) / "hub"))
    snapshots = cache / f"models--{name.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob(f"{revision or '*'}/*"))
