"""The n-gram router: what it computes, learns and leaves on disk."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from router_toys import LANGUAGES, SPEED, WORDS, gains, segments, toy, unsealed

from routelmt.errors import UserError
from routelmt.evaluate.training_curves import training_table
from routelmt.routers import ngram
from routelmt.routers.deploy import load_router, route_requests
from routelmt.routers.inputs import RouterContext, RouterInputs

CONTEXT = RouterContext({}, LANGUAGES, SPEED, seed=1)
SPEC = {
    "type": "ngram", "target": "gain", "ngrams": [1, 4], "columns": 2**14,
    "alpha": [0.001, 0.1, 10.0],
}  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(folder, record) of a router for the gain."""
    out = tmp_path_factory.mktemp("ngram") / "r/seed1"
    return out, ngram.train(SPEC, toy(320, 0), toy(64, 1), CONTEXT, out)


def explicit(inputs: RouterInputs, spec=SPEC) -> np.ndarray:
    """Dense features: those all share, then those of each direction, then one constant each."""
    from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
    from sklearn.pipeline import make_pipeline

    hashing = HashingVectorizer(
        analyzer="char", ngram_range=tuple(spec["ngrams"]), n_features=spec["columns"],
        lowercase=False, norm=None, alternate_sign=False,
    )  # fmt: skip
    weighing = make_pipeline(hashing, TfidfTransformer()).fit(toy(150, 0).sources)
    texts = weighing.transform(inputs.sources).toarray()
    own = np.array(inputs.directions)[:, None] == np.unique(toy(320, 0).directions)
    crossed = (own[:, :, None] * texts[:, None]).reshape(len(texts), -1)
    return np.concatenate((texts, crossed, own), axis=1)


def test_it_learns_what_the_text_and_the_direction_tell(trained):
    out, record = trained
    unseen = toy(200, 7)
    prediction, priority = ngram.predict_trained(out, unseen, CONTEXT)
    assert np.array_equal(prediction, priority)
    assert np.corrcoef(prediction, unseen.gain("gain", "x"))[0, 1] > 0.9
    assert record["validation"]["spearman"] > 0.7 and record["cost"]["terms"] == []
    assert "what directions share" not in (out / "README.md").read_text()
    assert "Reads the source text and the direction" in (out / "README.md").read_text()


@pytest.mark.parametrize("target", ["gain", "quality_small"])
def test_predictions_are_those_of_scikit_learns_ridge(target, tmp_path):
    """Free intercepts as columns whose penalty is nothing: their weights count a million times."""
    from sklearn.linear_model import Ridge

    spec = {**SPEC, "target": target, "columns": 1024, "alpha": 0.3}
    training, unseen = toy(150, 0), toy(50, 3)
    record = ngram.train(spec, training, toy(40, 1), CONTEXT, tmp_path / "r")
    free = np.array([1.0] * 3 * 1024 + [1e4] * 2)
    # The penalty is on weights of targets with deviation 1, and ridge is linear in the targets.
    model = Ridge(alpha=0.3, fit_intercept=False, solver="svd")
    model.fit(explicit(training, spec) * free, training.gain(target, "x"))
    expected = model.predict(explicit(unseen, spec) * free)
    prediction, priority = ngram.predict_trained(tmp_path / "r", unseen, CONTEXT)
    np.testing.assert_allclose(prediction, expected, atol=1e-4 * record["scale"])
    sign = 1 if target == "gain" else -1
    assert np.array_equal(priority, sign * prediction)


def test_the_strength_with_the_lowest_validation_error_is_kept(trained, tmp_path):
    out, record = trained
    valid = toy(64, 1)
    chosen = record["result"]
    assert chosen["alphas"].keys() == {"0.001", "0.1", "10"}
    assert chosen["validation_loss"] == min(chosen["alphas"].values())
    prediction, _ = ngram.predict_trained(out, valid, CONTEXT)
    errors = (prediction - valid.gain("gain", "x")) / record["scale"]
    assert np.mean(errors**2) == pytest.approx(chosen["validation_loss"], rel=1e-5)
    alone = {**SPEC, "alpha": chosen["alpha"]}
    ngram.train(alone, toy(320, 0), valid, CONTEXT, tmp_path / "alone")
    again, _ = ngram.predict_trained(tmp_path / "alone", valid, CONTEXT)
    # Other penalties beside it only change after how many steps it is exact enough.
    np.testing.assert_allclose(again, prediction, atol=1e-3 * record["scale"])


