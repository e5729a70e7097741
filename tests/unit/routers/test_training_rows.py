"""Which rows a router learns from: subsets by direction, domain and number."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from router_toys import toy

from routelmt.errors import UserError
from routelmt.routers.inputs import RouterInputs
from routelmt.routers.training.rows import training_rows, validation_rows

SPEC = {"type": "lora"}


def ids(inputs: RouterInputs) -> list[str]:
    return inputs.segments.column("segment_id").to_pylist()


def test_without_settings_all_rows_stay() -> None:
    rows = toy(40, 0)
    assert training_rows(SPEC, rows) is rows


def test_a_larger_number_contains_a_smaller_one_in_any_order() -> None:
    rows = toy(60, 1)
    ten, thirty = (set(ids(training_rows(SPEC | {"train_rows": n}, rows))) for n in (10, 30))
    assert len(ten) == 10 and len(thirty) == 30 and ten < thirty
    order = np.random.default_rng(0).permutation(60)
    shuffled = RouterInputs.aligned(rows.segments.take(order), gains=rows.gains)
    assert set(ids(training_rows(SPEC | {"train_rows": 10}, shuffled))) == ten


def test_gains_follow_their_segments() -> None:
    rows = toy(60, 2)
    kept = training_rows(SPEC | {"train_rows": 25}, rows)
    assert kept.gains is not None and rows.gains is not None
    gain = dict(zip(ids(rows), rows.gains.column("gain").to_pylist(), strict=True))
    assert kept.gains.column("gain").to_pylist() == [gain[i] for i in ids(kept)]


def test_directions_and_numbers_go_together() -> None:
    rows = toy(60, 3)
    direction = rows.directions[0]
    kept = training_rows(SPEC | {"train_directions": [direction], "train_rows": 5}, rows)
    assert kept.rows == 5 and set(kept.directions) == {direction}


def test_domains_choose_rows() -> None:
    rows = toy(20, 4)
    named = pa.array(["a", "b"] * 10)
    place = rows.segments.schema.get_field_index("domain")
    marked = RouterInputs.aligned(
        rows.segments.set_column(place, "domain", named), gains=rows.gains
    )
    kept = training_rows(SPEC | {"train_domains": ["b"]}, marked)
    assert kept.rows == 10 and pc.unique(kept.segments.column("domain")).to_pylist() == ["b"]


def test_a_router_is_chosen_on_rows_of_its_own_kind() -> None:
    rows = toy(60, 6)
    direction = rows.directions[0]
    kept = validation_rows(SPEC | {"train_directions": [direction], "train_rows": 5}, rows)
    assert set(kept.directions) == {direction}
    assert kept.rows == rows.directions.count(direction)  # train_rows is not for them
    assert validation_rows(SPEC | {"train_domains": ["nowhere"]}, rows) is rows
    assert validation_rows(SPEC, rows) is rows


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"train_rows": 99}, "train_rows: found 99, there are 20"),
        ({"train_directions": ["xx-yy"]}, "no training row has xx-yy; there: "),
        ({"train_domains": ["law"]}, "train_domains: no training row has law"),
    ],
)
def test_what_is_not_there_is_an_error(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        training_rows(SPEC | settings, toy(20, 5))
