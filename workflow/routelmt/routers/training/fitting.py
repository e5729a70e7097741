"""Training a regressor: AdamW, linear warm-up and decay, any of the losses.

A step is one fixed batch of random rows, however many forward passes and processes it takes. The
state is saved as training goes on, and a run that was killed goes on from there to the same result.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from routelmt.progress import progress
from routelmt.routers.objective.losses import Loss
from routelmt.routers.training.accelerated import Workers, workers
from routelmt.routers.training.micro_batches import PASS_COST, micro_batches

SAVE_MINUTES = 2.0  # between saved states within an epoch
POINTS = 20  # of the training loss, an epoch
Weights = dict[str, Any]  # tensors by name


class Trainable(Protocol):
    """What has weights to train."""

    def trainable(self) -> Weights:
        """The parameters that training changes, by name, always in the same order."""


class Regressor(Trainable, Protocol):
    """Numbers from token ids, by weights that can be trained."""

    @property
    def device(self) -> str:
        """Where it runs."""

    def outputs(self, rows: Sequence[Sequence[int]]) -> Any:
        """Float32 tensor (rows, outputs) in the head's unit."""

    def running(self, training: bool) -> AbstractContextManager[None]:
        """What a run of forward passes needs: train or eval mode, left as it was before."""

    def predict(
        self, ids: Sequence[Sequence[int]], batch_tokens: int, what: str | None = None
    ) -> npt.NDArray[np.float64]:
        """Outputs of every row without gradients, (rows, outputs), in any batches."""

    def batch_tokens(self, wanted: int) -> int:
        """The token budget of one forward pass on this device."""


@dataclass(frozen=True)
class Labelled:
    """Token ids of each row, and its targets in the head's unit, shape (rows, targets)."""

    ids: list[list[int]]
    targets: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to train (the config's defaults are RouteLMT's Table 5).

    patience: epochs without a lower validation loss after which training ends; None is never.
    decay: linear, cosine (both to 0) or constant, after the warm-up. clip: largest norm of the
    gradient; None does not clip.
    """

    learning_rate: float
    epochs: int
    batch_size: int
    warmup_ratio: float
    weight_decay: float
    seed: int
    patience: int | None = None
    decay: str = "linear"
    clip: float | None = 1.0

    @classmethod
    def of(cls, spec: Mapping[str, Any], learning_rate: float, seed: int) -> Schedule:
        """Of a router's settings, for one of its learning rates."""
        settings = {f.name: spec[f.name] for f in fields(cls) if f.name in spec}
        return cls(**{**settings, "learning_rate": learning_rate, "seed": seed})

    def rate(self, step: int, steps: int) -> float:
        """Learning rate of a step: linear warm-up from 0, then the decay."""
        warmup = math.ceil(self.warmup_ratio * steps)
        if step < warmup:
            return self.learning_rate * (step + 1) / warmup
        left = (steps - step) / max(1, steps - warmup)  # 1 down to 1 / (steps - warmup)
        factor = {"linear": left, "cosine": (1 - math.cos(math.pi * left)) / 2, "constant": 1.0}
        return self.learning_rate * factor[self.decay]

    def batches(self, epoch: int, rows: int) -> list[npt.NDArray[np.int64]]:
        """Random batches of an epoch: the same for every learning rate and machine."""
        order = np.random.default_rng([self.seed, epoch]).permutation(rows)
        return [order[i : i + self.batch_size] for i in range(0, rows, self.batch_size)]


@dataclass
class FitState:
    """Where a training run stands.

    total: loss summed over the rows of the epoch so far. history: an entry an epoch, with epoch,
    step, train_loss, validation_loss, validation_spearman, seconds. points: the running training
    loss, about POINTS an epoch. best, best_outputs: weights and validation outputs (rows, outputs)
    of the epoch with the lowest validation loss. predict_seconds: of one pass over validation.
    """

    step: int = 0
    total: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    points: list[dict[str, float]] = field(default_factory=list)
    since_point: list[float] = field(default_factory=lambda: [0.0, 0.0])  # loss, rows
    best_loss: float = math.inf
    best: Weights = field(default_factory=dict)
    best_outputs: Any = None
    predict_seconds: float = 0.0
    done: bool = False

    @property
    def best_epoch(self) -> Mapping[str, float]:
        """The history's entry with the lowest validation loss."""
        sound = [e for e in self.history if math.isfinite(e["validation_loss"])]
        return min(sound, key=lambda entry: entry["validation_loss"])

    def end_epoch(
        self,
        epoch: int,
        losses: Mapping[str, float],
        outputs: Any,
        trained: Trainable,
        patience: int | None,
    ) -> None:
        """Add to the history; keep weights and validation outputs if they are the best so far.

        Done where the validation loss is not finite, or has not fallen for `patience` epochs.
        """
        entry = {"epoch": epoch, "step": self.step, **losses, "seconds": self.seconds}
        self.history.append(entry)
        if not math.isfinite(entry["validation_loss"]):
            self.done = True
        elif entry["validation_loss"] < self.best_loss:
            self.best_loss, self.best = entry["validation_loss"], snapshot(trained)
            self.best_outputs = outputs
        elif patience is not None:
            self.done = epoch - self.best_epoch["epoch"] >= patience


