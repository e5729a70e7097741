"""Two runs with one known change: where they part, and by how much their numbers move."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt import provenance, tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.trail.diff import ABSENT, changed_settings, diff
from routelmt.trail.diff_text import diff_lines
from routelmt.trail.numbers import compare, intervals

MakeRun = Callable[..., Path]


def text(a: Path, b: Path, everything: bool = False) -> str:
    return "\n".join(diff_lines(diff(a, b), everything))


def test_a_run_does_not_differ_from_itself(make_run: MakeRun) -> None:
    run = make_run()
    found = diff(run, run)
    assert found.partings == found.settings == found.notes == ()
    assert found.only == ((), ()) and not found.packages and not found.code
    assert all(table.identical for table in found.numbers) and len(found.numbers) == 2
    assert "first difference: none" in text(run, run)
    assert "identical  tables/risk_buckets.parquet, tables/routers.parquet" in text(run, run)


def test_one_changed_setting_is_where_two_runs_part(make_run: MakeRun) -> None:
    """Two checkouts of a project: the metric computes in another dtype, and gives other scores."""
    a = make_run(metric_settings={"type": "comet", "model": {"dtype": "float32"}})
    b = make_run(
        metric_settings={"type": "comet", "model": {"dtype": "bfloat16"}}, shift=2.0, project="b"
    )
    found = diff(a, b)
    (setting,) = found.settings
    assert (setting.stage, setting.key) == ("scores", "model.dtype")
    assert (setting.a, setting.b, setting.artifacts) == ("float32", "bfloat16", 8)
    (parting,) = found.partings  # the small model's scores are the same
    assert parting.stage == "scores"
    assert parting.reasons == ("model.dtype float32 -> bfloat16",)
    assert {name for name, _ in parting.names} == {
        f"results/scores/chrf/large/{d}/{p}.parquet"
        for d in ("first", "second") for p in ("en-zh", "zh-en")
    }  # fmt: skip
    printed = text(a, b)
    assert "first difference: scores, model.dtype float32 -> bfloat16" in printed
    shown = printed.replace(str(a), "A").replace(str(b), "B")
    assert all(len(line) <= 100 for line in shown.splitlines())


def test_the_same_metric_under_another_name_is_followed(make_run: MakeRun) -> None:
    a = make_run("a", metric="chrf", metric_settings={"word_order": 0})
    b = make_run("b", metric="chrf2", metric_settings={"word_order": 2}, shift=1.0)
    found = diff(a, b)
    assert found.only == ((), ())
    assert [p.stage for p in found.partings] == ["scores"]
    assert ("word_order", 0, 2) in {(s.key, s.a, s.b) for s in found.settings}
    names = dict(pair for p in found.partings for pair in p.names)
    assert names["results/scores/chrf/large/first/en-zh.parquet"] == (
        "results/scores/chrf2/large/first/en-zh.parquet"
    )


def test_a_changed_source_comes_first(make_run: MakeRun) -> None:
    a, b = make_run(), make_run(project="b")
    for name in ("source.txt", "segments/first/en-zh.parquet"):
        path = b.parents[2] / "data" / name
        if path.suffix == ".txt":
            path.write_text("another text")
        else:  # made again from it
            data = tables.read(path, "segments")
            source = data.column("source").to_pylist()
            changed = data.set_column(
                data.column_names.index("source"),
                data.schema.field("source"),
                [["new", *source[1:]]],
            )
            kind = "routelmt.data.readers.gettext"
            record = provenance.describe("segments", {}, ["data/source.txt"], kind)
            tables.write(changed, path, "segments", record)
    found = diff(b / "../../../data/segments/first/en-zh.parquet",
                 a / "../../../data/segments/first/en-zh.parquet")  # fmt: skip
    assert [p.stage for p in found.partings] == ["source"]
    assert found.partings[0].names == (("data/source.txt", "data/source.txt"),)


def test_numbers_move_by_what_the_tables_say(make_run: MakeRun) -> None:
    a, b = make_run(), make_run(project="b", shift=40.0)
    found = diff(a, b)
    table = next(t for t in found.numbers if t.what == "routers")
    read = [
        {
            (r["router"], r["direction"], r["budget"], r["metric"]): r
            for r in tables.read(run / "tables/routers.parquet", "routers").to_pylist()
        }
        for run in (a, b)
    ]
    values = [c for c in table.changes if c.column == "value"]
    moved = {
        key for key, r in read[0].items()
        if (r["value"], r["low"], r["high"]) != tuple(read[1][key][n] for n in ("value", "low", "high"))
    }  # fmt: skip
    assert {tuple(c.key.values()) for c in values} == moved
    for change in values:
        before, after = (rows[tuple(change.key.values())] for rows in read)
        assert (change.a, change.b) == (before["value"], after["value"])
        assert (change.a_low, change.b_high) == (before["low"], after["high"])
        outside = after["value"] < before["low"] or after["value"] > before["high"]
        assert change.outside == outside
    assert any(change.outside for change in values)
    assert "learned average 0.3 mean_delta" in text(a, b)


def gains(values: Mapping[str, float]) -> pa.Table:
    return tables.from_columns(
        "routers",
        {
            "router": list(values), "direction": "average", "budget": 0.3, "role": "router",
            "metric": "spearman", "value": list(values.values()), "low": -1.0, "high": 1.0,
            "seeds": 1, "seed_spread": math.nan, "requests": 9,
            "reason": [("none" if math.isnan(v) else None) for v in values.values()],
        },
    )  # fmt: skip


def test_undefined_is_equal_to_undefined_and_comes_first_where_it_is_new() -> None:
    a = gains({"x": math.nan, "y": math.nan, "z": 0.5, "w": 0.1, "gone": 1.0})
    b = gains({"y": 0.25, "x": math.nan, "z": 0.75, "w": 5.0, "new": 1.0})
    found = compare("routers", "routers", a, b)
    assert [c.key["router"] for c in found.changes] == ["y", "w", "z"]
    assert math.isnan(found.changes[0].a) and found.changes[0].b == 0.25
    assert found.changes[0].outside is False  # 0.25 lies in the interval of the undefined value
    assert [c.outside for c in found.changes[1:]] == [True, False]
    assert dict(found.others) == {"reason": 1}
    assert [[k["router"] for k in only] for only in found.only] == [["gone"], ["new"]]
    assert not found.identical and compare("r", "routers", a, a).identical


def test_the_columns_with_intervals_are_known_from_the_schema() -> None:
    guarded = {"severe_loss", "mean_delta", "severe_loss_difference", "mean_delta_difference"}
    expected = {
        "routers": {"value"}, "guards": guarded, "pareto": {"quality", "to_large"},
        "comparisons": {"difference"}, "costs": {"seconds", "aiq_seconds", "aiq_money"},
        "drift_paths": set(),
        "smallest_budget": {"test_difference"}, "reliability": {"observed"},
        "streaming": {"rate", "mean_delta", "quality"}, "rates": {"seconds"},
    }  # fmt: skip
    for name, columns in expected.items():
        assert set(intervals(tables.arrow_schema(name).empty_table(), name)) == columns, name


def test_settings_are_compared_key_by_key() -> None:
    a: dict[str, Any] = {"x": {"y": 1, "z": [1, 2]}, "same": 0, "gone": None, "flag": 1}
    b: dict[str, Any] = {"x": {"y": 2, "z": [1, 3]}, "same": 0, "new": "v", "flag": True}
    assert list(changed_settings(a, b)) == [
        ("x.y", 1, 2),
        ("x.z", [1, 2], [1, 3]),
        ("gone", None, ABSENT),
        ("flag", 1, True),
        ("new", ABSENT, "v"),
    ]


def test_versions_and_code_that_differ_are_listed(make_run: MakeRun) -> None:
    a, b = make_run(), make_run(project="b")
    path = b / "tables/routers.parquet"
    record = tables.record_of(path)
    kept = {k: record[k] for k in ("stage", "kind", "settings", "parents")}
    kept |= {"packages": record["packages"] | {"numpy": "0.1"}, "code": "f" * 64}
    tables.write(tables.read(path, "routers"), path, "routers", kept)
    found = diff(a, b)
    assert found.packages == {"numpy": ((record["packages"]["numpy"],), ("0.1",))}
    assert dict(found.code) == {"tables": 1}
    assert found.partings == ()  # the numbers are the same


def test_a_router_of_one_run_only_is_listed(make_run: MakeRun) -> None:
    a = make_run()
    b = make_run(project="b", routers={"gain-oracle": 0.0, "learned": 8.0, "third": 3.0})
    found = diff(a, b)
    assert not found.only[0] and len(found.only[1]) == 8
    assert all(name.startswith("{run}/predictions/third/") for name in found.only[1])
    (table,) = [t for t in found.numbers if t.what == "routers"]
    assert {key["router"] for key in table.only[1]} == {"third"}
    assert not table.changes or all(c.key["router"] != "third" for c in table.changes)


def test_what_was_made_again_since_is_noted_not_guessed(make_run: MakeRun) -> None:
    a, b = make_run("a"), make_run("b", shift=1.0)  # b wrote over the scores that a was made from
    found = diff(a, b)
    assert any("was made again since" in note for note in found.notes)
    assert "scores" not in {p.stage for p in found.partings}


def test_two_tables_can_be_compared(make_run: MakeRun) -> None:
    a, b = (
        make_run(project=p, shift=s) / "tables/routers.parquet" for p, s in (("a", 0), ("b", 9))
    )
    (table,) = diff(a, b).numbers
    assert table.changes and table.what == "routers"
    with pytest.raises(UserError, match=r"holds routers, .* risk_buckets"):
        diff(a, b.with_name("risk_buckets.parquet"))


def test_what_cannot_be_compared_is_named(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    with pytest.raises(UserError, match=r"no run, it has no folder tables/"):
        diff(run, tmp_path / "project/data")
    with pytest.raises(UserError, match="no such file or folder"):
        diff(run, tmp_path / "nowhere")
    with pytest.raises(UserError, match="one is a table, one a folder"):
        diff(run, run / "tables/routers.parquet")
    with pytest.raises(UserError, match="not a table of this workflow"):
        diff(tmp_path / "project/data/source.txt", run)


def test_the_command_prints_text_or_json(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = str(make_run()), str(make_run(project="b", shift=40.0, metric_settings={"x": 1}))
    assert main(["diff", a, b]) == 0
    short = capsys.readouterr().out
    assert main(["diff", a, b, "--all"]) == 0
    assert len(capsys.readouterr().out) > len(short) and "more (--all)" in short
    assert main(["diff", a, b, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["first_difference"]["reasons"] == ["x not set -> 1"]
    assert any(not table["identical"] for table in found["numbers"])
