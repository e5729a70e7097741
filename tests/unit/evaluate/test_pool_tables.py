"""Tables of a pool against brute force, the tables of pairs, and bad input."""

from itertools import pairwise, product

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.build import build_table
from routelmt.evaluate.given import Given
from routelmt.evaluate.pool_tables import choice, pool_table, quality_at_cost, shares
from routelmt.evaluate.pools import pool

BOOTSTRAP = {"replicates": 100, "seed": 0, "level": 0.95, "clusters": "documents", "strings": []}
DIRECTIONS = ("en-zh", "zh-en")


def settings_of(costs, unit="stated", routers=("ridge",), **more):
    models = [f"m{i}" for i in range(len(costs))]
    about = {"models": models, "routers": list(routers), "unit": unit, "stated": list(costs),
             "pairs": [], "estimate": None, "switch_cost": None} | more  # fmt: skip
    return {"bootstrap": BOOTSTRAP, "budgets": [0.3], "judge_metrics": [], "pool": about,
            "oracles": [], "random": [], "routers": list(routers)}  # fmt: skip


class Files:
    """A pool in files: n requests a direction in documents of two, M models."""

    def __init__(self, folder, n=8, models=3, seed=0, quality=None):
        rng = np.random.default_rng(seed)
        self.folder, self.models = folder, models
        self.quality = {d: rng.normal(60, 9, (n, models)) for d in DIRECTIONS}
        if quality is not None:
            self.quality = dict.fromkeys(DIRECTIONS, quality)
            n = len(quality)
        self.predicted = {d: rng.normal(0, 4, (n, models)) for d in DIRECTIONS}
        self.paths = {"pool_gains": [], "pool_predictions": []}
        for m in range(1, models):
            for direction in DIRECTIONS:
                self.write("pool_gains", m, direction, self.gains(direction, m))
                self.write("pool_predictions", m, direction, self.predictions(direction, m))
        self.paths |= {"pool_hypotheses": [], "pool_other_gains": [], "pool_estimates": [],
                       "rates": []}  # fmt: skip

    def keys(self, direction):
        n = len(self.quality[direction])
        return {"dataset": ["d"] * n, "direction": [direction] * n,
                "segment_id": [f"s{i}" for i in range(n)]}  # fmt: skip

    def gains(self, direction, m):
        quality, n = self.quality[direction], len(self.quality[direction])
        return tables.from_columns("gains", self.keys(direction) | {
            "group_id": [f"g{i}" for i in range(n)], "quality_small": quality[:, 0],
            "quality_large": quality[:, m], "gain": quality[:, m] - quality[:, 0],
            "doc_id": [f"doc{i // 2}" for i in range(n)], "domain": [None] * n,
        })  # fmt: skip

    def predictions(self, direction, m):
        own = self.predicted[direction]
        return tables.from_columns("predictions", self.keys(direction) | {
            "router": "ridge", "seed": 0, "prediction": own[:, m] - own[:, 0],
            "priority": own[:, m] - own[:, 0],
        })  # fmt: skip

    def write(self, name, m, direction, table):
        path = self.folder / f"{name}-{m}-{direction}.parquet"
        tables.write(table, path, name.removeprefix("pool_"), {})
        self.paths[name].append(path)

    @property
    def given(self):
        return Given(self.paths)


def row(table, **wanted):
    found = [
        r for r in table.to_pylist()
        if all(r[k] == v or (isinstance(v, float) and abs(r[k] - v) < 1e-9)
               for k, v in wanted.items())
    ]  # fmt: skip
    assert len(found) == 1, (wanted, len(found))
    return found[0]


def brute(quality, costs, total):
    """Quality of the best of all assignments of this cost."""
    rows = np.arange(len(quality))
    return max(
        quality[rows, list(m)].mean()
        for m in product(range(len(costs)), repeat=len(quality))
        if abs(costs[list(m)].sum() - total) < 1e-9
    )