def test_the_same_rows_give_the_same_bytes_whatever_the_threads_and_the_seed(trained, tmp_path):
    out, _ = trained
    other = replace(CONTEXT, seed=9, speed={**SPEED, "threads": 4})
    ngram.train(SPEC, toy(320, 0), toy(64, 1), other, tmp_path / "again")
    one, two = ((f / "ngram.safetensors").read_bytes() for f in (out, tmp_path / "again"))
    assert one == two
    shuffled = np.random.default_rng(0).permutation(320)
    rows = RouterInputs.aligned(toy(320, 0).segments.take(shuffled), gains=toy(320, 0).gains)
    ngram.train(SPEC, rows, toy(64, 1), CONTEXT, tmp_path / "shuffled")
    fresh = toy(20, 4)
    here, there = (
        ngram.predict_trained(f, fresh, CONTEXT)[0] for f in (out, tmp_path / "shuffled")
    )
    np.testing.assert_allclose(here, there, atol=1e-4)


@settings(deadline=None, max_examples=30)
@given(
    rows=st.lists(st.tuples(st.sampled_from(["en-zh", "en-ru"]), st.text(max_size=30)), max_size=8)
)
def test_a_prediction_depends_on_its_own_text_alone(trained, rows):
    router = load_router(trained[0])
    directions, sources = [d for d, _ in rows], [s for _, s in rows]
    together, _ = router.score(directions, sources)
    alone = [router.score([d], [s])[0][0] for d, s in rows]
    assert np.array_equal(together, np.array(alone))
    assert np.isfinite(together).all()


def test_an_empty_text_gets_the_level_of_its_direction(trained):
    """What the regression says of a text with no n-gram: its intercept."""
    router = load_router(trained[0])
    empty, _ = router.score(["en-zh", "en-ru"], ["", ""])
    assert empty[0] > empty[1]
    record = trained[1]
    expected = router.weights.bias[[2, 1]] * record["scale"] + record["shift"]
    np.testing.assert_allclose(empty, expected)


def test_equal_texts_tie_and_are_routed_by_their_ids(trained, tmp_path):
    lines = [
        json.dumps({"id": f"r{i}", "direction": "en-zh", "source": "open the file"})
        for i in range(10)
    ]
    (tmp_path / "requests.jsonl").write_text("\n".join(lines))
    found = route_requests(trained[0], tmp_path / "requests.jsonl", 0.3)
    assert len({row["priority"] for row in found}) == 1
    assert sum(row["route"] == "large" for row in found) == 3
    (tmp_path / "requests.jsonl").write_text("\n".join(reversed(lines)))
    again = route_requests(trained[0], tmp_path / "requests.jsonl", 0.3)
    assert {r["id"]: r["route"] for r in again} == {r["id"]: r["route"] for r in found}


def test_a_direction_without_training_rows(trained, tmp_path, capsys):
    (tmp_path / "requests.jsonl").write_text('{"direction": "zh-en", "source": "打开文件"}')
    with pytest.raises(
        UserError, match="direction 'zh-en' is not one of this router's: en-ru, en-zh"
    ):
        route_requests(trained[0], tmp_path / "requests.jsonl", 0.3)
    # In an experiment, where a router may be trained on some directions, it is predicted and told.
    router = load_router(trained[0])
    error, plain = router.score(["xx-yy"] * 2, ["an error", "a file"])[0]
    assert error > plain + 10
    assert "no training row of xx-yy" in capsys.readouterr().err


