"""Engines that the config may plan with and that nothing runs yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from routelmt.errors import UserError


def load(model: Mapping[str, Any], speed: Mapping[str, Any]) -> NoReturn:
    """Say so."""
    raise UserError(
        f"engine '{model['engine']}' is not available yet: needs its module and environment. "
        "Available now: transformers."
    )
