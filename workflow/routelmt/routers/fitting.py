"""Training a prompt regressor: mean squared error, AdamW, linear warm-up and decay.

A step is one fixed batch of random rows, however many forward passes it takes. The state is saved
as training goes on, and a run that was killed goes on from there to the same result.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.progress import progress
from routelmt.routers.micro_batches import PASS_COST, micro_batches
from routelmt.routers.regressor import PromptRegressor

CLIP = 1.0  # norm of the gradient
SAVE_SECONDS = 120.0  # between saved states within an epoch
Weights = dict[str, Any]  # tensors by name


@dataclass(frozen=True)
class LabelledPrompts:
    """Prompt tokens of each row, and its target in the head's unit, shape (rows,)."""

    ids: list[list[int]]
    targets: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train (the config's defaults are RouteLMT's Table 5)."""

    learning_rate: float
    epochs: int
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    seed: int

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step: linear warm-up from 0, then linear decay to 0."""
        warmup = math.ceil(self.warmup_ratio * steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        return self.learning_rate * (steps - step) / max(1, steps - warmup)

    def batches(self, epoch: int, rows: int) -> list[npt.NDArray[np.int64]]:
        """Random batches of an epoch: the same for every learning rate and machine."""
        order = np.random.default_rng([self.seed, epoch]).permutation(rows)
        return [order[i : i + self.batch_size] for i in range(0, rows, self.batch_size)]


@dataclass
class FitState:
    """Where a training run stands."""

    step: int = 0
    squared_error: float = 0.0  # summed over the rows of the epoch so far
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_mse: float = math.inf
    best: Weights = field(default_factory=dict)
    done: bool = False


def trainable(regressor: PromptRegressor) -> Weights:
    """Parameters that training changes, by name: the LoRA's and the head's."""
    found = {n: p for n, p in regressor.causal.named_parameters() if p.requires_grad}
    return found | {f"head.{n}": p for n, p in regressor.head.named_parameters()}


def snapshot(regressor: PromptRegressor) -> Weights:
    """A copy of the trainable parameters, on the CPU."""
    return {n: p.detach().to("cpu", copy=True) for n, p in trainable(regressor).items()}


def restore(regressor: PromptRegressor, weights: Weights) -> None:
    """Set the trainable parameters."""
    import torch

    with torch.no_grad():
        for name, parameter in trainable(regressor).items():
            parameter.copy_(weights[name])


def fit(
    regressor: PromptRegressor,
    training: LabelledPrompts,
    validation: LabelledPrompts,
    schedule: Schedule,
    batch_tokens: int,
    saved: Path,
) -> FitState:
    """Train; leaves the last weights in the regressor and returns the state with the best ones.

    The best epoch is the one with the lowest validation MSE; history has one entry an epoch.
    Training that diverges ends at once, with best_mse infinite if no epoch was sound. The state
    is kept in the file `saved`, which a later call with the same arguments goes on from.
    """
    import torch

    parameters = list(trainable(regressor).values())
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    state = _load(saved, regressor, optimizer)
    per_epoch = math.ceil(len(training.ids) / schedule.batch_size)
    steps = schedule.epochs * per_epoch
    last_save = started = time.monotonic() - state.seconds
    last_save += state.seconds
    batches: list[npt.NDArray[np.int64]] = []
    with regressor.running(training=True):
        what = f"training, learning rate {schedule.learning_rate:g}"
        for step in progress(range(state.step, steps if not state.done else 0), what, "step"):
            epoch, index = divmod(step, per_epoch)
            if index == 0 or not batches:
                batches = schedule.batches(epoch, len(training.ids))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, steps)
            state.squared_error += _step(regressor, training, batches[index], batch_tokens)
            torch.nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step, state.seconds = step + 1, time.monotonic() - started
            if index + 1 == per_epoch:
                _end_epoch(regressor, training, validation, batch_tokens, epoch + 1, state)
                state.done = state.done or step + 1 == steps
            if index + 1 == per_epoch or time.monotonic() - last_save > SAVE_SECONDS:
                _save(saved, regressor, optimizer, state)
                last_save = time.monotonic()
            if state.done:
                break
    return state


def _step(
    regressor: PromptRegressor, data: LabelledPrompts, batch: npt.NDArray[np.int64], budget: int
) -> float:
    """Gradients of the mean squared error over the batch; returns the summed squared error."""
    import torch

    lengths = [len(data.ids[i]) for i in batch]
    pass_cost = PASS_COST["cpu" if regressor.device == "cpu" else "cuda"]
    total = torch.zeros((), device=regressor.device)
    for rows in micro_batches(lengths, regressor.batch_tokens(budget), pass_cost):
        chosen = batch[rows]
        targets = torch.from_numpy(data.targets[chosen]).to(regressor.device)
        loss = (regressor.values([data.ids[i] for i in chosen]) - targets).square().sum()
        (loss / len(batch)).backward()
        total += loss.detach()
    return float(total)


def _end_epoch(
    regressor: PromptRegressor,
    training: LabelledPrompts,
    validation: LabelledPrompts,
    batch_tokens: int,
    epoch: int,
    state: FitState,
) -> None:
    """Validate, add to the history, keep the weights if they are the best so far."""
    found = validate(regressor, validation, batch_tokens)
    entry = {
        "epoch": epoch,
        "step": state.step,
        "train_mse": state.squared_error / len(training.ids),
        **found,
        "seconds": state.seconds,
    }
    state.history.append(entry)
    state.squared_error = 0.0
    regressor.causal.train()
    if not math.isfinite(found["validation_mse"]):
        state.done = True
    elif found["validation_mse"] < state.best_mse:
        state.best_mse, state.best = found["validation_mse"], snapshot(regressor)


def validate(
    regressor: PromptRegressor, data: LabelledPrompts, batch_tokens: int
) -> Mapping[str, float]:
    """Mean squared error in the head's unit, and Spearman's correlation (NaN for a constant)."""
    from scipy.stats import spearmanr

    values = regressor.predict(data.ids, batch_tokens)
    mse = float(np.mean((values - data.targets) ** 2))
    constant = not np.isfinite(mse) or np.ptp(values) == 0 or np.ptp(data.targets) == 0
    rho = math.nan if constant else float(spearmanr(values, data.targets).statistic)
    return {"validation_mse": mse, "validation_spearman": rho}


def _save(path: Path, regressor: PromptRegressor, optimizer: Any, state: FitState) -> None:
    import torch

    from routelmt.tables import atomic_path

    content = {
        "state": asdict(state),
        "weights": snapshot(regressor),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path, regressor: PromptRegressor, optimizer: Any) -> FitState:
    """The saved state, put into regressor and optimizer; a fresh one if nothing was saved."""
    import torch

    if not path.is_file():
        return FitState()
    content = torch.load(path, map_location="cpu", weights_only=True)
    restore(regressor, content["weights"])
    optimizer.load_state_dict(content["optimizer"])
    return FitState(**content["state"])
