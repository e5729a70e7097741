"""Routing request by request under a budget: thresholds, how they follow the traffic, an alarm.

RouteLMT §4 calibrates a threshold on held-out traffic, per direction. What runs here runs both in
the evaluation and in `routelmt route --stream`: one policy and one monitor for each direction.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from math import ceil, inf, isnan, lgamma, log
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from routelmt.stats.arrays import BoolArray, FloatArray, IntArray, column
from routelmt.stats.selection import ROUNDING_SLACK

# Requests of a direction that the rolling quantile looks back on.
WINDOW = 500
# Share of an error in the rate that the controller corrects with the next request.
CORRECTION = 0.01
# The band is left by chance in at most this share of streams, however long they run.
FALSE_ALARMS = 0.05
# Requests that the band's alternative counts for: small, since a drift may be to any rate.
ALTERNATIVE_WEIGHT = 10.0
_BISECTIONS = 40  # a request in 10^12


class Threshold(NamedTuple):
    """Priorities above `value` are routed; those at it with probability `at_value`."""

    value: float
    at_value: float

    def routes(self, priority: float, uniform: float) -> bool:
        """Whether a request is routed; uniform: its own draw from [0, 1), see `uniforms`."""
        return priority > self.value or (priority == self.value and uniform < self.at_value)


class Decision(NamedTuple):
    """What becomes of a request, and the threshold that decided it."""

    routed: bool
    threshold: float


def threshold_of(ascending: Sequence[float], rate: float) -> Threshold:
    """The (1 - rate) quantile of calibration values, with the probability at ties (RouteLMT §4).

    ascending: sorted values, the smallest first. Of these very values exactly the share `rate` is
    routed, in expectation. A rate of 0 or less routes nothing at all, of 1 or more everything.
    """
    value, count = _quantile(ascending, rate), len(ascending)
    if not 0 < rate * count < count:
        return Threshold(value, 0.0 if rate * count <= 0 else 1.0)
    above, below = count - bisect_right(ascending, value), bisect_left(ascending, value)
    return Threshold(value, min(1.0, (rate * count - above) / (count - above - below)))


def decide(ascending: Sequence[float], rate: float, priority: float, uniform: float) -> Decision:
    """What threshold_of decides; the probability at ties is only found for a priority that ties."""
    value = _quantile(ascending, rate)
    if priority == value:
        return Decision(threshold_of(ascending, rate).routes(priority, uniform), value)
    return Decision(priority > value, value)


def _quantile(ascending: Sequence[float], rate: float) -> float:
    count = len(ascending)
    wanted = rate * count
    if wanted <= 0:
        return inf
    return ascending[count - _place(wanted)] if wanted < count else -inf


def _place(wanted: float) -> int:
    """Which value from the top is the threshold, counted from 1."""
    return ceil(wanted - ROUNDING_SLACK) or 1


def uniform(identifier: str, seed: int) -> float:
    """A number in [0, 1) for a request and a seed: the same on every machine, in any order."""
    digest = blake2b(f"{seed}\0{identifier}".encode(), digest_size=8).digest()
    return float((int.from_bytes(digest, "little") >> 11) * 2.0**-53)


def uniforms(identifiers: Iterable[str], seed: int) -> FloatArray:
    """`uniform` of every request, shape (n,)."""
    return np.array([uniform(i, seed) for i in identifiers], dtype=np.float64)


class Policy(Protocol):
    """How one direction's threshold comes about."""

    def decide(self, priority: float, uniform: float) -> Decision:
        """Decide for the next request, and take note of it; uniform: its draw, see `uniforms`."""

    def state(self) -> dict[str, Any]:
        """What must be kept beside the calibration values, as JSON holds it."""


class Fixed:
    """The threshold of the calibration values, whatever comes."""

    def __init__(self, threshold: Threshold) -> None:
        self.threshold = threshold

    def decide(self, priority: float, uniform: float) -> Decision:
        """See Policy."""
        return Decision(self.threshold.routes(priority, uniform), self.threshold.value)

    def state(self) -> dict[str, Any]:
        """See Policy."""
        return {}


