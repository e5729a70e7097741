"""Sources that the config may plan with and that no reader reads yet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from routelmt.errors import UserError


def read(origin: Path, settings: Mapping[str, Any], direction: str) -> NoReturn:
    """Say so."""
    raise UserError(
        f"dataset source '{settings['source']}': not available yet: needs its reader. "
        "Available now: gettext."
    )
