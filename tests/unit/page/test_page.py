"""The page holds its tables, nothing from elsewhere, and is the same for the same tables."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from routelmt import __main__, stages
from routelmt.errors import UserError
from routelmt.figures.style import looks
from routelmt.page import build
from routelmt.page.answers import ranking
from routelmt.page.payload import (
    ALL_POINTS,
    CURVE_POINTS,
    LETTERS,
    PATH_POINTS,
    as_script,
    encoded,
    payload,
    points_of,
    thinned,
)
from routelmt.page.registry import PAGE_TABLES, REQUIRED
from routelmt.page.selection import BEST, shown_first
from routelmt.page.sources import read_sources
from tests.page.examples import MADE, MARKUP, ROLES, SETTINGS, example, write_examples

SHORT = ("routers", "pareto", "cases", "drift_paths", "noise")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_examples(tmp_path_factory.mktemp("tables"), SHORT)


@pytest.fixture(scope="module")
def known(paths: list[Path]) -> dict[str, Any]:
    return payload(read_sources(paths), SETTINGS)


@pytest.fixture(scope="module")
def page(paths: list[Path]) -> str:
    return build.page(read_sources(paths), SETTINGS)


def decoded(table: dict[str, Any]) -> pd.DataFrame:
    """What the page's script makes of a table."""
    return pd.DataFrame({name: unpacked(column) for name, column in table["columns"].items()})


def unpacked(column: Any) -> list[Any]:
    if isinstance(column, list):
        return column
    at, width = column["at"], column["width"]
    parts = [at[start : start + width] for start in range(0, len(at), width)]
    base = len(LETTERS)
    places = [sum(LETTERS.index(c) * base**i for i, c in enumerate(reversed(p))) for p in parts]
    return [column["values"][place] for place in places]


def test_every_table_of_the_page_has_an_example() -> None:
    assert set(MADE) == set(PAGE_TABLES) and set(REQUIRED) < set(PAGE_TABLES)


def test_tables_come_back_as_they_were(known: dict[str, Any]) -> None:
    for name in ("routers", "noise"):
        table = example(name).to_pandas()
        found = decoded(known["tables"][name])
        found = found.astype(dict.fromkeys(table.select_dtypes(float).columns, float))
        pd.testing.assert_frame_equal(found, table, check_dtype=False, rtol=1e-7)
    assert unpacked(known["tables"]["noise"]["columns"]["value"])[0] is None


def test_nulls_numbers_and_lists_are_told_apart() -> None:
    table = pa.table({"a": ["x", None, "x"], "b": [0.1 + 0.2, np.nan, 3.0], "c": [[1], [], [2]],
                      "d": [True, True, False]})  # fmt: skip
    columns = encoded(table)["columns"]
    assert columns["a"] == {"values": ["x", None], "width": 1, "at": "#$#"}
    assert columns["b"] == [0.3, None, 3] and columns["c"] == [[1], [], [2]]
    assert unpacked(columns["d"]) == [True, True, False]


@pytest.mark.parametrize("distinct", [1, 90, 91, 8100, 8101])
def test_values_that_recur_are_listed_once(distinct: int) -> None:
    values = [*map(str, range(distinct)), "0"]
    column = encoded(pa.table({"a": values}))
    assert unpacked(column["columns"]["a"]) == values
    repeated = np.repeat(np.arange(distinct) / 7, 3)
    found = encoded(pa.table({"a": repeated}))["columns"]["a"]
    assert len(found["values"]) == distinct
    assert unpacked(found) == pytest.approx(repeated, rel=1e-7)


def test_a_letter_is_one_character_of_the_page() -> None:
    assert as_script({"a": LETTERS}) == f'{{"a":"{LETTERS}"}}' and len(set(LETTERS)) == 90


def test_of_many_routers_the_best_and_the_papers_are_shown_first() -> None:
    table = example("routers")
    assert shown_first(table, [0.3, 0.5]) == list(ROLES)
    rows = table.to_pylist()
    more = [
        row | {"router": f"{row['router']}-{i}", "value": row["value"] - i}
        for i in range(4) for row in rows if row["role"] == "router"
    ]  # fmt: skip
    several = pa.Table.from_pylist([*rows, *more], table.schema)
    found = shown_first(several, [0.3, 0.5])
    paper = ["routelmt", "routelmt-q", "entropy", "rarity", "length"]
    best = [row["router"] for row in ranking(several, 0.3)[:BEST]]
    assert len(best) == 5 and set(best) - set(paper)
    assert set(found) == {"gain-oracle", "random", *paper, *best}
    assert shown_first(several, [0.3], ["probe-2", "entropy"]) == ["entropy", "probe-2"]
    assert shown_first(several, [0.3], ["another"]) == shown_first(several, [0.3])
    assert shown_first(table, [0.3], ["entropy"]) == list(ROLES)  # few: all
    without = several.filter(pa.array([row["router"] != "routelmt" for row in [*rows, *more]]))
    assert "routelmt" not in shown_first(without, [0.3])


