"""What a probe computes, against numpy: layers, weights, Dirichlet, folding, losses, one step."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import scipy.special
from router_toys import segments

from routelmt import states as states_files
from routelmt.states import StatesWriter, open_states

KINDS = ("final", "mean", "mix", "dirichlet", "dirichlet-input")
ROWS, LAYERS, HIDDEN = 300, 4, 6
FLOAT32 = 1e-5


@pytest.fixture(scope="module")
def arrays():
    """(last, mean) of every row; the layers have very different sizes."""
    rng = np.random.default_rng(0)
    sizes = np.array([0.1, 1, 30, 5])[:, None]
    return tuple(
        (sizes * rng.normal(1, 2, (ROWS, LAYERS, HIDDEN))).astype(np.float16) for _ in range(2)
    )


@pytest.fixture()
def states(arrays, tmp_path, monkeypatch):
    monkeypatch.setattr(states_files, "BLOCK_BYTES", 1000)
    rows = segments([("en-zh", f"t{i}") for i in range(ROWS)])
    with StatesWriter(tmp_path / "s.arrow", rows, np.arange(ROWS), ROWS) as writer:
        writer.put(np.arange(ROWS), *arrays)
        writer.finish({"settings": {}})
    return open_states([tmp_path / "s.arrow"], rows)


def probe(kind, scaling=None, seed=1):
    """A probe with random weights."""
    import torch

    from routelmt.routers.networks.probe_model import WEIGHTED, Probe

    shape = (LAYERS if kind in WEIGHTED else 1, HIDDEN)
    found = Probe(kind, shape, scaling)
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            if name != "log_total":
                parameter.copy_(torch.randn(parameter.shape))
    return found.eval()


def numpy_scores(probe, values):
    """The definition, in float64, row by row."""
    p = {n: t.detach().double().numpy() for n, t in probe.named_parameters()}
    scores = []
    for row in values.astype(np.float64):
        z = row
        if probe.scaling is not None:
            centre, deviation = (t.double().numpy() for t in probe.scaling)
            z = (row - centre) / deviation
        if probe.kind in ("final", "mean"):
            weights = np.ones(1)
        elif probe.kind == "dirichlet-input":
            beta = np.exp(p["log_total"]) * scipy.special.softmax(p["gate"] @ z[0] + p["logits"])
            weights = beta / beta.sum()
        else:
            weights = scipy.special.softmax(p["logits"])
        scores.append(weights @ (z @ p["head"]) + p["bias"][0])
    return np.array(scores)


def read(data, rows):
    """States of some rows, in two batches."""
    import torch

    from routelmt.routers.networks.probe_model import as_float

    parts = np.array_split(rows, 2)
    return torch.cat([as_float(found).clone() for _, found in data.batches(parts)])


def test_features_are_the_layers_that_each_kind_reads(states, arrays):
    from routelmt.routers.networks.probe_model import Layers, features

    last, mean = (a.astype(np.float64) for a in arrays)
    final = features(states, "final", "last")
    assert np.array_equal(final.values[:, 0].numpy(), last[:, -1].astype(np.float32))
    averaged = features(states, "mean", "mean").values[:, 0].numpy()
    np.testing.assert_allclose(averaged, mean.mean(axis=1), rtol=FLOAT32, atol=1e-5)
    for pool, expected in (("last", last), ("mean", mean)):
        every = features(states, "mix", pool)
        assert isinstance(every, Layers) and every.shape == (LAYERS, HIDDEN)
        rows = np.array([7, 0, 299, 7])
        assert np.array_equal(read(every, rows).numpy(), expected[rows].astype(np.float32))


def test_moments_are_those_of_all_rows_at_once(states, arrays, monkeypatch):
    from routelmt.routers.networks import probe_model

    monkeypatch.setattr(probe_model, "READ_ROWS", 37)
    mean, deviation = probe_model.moments(probe_model.features(states, "mix", "last"))
    values = arrays[0].astype(np.float64)
    np.testing.assert_allclose(mean.numpy(), values.mean(axis=0), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(deviation.numpy(), values.std(axis=0), rtol=1e-5)


def test_a_dimension_that_never_varies_is_left_as_it_is():
    import torch

    from routelmt.routers.networks.probe_model import Vectors, moments

    values = torch.tensor([[[1.0, 2.0]], [[3.0, 2.0]]])
    mean, deviation = moments(Vectors(values))
    assert mean.tolist() == [[2.0, 2.0]] and deviation.tolist() == [[1.0, 1.0]]


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_weighted_layers_times_head_and_survive_folding(states, arrays, kind, scaled):
    import torch

    from routelmt.routers.networks.probe_model import features, moments

    data = features(states, kind, "mean")
    found = probe(kind, moments(data) if scaled else None)
    values = read(data, np.arange(ROWS))
    expected = numpy_scores(found, values.numpy())
    tolerance = 1e-4 * np.abs(expected).max()
    with torch.no_grad():
        np.testing.assert_allclose(found(values)[:, 0].numpy(), expected, atol=tolerance)
    folded = found.folded()
    np.testing.assert_allclose(folded.scores(values)[:, 0], expected, atol=tolerance)
    assert set(folded.tensors()) == {"heads", "bias"} | (
        {"offsets", "gate", "gate_bias"} if kind == "dirichlet-input" else set()
    )


@pytest.mark.parametrize("scaled", [False, True])
@pytest.mark.parametrize("kind", ["mix", "dirichlet", "dirichlet-input"])
def test_states_as_they_are_on_disk_give_the_scores_and_gradients_of_floats(states, kind, scaled):
    import torch

    from routelmt.routers.networks.probe_model import features, moments

    data = features(states, kind, "mean")
    found = probe(kind, moments(data) if scaled else None).train()
    ((_, half),) = data.batches([np.array([5, 299, 0, 5])])
    results = []
    for rows in (half, half.float()):
        found.zero_grad()
        torch.manual_seed(0)  # the Dirichlet's draws
        scores = found(rows)
        scores.square().sum().backward()
        gradients = {n: p.grad.numpy().copy() for n, p in found.named_parameters()
                     if p.grad is not None}  # fmt: skip
        results.append({"scores": scores.detach().numpy(), **gradients})
    assert results[0].keys() == results[1].keys() and len(results[0]) > 3
    for name, values in results[0].items():
        size = np.abs(results[1][name]).max()
        np.testing.assert_allclose(values, results[1][name], atol=1e-5 * size, err_msg=name)


def test_every_fp16_number_is_read_as_numpy_reads_it():
    from routelmt.routers.networks.half_loops import dots, gradient

    bits = np.arange(2**16, dtype=np.uint16).reshape(-1, 1, 1)
    expected = bits.view(np.float16).astype(np.float32)
    places, one = np.arange(2**16), np.ones((1, 1), np.float32)
    np.testing.assert_array_equal(dots(bits, places, one), expected[:, 0])
    finite = np.flatnonzero(np.isfinite(expected[:, 0, 0]))
    factors = np.zeros((1, 1), np.float32)
    for place in finite[::997]:
        factors[0] = 3.0
        found = gradient(bits, np.array([place]), factors, 1)
        assert found[0, 0] == 3 * expected[place, 0, 0]


def test_the_dirichlet_draws_once_a_row_in_training_and_is_its_mean_otherwise():
    import torch

    found = probe("dirichlet")
    with torch.no_grad():
        found.log_total.fill_(np.log(7.0))
        beta = 7.0 * scipy.special.softmax(found.logits.numpy().astype(np.float64))
        rows = torch.zeros(60_000, LAYERS, HIDDEN)
        np.testing.assert_allclose(found.weights(rows).numpy(), beta / beta.sum(), rtol=1e-6)
        found.train()
        torch.manual_seed(0)
        draws = found.weights(rows).double().numpy()
    expected = scipy.stats.dirichlet(beta)
    assert draws.shape == (60_000, LAYERS)
    np.testing.assert_allclose(draws.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(draws.mean(axis=0), expected.mean(), atol=0.005)
    np.testing.assert_allclose(draws.var(axis=0), expected.var(), rtol=0.05)


def test_tiny_concentrations_give_finite_gradients():
    """With 29 layers the total e at the start is 0.09 a layer: most weights are nearly 0."""
    import torch

    from routelmt.routers.networks.probe_model import Probe

    found = Probe("dirichlet", (29, 8)).train()
    with torch.no_grad():
        found.log_total.fill_(-3.0)
        found.head.fill_(1.0)
    torch.manual_seed(0)
    for _ in range(50):
        found.zero_grad()
        found(torch.randn(64, 29, 8)).square().sum().backward()
        assert all(bool(torch.isfinite(p.grad).all()) for p in found.parameters())


@pytest.fixture(params=[2**28, 2500], ids=["in memory", "streamed"])
def load_bytes(request, monkeypatch):
    """Memory for all rows, or for 52 of the 300."""
    from routelmt.routers.networks import probe_model

    monkeypatch.setattr(probe_model, "LOAD_BYTES", request.param)


def test_every_epoch_reads_every_row_once_in_another_order(states, arrays, load_bytes):
    from routelmt.routers.networks.probe_model import as_float, features

    for data in (features(states, "mix", "mean"), features(states, "final", "last")):
        orders = [data.order(np.random.default_rng([3, epoch]), 7) for epoch in (1, 2, 1)]
        assert all(sorted(order) == list(range(ROWS)) for order in orders)
        assert np.array_equal(orders[0], orders[2])
        assert (orders[0] != orders[1]).mean() > 0.9
        parts = [orders[0][i : i + 7] for i in range(0, ROWS, 7)]
        seen = []
        for rows, found in data.batches(parts):
            values = as_float(found).numpy()
            expected = arrays[1][rows] if values.shape[1] > 1 else arrays[0][rows][:, -1:]
            assert np.array_equal(values, expected.astype(np.float32))
            seen.extend(rows)
        assert np.array_equal(seen, orders[0])


def test_a_batch_may_be_larger_than_what_is_held(states, arrays, load_bytes):
    from routelmt.routers.networks.probe_model import features

    data = features(states, "mix", "mean")
    order = data.order(np.random.default_rng(0), 1000)
    assert sorted(order) == list(range(ROWS))
    ((rows, found),) = data.batches([order])
    assert np.array_equal(found.float().numpy(), arrays[1][rows].astype(np.float32))


def test_streamed_rows_are_mixed_far_beyond_their_block(states, monkeypatch):
    from routelmt.routers.networks import probe_model

    monkeypatch.setattr(probe_model, "BLOCK_ROWS", 10)
    monkeypatch.setattr(probe_model, "LOAD_BYTES", 2500)
    data = probe_model.features(states, "mix", "mean")
    order = data.order(np.random.default_rng(0), 10)
    first = order[:50]  # what is read at a time: five blocks from anywhere, their rows shuffled
    assert len(set(first // 10)) == 5 and np.ptp(first) > 50
    assert len(set(first[:10] // 10)) > 1
    calls = []
    take = data.states.take
    monkeypatch.setattr(
        data.states, "take", lambda *a, **k: calls.append(len(a[1])) or take(*a, **k)
    )
    list(data.batches([order[i : i + 10] for i in range(0, ROWS, 10)]))
    assert sum(calls) == ROWS and max(calls) <= 52  # every row is read once an epoch


def fitted(target, labels, values, **changes):
    """(fit, probe) on vectors in memory, with the same rows for validation."""
    import torch

    from routelmt.routers.networks.probe_model import Probe, Vectors
    from routelmt.routers.objective.losses import make_loss
    from routelmt.routers.training.fitting import Schedule
    from routelmt.routers.training.probe_fit import ProbeRows, fit

    settings = {"epochs": 1, "patience": 5, "batch_size": 10_000, "weight_decay": 0.0, **changes}
    rate = settings.pop("rate", 1e-3)
    schedule = Schedule(rate, warmup_ratio=0.0, seed=0, **settings)
    data = ProbeRows(
        Vectors(torch.from_numpy(values.astype(np.float32))[:, None]),
        labels.astype(np.float32)[:, None],
    )
    found = Probe("final", (1, values.shape[1]))
    loss = make_loss({"type": "probe", "target": target})
    return fit(found, data, data, loss, schedule), found


def test_one_batch_is_one_step_of_adam_and_the_losses_are_those_of_the_definition():
    rng = np.random.default_rng(0)
    values, rate = rng.normal(size=(200, HIDDEN)), 1e-3
    for target, labels in (
        ("small-wins", (rng.random(200) < 0.3).astype(float)),
        ("gain", rng.normal(size=200)),
    ):
        done, found = fitted(target, labels, values)
        at_zero = 0.5 if target == "small-wins" else 0.0
        gradient = (at_zero - labels) @ values  # of both losses, but for a factor
        # Adam's first step: rate x sign of the gradient, whatever its size.
        head, bias = found.head.detach().numpy(), found.bias.detach().numpy()
        np.testing.assert_allclose(head, -rate * np.sign(gradient), rtol=1e-3)
        np.testing.assert_allclose(bias, -rate * np.sign((at_zero - labels).sum()), rtol=1e-3)
        outputs = values @ head + bias
        if target == "small-wins":
            p = scipy.special.expit(outputs)
            expected = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p))
            assert done.history[0]["train_loss"] == pytest.approx(np.log(2), abs=FLOAT32)
        else:
            expected = np.mean((outputs - labels) ** 2)
            assert done.history[0]["train_loss"] == pytest.approx(np.mean(labels**2), abs=FLOAT32)
        assert done.history[0]["validation_loss"] == pytest.approx(expected, abs=FLOAT32)
        np.testing.assert_allclose(done.best_outputs[:, 0], outputs, atol=FLOAT32)


def test_training_ends_when_the_validation_loss_no_longer_falls():
    import torch

    from routelmt.routers.networks.probe_model import Probe, Vectors
    from routelmt.routers.objective.losses import make_loss
    from routelmt.routers.training.fitting import Schedule
    from routelmt.routers.training.probe_fit import ProbeRows, fit

    rng = np.random.default_rng(0)
    schedule = Schedule(1e-2, 100, 16, warmup_ratio=0.0, weight_decay=0.0, seed=0, patience=3)
    # More dimensions than rows: noise is learned by heart, and validation soon suffers.
    train, valid = (
        ProbeRows(
            Vectors(torch.from_numpy(rng.normal(size=(60, 1, 100)).astype(np.float32))),
            rng.normal(size=(60, 1)).astype(np.float32),
        )
        for _ in range(2)
    )
    found = Probe("final", (1, 100))
    done = fit(found, train, valid, make_loss({"type": "probe", "target": "gain"}), schedule)
    losses = [entry["validation_loss"] for entry in done.history]
    best = int(np.argmin(losses))
    assert len(losses) == best + 1 + 3 < 100
    assert done.best_loss == losses[best] and done.best_epoch["epoch"] == best + 1
    found.load_state_dict(done.best)
    error = np.mean((found(valid.features.values).detach().numpy() - valid.targets) ** 2)
    assert error == pytest.approx(losses[best], rel=1e-5)


def test_weight_decay_shrinks_the_head_alone():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(100, HIDDEN)), rng.normal(5, 1, 100)
    free, decayed = (
        fitted("gain", labels, values, epochs=60, batch_size=10, weight_decay=decay, rate=1e-2)[1]
        for decay in (0.0, 5.0)
    )
    assert float(decayed.head.detach().norm()) < 0.7 * float(free.head.detach().norm())
    assert float(decayed.bias.detach()) == pytest.approx(float(free.bias.detach()), rel=0.1)


def test_importing_the_router_loads_no_torch():
    code = "import sys, routelmt.routers.probe; assert not {'torch', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
