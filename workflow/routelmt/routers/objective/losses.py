"""What training minimises: losses of the head's outputs against the targets of a batch.

Outputs and targets are in the head's unit. `total` is the sum over the rows of a batch, so that a
batch in parts is the sum of its parts; a loss with `whole_batch` compares rows with each other and
needs all of them at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from routelmt.errors import UserError
from routelmt.routers.objective.targets import TARGETS

# Weight of the squared error beside a ranking loss: order decides, the unit stays that of the
# target (combined regression and ranking, Sculley 2010).
ANCHOR = 0.1
QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)


class Loss(Protocol):
    """outputs: columns that the head has. main: the column that predicts the target."""

    @property
    def outputs(self) -> int:
        """Columns that the head has."""

    @property
    def main(self) -> int:
        """The column that predicts the target."""

    @property
    def whole_batch(self) -> bool:
        """Whether rows of a batch are compared with each other."""

    def total(self, outputs: Any, targets: Any) -> Any:
        """Scalar tensor, the sum over the rows; outputs (rows, outputs), targets (rows, t)."""


@dataclass(frozen=True)
class SquaredError:
    """(output - target)^2."""

    outputs: int = 1
    main: int = 0
    whole_batch: bool = False

    def total(self, outputs: Any, targets: Any) -> Any:
        """Sum over the rows."""
        return (outputs - targets).square().sum()


@dataclass(frozen=True)
class CrossEntropy:
    """-y log p - (1 - y) log(1 - p), p = sigmoid(output), y in [0, 1]."""

    outputs: int = 1
    main: int = 0
    whole_batch: bool = False

    def total(self, outputs: Any, targets: Any) -> Any:
        """Sum over the rows."""
        from torch.nn.functional import binary_cross_entropy_with_logits

        return binary_cross_entropy_with_logits(outputs, targets, reduction="sum")


@dataclass(frozen=True)
class Pinball:
    """Mean over the quantiles of max(q e, (q - 1) e), e = target - output."""

    quantiles: tuple[float, ...] = QUANTILES
    whole_batch: bool = False

    @property
    def outputs(self) -> int:
        """One a quantile."""
        return len(self.quantiles)

    @property
    def main(self) -> int:
        """The median."""
        return self.quantiles.index(0.5)

    def total(self, outputs: Any, targets: Any) -> Any:
        """Sum over the rows."""
        import torch

        q = torch.tensor(self.quantiles, dtype=outputs.dtype, device=outputs.device)
        error = targets - outputs
        return torch.maximum(q * error, (q - 1) * error).mean(dim=1).sum()


@dataclass(frozen=True)
class Gaussian:
    """Negative log-likelihood of the target; the outputs are mean and log deviation."""

    outputs: int = 2
    main: int = 0
    whole_batch: bool = False

    def total(self, outputs: Any, targets: Any) -> Any:
        """Sum over the rows."""
        mean, log_deviation = outputs[:, 0], outputs[:, 1]
        deviations = (targets[:, 0] - mean) * (-log_deviation).exp()
        return (log_deviation + 0.5 * deviations.square() + 0.5 * math.log(2 * math.pi)).sum()


@dataclass(frozen=True)
class Pairwise:
    """Logistic loss on every pair of the batch, weighted by its difference of target.

    sum over target_i > target_j of (target_i - target_j) log(1 + e^(output_j - output_i)), divided
    by the sum of the weights, and ANCHOR of the mean squared error. Counted once for every row.
    """

    outputs: int = 1
    main: int = 0
    whole_batch: bool = True

    def total(self, outputs: Any, targets: Any) -> Any:
        """Rows times the mean over the pairs; only the anchor where all targets are equal."""
        from torch.nn.functional import softplus

        values, wanted = outputs[:, 0], targets[:, 0]
        weights = (wanted[:, None] - wanted[None, :]).clamp(min=0)
        pairs = (weights * softplus(values[None, :] - values[:, None])).sum()
        mean = pairs / weights.sum().clamp(min=1e-12)
        return len(values) * mean + ANCHOR * (outputs - targets).square().sum()


@dataclass(frozen=True)
class TopP:
    """Minus the mean target of a soft top-p of the batch, and ANCHOR of the mean squared error.

    Row i is routed by z_i = sigmoid((output_i - tau) / temperature), with the threshold tau at
    which sum z = p rows: the budget holds exactly, and its gradient is that of the implicit
    function, so that a row can only rise by pushing others down. As the temperature goes to 0 this
    is the routed gain itself. temperature is in the head's unit. Counted once for every row.
    """

    p: float = 0.3
    temperature: float = 0.25
    outputs: int = 1
    main: int = 0
    whole_batch: bool = True

    def total(self, outputs: Any, targets: Any) -> Any:
        """Rows times minus the mean routed target."""
        values, wanted = outputs[:, 0], targets[:, 0]
        routed = self.soft_route(values) @ wanted / self.p
        return ANCHOR * (outputs - targets).square().sum() - routed

    def soft_route(self, values: Any) -> Any:
        """z of each row: sums to p rows, differentiable in `values` (rows,)."""
        fixed = values.detach()
        threshold = self._threshold(fixed)
        shares = ((fixed - threshold) / self.temperature).sigmoid()
        slopes = shares * (1 - shares)
        # The threshold moves with the slopes' mean of the values, which keeps the sum of z.
        moved = threshold + (slopes / slopes.sum().clamp(min=1e-30)) @ (values - fixed)
        return ((values - moved) / self.temperature).sigmoid()

    def _threshold(self, values: Any) -> Any:
        """tau by bisection, to the precision of the values."""
        reach = self.temperature * (2.0 + abs(math.log(self.p / (1 - self.p))))
        low, high = values.min() - reach, values.max() + reach
        for _ in range(50):
            middle = (low + high) / 2
            over = ((values - middle) / self.temperature).sigmoid().mean() > self.p
            low, high = middle.where(over, low), high.where(over, middle)
        return (low + high) / 2


@dataclass(frozen=True)
class WithAlso:
    """A loss, and the squared error of one more output: one pass, two answers."""

    first: Loss
    weight: float = 1.0

    @property
    def outputs(self) -> int:
        """One more than the first loss; it is the last column."""
        return self.first.outputs + 1

    @property
    def main(self) -> int:
        """That of the first loss."""
        return self.first.main

    @property
    def whole_batch(self) -> bool:
        """That of the first loss."""
        return self.first.whole_batch

    def total(self, outputs: Any, targets: Any) -> Any:
        """Sum over the rows; targets (rows, 2)."""
        also = (outputs[:, -1] - targets[:, 1]).square().sum()
        return self.first.total(outputs[:, :-1], targets[:, :1]) + self.weight * also


def loss_name(spec: Mapping[str, Any]) -> str:
    """The loss of a router of the config: its own, or the default of its target."""
    return spec.get("loss") or TARGETS[spec["target"]].loss


def make_loss(spec: Mapping[str, Any]) -> Loss:
    """The loss that `spec` asks for.

    Read: target, loss, quantiles, top_p and temperature (of the loss top_p), also, also_weight.
    Raises UserError where they do not fit together.
    """
    name, target = loss_name(spec), spec["target"]
    _check(spec, name, target)
    losses: dict[str, Loss] = {
        "mse": SquaredError(),
        "bce": CrossEntropy(),
        "pairwise": Pairwise(),
        "top_p": TopP(spec.get("top_p", TopP.p), spec.get("temperature", TopP.temperature)),
        "quantile": Pinball(_quantiles(spec)),
        "gaussian": Gaussian(),
    }
    if spec.get("also"):
        return WithAlso(losses[name], spec.get("also_weight", WithAlso.weight))
    return losses[name]


def _check(spec: Mapping[str, Any], name: str, target: str) -> None:
    where = f"router '{spec['type']}'"
    points = [t for t in TARGETS if TARGETS[t].points]
    allowed = ["mse", "pairwise", "top_p", "quantile", "gaussian"]
    if not TARGETS[target].points:
        allowed = ["bce"]
    elif target != "gain":
        allowed.remove("top_p")  # it maximises the gain of what is routed
    if name not in allowed:
        raise UserError(f"{where}: target '{target}' has no loss '{name}'; use {_or(allowed)}.")
    also = spec.get("also")
    if also and (also == target or also not in points or not TARGETS[target].points):
        raise UserError(
            f"{where}: 'also: {also}' beside target '{target}'; the two must be {_or(points)}, "
            "one each."
        )
    if name == "top_p" and not 0 < spec.get("top_p", TopP.p) < 1:
        raise UserError(f"{where}: found top_p {spec['top_p']:g}, expected a share between 0 and 1")


def _quantiles(spec: Mapping[str, Any]) -> tuple[float, ...]:
    """The sorted quantiles; UserError unless within (0, 1), distinct, and the median is there."""
    found = tuple(spec.get("quantiles") or QUANTILES)
    if list(found) != sorted(set(found)) or 0.5 not in found or not 0 < found[0] <= found[-1] < 1:
        raise UserError(
            f"router '{spec['type']}': found quantiles {list(found)}; expected growing shares "
            "between 0 and 1 with 0.5, the prediction, among them."
        )
    return found


def _or(names: Sequence[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
