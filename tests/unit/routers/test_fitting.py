"""Training by any loss, whatever the passes that a batch takes; early stopping; the loss curve."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from routelmt.routers.objective.losses import make_loss
from routelmt.routers.training import fitting
from routelmt.routers.training.accelerated import Workers

RNG = np.random.default_rng(2)


class BagOfTokens:
    """The smallest regressor: a linear head on the mean embedding of a row, with dropout."""

    device = "cpu"

    def __init__(self, outputs, dropout=0.0):
        import torch

        torch.manual_seed(0)
        self.model = torch.nn.Sequential(
            torch.nn.EmbeddingBag(50, 8), torch.nn.Dropout(dropout), torch.nn.Linear(8, outputs)
        )

    def outputs(self, rows):
        import torch

        flat = torch.tensor([token for row in rows for token in row])
        starts = torch.tensor(np.cumsum([0, *map(len, rows[:-1])]))
        bag, dropout, head = self.model
        return head(dropout(bag(flat, starts)))

    def trainable(self):
        return dict(self.model.named_parameters())

    @contextmanager
    def running(self, training):
        before = self.model.training
        self.model.train(training)
        yield
        self.model.train(before)

    def predict(self, ids, batch_tokens, what=None):
        import torch

        with torch.inference_mode(), self.running(training=False):
            return self.outputs(ids).double().numpy()

    def batch_tokens(self, wanted):
        return wanted


def data(rows=64, columns=1, seed=0):
    rng = np.random.default_rng(seed)
    ids = [rng.integers(0, 50, rng.integers(1, 12)).tolist() for _ in range(rows)]
    wanted = np.array([[np.mean(np.array(row) > 25)] for row in ids])
    return fitting.Labelled(ids, np.repeat(wanted, columns, axis=1).astype(np.float32))


def schedule(**changes):
    settings = {"learning_rate": 0.05, "epochs": 4, "batch_size": 16, "warmup_ratio": 0.1}
    return fitting.Schedule(**{**settings, "weight_decay": 0.0, "seed": 3, **changes})


def test_the_learning_rate_warms_up_and_then_decays_as_transformers_schedules_do():
    import torch
    import transformers

    steps, warmup = 20, 2
    schedules = {
        "linear": transformers.get_linear_schedule_with_warmup,
        "cosine": transformers.get_cosine_schedule_with_warmup,
        "constant": transformers.get_constant_schedule_with_warmup,
    }
    for decay, reference in schedules.items():
        ours = [schedule(decay=decay, learning_rate=1.0).rate(step, steps) for step in range(steps)]
        optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
        lengths = (warmup,) if decay == "constant" else (warmup, steps)
        scheduler = reference(optimizer, *lengths)
        theirs = [scheduler.lr_lambdas[0](step) for step in range(steps)]
        assert ours[warmup:] == pytest.approx(theirs[warmup:], abs=1e-12), decay
        # Theirs begins with a step of rate 0; ours with the first share of the warm-up.
        assert ours[:warmup] == pytest.approx([0.5, 1.0]), decay


def test_a_schedule_takes_its_settings_from_the_router():
    spec = {"learning_rate": [1e-3, 1e-2], "epochs": 2, "batch_size": 8, "warmup_ratio": 0.0,
            "weight_decay": 0.1, "decay": "cosine", "clip": None, "rank": 4}  # fmt: skip
    assert fitting.Schedule.of(spec, 1e-2, seed=5) == fitting.Schedule(
        1e-2, 2, 8, 0.0, 0.1, 5, patience=None, decay="cosine", clip=None
    )


def test_clipping_bounds_a_step_and_can_be_left_out(tmp_path):
    import torch

    loss, rows = loss_of("mse"), data(16)
    rows = fitting.Labelled(rows.ids, 1000 * rows.targets)  # steep, so that clipping matters
    ends = []
    for clip in (1.0, None):
        regressor = BagOfTokens(1)
        saved = tmp_path / f"{clip}.pt"
        settings = schedule(epochs=1, clip=clip, decay="constant")
        fitting.fit(regressor, rows, rows, loss, settings, 4096, saved)
        state = torch.load(saved, weights_only=True)
        ends.append(
            max(float(v["exp_avg"].abs().max()) for v in state["optimizer"]["state"].values())
        )
    clipped, free = ends
    assert clipped <= 1.0 < free


LOSSES = ["mse", "bce", "pairwise", "top_p", "quantile", "gaussian"]


def loss_of(name, **more):
    target = "small-wins" if name == "bce" else "gain"
    return make_loss({"type": "lora", "target": target, "loss": name, **more})


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_the_passes_of_a_batch_do_not_change_its_gradient(name, dropout):
    """Dropout too: a pass draws the same masks whenever it is made again."""
    import torch

    loss = loss_of(name)
    regressor = BagOfTokens(loss.outputs, dropout)
    rows, batch = data(), np.arange(16)
    run = fitting._Run(regressor, rows, rows, loss, schedule(), 12, Workers())
    passes = run.passes(batch)
    assert len(passes) > 3
    with regressor.running(training=True):
        total = fitting._step(run, batch, step=5)
        found = {n: p.grad.clone() for n, p in regressor.trainable().items()}
        outputs = torch.zeros((16, loss.outputs))
        for index, part in enumerate(passes):
            outputs[torch.from_numpy(part)] = run.outputs(batch[part], 5, index)
    whole = loss.total(outputs, run.targets(batch))
    expected = torch.autograd.grad(whole / 16, list(regressor.trainable().values()))
    assert total == pytest.approx(whole.item(), rel=1e-5)
    for gradient, wanted in zip(found.values(), expected, strict=True):
        assert torch.allclose(gradient, wanted, atol=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_learns(name, tmp_path):
    loss = loss_of(name)
    regressor = BagOfTokens(loss.outputs)
    state = fitting.fit(
        regressor, data(256), data(64, seed=1), loss, schedule(epochs=8), 4096, tmp_path / "s.pt"
    )
    assert state.best_epoch["validation_spearman"] > 0.9
    assert state.best_loss == min(e["validation_loss"] for e in state.history)
    assert state.best_outputs.shape == (64, loss.outputs)


@pytest.mark.parametrize("name", ["mse", "pairwise"])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_a_resumed_fit_ends_alike_even_with_dropout(name, dropout, tmp_path, monkeypatch):
    import torch

    loss, rows = loss_of(name), data(80)

    def fit(file):
        regressor = BagOfTokens(1, dropout)
        fitting.fit(regressor, rows, rows, loss, schedule(), 40, tmp_path / file, save_minutes=0)
        return fitting.snapshot(regressor)

    whole, real = fit("whole.pt"), fitting._step

    def killed(run, batch, step):
        if step == 7:
            raise KeyboardInterrupt
        return real(run, batch, step)

    monkeypatch.setattr(fitting, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        fit("killed.pt")
    monkeypatch.setattr(fitting, "_step", real)
    resumed = fit("killed.pt")
    assert all(torch.equal(whole[n], resumed[n]) for n in whole)


def test_patience_ends_a_training_that_no_longer_improves(tmp_path):
    noise = data(64)
    noise = fitting.Labelled(noise.ids, RNG.normal(size=(64, 1)).astype(np.float32))
    other = fitting.Labelled(data(64, seed=1).ids, RNG.normal(size=(64, 1)).astype(np.float32))
    regressor, loss = BagOfTokens(1), loss_of("mse")
    settings = schedule(epochs=40, patience=2)
    state = fitting.fit(regressor, noise, other, loss, settings, 4096, tmp_path / "s")
    best = state.best_epoch["epoch"]
    assert len(state.history) == best + 2 < 40
    again = fitting.fit(regressor, noise, other, loss, settings, 4096, tmp_path / "s")
    assert again.history == state.history  # it has ended


def test_the_loss_curve_has_points_within_an_epoch(tmp_path):
    rows, loss = data(16 * 50), loss_of("mse")
    state = fitting.fit(
        BagOfTokens(1), rows, data(8), loss, schedule(epochs=2), 4096, tmp_path / "s"
    )
    assert len(state.points) == 2 * fitting.POINTS
    assert [p["step"] for p in state.points][-1] == 100
    for epoch, entry in enumerate(state.history):
        points = state.points[20 * epoch : 20 * (epoch + 1)]
        steps = np.diff([50 * epoch, *(p["step"] for p in points)])
        mean = np.average([p["train_loss"] for p in points], weights=steps)
        assert mean == pytest.approx(entry["train_loss"], rel=1e-6)
    fitting.write_history(tmp_path, {0.05: state})
    assert len((tmp_path / "losses.jsonl").read_text().splitlines()) == 40
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_fewer_rows_than_a_batch_are_one_step_an_epoch(tmp_path):
    loss = loss_of("top_p")
    state = fitting.fit(BagOfTokens(1), data(5), data(3), loss, schedule(), 4096, tmp_path / "s")
    assert [e["step"] for e in state.history] == [1, 2, 3, 4]
    assert len(state.points) == 4


def test_the_shares_of_several_processes_make_up_the_batch():
    lengths = RNG.integers(1, 60, 33)
    rows = RNG.permutation(100)[:33]
    shares = [Workers(rank, 4).share(rows, lengths) for rank in range(4)]
    assert sorted(np.concatenate(shares)) == sorted(rows)
    by_row = dict(zip(rows, lengths, strict=True))
    tokens = [sum(by_row[r] for r in share) for share in shares]
    assert max(tokens) - min(tokens) <= lengths.max()


def test_a_ranking_loss_on_validation_is_that_of_its_batches():
    import torch
    from scipy.stats import spearmanr

    loss, rows = loss_of("pairwise"), data(40)
    outputs = RNG.normal(size=(40, 1))
    found = fitting.validation_metrics(outputs, rows, loss, 16)
    order = np.random.default_rng(0).permutation(40)
    parts = [order[:16], order[16:32], order[32:]]
    totals = [
        loss.total(torch.tensor(outputs[p]), torch.tensor(rows.targets[p]).double()).item()
        for p in parts
    ]
    assert found["validation_loss"] == pytest.approx(sum(totals) / 40, rel=1e-9)
    rho = spearmanr(outputs[:, 0], rows.targets[:, 0]).statistic
    assert found["validation_spearman"] == pytest.approx(rho)
