"""What a router may read of a request beside its text, as standardised numbers.

| feature | of a request | needs before the decision |
|---|---|---|
| length | ln(1 + characters of the source) | nothing |
| domain | which of the training rows' domains it is of, 0 or 1 for each | nothing |
| entropy | of the small model's next token after the prompt, nats | the translation's own prefill |
| estimate | a reference-free metric of the small model's translation | a decode, a metric pass |

With `estimate` a router learns when to defer: `qe-deferral` with what else is known.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from routelmt.errors import UserError
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.objective.targets import FloatArray

NEEDS_IF = {
    ("features", "entropy"): frozenset({"signals"}),
    ("features", "estimate"): frozenset({"estimates"}),
}
COSTS_IF = {
    ("features", "entropy"): ("shared_prefill",),
    ("features", "estimate"): ("decode", "estimate"),
}
OF_TEXT = ("length",)  # known wherever the source is


@dataclass(frozen=True)
class Features:
    """names: as the config lists them. metric: of estimates. domains: a column each.

    means, deviations: of the training rows, one a column; deviation 1 where all are equal.
    """

    names: list[str]
    metric: str | None
    domains: list[str]
    means: list[float]
    deviations: list[float]

    @classmethod
    def of(cls, spec: Mapping[str, Any], training: RouterInputs) -> Features:
        """Those that `spec` lists (`features`, `metric`), scaled by the training rows."""
        names = list(spec.get("features", []))
        domains: list[str] = []
        if "domain" in names:
            known = set(training.segments.column("domain").to_pylist())
            domains = sorted(known - {None})
        raw = cls(names, spec.get("metric"), domains, [], [])._raw(training)
        means, deviations = np.nanmean(raw, axis=0), np.nanstd(raw, axis=0)
        deviations[deviations == 0] = 1.0
        return cls(names, spec.get("metric"), domains, means.tolist(), deviations.tolist())

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Features:
        """As `as_record` left it."""
        return cls(**record["features"])

    def as_record(self) -> dict[str, Any]:
        """The field `features` of router.json."""
        return {"features": asdict(self)}

    def read(self, inputs: RouterInputs) -> FloatArray:
        """Standardised values (rows, columns); 0, the mean, for a domain of no training row.

        Raises UserError for rows without what is read.
        """
        scaled = (self._raw(inputs) - self.means) / self.deviations
        values: FloatArray = np.nan_to_num(scaled, nan=0.0)
        return values

    def _raw(self, inputs: RouterInputs) -> FloatArray:
        columns: dict[str, Callable[[], FloatArray]] = {
            "length": lambda: np.log1p([len(source) for source in inputs.sources])[:, None],
            "domain": lambda: _one_hot(inputs, self.domains),
            "entropy": lambda: inputs.signal("entropy", "ngram")[:, None],
            "estimate": lambda: inputs.estimate(str(self.metric), "ngram")[:, None],
        }
        parts = [columns[name]() for name in self.names]
        return np.concatenate([np.empty((inputs.rows, 0)), *parts], axis=1)


def check(spec: Mapping[str, Any]) -> None:
    """UserError unless estimates have a metric, and a metric estimates."""
    if ("estimate" in spec["features"]) != (spec["metric"] is not None):
        raise UserError(
            f"'features' are {spec['features']} and 'metric' is {spec['metric']!r}: the feature "
            "'estimate' is the score by 'metric', a reference-free one. Set both or neither."
        )


def _one_hot(inputs: RouterInputs, domains: list[str]) -> FloatArray:
    """1 in the column of the row's domain, 0 in the others; NaN in a row of none of them."""
    rows = inputs.segments.column("domain").to_pylist()
    found = np.array([[float(row == domain) for domain in domains] for row in rows])
    found = found.reshape(len(rows), len(domains))
    found[~np.isin(np.array(rows, dtype=object), domains)] = np.nan
    return found