class Rolling:
    """The quantile of the last `window` requests; of the calibration values before them."""

    def __init__(self, values: Iterable[float], rate: float, window: int) -> None:
        """values: those looked back on, the oldest first; only the last `window` count."""
        self._rate = rate
        self._values = deque(values, maxlen=window)
        self._ascending = sorted(self._values)

    def decide(self, priority: float, uniform: float) -> Decision:
        """See Policy."""
        decision = decide(self._ascending, self._rate, priority, uniform)
        if len(self._values) == self._values.maxlen:
            del self._ascending[bisect_left(self._ascending, self._values[0])]
        self._values.append(priority)
        insort(self._ascending, priority)
        return decision

    def state(self) -> dict[str, Any]:
        """See Policy."""
        return {"values": list(self._values)}


class Controller:
    """Integral control of the quantile level: too many routed, and the next threshold is higher.

    level <- level + c (rate - routed); threshold = the calibration values' (1 - level) quantile.
    With levels beyond 0 and 1 routing nothing and everything, the realised rate over T requests is
    within (max(rate, 1 - rate) + c) / (c T) of the rate whatever the traffic does (Gibbs and
    Candès 2021, proposition 4.1, who control the coverage of prediction sets so).
    """

    def __init__(
        self, ascending: Sequence[float], rate: float, correction: float, level: float
    ) -> None:
        """ascending: sorted calibration values; correction: c; level: the one to start from."""
        self._ascending, self._rate, self._correction = ascending, rate, correction
        self._level = level

    def decide(self, priority: float, uniform: float) -> Decision:
        """See Policy."""
        decision = decide(self._ascending, self._level, priority, uniform)
        self._level += self._correction * (self._rate - decision.routed)
        return decision

    def state(self) -> dict[str, Any]:
        """See Policy."""
        return {"level": self._level}


@dataclass(frozen=True)
class Settings:
    """Of a stream: the budget as a rate, and what the policies and the alarm need."""

    rate: float
    seed: int = 0
    window: int = WINDOW
    correction: float = CORRECTION
    false_alarms: float = FALSE_ALARMS

    def __post_init__(self) -> None:
        if not 0 <= self.rate <= 1:
            raise ValueError(f"rate: found {self.rate}, expected a share between 0 and 1")
        if self.window < 1 or not 0 < self.correction <= 1 or not 0 < self.false_alarms < 1:
            raise ValueError(f"window, correction or false_alarms out of range: {self}")


POLICIES = ("fixed", "rolling", "controller")


def make_policy(
    name: str,
    ascending: Sequence[float],
    settings: Settings,
    state: Mapping[str, Any] | None = None,
) -> Policy:
    """One of POLICIES, new or as it was when it left `state`; ascending: calibration values."""
    if name == "fixed":
        return Fixed(threshold_of(ascending, settings.rate))
    if name == "rolling":
        values = state["values"] if state else _first_window(ascending, settings)
        return Rolling(values, settings.rate, settings.window)
    if name == "controller":
        level = state["level"] if state else settings.rate
        return Controller(ascending, settings.rate, settings.correction, level)
    raise ValueError(f"policy '{name}' is not known; there are: {', '.join(POLICIES)}")


def _first_window(ascending: Sequence[float], settings: Settings) -> list[float]:
    """Calibration values to look back on before there is traffic.

    Of more than the window holds, evenly spaced ones: the same distribution. In random order, so
    that what leaves the window first is not the smallest.
    """
    places = evenly_spaced(len(ascending), settings.window)
    chosen = np.asarray(ascending, dtype=np.float64)[places]
    shuffled: list[float] = np.random.default_rng(settings.seed).permutation(chosen).tolist()
    return shuffled


def evenly_spaced(count: int, most: int) -> IntArray:
    """Places among `count` values: of all of them, or of `most` that are spread evenly."""
    size = min(count, most)
    places: IntArray = ((np.arange(size) + 0.5) * count / size).astype(np.int64)
    return places


