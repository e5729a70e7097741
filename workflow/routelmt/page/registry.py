"""The tables that the page of an experiment shows, in the order of its sections."""

from __future__ import annotations

REQUIRED = ("routers", "pareto")
OPTIONAL = (
    "comparisons",
    "router_metrics",
    "breakdown",
    "domains",
    "transfer",
    "transfer_comparisons",
    "cross_metric",
    "human",
    "atlas",
    "atlas_signals",
    "noise",
    "guards",
    "guard_costs",
    "risk_buckets",
    "streaming",
    "calibration",
    "reliability",
    "drift",
    "drift_paths",
    "costs",
    "budgets",
    "smallest_budget",
    "pool",
    "pool_shares",
    "pool_choice",
    "cases",
    "datasheet",
    "contamination",
    "flags",
    "training",
)
PAGE_TABLES = (*REQUIRED, *OPTIONAL)
