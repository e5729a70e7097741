"""Random routing: the value of a request depends on the seed and its key, not on its row."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import Any

import numpy as np

from routelmt.routers.inputs import Priorities, RouterContext, RouterInputs
from routelmt.routers.registry import RouterType
from routelmt.tables import JOIN_KEY

ROUTER = RouterType(seeded=True)

_MANTISSA = 53  # bits of a float64 in [0, 1) that can all be random


def predict(spec: Mapping[str, Any], inputs: RouterInputs, context: RouterContext) -> Priorities:
    """Uniform in [0, 1) from a hash of seed, dataset, direction and segment id."""
    keys = zip(*(inputs.segments.column(name).to_pylist() for name in JOIN_KEY), strict=True)
    values = np.array([_uniform(context.seed, *key) for key in keys], dtype=np.float64)
    return values, values


def _uniform(*parts: object) -> float:
    text = "\0".join(map(str, parts)).encode()
    bits = int.from_bytes(blake2b(text, digest_size=8).digest(), "little")
    return float((bits >> (64 - _MANTISSA)) / 2**_MANTISSA)