def ascending_values(calibration: npt.ArrayLike) -> list[float]:
    """Calibration values of a direction, sorted. Raises ValueError for none, or NaN among them."""
    values: list[float] = np.sort(column("calibration values", calibration)).tolist()
    return values


def run(
    policy: Policy, priorities: npt.ArrayLike, draws: npt.ArrayLike
) -> tuple[BoolArray, FloatArray]:
    """Every decision of a stream and the threshold of each, both (n,).

    priorities, draws: in the order of arrival, (n,); draws: see `uniforms`.
    """
    values, own = column("priorities", priorities), column("draws", draws)
    if isinstance(policy, Fixed):
        tau, at_tau = policy.threshold
        return (values > tau) | ((values == tau) & (own < at_tau)), np.full(values.size, tau)
    routed, thresholds = np.zeros(values.size, dtype=np.bool_), np.empty(values.size)
    for i, (priority, draw) in enumerate(zip(values.tolist(), own.tolist(), strict=True)):
        routed[i], thresholds[i] = policy.decide(priority, draw)
    return routed, thresholds


@dataclass(frozen=True)
class Band:
    """Where the realised rate stays if the traffic is like the calibration traffic, at any time.

    The (1 - p) quantile of n calibration values, the k-th largest with k = ceil(p n), is exceeded
    by new requests of the same kind at a rate that is Beta(k, n + 1 - k) distributed (Wilks 1941):
    p is missed by chance, and the alarm must allow for it. So the number routed is beta-binomial,
    and against a mixture over all rates, Beta(w p, w (1 - p)) with w = ALTERNATIVE_WEIGHT, the
    likelihood ratio

        M = B(w p + S, w (1 - p) + F) B(k, n + 1 - k)
            / (B(w p, w (1 - p)) B(k + S, n + 1 - k + F)),   S routed, F not routed,

    is a martingale that starts at 1. It reaches 1 / false_alarms in at most a share false_alarms
    of all streams (Ville 1939; Robbins 1970 for mixtures): the band is where it has not. This is a
    theorem for the fixed threshold on continuous values; with ties, whose randomisation varies
    less, and for policies that correct the rate, the band is wider than need be.
    """

    rate: float
    calibration: int
    false_alarms: float = FALSE_ALARMS

    def __post_init__(self) -> None:
        if self.calibration < 1:
            raise ValueError(f"calibration: found {self.calibration} values, at least 1 is needed")

    def left(self, routed: int, served: int) -> bool:
        """Whether a stream with these counts is outside. A rate of 0 or 1 cannot be missed."""
        return self._certain is None and self._evidence(routed, served) >= -log(self.false_alarms)

    def limits(self, served: int) -> tuple[float, float]:
        """Lowest and highest realised rate inside the band after so many requests."""
        if self._certain is not None:
            return self._certain, self._certain
        if served == 0:
            return 0.0, 1.0
        # Convex in the number routed, and lowest near the rate expected.
        middle = self._lowest(served)
        return (self._edge(0.0, middle, served) / served,
                self._edge(float(served), middle, served) / served)  # fmt: skip

    def first_left(self, routed: npt.ArrayLike) -> int | None:
        """After how many requests of a stream of decisions, (n,), it is left first, if ever."""
        if self._certain is not None:
            return None
        decisions = np.asarray(routed, dtype=np.bool_)
        served = np.arange(decisions.size)
        so_far: IntArray = np.cumsum(decisions) - decisions
        # log M grows by the ratio of what the two mixtures predict for the next request.
        evidence = np.cumsum(
            np.where(
                decisions,
                _log_predicted(self._mixture, so_far, served)
                - _log_predicted(self._null, so_far, served),
                _log_predicted(self._mixture[::-1], served - so_far, served)
                - _log_predicted(self._null[::-1], served - so_far, served),
            )
        )
        outside = np.flatnonzero(evidence >= -log(self.false_alarms))
        return int(outside[0]) + 1 if outside.size else None

    @property
    def _certain(self) -> float | None:
        return self.rate if self.rate in (0.0, 1.0) else None

    @property
    def _null(self) -> tuple[float, float]:
        above = _place(self.rate * self.calibration)
        return float(above), float(self.calibration + 1 - above)

    @property
    def _mixture(self) -> tuple[float, float]:
        # No more weight than the null: the evidence must grow in both directions.
        weight = min(
            ALTERNATIVE_WEIGHT, *(n / s for n, s in zip(self._null, self._shares, strict=True))
        )
        return weight * self._shares[0], weight * self._shares[1]

    @property
    def _shares(self) -> tuple[float, float]:
        return self.rate, 1 - self.rate

    def _evidence(self, routed: float, served: int) -> float:
        return _log_mixed(self._mixture, routed, served) - _log_mixed(self._null, routed, served)

    def _lowest(self, served: int) -> float:
        low, high = 0.0, float(served)
        for _ in range(_BISECTIONS):
            third = (high - low) / 3
            if self._evidence(low + third, served) < self._evidence(high - third, served):
                high -= third
            else:
                low += third
        return (low + high) / 2

    def _edge(self, outside: float, inside: float, served: int) -> float:
        bound = -log(self.false_alarms)
        if self._evidence(outside, served) < bound:
            return outside
        for _ in range(_BISECTIONS):
            between = (outside + inside) / 2
            if self._evidence(between, served) < bound:
                inside = between
            else:
                outside = between
        return inside


