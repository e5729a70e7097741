"""Router types that the config may plan with and that nothing computes yet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from routelmt.errors import UserError

_MISSING = {
    "xlmr": "a regression trainer for XLM-RoBERTa encoders",
    "sentinel-src": "the Sentinel checkpoint and the environment that loads it",
}


def predict(spec: Mapping[str, Any], *_: Any) -> NoReturn:
    """Say so."""
    kind = spec["type"]
    raise UserError(
        f"router type '{kind}': not available yet: needs {_MISSING.get(kind, 'its module')}. "
        "Leave the router out of the experiment's 'routers'."
    )


def train(spec: Mapping[str, Any], *_: Any) -> NoReturn:
    """Say so."""
    predict(spec)