def test_every_figure_against_all_assignments(tmp_path):
    # At a budget between two vertices of the walk (see test_pool_walk for these) another assignment
    # of the same cost may be better, by less than a step.
    files, costs = Files(tmp_path, n=6), np.array([1.0, 2.0, 4.0])
    settings = settings_of(costs)
    table = pool_table(settings, files.given)
    whole = pool(settings, files.given)
    for direction, place in zip(DIRECTIONS, whole.places, strict=True):
        quality = files.quality[direction]
        assert np.allclose(place.quality, quality)
        assert np.allclose(place.predicted["ridge/seed0"],
                           files.predicted[direction] - files.predicted[direction][:, :1])  # fmt: skip
        for m, cost in enumerate(costs):
            alone = row(table, policy="single", name=f"m{m}", direction=direction)
            assert alone["quality"] == pytest.approx(quality[:, m].mean())
            assert alone["cost"] == cost and alone["budget"] == pytest.approx((cost - 1) / 3)
        for budget in (0.0, 0.3, 0.5, 1.0):
            mean = 1 + 3 * budget
            mixed = row(table, policy="mixture", direction=direction, budget=budget)
            means = quality.mean(axis=0)
            grid = [
                means @ w
                for a, b in product(np.linspace(0, 1, 301), repeat=2) if a + b <= 1
                for w in [np.array([a, b, 1 - a - b])] if abs(w @ costs - mean) < 1e-9
            ]  # fmt: skip
            assert mixed["quality"] == pytest.approx(max(grid), abs=0.1)
            assert mixed["quality"] >= max(grid) - 1e-9 and mixed["cost"] == pytest.approx(mean)
            oracle = row(table, policy="oracle", name="gain oracle", direction=direction,
                         budget=budget)  # fmt: skip
            assert mean - oracle["cost"] < 3 / 6 and oracle["cost"] <= mean + 1e-9
            best = brute(quality, costs, oracle["cost"] * 6)
            at_vertex = oracle["cost"] == pytest.approx(mean) and budget in (0.0, 1.0)
            assert (
                oracle["quality"] == pytest.approx(best)
                if at_vertex
                else (oracle["quality"] <= best + 1e-9)
            )
    average = row(table, policy="allocated", name="ridge", direction="average", budget=0.5)
    own = [row(table, policy="allocated", name="ridge", direction=d, budget=0.5)["quality"]
           for d in DIRECTIONS]  # fmt: skip
    assert average["quality"] == pytest.approx(np.mean(own))
    assert average["quality_low"] < average["quality"] < average["quality_high"]


def test_ends_are_the_models_alone_and_shares_add_up(tmp_path):
    files = Files(tmp_path, n=10)
    found = pool(settings_of([1.0, 2.0, 4.0]), files.given)
    table = shares(settings_of([1.0, 2.0, 4.0]), found)
    by = {}
    for r in table.to_pylist():
        by.setdefault((r["policy"], r["name"], r["direction"], r["budget"]), []).append(r["share"])
    assert all(sum(values) == pytest.approx(1) for values in by.values())
    assert by["allocated", "ridge", "en-zh", 0.0] == [1, 0, 0]
    assert by["allocated", "ridge", "average", 1.0] == pytest.approx([0, 0, 1])


def test_a_pool_of_two_is_the_pair_number_for_number(tmp_path):
    files = Files(tmp_path, n=60, models=2)
    settings = settings_of([1.0, 2.0])
    table = pool_table(settings, files.given)
    given = files.given
    pareto = build_table(
        "pareto", settings, given.read("pool_predictions"), given.read("pool_gains")
    )
    for one in table.to_pylist():
        if one["policy"] == "allocated":
            pair = row(pareto, router="ridge", direction=one["direction"],
                       call_rate=one["budget"])  # fmt: skip
            for end in ("", "_low", "_high"):
                wanted = pair["quality" if not end else end[1:]]
                assert one[f"quality{end}"] == pytest.approx(wanted, abs=1e-9)


