"""Routers on domains they have seen and have not: against pandas, and the table `routers`."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from scipy import stats
from scipy.stats import spearmanr

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.evaluate.build import build_table
from routelmt.stats.inference import holm
from routelmt.views.layouts import blocks

DIRECTIONS = ("en-ru", "ru-en")
# Requests by domain in each direction: one is in one direction alone, one in no part.
SIZES = {"nova": (30, 25), "heat": (21, 40), "zun": (17, 0), "django": (35, 28), "wagtail": (22, 33),
         "stray": (9, 4)}  # fmt: skip
PARTS = {"cloud": ["nova", "heat", "zun"], "web": ["django", "wagtail"]}
SPLITS = {
    "by-origin": PARTS,
    "halves": {"a": ["nova", "django", "stray"], "b": ["heat", "zun", "wagtail"]},
}
SEEDS = {"adapter": (0, 1), "ridge": (0,)}
TINY = 1e-9


def points(splits: dict[str, Any]) -> dict[str, Any]:
    return {
        split: {part: {"domains": domains, "routers": {r: f"{r}.{split}.{part}" for r in SEEDS}}
                for part, domains in parts.items()}
        for split, parts in splits.items()
    }  # fmt: skip


@pytest.fixture(scope="module")
def asked() -> dict[str, Any]:
    return {
        "bootstrap": {"replicates": 200, "seed": 1, "level": 0.9},
        "budgets": [0.3],
        "oracles": ["gain-oracle"],
        "random": ["random"],
        "minimum_requests": 20,
        "splits": points(SPLITS),
    }


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """All requests: tied gains, and the priorities of every derived router and reference."""
    generator = np.random.default_rng(0)
    rows = [
        {"dataset": "test", "direction": direction, "segment_id": f"{domain}-{i}", "domain": domain}
        for domain, sizes in SIZES.items()
        for direction, size in zip(DIRECTIONS, sizes, strict=True)
        for i in range(size)
    ]
    made = pd.DataFrame(rows)
    made["gain"] = np.round(generator.normal(3, 9, len(made)) / 4) * 4
    for split, parts in SPLITS.items():
        for part, domains in parts.items():
            home = made.domain.isin(domains)
            for router, seeds in SEEDS.items():
                for seed in seeds:
                    noise = generator.normal(0, np.where(home, 5, 15), len(made))
                    made[f"{router}.{split}.{part}/{seed}"] = np.round(made.gain + noise, -1)
    made["random/0"] = generator.random(len(made))
    made["gain-oracle/0"] = made.gain
    return made


def inputs(frame: pd.DataFrame, group: str = "segment_id") -> tuple[pa.Table, pa.Table, pa.Table]:
    """Predictions, gains and segments."""
    key = {name: frame[name].tolist() for name in tables.JOIN_KEY}
    own = frame[group].tolist()
    gains = {"quality_small": 50.0, "quality_large": 50 + frame.gain, "gain": frame.gain}
    said = [
        tables.from_columns("predictions", {
            **key, "router": column.split("/")[0], "seed": int(column.split("/")[1]),
            "prediction": frame[column], "priority": frame[column],
        })
        for column in frame.columns if "/" in column
    ]  # fmt: skip
    segments = {"doc_id": None, "domain": frame.domain.tolist(), "split": "test", "source": "x",
                "reference": "y"}  # fmt: skip
    return (
        pa.concat_tables(said),
        tables.from_columns("gains", {**key, "group_id": own, **gains}),
        tables.from_columns("segments", {**key, "group_id": own, **segments}),
    )


def made(name: str, settings: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    table = build_table(name, settings, *inputs(frame))
    tables.check(table, name, name)
    return table.to_pandas()


@pytest.fixture(scope="module")
def built(asked: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    return made("transfer", asked, frame)


@pytest.fixture(scope="module")
def compared(asked: dict[str, Any], frame: pd.DataFrame) -> pd.DataFrame:
    return made("transfer_comparisons", asked, frame)


def at(found: pd.DataFrame, *values: Any) -> Any:
    """The row of this router, seen, split, part and metric."""
    for name, value in zip(("router", "seen", "split", "part", "metric"), values, strict=True):
        found = found[found[name].isna() if value is None else found[name] == value]
    (row,) = found.itertuples()
    return row


def away(split: str, part: str) -> str:
    (other,) = set(SPLITS[split]) - {part}
    return other


def asked_of(router: str, seen: bool, split: str, part: str, seed: int) -> str:
    return f"{router}.{split}.{part if seen else away(split, part)}/{seed}"


def by_hand(frame: pd.DataFrame, column: str, gain: pd.Series) -> dict[str, float]:
    """Spearman and the expected mean gain of the top 30 % over all ways to break ties."""
    k = int(0.3 * len(frame) + 1e-9)
    priority = frame[column]
    last = priority.sort_values(ascending=False).iloc[k - 1]
    above, tied = priority > last, priority == last
    total = gain[above].sum() + gain[tied].mean() * (k - above.sum())
    return {"spearman": spearmanr(priority, gain).statistic, "mean_delta": total / k}


@pytest.mark.parametrize(("router", "seen"), [*itertools.product(SEEDS, (True, False))])
def test_values_are_pandas_own(
    built: pd.DataFrame, frame: pd.DataFrame, router: str, seen: bool
) -> None:
    everywhere: dict[str, list[float]] = {"spearman": [], "mean_delta": []}
    for split, parts in SPLITS.items():
        in_split: dict[str, list[float]] = {metric: [] for metric in everywhere}
        for part, domains in parts.items():
            cells: dict[str, list[float]] = {metric: [] for metric in everywhere}
            for direction in DIRECTIONS:
                own = frame[frame.domain.isin(domains) & (frame.direction == direction)]
                seeds = [by_hand(own, asked_of(router, seen, split, part, seed), own.gain)
                         for seed in SEEDS[router]]  # fmt: skip
                for metric, values in cells.items():
                    values.append(np.mean([one[metric] for one in seeds]))
            for metric, values in cells.items():
                row = at(built, router, seen, split, part, metric)
                assert row.value == pytest.approx(np.mean(values), abs=TINY)
                assert row.seeds == len(SEEDS[router])
                in_split[metric] += values
        for metric, values in in_split.items():
            row = at(built, router, seen, split, "average", metric)
            assert row.value == pytest.approx(np.mean(values), abs=TINY)
            everywhere[metric] += values
    for metric, values in everywhere.items():
        row = at(built, router, seen, "average", "average", metric)
        assert row.value == pytest.approx(np.mean(values), abs=TINY)


@pytest.mark.parametrize("seen", [True, False])
def test_a_part_is_the_table_of_routers_on_its_requests_with_domains_as_groups(
    built: pd.DataFrame, asked: dict[str, Any], frame: pd.DataFrame, seen: bool
) -> None:
    own = frame[frame.domain.isin(PARTS["cloud"])].copy()
    for router, seeds in SEEDS.items():
        for seed in seeds:
            column = asked_of(router, seen, "by-origin", "cloud", seed)
            own[f"{router} ({'seen' if seen else 'unseen'})/{seed}"] = own[column]
    own = own.drop(columns=[c for c in own.columns if c.startswith(tuple(f"{r}." for r in SEEDS))])
    alone = build_table("routers", asked, *inputs(own, "domain")[:2]).to_pandas()
    columns = ["value", "low", "high", "seed_spread", "requests"]
    for row in alone[alone.direction == "average"].itertuples():
        router, trained = row.router.split(" ")[0], " " in row.router
        match = at(built, router, seen if trained else None, "by-origin", "cloud", row.metric)
        for column in columns:
            expected = pytest.approx(getattr(row, column), nan_ok=True)
            assert getattr(match, column) == expected, row
        assert (match.clusters, match.requests, match.left_out) == (3, 133, 13)


def test_domains_are_drawn_so_intervals_hold_what_differs_between_them(
    asked: dict[str, Any], frame: pd.DataFrame
) -> None:
    """Where whole domains gain and others do not, requests as clusters would be far too sure."""
    lucky = frame.assign(gain=frame.gain + np.where(frame.domain.isin(["heat", "wagtail"]), 40, 0))
    found = made("transfer", asked, lucky)
    row = found[(found.router == "random") & (found.part == "web") & (found.metric == "mean_delta")]
    cells = lucky[lucky.domain.isin(PARTS["web"])]
    own = cells.groupby("direction").gain.mean().mean()
    assert row["value"].item() == pytest.approx(own)
    # Of two domains the mean has one degree of freedom, and half their difference as its error.
    error = np.ptp(cells.groupby("domain").gain.mean()) / 2
    half = stats.t.ppf((1 + asked["bootstrap"]["level"]) / 2, 1) * error
    assert row.low.item() == pytest.approx(own - half, abs=0.3 * half)
    assert row.high.item() == pytest.approx(own + half, abs=0.3 * half)


def test_chance_and_the_oracle_are_exact_and_have_seen_nothing(
    built: pd.DataFrame, frame: pd.DataFrame
) -> None:
    chance, best = built[built.router == "random"], built[built.router == "gain-oracle"]
    assert chance.seen.isna().all() and best.seen.isna().all()
    for metric, of, expected in (("headroom", chance, 0), ("spearman", chance, 0),
                                 ("headroom", best, 1), ("hit_rate", best, 100)):  # fmt: skip
        assert np.allclose(of[of.metric == metric].value, expected)
    own = frame[frame.domain.isin(PARTS["web"])].groupby("direction").gain.mean().mean()
    row = at(built, "random", None, "by-origin", "web", "mean_delta")
    assert row.value == pytest.approx(own)


def test_who_was_trained_at_home_is_better_there(
    built: pd.DataFrame, compared: pd.DataFrame
) -> None:
    for router in SEEDS:
        here = router, "average", "average", "spearman"
        by_seen = {seen: at(built, here[0], seen, *here[1:]).value for seen in (True, False)}
        assert by_seen[True] > by_seen[False] + 0.2
    lost = compared[compared.seen & (compared.part == "average") & (compared.metric == "spearman")]
    assert (lost.difference > 0.2).all() and (lost.low > 0).all() and (lost.p_value < 0.1).all()


def test_differences_are_of_the_values_and_corrected_within_their_family(
    built: pd.DataFrame, compared: pd.DataFrame
) -> None:
    for row in compared.itertuples():
        place = row.split, row.part, row.metric
        first, second = (
            at(built, *one, *place).value
            for one in ((row.router, row.seen), (row.other, row.other_seen))
        )
        assert row.difference == pytest.approx(first - second, abs=TINY)
    place = ["split", "part", "metric"]
    for _, family in compared.groupby([*place, "seen"]):
        assert np.allclose(family.p_holm, holm(family.p_value.fillna(1)), equal_nan=True)
    moved, unseen = compared[compared.seen], compared[~compared.seen]
    assert set(zip(moved.router, moved.other, moved.other_seen, strict=True)) == {
        (router, router, False) for router in SEEDS
    }
    pairs = set(zip(unseen.router, unseen.other, strict=True))
    assert pairs == {("adapter", "ridge"), ("adapter", "random"), ("ridge", "random")}
    assert unseen.other_seen[unseen.other == "random"].isna().all()


def test_a_part_without_enough_requests_is_undefined_and_says_why(
    asked: dict[str, Any], frame: pd.DataFrame, capsys: pytest.CaptureFixture[str]
) -> None:
    for web, why in (
        (["nowhere"], "no test request is of its domains"),
        (["zun"], "by-origin/web en-ru: 17 requests, 20 are needed"),
    ):
        split = {"by-origin": {"cloud": ["nova", "heat"], "web": web}}
        settings = asked | {"splits": points(split)}
        renamed = frame.drop(columns=[c for c in frame.columns if ".halves." in c])
        found = made("transfer", settings, renamed)
        own = found[found.part == "web"]
        assert own["value"].isna().all() and set(own.reason) == {why}
        average = found[found.part == "average"]
        assert average["value"].isna().all() and set(average.reason) == {f"web: {why}"}
        cloud = found[found.part == "cloud"]
        assert cloud["value"].notna().all() and cloud.reason.isna().all()
        compared = made("transfer_comparisons", settings, renamed)
        nothing = compared[compared.part != "cloud"]
        assert nothing.difference.isna().all() and nothing.p_holm.isna().all()
        assert set(nothing.reason) == {why, f"web: {why}"}
        assert compared[compared.part == "cloud"].difference.notna().all()
    told = capsys.readouterr().err.splitlines()[0]
    assert "148 test requests are of domains in neither part" in told
    assert told.endswith("left out: django, stray, wagtail, zun")


def test_a_single_domain_in_one_direction_is_one_cell(
    asked: dict[str, Any], frame: pd.DataFrame
) -> None:
    split = points({"by-origin": {"cloud": ["nova"], "web": ["zun"]}})
    settings = asked | {"splits": split, "minimum_requests": 10}
    found = made("transfer", settings, frame.drop(columns=[c for c in frame if ".halves." in c]))
    rows = found[found.metric == "mean_delta"].set_index(["router", "part", "seen"])
    own = frame[frame.domain == "zun"]
    by_seed = [by_hand(own, f"adapter.by-origin.web/{seed}", own.gain) for seed in (0, 1)]
    row = rows.loc[("adapter", "web", True)]
    assert row["value"] == pytest.approx(np.mean([one["mean_delta"] for one in by_seed]))
    assert (row.requests, row.clusters) == (17, 1)
    assert rows.loc[("adapter", "average", True)].requests == 30 + 25 + 17


def test_segments_are_needed_and_routers_must_have_predictions(
    asked: dict[str, Any], frame: pd.DataFrame
) -> None:
    predictions, gains, segments = inputs(frame)
    with pytest.raises(UserError, match="give --segments"):
        build_table("transfer", asked, predictions, gains)
    few = inputs(frame.drop(columns=["ridge.halves.a/0"]))[0]
    routers = {name for split in asked["splits"].values() for part in split.values()
               for name in part["routers"].values()}  # fmt: skip
    with pytest.raises(UserError, match=r"none of router ridge\.halves\.a"):
        build_table("transfer", asked | {"routers": sorted(routers)}, few, gains, segments)


def test_layouts_put_seen_beside_unseen(asked: dict[str, Any], frame: pd.DataFrame) -> None:
    built = build_table("transfer", asked, *inputs(frame))
    layout = {block.title: block for block in blocks(built, "transfer")}
    block = layout["Headroom % on seen and unseen domains at p = 0.3"]
    assert block.columns[:2] == (("by-origin: cloud", "seen"), ("by-origin: cloud", "unseen"))
    assert block.columns[-1] == ("average", "unseen") and len(block.columns) == 2 * 7
    assert (
        "13 requests are of domains in no part" in block.note and "domains, 6 in all" in block.note
    )
    lines = {names[0]: cells for names, cells in block.rows}
    assert list(lines) == ["adapter", "ridge", "random (expectation)", "gain-oracle"]
    assert {cell.value for cell in lines["gain-oracle"]} == {"100.0"}
    compared = build_table("transfer_comparisons", asked, *inputs(frame))
    titles = [block.title for block in blocks(compared, "transfer_comparisons")]
    assert "Differences in MeanΔ at p = 0.3, seen less unseen domains" in titles
    assert "Differences in Headroom % at p = 0.3, on unseen domains" in titles


def test_the_command_writes_both(
    asked: dict[str, Any], frame: pd.DataFrame, tmp_path: Path
) -> None:
    files = {}
    for name, table in zip(("predictions", "gains", "segments"), inputs(frame), strict=True):
        files[name] = str(tmp_path / f"{name}.parquet")
        tables.write(table, files[name], name, {})
    for name in ("transfer", "transfer_comparisons"):
        out = tmp_path / "tables" / f"{name}.parquet"
        command = ["table", name, "--settings", json.dumps(asked), "--out", str(out)]
        assert (
            main([*command, *(x for kind, path in files.items() for x in (f"--{kind}", path))]) == 0
        )
        expected = build_table(name, asked, *inputs(frame)).to_pandas()
        pd.testing.assert_frame_equal(tables.read(out, name).to_pandas(), expected)
        assert main(["render", str(out)]) == 0
        assert len(list(out.parent.glob(f"{name}.*"))) == 4
