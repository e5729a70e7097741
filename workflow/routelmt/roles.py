"""What routers and outcomes are called in tables and figures."""

from __future__ import annotations

# The direction that stands for the mean over all directions.
AVERAGE = "average"
# The direction that stands for the requests of all directions under one budget.
POOLED = "pooled"
# The guard of a router that has none, and the domain of requests that no name takes.
UNGUARDED = "none"
IN_DOMAIN = "in-domain"
ROUTER, RANDOM, ORACLE = "router", "random", "oracle"
# What becomes of a routed request, from worst to best.
RISK_BUCKETS = ("severe_loss", "minor_loss", "tie", "substantial_gain")


def labelled(router: str, role: str) -> str:
    """The router's name, with what a reader must know of its role unless the name says it."""
    if role == RANDOM:
        return f"{router} (expectation)"
    return router if role == ROUTER or ORACLE in router else f"{router} ({ORACLE})"
