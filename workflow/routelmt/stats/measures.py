"""Spearman, HitRate, MeanΔ and headroom of routers, from the main bootstrap; nowhere else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from routelmt.stats.bootstrap import BootstrapTable, Estimates
from routelmt.stats.metrics import headroom_recovered


def measures(
    table: BootstrapTable, places: Callable[[Estimates], Estimates]
) -> dict[str, Estimates]:
    """spearman, hit_rate (0-100), mean_delta and headroom, each (places, routers, budgets).

    places: what figures by direction become, their mean over directions say. Headroom is that of
    a place's own MeanΔ: it can be read off the same row.
    """
    rho, delta = places(table.spearman), places(table.mean_delta)
    return {
        "spearman": rho.at(np.s_[:, :, None]).each(
            lambda values: np.repeat(values, len(table.budgets), axis=2)
        ),
        "hit_rate": percent(places(table.hit_rate)),
        "mean_delta": delta,
        "headroom": headroom(
            delta, places(table.random_mean_delta), places(table.oracle_mean_delta)
        ),
    }


def headroom(delta: Estimates, chance: Estimates, best: Estimates) -> Estimates:
    """The routers' share of what an oracle gains over a random router.

    delta: MeanΔ, (places, routers, budgets); that of a random router, (places,), and of the
    oracle, (places, budgets).
    """
    return delta.each(headroom_recovered, chance.at(np.s_[:, None, None]), best.at(np.s_[:, None]))


def percent(share: Estimates) -> Estimates:
    """Shares of 1 as 0-100."""
    return share.each(lambda values: 100 * values)