def snapshot(regressor: Trainable) -> Weights:
    """A copy of the trainable parameters, on the CPU."""
    return {n: p.detach().to("cpu", copy=True) for n, p in regressor.trainable().items()}


def restore(regressor: Trainable, weights: Weights) -> None:
    """Set the trainable parameters."""
    import torch

    with torch.no_grad():
        for name, parameter in regressor.trainable().items():
            parameter.copy_(weights[name])


def fit(
    regressor: Regressor,
    training: Labelled,
    validation: Labelled,
    loss: Loss,
    schedule: Schedule,
    batch_tokens: int,
    saved: Path,
    save_minutes: float = SAVE_MINUTES,
) -> FitState:
    """Train; leaves the last weights in the regressor and returns the state with the best ones.

    The best epoch is the one with the lowest validation loss; history has one entry an epoch.
    Training that diverges ends at once, with best_loss infinite if no epoch was sound. The state
    is kept in the file `saved`, which a later call with the same arguments goes on from. Of several
    processes each calls this and gets the same state; the main one saves.
    """
    import torch

    run = _Run(regressor, training, validation, loss, schedule, batch_tokens, workers())
    parameters = list(regressor.trainable().values())
    optimizer = torch.optim.AdamW(
        parameters, lr=schedule.learning_rate, weight_decay=schedule.weight_decay, fused=True
    )
    state = _load(saved, regressor, optimizer)
    run.workers.wait()  # until all have read it: the main process is about to write it
    per_epoch = math.ceil(len(training.ids) / schedule.batch_size)
    steps = schedule.epochs * per_epoch
    last_save = started = time.monotonic() - state.seconds
    last_save += state.seconds
    batches: list[npt.NDArray[np.int64]] = []
    remaining = range(state.step, steps if not state.done else 0)
    what = f"training, learning rate {schedule.learning_rate:g}"
    with regressor.running(training=True):
        for step in progress(remaining, what, "step") if run.workers.main else remaining:
            epoch, index = divmod(step, per_epoch)
            if index == 0 or not batches:
                batches = schedule.batches(epoch, len(training.ids))
            for group in optimizer.param_groups:
                group["lr"] = schedule.rate(step, steps)
            total = _step(run, batches[index], step)
            if schedule.clip is not None:
                torch.nn.utils.clip_grad_norm_(parameters, schedule.clip)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            state.step, state.seconds = step + 1, time.monotonic() - started
            _count(state, total, len(batches[index]), index, per_epoch)
            if index + 1 == per_epoch:
                _end_epoch(run, epoch + 1, state)
                state.done = state.done or step + 1 == steps
            if index + 1 == per_epoch or time.monotonic() - last_save > 60 * save_minutes:
                if run.workers.main:
                    _save(saved, regressor, optimizer, state)
                last_save = time.monotonic()
            if state.done:
                break
    return state


@dataclass(frozen=True)
class _Run:
    """What stays the same in all steps of a training."""

    regressor: Regressor
    training: Labelled
    validation: Labelled
    loss: Loss
    schedule: Schedule
    budget: int
    workers: Workers

    def passes(self, batch: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
        """Positions in the batch of each of this process's forward passes."""
        lengths = np.array([len(self.training.ids[i]) for i in batch], dtype=np.int64)
        mine = self.workers.share(np.arange(len(batch)), lengths)
        cost = PASS_COST["cpu" if self.regressor.device == "cpu" else "cuda"]
        found = micro_batches(lengths[mine], self.regressor.batch_tokens(self.budget), cost)
        return [mine[rows] for rows in found]

    def outputs(self, rows: npt.NDArray[np.int64], step: int, index: int) -> Any:
        """Of training rows, (rows, outputs). What chance decides (dropout) depends on the pass
        alone, so a resumed run and the second pass of `_whole_batch` draw the same."""
        import torch

        seed = [self.schedule.seed, step, self.workers.rank, index]
        torch.manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))
        return self.regressor.outputs([self.training.ids[i] for i in rows])

    def targets(self, rows: npt.NDArray[np.int64]) -> Any:
        """Of training rows, a tensor (rows, targets)."""
        import torch

        return torch.from_numpy(self.training.targets[rows]).to(self.regressor.device)


def _step(run: _Run, batch: npt.NDArray[np.int64], step: int) -> float:
    """Gradients of the batch's mean loss, in every process; returns the loss's sum over it."""
    import torch

    passes = run.passes(batch)
    if run.loss.whole_batch and (len(passes) > 1 or run.workers.count > 1):
        total = _whole_batch(run, batch, passes, step)
    else:
        total = torch.zeros((), device=run.regressor.device)
        for index, rows in enumerate(passes):
            chosen = batch[rows]
            loss = run.loss.total(run.outputs(chosen, step, index), run.targets(chosen))
            (loss / len(batch)).backward()
            total += loss.detach()
        run.workers.sum(total)
    run.workers.sum_gradients(list(run.regressor.trainable().values()))
    return float(total)