def test_very_many_curves_have_fewer_points_and_the_same_ends() -> None:
    table = example("pareto")
    rows = table.filter(pa.array(np.arange(table.num_rows) % 3 == 0))
    several = pa.concat_tables(
        rows.set_column(0, "router", pa.array([f"{r}{i}" for r in rows["router"].to_pylist()]))
        for i in range(6)
    )
    assert points_of(table) == CURVE_POINTS
    assert points_of(several) == ALL_POINTS // (6 * 8 * 5) < CURVE_POINTS
    found = thinned(several, [0.3]).to_pandas()
    for _, curve in found.groupby(["router", "direction"]):
        whole = rows.to_pandas().query(
            "router == @curve.router.iloc[0][:-1] and direction == @curve.direction.iloc[0]"
        )["call_rate"]
        assert len(curve) <= points_of(several)
        assert (curve.call_rate.min(), curve.call_rate.max()) == (whole.min(), whole.max())
        assert whole[whole <= 0.3 + 1e-9].max() in set(curve.call_rate)


def test_curves_are_thinned_but_keep_their_ends_and_the_budgets(known: dict[str, Any]) -> None:
    whole, found = example("pareto").to_pandas(), decoded(known["tables"]["pareto"])
    curves = dict(iter(whole.groupby(["router", "direction"])))
    for key, curve in found.groupby(["router", "direction"]):
        own = curves[key]
        assert len(curve) <= CURVE_POINTS and len(own) == 1051
        assert (curve.call_rate.iloc[0], curve.call_rate.iloc[-1]) == (0, 1)
        merged = curve.assign(at=(curve.call_rate * 1050).round())
        exact = own.assign(at=(own.call_rate * 1050).round())
        both = merged.merge(exact, on="at", suffixes=("", "_of"))
        assert len(both) == len(curve)
        assert both["quality"].to_numpy() == pytest.approx(both["quality_of"].to_numpy(), rel=1e-7)
        for budget in known["budgets"]:
            nearest = exact[exact.call_rate <= budget + 1e-9]["at"].iloc[-1]
            assert nearest in set(merged["at"])
    assert known["tables"]["pareto"]["of"] == len(whole)


def test_short_curves_are_left_whole_in_any_order() -> None:
    table = example("pareto").filter(pa.array(np.arange(8 * 5 * 1051) % 21 == 0))
    shuffled = table.take(pa.array(np.random.default_rng(0).permutation(table.num_rows)))
    assert thinned(shuffled, [0.3]).equals(shuffled)


def test_of_transfer_only_differences_to_seen_and_to_chance_are_shown(tmp_path: Path) -> None:
    paths = write_examples(tmp_path, (*REQUIRED, "transfer", "transfer_comparisons"))
    shown = decoded(payload(read_sources(paths), SETTINGS)["tables"]["transfer_comparisons"])
    assert set(shown.other) == {"routelmt", "random"}
    assert set(example("transfer_comparisons")["other"].to_pylist()) > set(shown.other)


def test_paths_are_of_deployable_routers_and_thinned(known: dict[str, Any]) -> None:
    found = decoded(known["tables"]["drift_paths"])
    assert set(found["router"]) == {r for r, role in ROLES.items() if role == "router"}
    keys = ["scenario", "router", "direction", "budget", "policy"]
    for _, path in found.groupby(keys):
        assert len(path) == PATH_POINTS and path["request"].iloc[[0, -1]].tolist() == [9, 531]


def test_long_texts_are_cut_with_a_mark(known: dict[str, Any]) -> None:
    texts = decoded(known["tables"]["cases"])["hypothesis_large"]
    assert texts.str.len().max() == 1501 and texts[texts.str.len() > 1500].str.endswith("…").all()


def test_routers_look_as_in_the_figures(known: dict[str, Any]) -> None:
    expected = looks(ROLES.items(), "okabe-ito")
    assert {r: look["colour"] for r, look in known["looks"].items()} == {
        r: look.colour for r, look in expected.items()
    }
    assert known["looks"]["gain-oracle"]["dashes"] == [2.5, 2.0]
    assert all(known["looks"][r]["marker"] == look.marker for r, look in expected.items())