def test_neither_training_nor_routing_loads_torch(trained, tmp_path):
    code = (
        "import sys; sys.path.insert(0, 'tests/unit/routers')\n"
        "from pathlib import Path; from test_ngram import *\n"
        "assert 'torch' not in sys.modules\n"
        f"out = Path({str(tmp_path / 'r')!r})\n"
        "ngram.train(SPEC, toy(50, 0), toy(20, 1), CONTEXT, out)\n"
        "load_router(out).score(['en-zh'], ['open'])\n"
        "assert 'torch' not in sys.modules and 'transformers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_labels_that_cannot_be_learned(tmp_path):
    table = segments([("en-zh", "open")] * 4)
    for values, message in (
        (np.full(4, 3.0), "gain of all 4 training rows is 3: there is nothing to learn"),
        (np.array([1.0, math.nan, -2.0, 3.0]), "is not a number in 1 of the 4 training rows"),
    ):
        bad = RouterInputs(table, gains=gains(table, values))
        with pytest.raises(UserError, match=message):
            ngram.train(SPEC, bad, toy(8, 1), CONTEXT, tmp_path / "r")
    with pytest.raises(UserError, match="there are no validation rows"):
        ngram.train(SPEC, toy(8, 0), toy(8, 1).filter(np.zeros(8, bool)), CONTEXT, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_texts_that_tell_nothing_leave_the_directions_levels(tmp_path):
    """All the same text: the gain differs by direction alone."""
    table = segments([("en-zh", "open"), ("en-ru", "open")] * 10)
    same = RouterInputs.aligned(table, gains=gains(table, np.array([4.0, -2.0] * 10)))
    ngram.train(SPEC, same, same, CONTEXT, tmp_path / "r")
    found, _ = load_router(tmp_path / "r").score(["en-zh", "en-ru"], ["anything", "at all"])
    np.testing.assert_allclose(found, [4.0, -2.0], atol=1e-6)


def broken(trained, folder, change):
    """A copy of a router with other weights."""
    from safetensors.numpy import load_file, save_file

    unsealed(trained[0], folder)
    weights = load_file(folder / "ngram.safetensors")
    change(weights)
    save_file(weights, folder / "ngram.safetensors")
    return folder


@pytest.mark.parametrize(
    "change",
    [
        lambda w: w.update(heads=w["heads"][:, :100].copy()),
        lambda w: w.update(rarity=w["rarity"][:7].copy()),
        lambda w: w.update(heads=w["heads"][:2].copy()),
        lambda w: w.update(bias=w["bias"][:1].copy()),
        lambda w: w.pop("bias"),
        lambda w: w.update(more=w["bias"]),
    ],
    ids=["fewer features", "fewer rarities", "fewer directions", "short bias", "no bias", "one more"],
)  # fmt: skip
def test_weights_of_another_shape_are_refused(trained, tmp_path, change):
    folder = broken(trained, tmp_path / "broken", change)
    with pytest.raises(UserError, match=r"ngram\.safetensors: .* of different routers"):
        load_router(folder)


def test_weights_that_are_not_numbers_are_refused(trained, tmp_path):
    folder = broken(trained, tmp_path / "r", lambda w: w["heads"].__setitem__((0, 0), np.nan))
    with pytest.raises(
        UserError, match=r"ngram\.safetensors: 'heads' has numbers that are not fin"
    ):
        load_router(folder)


def test_damaged_folders_are_refused(trained, tmp_path):
    cut = unsealed(trained[0], tmp_path / "cut")
    weights = cut / "ngram.safetensors"
    for data in (weights.read_bytes()[:50], b""):
        weights.write_bytes(data)
        with pytest.raises(UserError, match=r"ngram\.safetensors: missing or damaged"):
            load_router(cut)
    weights.unlink()
    with pytest.raises(UserError, match=r"ngram\.safetensors: missing or damaged"):
        load_router(cut)
    other = unsealed(trained[0], tmp_path / "other", features_fingerprint="0" * 64)
    with pytest.raises(UserError, match="scikit-learn hashes texts differently"):
        load_router(other)


def test_a_router_that_was_solved_has_no_losses_to_show(trained, capsys):
    assert training_table([trained[0]]).num_rows == 0
    assert "no history.jsonl" in capsys.readouterr().err


def test_long_texts_and_any_characters_are_read(trained):
    router = load_router(trained[0])
    odd = [" ".join(WORDS * 5000), "\U0001f600" * 50, "a\x00b", "ﷺ́"]
    found, _ = router.score(["en-zh"] * len(odd), odd)
    assert np.isfinite(found).all()
