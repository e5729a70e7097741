"""A sweep's table is the routers' table of its points, with the values of the setting."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.evaluate.build import build_table
from routelmt.evaluate.sweeps import number_of, sweep_table, text_of
from routelmt.views.layouts import blocks

POINTS = {"r.rows.650": "650", "r.rows.1300": "1300", "r.rows.10400": "10400"}
NOISE = {"r.rows.650": 20, "r.rows.1300": 8, "r.rows.10400": 2}
# The same sums in another order.
ROUNDING = 1e-9


@pytest.fixture(scope="module")
def predictions(gains: pa.Table, predictions: pa.Table) -> pa.Table:
    """Two seeds of every point, beside random and the gain oracle."""
    generator = np.random.default_rng(9)
    gain = gains.column("gain").to_numpy()
    references = pc.is_in(predictions["router"], pa.array(["random", "gain-oracle"]))
    parts = [predictions.filter(references)]
    for router, noise in NOISE.items():
        for seed in (0, 1):
            priority = gain + generator.normal(0, noise, gain.size)
            columns = {
                **{name: gains.column(name) for name in tables.JOIN_KEY},
                "router": router, "seed": seed, "prediction": priority, "priority": priority,
            }  # fmt: skip
            parts.append(tables.from_columns("predictions", columns))
    return pa.concat_tables(parts)


@pytest.fixture(scope="module")
def sweep(settings: dict[str, Any]) -> dict[str, Any]:
    common = {key: settings[key] for key in ("bootstrap", "budgets", "oracles", "random")}
    return common | {
        "sweep": "learning-curve", "setting": "train_rows", "points": POINTS,
        "routers": [*POINTS, "random", "gain-oracle"],
    }  # fmt: skip


@pytest.fixture(scope="module")
def built(sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table) -> pa.Table:
    table = sweep_table(sweep, predictions, gains)
    tables.check(table, "sweep", "sweep")
    return table


def test_points_are_described_and_references_are_not(built: pa.Table) -> None:
    frame = built.to_pandas()
    of = frame.drop_duplicates("router").set_index("router")
    assert of.loc[list(POINTS), "value"].tolist() == ["650", "1300", "10400"]
    assert of.loc[list(POINTS), "position"].tolist() == [0, 1, 2]
    assert of.loc[list(POINTS), "number"].tolist() == [650, 1300, 10400]
    assert of.loc[list(POINTS), "role"].tolist() == ["router"] * 3
    assert of.loc[["random", "gain-oracle"], "role"].tolist() == ["random", "oracle"]
    assert of.loc[["random", "gain-oracle"], ["value", "position", "number"]].isna().all(axis=None)
    assert set(frame.metric) == {"spearman", "hit_rate", "mean_delta", "headroom"}
    assert set(frame.direction) == {"en-ru", "ru-en", "average"}
    assert set(frame.sweep) == {"learning-curve"} and set(frame.setting) == {"train_rows"}


def test_the_numbers_are_those_of_the_routers_table_on_the_same_replicates(
    built: pa.Table, sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    # Alone, without the other points: replicates depend on the requests only.
    for router in POINTS:
        own = predictions.filter(pc.equal(predictions["router"], router))
        alone = build_table("routers", sweep | {"routers": [router]}, own, gains)
        here = built.filter(pc.equal(built["router"], router))
        for name, expected in (("estimate", "value"), ("low", "low"), ("high", "high"),
                               ("seed_spread", "seed_spread")):  # fmt: skip
            np.testing.assert_allclose(
                here[name].to_numpy(), alone[expected].to_numpy(), rtol=0, atol=ROUNDING
            )


def test_mean_delta_is_that_of_a_plain_count(
    built: pa.Table, predictions: pa.Table, gains: pa.Table
) -> None:
    key = list(tables.JOIN_KEY)
    joined = predictions.to_pandas().merge(gains.to_pandas(), on=key)
    for router in POINTS:
        expected = []
        for direction in ("en-ru", "ru-en"):
            rows = joined[(joined.router == router) & (joined.direction == direction)]
            tops = [own.nlargest(18, "priority").gain.mean() for _, own in rows.groupby("seed")]
            expected.append(np.mean(tops))
        frame = built.to_pandas().query("metric == 'mean_delta' and budget == 0.3")
        own = frame[frame.router == router].set_index("direction").estimate
        assert own["en-ru"] == pytest.approx(expected[0], abs=ROUNDING)
        assert own["ru-en"] == pytest.approx(expected[1], abs=ROUNDING)
        assert own["average"] == pytest.approx(np.mean(expected), abs=ROUNDING)


def test_one_point_without_references(
    sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    own = predictions.filter(pc.equal(predictions["router"], "r.rows.650"))
    alone = sweep | {"points": {"r.rows.650": 650}}
    del alone["routers"]
    table = sweep_table(alone, own, gains)
    tables.check(table, "sweep", "sweep")
    assert set(table["router"].to_pylist()) == {"r.rows.650"}
    assert set(table["value"].to_pylist()) == {"650"}


def test_references_are_found_where_none_are_asked_for(
    sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table, built: pa.Table
) -> None:
    asked = {key: value for key, value in sweep.items() if key != "routers"}
    found = sweep_table(asked, predictions, gains)
    assert tables.content_hash(found) == tables.content_hash(built)


def test_a_constant_point_has_no_spearman_and_says_why(
    sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    frame = predictions.to_pandas()
    frame.loc[frame.router == "r.rows.650", "priority"] = 1.0
    constant = tables.from_columns("predictions", {c: frame[c].to_numpy() for c in frame})
    found = sweep_table(sweep, constant, gains).to_pandas()
    rows = found[(found.router == "r.rows.650") & (found.metric == "spearman")]
    assert rows.estimate.isna().all() and rows.reason.notna().all()


def test_what_is_no_sweep_is_refused(
    sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table
) -> None:
    cases = {
        "'learning-curve': it has no points": {"points": {}},
        "value 650 occurs more than once": {"points": POINTS | {"r.rows.1300": 650}},
        "no predictions of r.rows.7; .* value 7": {"points": POINTS | {"r.rows.7": 7}},
        "router r.rows.1300 is neither": {
            "points": {k: v for k, v in POINTS.items() if v != "1300"}
        },
        "'budgets': 0.001": {"budgets": [0.001]},
    }
    for message, changed in cases.items():
        with pytest.raises(UserError, match=message):
            sweep_table(sweep | changed, predictions, gains)


@pytest.mark.parametrize(
    ("value", "text", "number"),
    [
        (650, "650", 650.0),
        (1e-4, "0.0001", 1e-4),
        (["en-zh", "ru-en"], "en-zh + ru-en", np.nan),
        (None, "None", np.nan),
        ("pairwise", "pairwise", np.nan),
        (True, "True", np.nan),
        ("nan", "nan", np.nan),
        ("inf", "inf", np.nan),
        ("-1", "-1", -1.0),
    ],
)
def test_values_as_text_and_as_numbers(value: Any, text: str, number: float) -> None:
    assert text_of(value) == text
    assert number_of(text) == pytest.approx(number, nan_ok=True)


def test_the_layout_has_a_line_per_value_and_then_the_references(built: pa.Table) -> None:
    layout = blocks(built, "sweep")
    assert [block.title for block in layout] == [
        "Sweep learning-curve at p = 0.3", "Sweep learning-curve at p = 0.1",
    ]  # fmt: skip
    for block in layout:
        assert block.index == ("train_rows",)
        assert [names for names, _ in block.rows] == [
            ("650",), ("1300",), ("10400",), ("random (expectation)",), ("gain-oracle",),
        ]  # fmt: skip


def test_the_command_writes_the_table_and_its_renderings(
    built: pa.Table, sweep: dict[str, Any], predictions: pa.Table, gains: pa.Table, tmp_path: Path
) -> None:
    files = {}
    for name, table in (("predictions", predictions), ("gains", gains)):
        files[name] = str(tmp_path / f"{name}.parquet")
        tables.write(table, files[name], name, {"parents": []})
    out = tmp_path / "sweeps" / "learning-curve.parquet"
    command = ["table", "sweep", "--predictions", files["predictions"], "--gains", files["gains"]]
    assert main([*command, "--settings", json.dumps(sweep), "--out", str(out)]) == 0
    assert main(["render", str(out)]) == 0
    assert {path.name for path in out.parent.iterdir()} == {
        f"learning-curve.{suffix}" for suffix in ("parquet", "csv", "tex", "md")
    }
    assert tables.record_of(out)["content"] == tables.content_hash(built)
    style = json.dumps(
        {"width": 6.3, "dpi": 60, "font_size": 9, "palette": "okabe-ito", "metric": "chrf"}
    )
    figure = out.with_suffix(".pdf")
    plot = ["plot", "--figure", "sweep", "--settings", style, "--out", str(figure)]
    assert main([*plot, "--tables", str(out)]) == 0
    assert figure.is_file() and figure.with_suffix(".png").is_file()
    assert main([*plot, "--tables", files["gains"]]) == 1