def test_provenance_is_that_of_the_files(known: dict[str, Any], paths: list[Path]) -> None:
    found = known["provenance"]
    for name, source in read_sources(paths).items():
        own, record = found["tables"][name], source.record
        for key in ("rows", "content", "code", "packages", "stage"):
            assert own[key] == record[key]
        parents = [found["parents"][at] for at in own["parents"]]
        assert parents == [[parent["path"], parent["content"]] for parent in record["parents"]]
        assert own["path"] == source.path and json.loads(own["settings"]) == record["settings"]
    assert len(found["parents"]) == 1  # all have the same one


def test_nothing_can_end_the_script_element(page: str) -> None:
    assert MARKUP not in page and "\\u003c/script>" in page
    assert page.count("</script>") == 2
    assert json.loads(as_script({"a": MARKUP})) == {"a": MARKUP}
    with pytest.raises(ValueError):
        as_script({"a": np.nan})


def test_the_policy_allows_this_style_and_script_alone(page: str) -> None:
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)
    assert policy and policy[1].startswith("default-src 'none';") and "unsafe" not in policy[1]
    for tag in ("style", "script"):
        text = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert text
        digest = base64.b64encode(hashlib.sha256(text[1].encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[1]


def test_nothing_comes_from_elsewhere(page: str) -> None:
    assert set(re.findall(r"https?://[^\s\"'<>]+", page)) == {"http://www.w3.org/2000/svg"}
    assert not re.search(r"url\(|@import|<(?:img|iframe|object|embed)\b", page)


@pytest.mark.parametrize("name", build.SCRIPTS)
def test_scripts_never_make_markup_of_data(name: str) -> None:
    script = (build.HERE / name).read_text()
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\(|Function\(", script
    )


def test_the_same_tables_give_the_same_page(page: str, paths: list[Path]) -> None:
    assert build.page(read_sources(reversed(paths)), SETTINGS) == page


def test_the_title_is_escaped(paths: list[Path]) -> None:
    settings = SETTINGS | {"experiment": "<b>&{{data}}"}
    found = build.page(read_sources(paths), settings)
    assert "<title>&lt;b&gt;&amp;{{data}}: which" in found and found.count('{"settings"') == 1


def test_what_the_page_is_put_together_from_shapes_the_stage() -> None:
    declared = stages.code_files("page")
    for name in (build.TEMPLATE, build.STYLE, *build.SCRIPTS):
        assert f"page/{name}" in declared
    beside = {f"page/{p.name}" for p in build.HERE.iterdir() if p.suffix in stages.BESIDE}
    assert beside == {f"page/{name}" for name in (build.TEMPLATE, build.STYLE, *build.SCRIPTS)}
    assert not any(
        file.endswith(stages.BESIDE)
        for file in stages.code_files("figures", "routelmt.figures.pareto")
    )


def test_the_command_writes_the_page(paths: list[Path], tmp_path: Path, page: str) -> None:
    out = tmp_path / "deep" / "page.html"
    given = ["--tables", *map(str, paths), "--settings", json.dumps(SETTINGS), "--out", str(out)]
    assert __main__.main(["page", *given]) == 0
    assert out.read_text(encoding="utf-8") == page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda paths, folder: paths[1:], "needs routers too"),
        (lambda paths, folder: [*paths, paths[0]], "a second table 'routers'"),
        (lambda paths, folder: [*paths, folder / "none.parquet"], "no such file"),
        (lambda paths, folder: [*paths, renamed(paths[0], folder)], "rename the file to routers"),
        (lambda paths, folder: [*paths, foreign(folder)], "without provenance"),
    ],
    ids=["missing", "twice", "no file", "renamed", "foreign"],
)
def test_wrong_tables_are_refused(
    paths: list[Path], tmp_path: Path, change: Any, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        read_sources(change(paths, tmp_path))


def renamed(path: Path, folder: Path) -> Path:
    other = folder / "other.parquet"
    other.write_bytes(path.read_bytes())
    return other


def foreign(folder: Path) -> Path:
    path = folder / "costs.parquet"
    pd.DataFrame({"a": [1]}).to_parquet(path)
    return path


def test_a_table_that_the_page_does_not_show_is_refused(tmp_path: Path) -> None:
    from routelmt import provenance, tables

    path = tmp_path / "rates.parquet"
    made = tables.from_columns("rates", {
        "name": ["m"], "step": "decode", "seconds": 1.0, "low": np.nan, "high": np.nan,
        "origin": "given", "device": "a CPU", "batches": None, "date": None,
         "measurements": 0,
    })  # fmt: skip
    tables.write(made, path, "rates", provenance.describe("rates", {}, []))
    with pytest.raises(UserError, match="does not show the table 'rates'"):
        read_sources([path])
