"""Routers that read one number of the small model's next-token distribution."""

from __future__ import annotations

import importlib

import numpy as np
import pyarrow as pa
import pytest
import scipy.special
from router_toys import segments, signals

from routelmt import tables
from routelmt.errors import UserError
from routelmt.routers.inputs import RouterContext, RouterInputs
from routelmt.routers.registry import needs_of, router_module, router_type

ROWS = [("en-zh", f"text {i}") for i in range(50)]
CONTEXT = RouterContext({}, {}, {}, 0)


def predict(kind, inputs):
    return importlib.import_module(router_module(kind)).predict({"type": kind}, inputs, CONTEXT)


@pytest.fixture()
def logits():
    # As large as a real model's: a sigmoid of them is 1 to the last bit.
    return np.random.default_rng(0).normal(40, 5, (len(ROWS), 30))


@pytest.fixture()
def inputs(logits):
    table = segments(ROWS)
    p = np.sort(scipy.special.softmax(logits, axis=1), axis=1)
    found = signals(table, np.zeros(len(ROWS)))
    for name, values in (("margin", p[:, -1] - p[:, -2]), ("max_logit", logits.max(axis=1))):
        found = found.set_column(found.schema.get_field_index(name), name, pa.array(values))
    return RouterInputs.aligned(table, signals=found.select(found.column_names))


def test_margin_routes_the_closest_choice_first(inputs, logits):
    prediction, priority = predict("margin", inputs)
    p = scipy.special.softmax(logits, axis=1)
    top = np.sort(p, axis=1)[:, -2:]
    np.testing.assert_allclose(prediction, top[:, 1] - top[:, 0], rtol=1e-12)
    assert np.array_equal(priority, -prediction) and priority.dtype == np.float64


def test_max_logit_routes_the_lowest_first_and_does_not_tie(inputs, logits):
    prediction, priority = predict("max-logit", inputs)
    assert np.array_equal(prediction, logits.max(axis=1))
    assert np.argmax(priority) == np.argmin(logits.max(axis=1))
    assert len(np.unique(priority)) == len(ROWS)
    assert len(np.unique(scipy.special.expit(prediction))) < len(ROWS)


@pytest.mark.parametrize("kind", ["entropy", "margin", "max-logit"])
def test_they_need_signals_and_cost_no_pass_of_their_own(kind):
    assert needs_of({"type": kind}) == {"signals"}
    assert router_type(kind).costs == ("shared_prefill",)
    assert not router_type(kind).trained and not router_type(kind).seeded
    with pytest.raises(UserError, match=f"router '{kind}' reads"):
        predict(kind, RouterInputs.aligned(segments(ROWS)))


def test_probes_need_states_and_share_the_prefill():
    found = router_type("probe")
    assert found.trained and found.seeded and found.needs == {"states"}
    assert found.costs == ("shared_prefill",) and not found.in_model
    assert tables.TABLES["states"].key == tables.JOIN_KEY
