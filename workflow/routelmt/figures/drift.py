"""The realised rate as the traffic drifts away from the calibration data, by policy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

from routelmt.figures.panels import add_legend, axis_titles, empty_figure, routers, rows
from routelmt.figures.style import PALETTES, applied, new_figure
from routelmt.roles import ROUTER

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW_HEIGHT = 1.25
ROOM = 0.85
MOST_DIRECTIONS = 6
SCENARIOS = {"same": "no drift", "shift": "sudden drift", "gradual": "gradual drift"}
# Policy: label, place in the palette, dashes and width: told apart without colour.
POLICIES: dict[str, tuple[str, int, Any, float]] = {
    "fixed": ("fixed threshold", 1, "-", 1.6),
    "rolling": ("rolling quantile", 0, (0, (4, 1.2)), 1.4),
    "controller": ("controller", 2, (0, (1, 1)), 1.6),
}
EMPTY = "The test data has no two datasets, or domains, to drift between."
# What is beyond this is only the noise of the first few requests.
SETTLED = 30


def draw(tables: dict[str, pa.Table], style: dict[str, Any]) -> Figure:
    """A row per direction (the first six), a column per scenario, a line per policy.

    Of one router, the first that can be deployed, at the first budget. The band is where the rate
    so far stays without drift; a line that leaves it sets off the alarm.
    """
    table = tables["drift_paths"]
    with applied(style):
        if not table.num_rows:
            return empty_figure(style, EMPTY)
        found = [router for router, role in routers(table) if role == ROUTER]
        router = (found or [routers(table)[0][0]])[0]
        budget = min(table.column("budget").to_pylist())
        places = list(dict.fromkeys(table.column("direction").to_pylist()))[:MOST_DIRECTIONS]
        figure = new_figure(style, len(places) * ROW_HEIGHT + ROOM)
        panels = figure.subplots(
            len(places), len(SCENARIOS), sharex="col", sharey=True, squeeze=False
        )
        for across, place in zip(panels, places, strict=True):
            for panel, scenario in zip(across, SCENARIOS, strict=True):
                paths = {
                    policy: rows(table, scenario=scenario, direction=place, policy=policy,
                                 router=router, budget=budget)
                    for policy in POLICIES
                }  # fmt: skip
                _panel(panel, paths, budget, style["palette"])
            across[0].set_ylabel(place)
        for panel, heading in zip(panels[0], SCENARIOS.values(), strict=True):
            panel.set_title(heading)
        panels[0][0].set_ylim(*_limits(table, router, budget))
        axis_titles(
            figure, style, f"requests so far; {router}, p = {budget:g}", "routed so far (%)"
        )  # fmt: skip
        add_legend(figure, style, _handles(style["palette"]))
    return figure


def _panel(
    panel: Axes, paths: dict[str, list[dict[str, Any]]], budget: float, palette: str
) -> None:
    for at, (policy, path) in enumerate(paths.items()):
        settled = [row for row in path if row["request"] >= SETTLED] or path
        requests = [row["request"] for row in settled]
        if at == 0:
            low, high = ([100 * row[end] for row in settled] for end in ("low", "high"))
            panel.fill_between(requests, low, high, **_BAND)
            panel.axhline(100 * budget, color="#333333", linewidth=0.6, zorder=2)
        _, colour, dashes, width = POLICIES[policy]
        panel.plot(
            requests, [100 * row["rate"] for row in settled], color=PALETTES[palette][colour],
            linestyle=dashes, linewidth=width, zorder=3 + at,
        )  # fmt: skip
    panel.set_xlim(0, None)


_BAND: dict[str, Any] = {"color": "#dddddd", "linewidth": 0, "zorder": 1}


def _limits(table: pa.Table, router: str, budget: float) -> tuple[float, float]:
    shown = [row for row in rows(table, router=router, budget=budget) if row["request"] >= SETTLED]
    rates = [100 * row["rate"] for row in shown] or [0.0, 100.0]
    middle = 100 * budget
    reach = max(1.25 * max(abs(rate - middle) for rate in rates), 10.0)
    return max(0.0, middle - reach), min(100.0, middle + reach)


def _handles(palette: str) -> list[Any]:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [
        Line2D([], [], color=PALETTES[palette][colour], linestyle=dashes, linewidth=width,
               label=label)
        for label, colour, dashes, width in POLICIES.values()
    ]  # fmt: skip
    return [*handles, Patch(facecolor="#dddddd", label="without drift")]