def test_the_best_pair_is_the_best_of_all_pairs(tmp_path):
    files, costs = Files(tmp_path, n=9), [1.0, 2.0, 4.0]
    table = pool_table(settings_of(costs), files.given)
    pairs = []
    for pair in ((0, 1), (0, 2), (1, 2)):
        (tmp_path / str(pair)).mkdir()
        own = Files(tmp_path / str(pair), n=9, models=2)
        own.paths |= {"pool_gains": [], "pool_predictions": []}
        own.quality = {d: files.quality[d][:, pair] for d in DIRECTIONS}
        own.predicted = {d: files.predicted[d][:, pair] for d in DIRECTIONS}
        for d in DIRECTIONS:
            own.write("pool_gains", 1, d, own.gains(d, 1))
            own.write("pool_predictions", 1, d, own.predictions(d, 1))
        made = pool_table(settings_of([costs[m] for m in pair]), own.given)
        low, high = costs[pair[0]], costs[pair[1]]
        for budget in np.arange(11) / 20:  # of the pool; a pair may leave some of its budget
            share = (1 + 3 * budget - low) / (high - low)
            at = round(20 * min(share, 1.0)) / 20
            if share >= 0 and (share > 1 or abs(at - share) < 1e-9):
                pairs.append(
                    row(made, policy="allocated", direction="average", budget=at)["quality"]
                )
    best = row(table, policy="pair", name="ridge", direction="average", budget=0.5)
    assert len(pairs) >= 2 and best["quality"] == pytest.approx(max(pairs), abs=1e-9)
    own = row(table, policy="allocated", name="ridge", direction="average", budget=0.5)
    assert own["to_pair"] == pytest.approx(own["quality"] - best["quality"])


def test_choice_is_made_on_one_half_and_judged_on_the_other(tmp_path):
    # Model 2 is worse than all others everywhere, so no subset that may leave it out has it.
    n = 40
    rng = np.random.default_rng(1)
    quality = rng.normal(60, 5, (n, 4))
    quality[:, 2] = 0
    files = Files(tmp_path, n=n, models=4, quality=quality)
    settings = settings_of([1.0, 2.0, 3.0, 4.0])
    table = choice(settings, pool(settings, files.given))
    oracle = [r for r in table.to_pylist() if r["name"] == "oracle"]
    assert [r["size"] for r in oracle] == [1, 2, 3, 4]
    assert all("m2" not in r["models"] for r in oracle[:3])
    gains = [r["chosen_at"] for r in oracle]
    assert gains == sorted(gains) or gains[3] < gains[2]
    for before, after in pairwise(oracle):
        assert after["to_smaller"] == pytest.approx(after["quality"] - before["quality"])
    assert np.isnan(oracle[0]["to_smaller"])


def test_coherent_documents_do_not_switch_and_their_price_is_in_the_table(tmp_path):
    files = Files(tmp_path, n=20)
    settings = settings_of([1.0, 2.0, 4.0], switch_cost="never")
    table = quality_at_cost(settings, pool(settings, files.given))
    free = row(table, policy="allocated", name="ridge", direction="en-zh", budget=0.5)
    bound = row(table, policy="coherent", name="ridge", direction="en-zh", budget=0.5)
    assert free["switches"] > 0.2 and bound["switches"] <= 0.1  # one at the boundary at most
    assert bound["quality"] != free["quality"] and bound["cost"] <= free["cost"] + 0.2


@pytest.mark.parametrize(
    "worse", [lambda q: q[:, [0, 0, 0]] - [0, 5, 9], lambda q: q[:, [0, 1, 0]] - [0, 0, 9]]
)
def test_larger_models_that_only_lose_and_dominated_ones(tmp_path, worse):
    quality = worse(np.random.default_rng(2).normal(60, 3, (12, 3)))
    table = pool_table(settings_of([1.0, 2.0, 4.0]), Files(tmp_path, quality=quality).given)
    end = row(table, policy="oracle", name="gain oracle", direction="en-zh", budget=1.0)
    assert end["quality"] == pytest.approx(quality[:, 2].mean())  # budgets are spent, as pairs' are
    assert not np.isnan(end["to_mixture"])


