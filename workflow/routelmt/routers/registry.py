"""Modules of the router types. One new router: a file and a line here.

A module of an untrained type has `predict(spec, inputs, seed)`. One of a trained type has
`train(spec, training, validation, context, out)`, `predict_trained(artifact, inputs, context)` and
`open_trained(artifact, base, speed)`. See `inputs` for what they are given.
"""

from __future__ import annotations

from typing import NamedTuple

_TEXT = frozenset({"segments"})


class RouterType(NamedTuple):
    """What the workflow has to know of a router type to plan its runs.

    needs: of "segments", "signals", "gains" and "model" (the small model's weights). A trained
        type needs its gains for training only: it never sees those of a test set.
    seeded: whether the seed changes what it says.
    deployable: whether it can decide without references.
    """

    module: str
    trained: bool = False
    needs: frozenset[str] = _TEXT
    seeded: bool = False
    deployable: bool = True


_LABELS = frozenset({"segments", "gains"})
_UNAVAILABLE = "routelmt.routers.unavailable"

ROUTERS: dict[str, RouterType] = {
    "random": RouterType("routelmt.routers.uniform", seeded=True),
    "length": RouterType("routelmt.routers.length"),
    "rarity": RouterType("routelmt.routers.rarity"),
    "entropy": RouterType("routelmt.routers.entropy", needs=frozenset({"segments", "signals"})),
    "gain-oracle": RouterType("routelmt.routers.oracles", needs=_LABELS, deployable=False),
    "quality-oracle": RouterType("routelmt.routers.oracles", needs=_LABELS, deployable=False),
    "lora": RouterType("routelmt.routers.lora", True, _LABELS | {"model"}, seeded=True),
    "xlmr": RouterType(_UNAVAILABLE, True, _LABELS, seeded=True),
    "sentinel-src": RouterType(_UNAVAILABLE),
}