def _log_mixed(beta: tuple[float, float], routed: float, served: int) -> float:
    """log of the probability of one order of routed and not routed under a Beta mixture."""
    a, b = beta
    return (
        lgamma(a + routed) + lgamma(b + served - routed) - lgamma(a + b + served)
        - lgamma(a) - lgamma(b) + lgamma(a + b)
    )  # fmt: skip


def _log_predicted(beta: tuple[float, float], so_far: Any, served: Any) -> FloatArray:
    predicted: FloatArray = np.log(beta[0] + so_far) - np.log(beta[0] + beta[1] + served)
    return predicted


class DirectionStream:
    """One direction at work: its policy, what it has decided, and its two alarms.

    rate_alarm: after how many requests the realised rate left its band, None if it never did.
    traffic_alarm: the same of the fixed threshold, asked beside any policy: policies that correct
    the rate hide a drift from the first alarm, not from this one.
    """

    def __init__(
        self,
        policy: str,
        calibration: npt.ArrayLike,
        settings: Settings,
        state: Mapping[str, Any] | None = None,
    ) -> None:
        """A new one from its calibration values, (n,), or the one that left `state`."""
        self._ascending, self._settings = ascending_values(calibration), settings
        kept: Mapping[str, Any] = state or {}
        self.policy = make_policy(policy, self._ascending, settings, kept.get("policy"))
        self.band = Band(settings.rate, len(self._ascending), settings.false_alarms)
        self._fixed = threshold_of(self._ascending, settings.rate)
        self.served: int = kept.get("served", 0)
        self.routed: int = kept.get("routed", 0)
        self.beyond_fixed: int = kept.get("beyond_fixed", 0)
        self.rate_alarm: int | None = kept.get("rate_alarm")
        self.traffic_alarm: int | None = kept.get("traffic_alarm")

    def state(self) -> dict[str, Any]:
        """What must be kept beside the calibration values, as JSON holds it."""
        names = ("served", "routed", "beyond_fixed", "rate_alarm", "traffic_alarm")
        return {"policy": self.policy.state(), **{name: getattr(self, name) for name in names}}

    def decide(self, identifier: str, priority: float) -> Decision:
        """Decide for the next request. Raises ValueError, and counts nothing, for a NaN."""
        if isnan(priority):
            raise ValueError("the router's priority is not a number")
        draw = uniform(identifier, self._settings.seed)
        decision = self.policy.decide(priority, draw)
        self.served += 1
        self.routed += decision.routed
        self.beyond_fixed += self._fixed.routes(priority, draw)
        if self.rate_alarm is None and self.band.left(self.routed, self.served):
            self.rate_alarm = self.served
        if self.traffic_alarm is None and self.band.left(self.beyond_fixed, self.served):
            self.traffic_alarm = self.served
        return decision
