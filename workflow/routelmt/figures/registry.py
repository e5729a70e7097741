"""The figures of an experiment, by name. A new figure is a module here and a line below."""

from __future__ import annotations

from typing import NamedTuple

from routelmt import plugins


class FigureType(NamedTuple):
    """A module with `draw(tables, style) -> Figure`, and the tables that it reads."""

    module: str
    tables: tuple[str, ...]


_BUILT_IN: dict[str, FigureType] = {
    "datasheet": FigureType("routelmt.figures.datasheet", ("datasheet",)),
    "pareto": FigureType("routelmt.figures.pareto", ("pareto", "routers")),
    "comparison": FigureType("routelmt.figures.comparison", ("routers",)),
    "risk_buckets": FigureType("routelmt.figures.risk_buckets", ("risk_buckets",)),
    "guards": FigureType("routelmt.figures.guards", ("guards",)),
    "who_beats_whom": FigureType("routelmt.figures.who_beats_whom", ("comparisons", "routers")),
    "atlas": FigureType("routelmt.figures.atlas", ("atlas",)),
    "training_curves": FigureType("routelmt.figures.training_curves", ("training",)),
    "transfer": FigureType("routelmt.figures.transfer", ("transfer",)),
    "calibration": FigureType("routelmt.figures.calibration", ("calibration",)),
    "reliability": FigureType("routelmt.figures.reliability", ("reliability", "routers")),
    "drift": FigureType("routelmt.figures.drift", ("drift_paths",)),
    "cost_pareto": FigureType("routelmt.figures.cost_pareto", ("costs", "routers")),
    "router_costs": FigureType("routelmt.figures.router_costs", ("costs", "routers")),
    "pool": FigureType("routelmt.figures.pool", ("pool", "pool_shares")),
    "guard_costs": FigureType("routelmt.figures.guard_costs", ("guard_costs", "routers")),
}
FIGURES = plugins.Registry("figures", _BUILT_IN)

# Figures of one sweep each.
SWEEP_FIGURES: dict[str, FigureType] = {
    "sweep": FigureType("routelmt.figures.sweep", ("sweep",)),
}
