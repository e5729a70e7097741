"""Costs by hand, the break-even point where it must lie, and rates from jobs."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.costs import costs
from routelmt.evaluate.ledger import (
    ANSWER_TOKENS,
    NoRate,
    Tokens,
    added_costs,
    break_even,
    priced,
    rated,
    rates_of,
    request_costs,
)
from routelmt.evaluate.rates import (
    Jobs,
    benchmark_rows,
    fit_jobs,
    given_rows,
    mixture,
    record_row,
    timed_rows,
)
from routelmt.evaluate.requests import evaluated_requests
from routelmt.views.render import write_renderings

ROUNDING = 1e-9
SMALL = Tokens(np.array([10.0, 20, 30, 40]), np.array([5.0, 5, 10, 20]))
LARGE = Tokens(np.array([12.0, 22, 32, 42]), np.array([6.0, 6, 12, 24]))
RATES = {("s", "prefill"): 0.001, ("s", "decode"): 0.01, ("l", "prefill"): 0.01,
         ("l", "decode"): 0.1, ("enc", "request"): 0.03, ("qe", "request"): 0.02}  # fmt: skip
C_S = SMALL.prompt * 0.001 + SMALL.output * 0.01
C_L = LARGE.prompt * 0.01 + LARGE.output * 0.1
PASS = SMALL.prompt * 0.001
ROUTERS: dict[str, dict[str, Any]] = {
    "free": {"terms": []},
    "lora": {"terms": ["prefill"]},
    "shared": {"terms": ["shared_prefill"]},
    "ask": {"terms": ["prefill", "answer"]},
    "enc": {"terms": ["encoder"]},
    "enc2": {"terms": ["encoder"], "of": "enc"},
    "unmeasured": {"terms": ["encoder"]},
    "after": {"terms": ["decode"]},
    "qe-deferral": {"terms": ["decode", "estimate"], "metric": "qe"},
    "samples": {"terms": ["samples"], "samples": 3},
    "random": {"terms": []},
}
COST = {"small": "s", "large": "l", "routers": ROUTERS}
# Cost of a kept request, and of a routed one, by hand.
EXPECTED = {
    "free": (C_S, C_L),
    "lora": (PASS + C_S, PASS + C_L),
    "shared": (C_S, PASS + C_L),
    "ask": (PASS + ANSWER_TOKENS * 0.01 + C_S, PASS + ANSWER_TOKENS * 0.01 + C_L),
    "enc": (0.03 + C_S, 0.03 + C_L),
    "enc2": (0.03 + C_S, 0.03 + C_L),
    "after": (C_S, C_S + C_L),
    "qe-deferral": (C_S + 0.02, C_S + 0.02 + C_L),
    "samples": (PASS + 3 * SMALL.output * 0.01 + C_S, PASS + 3 * SMALL.output * 0.01 + C_L),
}


@pytest.mark.parametrize("router", EXPECTED)
def test_a_request_costs_what_the_formula_says(router: str) -> None:
    found = request_costs(SMALL, LARGE, COST, router, RATES)
    kept, routed = EXPECTED[router]
    always = found.router + found.small
    assert always == pytest.approx(kept)
    added = found.router_routed + found.small_routed + found.large_routed
    assert always + added == pytest.approx(routed)


@pytest.mark.parametrize("router", EXPECTED)
def test_at_the_break_even_budget_routing_costs_what_all_large_does(router: str) -> None:
    found = request_costs(SMALL, LARGE, COST, router, RATES)
    p, reason = break_even([found])
    kept, routed = EXPECTED[router]
    assert reason is None and 0 < p <= 1
    assert kept.mean() + p * (routed - kept).mean() == pytest.approx(C_L.mean())


def test_where_routing_never_pays_there_is_no_break_even() -> None:
    slow = RATES | {("enc", "request"): 100.0}
    p, reason = break_even([request_costs(SMALL, LARGE, COST, "enc", slow)])
    assert np.isnan(p) and reason == "costs more than all-large at any budget"


def test_a_measured_pass_counts_before_one_from_the_small_models_rates() -> None:
    found = request_costs(SMALL, LARGE, COST, "lora", RATES | {("lora", "request"): 0.5})
    assert found.router == pytest.approx([0.5] * 4)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(NoRate, match="no rate of router unmeasured"):
        request_costs(SMALL, LARGE, COST, "unmeasured", RATES)
    for gone in RATES:
        rest = {key: value for key, value in RATES.items() if key != gone}
        router = {"enc": "enc", "qe": "qe-deferral"}.get(gone[0], "free")
        with pytest.raises(NoRate, match=gone[0]):
            request_costs(SMALL, LARGE, COST, router, rest)
    blank = Tokens(np.full(4, np.nan), np.full(4, np.nan))
    with pytest.raises(NoRate, match="no token counts of l"):
        request_costs(SMALL, blank, COST, "free", RATES)


def test_money_is_time_or_tokens() -> None:
    prices = {"currency": "EUR", "per_hour": 3.6, "per_million": {"l": [1.0, 5.0]}}
    found = priced(RATES, prices, COST)
    assert found["s", "decode"] == pytest.approx(0.01 * 0.001)
    assert found["l", "prefill"] == pytest.approx(1e-6)
    assert found["l", "decode"] == pytest.approx(5e-6)
    tokens_only = priced(RATES, {"currency": "EUR", "per_million": {"l": [1, 5]}}, COST)
    assert set(tokens_only) == {("l", "prefill"), ("l", "decode")}


SIZE = 40


def requests() -> tuple[pa.Table, pa.Table, dict[str, pa.Table]]:
    """(predictions, gains, hypotheses) of two directions; longer requests gain more."""
    rng = np.random.default_rng(0)
    gains, predictions = [], []
    hypotheses: dict[str, list[pa.Table]] = {"small": [], "large": []}
    for direction in ("en-ru", "ru-en"):
        ids = [f"{i}" for i in range(SIZE)]
        key = {"dataset": "t", "direction": direction, "segment_id": ids}
        length = rng.integers(5, 60, SIZE)
        gain = length / 10 + rng.normal(size=SIZE)
        gains.append(tables.from_columns("gains", {
            **key, "group_id": ids, "quality_small": 50.0, "quality_large": 50 + gain,
            "gain": gain,
        }))  # fmt: skip
        for size, model in (("small", "s"), ("large", "l")):
            hypotheses[size].append(tables.from_columns("hypotheses", {
                **key, "model": model, "hypothesis": "x", "prompt_tokens": length + 10,
                "output_tokens": length + 2, "finish_reason": "stop",
                "mean_logprob": np.full(SIZE, -1.0), "degenerate": False,
            }))  # fmt: skip
        for router in ("lora", "qe-deferral", "unmeasured", "random"):
            value = rng.random(SIZE) if router == "random" else length + rng.random(SIZE)
            predictions.append(tables.from_columns("predictions", {
                **key, "router": router, "seed": 0, "prediction": value, "priority": value,
            }))  # fmt: skip
    joined = {size: pa.concat_tables(parts) for size, parts in hypotheses.items()}
    return pa.concat_tables(predictions), pa.concat_tables(gains), joined


SETTINGS: dict[str, Any] = {
    "bootstrap": {"replicates": 120, "seed": 0, "level": 0.95},
    "budgets": [0.3],
    "oracles": [],
    "random": ["random"],
    "cost": COST | {"prices": {"currency": "EUR", "per_hour": 3.6}},
}


def rates_table() -> pa.Table:
    rows = [
        {"name": name, "step": step, "seconds": seconds, "low": np.nan, "high": np.nan,
         "origin": "given", "device": "d", "batches": None, "date": None, "measurements": 0}
        for (name, step), seconds in RATES.items()
    ]  # fmt: skip
    return tables.from_columns("rates", {c: [row[c] for row in rows] for c in rows[0]})


@pytest.fixture(scope="module")
def ledger() -> Any:
    predictions, gains, hypotheses = requests()
    evaluation = evaluated_requests(predictions, gains)
    table = costs(SETTINGS, evaluation, gains, hypotheses, rates_table())
    tables.check(table, "costs", "costs")
    return table.to_pandas().set_index(["router", "direction", "budget"]).sort_index()


def test_the_ledger_adds_up_what_the_routed_and_the_kept_requests_take(ledger: Any) -> None:
    predictions, gains, hypotheses = (
        t if isinstance(t, dict) else t.to_pandas() for t in requests()
    )
    seconds = []
    for direction in ("en-ru", "ru-en"):
        own = predictions[(predictions.router == "lora") & (predictions.direction == direction)]
        routed = np.zeros(SIZE, dtype=bool)
        routed[np.argsort(-own.priority.to_numpy())[:12]] = True
        tokens = hypotheses["small"].to_pandas()
        tokens = tokens[tokens.direction == direction]
        prompt, output = tokens.prompt_tokens.to_numpy(), tokens.output_tokens.to_numpy()
        small, large = prompt * 0.001 + output * 0.01, prompt * 0.01 + output * 0.1
        total = prompt * 0.001 + np.where(routed, large, small)
        seconds.append(1000 * total.mean())
        found = ledger.loc[("lora", direction, 0.3)]
        assert found.seconds == pytest.approx(seconds[-1])
        assert found.router_seconds == pytest.approx(1000 * prompt.mean() * 0.001)
        assert found.small_seconds == pytest.approx(1000 * (small * ~routed).mean())
        assert found.large_seconds == pytest.approx(1000 * (large * routed).mean())
        by_means = prompt.mean() * 0.001 + 0.7 * small.mean() + 0.3 * large.mean()
        assert found.mean_seconds == pytest.approx(1000 * by_means)
        assert found.of_all_large == pytest.approx(total.mean() / large.mean())
        assert found.seconds_low < found.seconds < found.seconds_high
        assert found.money == pytest.approx(found.seconds * 0.001)
    assert ledger.loc[("lora", "average", 0.3)].seconds == pytest.approx(np.mean(seconds))
    # This router sends the long ones: that costs more than sending 30 % of all.
    assert (ledger.seconds["lora"] >= ledger.mean_seconds["lora"] - ROUNDING).all()
    assert len(gains) == 2 * SIZE


def test_chance_is_its_expectation_and_post_decoding_pays_for_every_translation(
    ledger: Any,
) -> None:
    chance = ledger.loc["random"]
    assert chance.seconds.to_numpy() == pytest.approx(chance.mean_seconds.to_numpy())
    after = ledger.loc[("qe-deferral", "average")]
    assert after.small_seconds.nunique() == 1
    assert after.seconds[0.0] == pytest.approx(after.small_seconds[0.0] + 20)
    assert (after.router_share <= 1).all()


def test_a_router_without_a_rate_is_undefined_and_says_why(ledger: Any) -> None:
    found = ledger.loc["unmeasured"]
    assert found.seconds.isna().all() and found.money.isna().all()
    assert set(found.reason) == {
        "no rate of router unmeasured: state rates.unmeasured.seconds_per_request"
    }
    assert found.quality.notna().all()


def test_without_prices_there_is_no_money() -> None:
    predictions, gains, hypotheses = requests()
    evaluation = evaluated_requests(predictions, gains, ["lora"])
    plain = SETTINGS | {"cost": COST | {"prices": None}}
    table = costs(plain, evaluation, gains, hypotheses, rates_table()).to_pandas()
    assert table.money.isna().all() and table.currency.isna().all()


def test_precomputed_translations_have_no_costs() -> None:
    predictions, gains, hypotheses = requests()
    unknown = pa.nulls(hypotheses["large"].num_rows, pa.int64())
    for name in ("prompt_tokens", "output_tokens"):
        at = hypotheses["large"].schema.get_field_index(name)
        hypotheses["large"] = hypotheses["large"].set_column(at, name, unknown)
    evaluation = evaluated_requests(predictions, gains, ["lora"])
    table = costs(SETTINGS, evaluation, gains, hypotheses, rates_table()).to_pandas()
    assert set(table.reason) == {"no token counts of l: its translations are precomputed"}


@given(st.integers(0, 10_000), st.integers(5, 30))
def test_job_times_are_fitted_as_scipy_does(seed: int, jobs: int) -> None:
    rng = np.random.default_rng(seed)
    prompt, output = rng.uniform(1e3, 1e5, jobs), rng.uniform(0, 1e5, jobs)
    starts = rng.integers(1, 3, jobs).astype(float)
    seconds = np.abs(8 * starts + 2e-4 * prompt + 7e-4 * output + rng.normal(0, 20, jobs))
    expected, _ = nnls(np.stack([starts, prompt, output], axis=1), seconds)
    assert list(fit_jobs(Jobs(seconds, starts, prompt, output))) == pytest.approx(
        expected, rel=1e-6, abs=1e-12
    )


def test_rates_of_jobs_leave_the_start_out_and_have_a_range() -> None:
    prompt = np.array([1e3, 2e4, 5e4, 1e4, 3e4, 8e4])
    output = np.array([2e3, 9e3, 7e4, 0, 0, 1e4])
    jobs = Jobs(9 + 1e-4 * prompt + 5e-4 * output, np.ones(6), prompt, output)
    rows = {row["step"]: row for row in benchmark_rows("m", jobs, "cpu", "2026-01-01")}
    assert rows["prefill"]["seconds"] == pytest.approx(1e-4)
    assert rows["decode"]["seconds"] == pytest.approx(5e-4)
    assert rows["decode"]["low"] == pytest.approx(rows["decode"]["high"])
    with pytest.raises(UserError, match="3 jobs with benchmark files, at least 5"):
        benchmark_rows("m", Jobs(*(column[:3] for column in jobs)), "cpu", "2026-01-01")
    alike = Jobs(np.full(6, 9.0), np.ones(6), np.full(6, 10.0), np.full(6, 10.0))
    with pytest.raises(UserError, match="do not tell decoding from starting"):
        benchmark_rows("m", alike, "cpu", "2026-01-01")


def test_rates_that_are_given_timed_or_recorded_become_one_table() -> None:
    rows = given_rows({"m": {"prefill_tokens_per_second": 500, "decode_tokens_per_second": 50},
                       "qe": {"seconds_per_request": 0.25}})  # fmt: skip
    rows += timed_rows("t", [0.1, 0.4, 0.2], [1.0, 1.0, 3.0], "64 tokens", "cpu", "2026-01-01")
    measured = {"device": "gpu", "batches": "32 tokens"}
    recorded = record_row("r", [{"cost": {"milliseconds": 2.0, **measured}},
                                {"cost": {"milliseconds": 4.0, **measured}}], "2026-01-01")  # fmt: skip
    assert recorded is not None
    rows.append(recorded)
    table = tables.from_columns("rates", {c: [row[c] for row in rows] for c in rows[0]})
    tables.check(table, "rates", "rates")
    known = {row["name"]: (row["device"], row["batches"]) for row in rows}
    assert known == {"m": ("stated in the config", None), "qe": ("stated in the config", None),
                     "t": ("cpu", "64 tokens"), "r": ("gpu", "32 tokens")}  # fmt: skip
    found = rates_of(table)
    assert found["m", "prefill"] == 0.002 and found["m", "decode"] == 0.02
    assert found["qe", "request"] == 0.25
    assert found["t", "prefill"] == 0.2 and found["t", "decode"] == 1.0  # medians
    assert found["r", "request"] == pytest.approx(0.003)
    assert record_row("r", [{}, {"cost": {"milliseconds": None}}], "2026-01-01") is None
    for wrong in ({"m": {"speed": 3}}, {"m": {"seconds_per_request": 0}}):
        with pytest.raises(UserError, match=r"config key 'rates\.m\."):
            given_rows(wrong)


def test_aiq_over_costs_stands_beside_that_of_no_router(ledger: Any) -> None:
    _, gains, _ = requests()
    frame = gains.to_pandas().groupby("direction").gain.mean()
    for direction in ("en-ru", "ru-en"):
        zero = ledger.loc[("lora", direction)].aiq_zero.unique()
        assert zero == pytest.approx([50 + frame[direction] / 2])
        # Money is time here, in another unit: the same hull.
        own = ledger.loc[("lora", direction, 0.3)]
        assert own.aiq_money == pytest.approx(own.aiq_seconds)
        assert own.aiq_seconds > zero[0]
        assert own.aiq_seconds_low < own.aiq_seconds < own.aiq_seconds_high
        assert ledger.loc[("random", direction, 0.3)].aiq_seconds == pytest.approx(zero[0])
    both = [ledger.loc[("lora", d, 0.3)].aiq_seconds for d in ("en-ru", "ru-en")]
    assert ledger.loc[("lora", "average", 0.3)].aiq_seconds == pytest.approx(np.mean(both))
    unknown = ledger.loc["unmeasured"]
    assert unknown.aiq_seconds.isna().all() and unknown.aiq_zero.notna().all()


def rates_of_two(device: str, batches: str | None) -> pa.Table:
    rows = timed_rows("s", [0.1], [1.0], "2048 tokens", "a CPU", "2026-01-01")
    rows += timed_rows("l", [0.1], [1.0], "2048 tokens", "a CPU", "2026-01-01")
    rows += given_rows({"qe": {"seconds_per_request": 0.25}})
    measured = {"milliseconds": 2.0, "device": device, "batches": batches}
    for router in ("lora", "shared"):
        recorded = record_row(router, [{"cost": measured}], "2026-01-01")
        assert recorded is not None
        rows.append(recorded)
    return tables.from_rows("rates", rows)


def test_a_cost_of_several_devices_or_batches_says_so_where_it_adds_them_up() -> None:
    asked = {router: rated(COST, router) for router in ("lora", "shared", "free", "qe-deferral")}
    assert set(asked["lora"]) == {"s", "l", "lora"} and set(asked["shared"]) == {"s", "l"}
    assert set(asked["qe-deferral"]) == {"s", "l", "qe"}
    alike = rates_of_two("a CPU", "2048 tokens")
    assert {mixture(alike, names) for names in asked.values()} == {None}
    elsewhere = rates_of_two("a GPU", None)
    assert mixture(elsewhere, asked["lora"]) == (
        "measured on several devices: s (a CPU), l (a CPU), lora (a GPU)"
    )
    assert {mixture(elsewhere, asked[r]) for r in ("shared", "free", "qe-deferral")} == {None}
    other = mixture(rates_of_two("a CPU", "16384 tokens"), asked["lora"])
    assert other == (
        "measured in batches of several kinds: s (2048 tokens), l (2048 tokens), "
        "lora (16384 tokens)"
    )


def test_what_routing_adds_is_the_difference_of_the_ledger() -> None:
    predictions, gains, hypotheses = requests()
    evaluation = evaluated_requests(predictions, gains, ["lora", "unmeasured", "qe-deferral"])
    found = added_costs(SETTINGS, evaluation, gains, hypotheses, rates_table())
    assert {unit: set(by) for unit, by in found.items()} == {
        "second": {"lora", "qe-deferral"}, "money": {"lora", "qe-deferral"},
    }  # fmt: skip
    tokens = hypotheses["small"].to_pandas()
    small = 0.001 * tokens.prompt_tokens + 0.01 * tokens.output_tokens
    large = 0.01 * tokens.prompt_tokens + 0.1 * tokens.output_tokens
    assert found["second"]["lora"] == pytest.approx((large - small).to_numpy())
    assert found["second"]["qe-deferral"] == pytest.approx(large.to_numpy())
    assert found["money"]["lora"] == pytest.approx(0.001 * found["second"]["lora"])
    free = SETTINGS | {"cost": COST | {"prices": None}}
    assert set(added_costs(free, evaluation, gains, hypotheses, rates_table())) == {"second"}


def test_the_remark_reaches_table_and_rendering(tmp_path: Path) -> None:
    predictions, gains, hypotheses = requests()
    evaluation = evaluated_requests(predictions, gains, ["lora", "random"])
    table = costs(SETTINGS, evaluation, gains, hypotheses, rates_of_two("a GPU", None))
    by_router = table.to_pandas().groupby("router").remark
    assert by_router.get_group("lora").str.startswith("measured on several devices").all()
    assert by_router.get_group("random").isna().all()
    write_renderings(table, "costs", tmp_path / "costs.parquet")
    for suffix in (".md", ".tex", ".csv"):
        assert "measured on several devices" in (tmp_path / f"costs{suffix}").read_text()
