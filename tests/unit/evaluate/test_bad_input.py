"""What becomes of input that has no good answer: every outcome is defined."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.build import EVALUATIONS, build_table
from routelmt.join import tie_keys
from routelmt.stats import bootstrap
from routelmt.stats.bootstrap import DirectionData
from routelmt.views.render import write_renderings

HUMAN = Path(__file__).parents[4] / "shared/data/human_pairs/wmt24.en-zh.esa.jsonl"
Given = tuple[pa.Table, pa.Table, pa.Table, dict[str, pa.Table]]


@pytest.fixture
def given(
    predictions: pa.Table,
    gains: pa.Table,
    segments: pa.Table,
    other_gains: dict[str, pa.Table],
) -> Given:
    return predictions, gains, segments, other_gains


def with_column(table: pa.Table, name: str, column: str, values: Any) -> pa.Table:
    columns = {c: table.column(c) for c in table.column_names}
    return tables.from_columns(name, columns | {column: values})


def some(table: pa.Table, keep: int, column: str = "segment_id") -> pa.Table:
    """The rows of the first segments of dataset news."""
    news = np.array(table.column("dataset").to_pylist()) == "news"
    first = np.array([int(i) < keep for i in table.column(column).to_pylist()])
    return table.filter(pa.array(news & first))


@pytest.mark.parametrize("name", EVALUATIONS)
def test_equal_priorities_everywhere_are_chance(
    name: str, settings: dict[str, Any], given: Given, tmp_path: Path
) -> None:
    constant = with_column(given[0], "predictions", "priority", np.full(given[0].num_rows, 7.0))
    table = build_table(name, settings, constant, *given[1:])
    tables.check(table, name, name)
    write_renderings(table, name, tmp_path / f"{name}.parquet")
    if name == "routers":
        frame = table.to_pandas().query("metric == 'mean_delta' and direction == 'average'")
        assert frame.groupby("budget").value.agg(np.ptp).max() < 1e-9


@pytest.mark.parametrize("name", EVALUATIONS)
@pytest.mark.parametrize("gain", [0.0, -2.0])
def test_equal_gains_everywhere_make_valid_tables_with_reasons(
    name: str, gain: float, settings: dict[str, Any], given: Given, tmp_path: Path
) -> None:
    flat = with_column(given[1], "gains", "gain", np.full(given[1].num_rows, gain))
    table = build_table(name, settings, given[0], flat, *given[2:])
    tables.check(table, name, name)
    write_renderings(table, name, tmp_path / f"{name}.parquet")
    frame = table.to_pandas()
    if "value" in frame:
        doubtful = frame.value.isna() | (frame.undefined > 0.05)
        assert (doubtful == frame.reason.notna()).all()


@pytest.mark.parametrize("name", sorted(set(EVALUATIONS) - {"guards"}))
def test_one_request_a_direction_is_evaluated_with_a_budget_that_takes_it(
    name: str, settings: dict[str, Any], given: Given, tmp_path: Path
) -> None:
    predictions, gains, segments, others = given
    one = (
        some(predictions, 1), some(gains, 1), some(segments, 1),
        {metric: some(table, 1) for metric, table in others.items()},
    )  # fmt: skip
    table = build_table(name, settings | {"budgets": [1.0]}, *one)
    tables.check(table, name, name)
    write_renderings(table, name, tmp_path / f"{name}.parquet")
    if name == "router_metrics":
        frame = table.to_pandas().query("metric == 'spearman' and router == 'learned'")
        assert "single request" in frame.reason.iloc[0]


def test_one_request_and_a_budget_below_it_are_refused(
    settings: dict[str, Any], given: Given
) -> None:
    with pytest.raises(UserError, match=r"0\.3 of the 1 requests"):
        build_table("router_metrics", settings, some(given[0], 1), some(given[1], 1))


def test_an_empty_table_of_gains_and_a_nan_priority_are_refused_where_they_are_read(
    predictions: pa.Table, gains: pa.Table
) -> None:
    with pytest.raises(UserError, match="table is empty"):
        tables.check(gains.slice(0, 0), "gains", "here")
    values = predictions.column("priority").to_numpy().copy()
    values[3] = np.nan
    nan = with_column(predictions, "predictions", "priority", values)
    with pytest.raises(UserError, match="'priority' has 1 NaN values, the first in row 3"):
        tables.check(nan, "predictions", "here")


def test_a_direction_that_only_the_predictions_have_is_refused(
    settings: dict[str, Any], given: Given
) -> None:
    here = pa.array(np.array(given[1].column("direction").to_pylist()) == "en-ru")
    with pytest.raises(UserError, match="requests that have no gain"):
        build_table("router_metrics", settings, given[0], given[1].filter(here))


@pytest.mark.parametrize("name", ["router_metrics", "breakdown", "noise", "cross_metric"])
def test_missing_predictions_are_refused(name: str, settings: dict[str, Any], given: Given) -> None:
    with pytest.raises(UserError, match="1 are missing"):
        build_table(name, settings, given[0].slice(1), *given[1:])


def test_the_routers_asked_for_keep_their_own_priorities(
    settings: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    whole = build_table("routers", settings, predictions, gains).to_pandas()
    asked = settings | {"routers": ["gain-oracle", "learned"]}
    some_only = build_table("routers", asked, predictions, gains).to_pandas()
    key = ["router", "direction", "budget", "metric"]
    expected = whole.set_index(key).value
    for row in some_only.itertuples():
        cell = (row.router, row.direction, row.budget, row.metric)
        assert row.value == pytest.approx(expected[cell], abs=1e-9, nan_ok=True)


@pytest.mark.skipif(not HUMAN.is_file(), reason=f"{HUMAN.name} is not beside the project")
def test_whole_ratings_give_the_expectation_over_their_ties() -> None:
    """IKUN-C against GPT-4, 634 human ratings: 22 tie at the quality oracle's boundary."""
    rows = [json.loads(line) for line in HUMAN.read_text(encoding="utf-8").splitlines()]
    quality = np.array([row["score"]["IKUN-C"] for row in rows])
    gain = np.array([row["score"]["GPT-4"] for row in rows]) - quality
    direction = DirectionData(
        "en-zh", np.array([row["doc"] for row in rows]),
        tie_keys(row["id"] for row in rows), quality, gain,
        {"quality-oracle": -quality, "gain-oracle": gain},
    )  # fmt: skip
    table = bootstrap.bootstrap_table([direction], [0.3], 20, seed=0)
    boundary = np.sort(quality)[189]
    surely, tied = gain[quality < boundary], gain[quality == boundary]
    expected = (surely.sum() + (190 - len(surely)) * tied.mean()) / 190
    assert table.mean_delta.point[0, :, 0] == pytest.approx([expected, 34.3], abs=0.05)
    assert expected == pytest.approx(31.8, abs=0.05)
