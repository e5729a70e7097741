"""What a router is to the reader of a table or a figure, and how it is named there."""

from __future__ import annotations

# The direction that stands for the mean over all directions.
AVERAGE = "average"
ROUTER, RANDOM, ORACLE = "router", "random", "oracle"


def labelled(router: str, role: str) -> str:
    """The router's name, with what a reader must know of its role unless the name says it."""
    if role == RANDOM:
        return f"{router} (expectation)"
    return router if role == ROUTER or ORACLE in router else f"{router} ({ORACLE})"