def test_equal_costs(tmp_path):
    files = Files(tmp_path)
    table = pool_table(settings_of([1.0, 1.0, 2.0]), files.given)
    free = row(table, policy="oracle", name="gain oracle", direction="en-zh", budget=0.0)
    assert free["quality"] == pytest.approx(files.quality["en-zh"][:, :2].max(axis=1).mean())
    with pytest.raises(UserError, match="all cost the same"):
        pool_table(settings_of([2.0, 2.0, 2.0]), files.given)


def test_a_model_that_lacks_segments(tmp_path):
    files = Files(tmp_path)
    path = files.paths["pool_gains"][-1]
    tables.write(tables.read(path, "gains").slice(2), path, "gains", {})
    with pytest.raises(UserError, match=r"gains of m1 and gains of m2 do not match.*lack rows"):
        pool_table(settings_of([1.0, 2.0, 3.0]), files.given)
    files.paths["pool_gains"].pop()
    with pytest.raises(UserError, match="shared out evenly"):
        pool_table(settings_of([1.0, 2.0, 3.0]), files.given)


def hypotheses(files, m, direction, prompt, output):
    keys = files.keys(direction)
    n = len(keys["dataset"])
    columns = {name: [None] * n for name in tables.TABLES["hypotheses"].columns}
    schema = tables.arrow_schema("hypotheses")
    for field in schema:
        if not field.nullable:
            columns[field.name] = pa.array(["0"] * n).cast(field.type)
    return tables.from_columns("hypotheses", columns | keys | {
        "prompt_tokens": [prompt] * n, "output_tokens": [output] * n,
    })  # fmt: skip


def test_seconds_money_and_a_router_that_the_budget_does_not_pay(tmp_path):
    files = Files(tmp_path, n=10)
    for m in range(3):
        for direction in DIRECTIONS:
            files.write("pool_hypotheses", m, direction, hypotheses(files, m, direction, 10, 20))
    rate = {"name": [], "step": [], "seconds": []}
    for name, step, seconds in [
        *((f"m{m}", step, 0.001 * (m + 1)) for m in range(3) for step in ("prefill", "decode")),
        ("ridge", "request", 0.001),
    ]:
        rate["name"].append(name), rate["step"].append(step), rate["seconds"].append(seconds)
    table = tables.from_columns("rates", rate | {
        "low": np.nan, "high": np.nan, "origin": "given", "device": "x", "batches": None,
        "date": None, "measurements": 0,
    })  # fmt: skip
    tables.write(table, tmp_path / "rates.parquet", "rates", {})
    files.paths["rates"] = [tmp_path / "rates.parquet"]
    pairs = [
        {"small": "m0", "large": f"m{m}", "prices": None, "routers": {
            "ridge": {"terms": ["encoder"], "of": None, "metric": None, "samples": None}}}
        for m in (1, 2)
    ]  # fmt: skip
    made = pool_table(settings_of([1, 2, 3], "seconds", pairs=pairs), files.given)
    alone = row(made, policy="single", name="m2", direction="en-zh")
    assert alone["cost"] == pytest.approx(30 * 0.003)
    nothing = row(made, policy="allocated", name="ridge", direction="en-zh", budget=0.0)
    assert np.isnan(nothing["quality"]) and "does not pay" in nothing["reason"]
    half = row(made, policy="allocated", name="ridge", direction="en-zh", budget=0.5)
    steps = 0.06 - 0.03 - 2 * 0.001  # two passes of the router come off the budget
    assert half["cost"] <= 0.06 + 1e-9 and half["cost"] > 0.03 + steps - 0.03
    prices = {"currency": "EUR", "per_hour": None,
              "per_million": {f"m{m}": [1.0, 2.0 * (m + 1)] for m in range(3)}}  # fmt: skip
    paid = [pair | {"prices": prices} for pair in pairs]
    made = pool_table(settings_of([1, 2, 3], "money", pairs=paid), files.given)
    alone = row(made, policy="single", name="m1", direction="en-zh")
    assert alone["cost"] == pytest.approx((10 * 1 + 20 * 4) / 1e6)
    unknown = row(made, policy="allocated", name="ridge", direction="en-zh", budget=0.5)
    assert unknown["reason"].startswith("no rate of router ridge: state rates.ridge")
    with pytest.raises(UserError, match="no prefill rate of m0"):
        pool_table(settings_of([1, 2, 3], "seconds", pairs=pairs),
                   Given(files.paths | {"rates": []}))  # fmt: skip