def _whole_batch(
    run: _Run, batch: npt.NDArray[np.int64], passes: Sequence[npt.NDArray[np.int64]], step: int
) -> Any:
    """`_step` for a loss that needs all outputs at once: they are computed first, without
    gradients; then each pass again, taking back the loss's gradient with respect to its rows."""
    import torch

    outputs = torch.zeros((len(batch), run.loss.outputs), device=run.regressor.device)
    with torch.no_grad():
        for index, rows in enumerate(passes):
            outputs[torch.from_numpy(rows)] = run.outputs(batch[rows], step, index)
    run.workers.sum(outputs).requires_grad_()
    total = run.loss.total(outputs, run.targets(batch))
    (gradient,) = torch.autograd.grad(total / len(batch), outputs)
    for index, rows in enumerate(passes):
        run.outputs(batch[rows], step, index).backward(gradient[torch.from_numpy(rows)])
    return total.detach()


def _count(state: FitState, total: float, rows: int, index: int, per_epoch: int) -> None:
    """Add a step's loss to the epoch's, and where a point is due to the running loss."""
    state.total += total
    state.since_point[0] += total
    state.since_point[1] += rows
    points = min(POINTS, per_epoch)
    if (index + 1) * points // per_epoch > index * points // per_epoch:
        loss, count = state.since_point
        state.points.append({"step": state.step, "train_loss": loss / count})
        state.since_point = [0.0, 0.0]


def _end_epoch(run: _Run, epoch: int, state: FitState) -> None:
    """Validate, add to the history, keep the weights if they are the best so far."""
    import torch

    started = time.monotonic()
    outputs = _predict(run)
    state.predict_seconds = time.monotonic() - started
    found = validation_metrics(outputs, run.validation, run.loss, run.schedule.batch_size)
    losses = {"train_loss": state.total / len(run.training.ids), **found}
    state.end_epoch(epoch, losses, torch.from_numpy(outputs), run.regressor, run.schedule.patience)
    state.total = 0.0


def _predict(run: _Run) -> npt.NDArray[np.float64]:
    """Outputs of the validation rows, (rows, outputs), in every process; each computes a part."""
    import torch

    ids = run.validation.ids
    lengths = np.array([len(row) for row in ids], dtype=np.int64)
    mine = run.workers.share(np.arange(len(ids)), lengths)
    outputs = np.zeros((len(ids), run.loss.outputs))
    if len(mine):
        outputs[mine] = run.regressor.predict([ids[i] for i in mine], run.budget)
    if run.workers.count == 1:
        return outputs
    found: npt.NDArray[np.float64] = (
        run.workers.sum(torch.from_numpy(outputs).to(run.regressor.device)).cpu().numpy()
    )
    return found


def validation_metrics(
    outputs: npt.NDArray[np.float64], data: Labelled, loss: Loss, batch_size: int
) -> dict[str, float]:
    """Mean loss in the head's unit, and Spearman's correlation (NaN for a constant).

    A loss that compares rows is averaged over batches of the size it was trained with.
    """
    import torch
    from scipy.stats import spearmanr

    rows = len(outputs)
    order = np.random.default_rng(0).permutation(rows) if loss.whole_batch else np.arange(rows)
    size = batch_size if loss.whole_batch else rows
    total = sum(
        float(loss.total(torch.from_numpy(outputs[part]), torch.from_numpy(targets[part])))
        for targets in [data.targets.astype(np.float64)]
        for part in (order[i : i + size] for i in range(0, rows, size))
    )
    values, wanted = outputs[:, loss.main], data.targets[:, 0]
    constant = not np.isfinite(values).all() or np.ptp(values) == 0 or np.ptp(wanted) == 0
    rho = math.nan if constant else float(spearmanr(values, wanted).statistic)
    return {"validation_loss": total / rows, "validation_spearman": rho}


def write_history(folder: Path, fits: Mapping[float, FitState]) -> None:
    """history.jsonl, a line an epoch, and losses.jsonl, the running training loss, if any.

    fits: the end state by learning rate.
    """
    for name, file in (("history", "history.jsonl"), ("points", "losses.jsonl")):
        entries = [{"learning_rate": r, **e} for r, fit in fits.items() for e in getattr(fit, name)]
        if entries:
            lines = "".join(json.dumps(entry) + "\n" for entry in entries)
            (folder / file).write_text(lines, encoding="utf-8")


def _save(path: Path, regressor: Regressor, optimizer: Any, state: FitState) -> None:
    import torch

    from routelmt.tables import atomic_path

    content = {
        "state": vars(state),
        "weights": snapshot(regressor),
        "optimizer": optimizer.state_dict(),
    }
    with atomic_path(path) as temporary:
        torch.save(content, temporary)


def _load(path: Path, regressor: Regressor, optimizer: Any) -> FitState:
    """The saved state, put into regressor and optimizer; a fresh one if nothing was saved."""
    import torch

    if not path.is_file():
        return FitState()
    content = torch.load(path, map_location="cpu", weights_only=True)
    restore(regressor, content["weights"])
    optimizer.load_state_dict(content["optimizer"])
    return FitState(**content["state"])
