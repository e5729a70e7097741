"""Each loss against numpy, and its gradient against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest

from routelmt.errors import UserError
from routelmt.routers.objective.losses import ANCHOR, make_loss

RNG = np.random.default_rng(7)
QUANTILES = [0.1, 0.25, 0.5, 0.75, 0.9]


def spec(loss, **more):
    target = "small-wins" if loss == "bce" else "gain"
    return {"type": "lora", "target": target, "loss": loss, **more}


def squared(o, y):
    return np.sum((o[:, 0] - y[:, 0]) ** 2)


def entropy(o, y):
    p = 1 / (1 + np.exp(-o[:, 0]))
    return -np.sum(y[:, 0] * np.log(p) + (1 - y[:, 0]) * np.log(1 - p))


def pinball(o, y):
    losses = [
        q * (target - value) if target > value else (1 - q) * (value - target)
        for row, target in zip(o, y[:, 0], strict=True)
        for value, q in zip(row, QUANTILES, strict=True)
    ]
    return np.sum(losses) / len(QUANTILES)


def likelihood(o, y):
    from scipy.stats import norm

    return -norm.logpdf(y[:, 0], o[:, 0], np.exp(o[:, 1])).sum()


def pairs(o, y):
    losses, weights = [], []
    for i, j in np.ndindex(len(o), len(o)):
        if y[i, 0] > y[j, 0]:
            weights.append(y[i, 0] - y[j, 0])
            losses.append(weights[-1] * math.log1p(math.exp(o[j, 0] - o[i, 0])))
    return len(o) * sum(losses) / sum(weights) + ANCHOR * squared(o, y)


def top_p(o, y, p=0.3, temperature=0.25):
    from scipy.optimize import brentq

    def shares(threshold):
        return 1 / (1 + np.exp(-(o[:, 0] - threshold) / temperature))

    threshold = brentq(lambda t: shares(t).mean() - p, -50, 50, xtol=1e-14)
    return -np.sum(shares(threshold) * y[:, 0]) / p + ANCHOR * squared(o, y)


CASES = {
    "mse": (1, squared), "bce": (1, entropy), "quantile": (5, pinball), "gaussian": (2, likelihood),
    "pairwise": (1, pairs), "top_p": (1, top_p),
}  # fmt: skip


def batch(name, columns, rows=12):
    targets = RNG.uniform(0, 1, (rows, 1)) if name == "bce" else RNG.normal(0, 1, (rows, 1))
    return RNG.normal(0, 0.7, (rows, columns)), targets


@pytest.mark.parametrize("name", CASES)
def test_values_and_gradients(name):
    import torch

    columns, expected = CASES[name]
    loss = make_loss(spec(name))
    assert loss.outputs == columns
    outputs, targets = batch(name, columns)
    tensor = torch.tensor(outputs, requires_grad=True)
    total = loss.total(tensor, torch.tensor(targets))
    assert total.item() == pytest.approx(expected(outputs, targets), rel=1e-9)
    total.backward()
    step = 1e-5
    for index in np.ndindex(outputs.shape):
        up, down = outputs.copy(), outputs.copy()
        up[index] += step
        down[index] -= step
        slope = (expected(up, targets) - expected(down, targets)) / (2 * step)
        assert tensor.grad[index].item() == pytest.approx(slope, abs=1e-6)


@pytest.mark.parametrize("name", ["mse", "bce", "quantile", "gaussian"])
def test_losses_of_single_rows_add_up(name):
    import torch

    loss = make_loss(spec(name))
    assert not loss.whole_batch
    outputs, targets = map(torch.tensor, batch(name, loss.outputs))
    parts = loss.total(outputs[:5], targets[:5]) + loss.total(outputs[5:], targets[5:])
    assert parts.item() == pytest.approx(loss.total(outputs, targets).item(), rel=1e-12)


def test_the_soft_top_p_keeps_its_budget_and_hardens_to_the_routed_gain():
    import torch

    outputs, targets = batch("top_p", 1, rows=40)
    for temperature in (1.0, 0.1, 1e-4):
        loss = make_loss(spec("top_p", top_p=0.25, temperature=temperature))
        routed = loss.soft_route(torch.tensor(outputs[:, 0]))
        assert routed.sum().item() == pytest.approx(10, abs=1e-6)
    best = np.argsort(-outputs[:, 0])[:10]
    hard = -targets[best, 0].mean() * 40 + ANCHOR * squared(outputs, targets)
    found = loss.total(torch.tensor(outputs), torch.tensor(targets)).item()
    assert found == pytest.approx(hard, abs=1e-3)


def test_raising_every_output_alike_does_not_change_what_is_routed():
    import torch

    outputs, targets = batch("top_p", 1)
    tensor = torch.tensor(outputs[:, 0], requires_grad=True)
    (make_loss(spec("top_p")).soft_route(tensor) @ torch.tensor(targets[:, 0])).backward()
    assert tensor.grad.sum().item() == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("name", ["top_p", "pairwise"])
def test_a_batch_of_equal_rows_or_one_row_has_a_finite_gradient(name):
    import torch

    for rows in (1, 6):
        outputs = torch.zeros((rows, 1), requires_grad=True)
        make_loss(spec(name)).total(outputs, torch.ones((rows, 1))).backward()
        assert torch.isfinite(outputs.grad).all()


def test_a_second_answer_adds_its_squared_error():
    import torch

    loss = make_loss(spec("quantile", also="quality_small", also_weight=0.5))
    assert (loss.outputs, loss.main) == (6, 2)
    outputs, targets = batch("quantile", 6)[0], RNG.normal(0, 1, (12, 2))
    expected = pinball(outputs[:, :5], targets[:, :1])
    expected += 0.5 * np.sum((outputs[:, 5] - targets[:, 1]) ** 2)
    found = loss.total(torch.tensor(outputs), torch.tensor(targets)).item()
    assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"target": "small-wins", "loss": "mse"}, "'small-wins' has no loss 'mse'; use 'bce'"),
        ({"target": "gain", "loss": "bce"}, "'gain' has no loss 'bce'"),
        ({"target": "quality_small", "loss": "top_p"}, "'quality_small' has no loss 'top_p'"),
        ({"target": "gain", "also": "gain"}, "'also: gain' beside target 'gain'"),
        ({"target": "small-wins", "also": "gain"}, "'also: gain' beside target 'small-wins'"),
        ({"target": "gain", "loss": "quantile", "quantiles": [0.1, 0.9]}, "0.5, the prediction"),
        ({"target": "gain", "loss": "top_p", "top_p": 1.0}, "found top_p 1"),
    ],
)
def test_what_does_not_fit_together_is_refused(settings, message):
    with pytest.raises(UserError, match=message):
        make_loss({"type": "lora", **settings})