def test_a_cascade_and_the_oracle_of_another_metric(tmp_path):
    files, costs = Files(tmp_path, n=6), np.array([1.0, 2.0, 4.0])
    rng = np.random.default_rng(7)
    kept, other = files.quality, {d: rng.normal(60, 9, (6, 3)) for d in DIRECTIONS}
    files.quality = other
    for m in (1, 2):
        for direction in DIRECTIONS:
            path = tmp_path / f"other-{m}-{direction}.parquet"
            tables.write(files.gains(direction, m), path, "gains", {})
            files.paths["pool_other_gains"].append(path)
    files.quality = kept
    estimates = {d: np.random.default_rng(5).normal(size=(6, 3)) for d in DIRECTIONS}
    for m in range(3):
        for direction in DIRECTIONS:
            path = tmp_path / f"estimates-{m}-{direction}.parquet"
            columns = {field.name: pa.nulls(6, field.type) for field in
                       tables.arrow_schema("scores")}  # fmt: skip
            for field in tables.arrow_schema("scores"):
                if not field.nullable:
                    columns[field.name] = pa.array(["0"] * 6).cast(field.type)
            columns |= files.keys(direction) | {"score": estimates[direction][:, m]}
            tables.write(tables.from_columns("scores", columns), path, "scores", {})
            files.paths["pool_estimates"].append(path)
    settings = settings_of(costs, estimate="qe") | {"judge_metrics": ["other"]}
    table = pool_table(settings, files.given)
    for direction in DIRECTIONS:
        # Every threshold at once: the first model whose estimate reaches it; costs add up.
        reached = {}
        for threshold in [-9.0, *np.sort(estimates[direction].ravel()) + 1e-9, 9.0]:
            stop = [next((m for m in (0, 1) if e[m] >= threshold), 2)
                    for e in estimates[direction]]  # fmt: skip
            spent = np.mean([costs[: m + 1].sum() for m in stop])
            reached[round(spent, 9)] = files.quality[direction][np.arange(6), stop].mean()
        own = [r for r in table.to_pylist()
               if r["policy"] == "cascade" and r["direction"] == direction]  # fmt: skip
        met = [r for r in own if round(r["cost"], 9) in reached]
        assert len(met) > 2
        for r in met:
            assert r["quality"] == pytest.approx(reached[round(r["cost"], 9)])
        by_other = row(table, policy="oracle", name="oracle of other", direction=direction,
                       budget=0.0)  # fmt: skip
        assert by_other["quality"] == pytest.approx(files.quality[direction][:, 0].mean())
        half = row(table, policy="oracle", name="oracle of other", direction=direction, budget=0.5)
        itself = pool_of_other(files, other, costs)
        wanted = np.mean([files.quality[direction][i, m] for i, m in enumerate(itself[direction])])
        assert half["quality"] == pytest.approx(wanted)


def pool_of_other(files, other, costs):
    """Models that the walk by the other metric's quality gives at half of the cost range."""
    from routelmt.evaluate.pool_walk import allocation, assigned

    found = {}
    for place in pool(settings_of(costs), files.given).places:
        value = other[place.data.name]
        cost = np.tile(costs, (len(value), 1))
        steps = allocation(value, cost, value, cost, place.data.tie_keys)
        found[place.data.name] = assigned(steps, 0.5 * (costs[-1] - costs[0]) * len(value))
    return found
