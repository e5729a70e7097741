"""Metrics that the config may plan with and that nothing computes yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from routelmt.errors import UserError


def score(triples: Sequence[tuple[str, str, str]], settings: Mapping[str, Any]) -> NoReturn:
    """Say so."""
    raise UserError(
        f"metric type '{settings['type']}': not available yet: needs its scorer. "
        "Available now: chrf."
    )
