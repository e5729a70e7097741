"""What guards cost: the ledger of pairs by hand, and a walk down the ranking request by request."""

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.evaluate.build import build_table
from routelmt.evaluate.guard_costs import guard_costs
from routelmt.evaluate.ledger import Tokens, guarded_costs
from routelmt.evaluate.requests import Evaluation, evaluated_requests
from routelmt.views.layouts import blocks

SMALL = Tokens(np.array([10.0, 20, 30, 40]), np.array([5.0, 5, 10, 20]))
LARGE = Tokens(np.array([12.0, 22, 32, 42]), np.array([6.0, 6, 12, 24]))
RATES = {("s", "prefill"): 0.001, ("s", "decode"): 0.01, ("l", "prefill"): 0.01,
         ("l", "decode"): 0.1, ("qe", "request"): 0.02, ("two", "request"): 0.05}  # fmt: skip
ROUTERS: dict[str, dict[str, Any]] = {
    "lora": {"terms": ["prefill"]},
    "lora-q": {"terms": ["prefill"]},
    "two": {"terms": ["prefill"]},
    "two-q": {"terms": ["prefill"], "of": "two"},
    "entropy": {"terms": ["shared_prefill"]},
    "margin": {"terms": ["shared_prefill"]},
    "qe": {"terms": ["decode", "estimate"], "metric": "qe"},
    "unmeasured": {"terms": ["encoder"]},
    "oracle": {"terms": []},
    "random": {"terms": []},
}
COST = {"small": "s", "large": "l", "routers": ROUTERS, "prices": None}
C_S = SMALL.prompt * 0.001 + SMALL.output * 0.01
C_L = LARGE.prompt * 0.01 + LARGE.output * 0.1
PASS = SMALL.prompt * 0.001
TWO = np.full(4, 0.05)
# Of every pair: cost of a kept request and of a routed one without asking, and of asking.
EXPECTED = {
    ("lora", "lora-q"): (PASS + C_S, PASS + C_L, PASS),
    ("two", "two-q"): (TWO + C_S, TWO + C_L, 0 * PASS),
    ("two-q", "two"): (TWO + C_S, TWO + C_L, 0 * PASS),
    ("lora", "two-q"): (PASS + C_S, PASS + C_L, TWO),
    # A routed request's translation is wasted; no prefill is, since it was translated.
    ("lora", "qe"): (PASS + C_S, PASS + C_S + C_L, np.full(4, 0.02)),
    ("entropy", "qe"): (C_S, C_S + C_L, np.full(4, 0.02)),
    ("qe", "entropy"): (0.02 + C_S, 0.02 + C_S + C_L, 0 * PASS),
    # One wasted prefill, whichever of the two it was read for.
    ("lora", "entropy"): (PASS + C_S, 2 * PASS + C_L, 0 * PASS),
    ("entropy", "margin"): (C_S, PASS + C_L, 0 * PASS),
    ("lora", "oracle"): (PASS + C_S, PASS + C_L, 0 * PASS),
}


@pytest.mark.parametrize("pair", EXPECTED)
def test_a_request_costs_what_router_and_guard_need_together(pair: tuple[str, str]) -> None:
    found = guarded_costs(SMALL, LARGE, COST, pair, RATES)
    kept, routed, asking = EXPECTED[pair]
    always = found.guarded.router + found.guarded.small
    added = found.guarded.router_routed + found.guarded.small_routed + found.guarded.large_routed
    assert always == pytest.approx(kept)
    assert always + added == pytest.approx(routed)
    assert found.asking == pytest.approx(asking)


SIZE, SEEDS = 50, {"lora": (0, 1), "lora-q": (0, 1), "two": (0,)}
QUANTILES = (0.2, 0.3, 0.5, 1.0)


def requests() -> tuple[pa.Table, pa.Table, dict[str, pa.Table]]:
    """(predictions, gains, hypotheses) of two directions."""
    rng = np.random.default_rng(1)
    gains, predictions = [], []
    hypotheses: dict[str, list[pa.Table]] = {"small": [], "large": []}
    for direction in ("en-ru", "ru-en"):
        ids = [f"{i}" for i in range(SIZE)]
        key = {"dataset": "t", "direction": direction, "segment_id": ids}
        length = rng.integers(5, 60, SIZE)
        gain = length / 10 + rng.normal(0, 6, SIZE)
        gains.append(tables.from_columns("gains", {
            **key, "group_id": ids, "quality_small": 50.0, "quality_large": 50 + gain,
            "gain": gain,
        }))  # fmt: skip
        for size, model in (("small", "s"), ("large", "l")):
            hypotheses[size].append(tables.from_columns("hypotheses", {
                **key, "model": model, "hypothesis": "x", "prompt_tokens": length + 10,
                "output_tokens": length + rng.integers(0, 9, SIZE), "finish_reason": "stop",
                "mean_logprob": np.full(SIZE, -1.0), "degenerate": False,
            }))  # fmt: skip
        for router in ROUTERS:
            for seed in SEEDS.get(router, (0,)):
                value = length + rng.normal(0, 15, SIZE)
                predictions.append(tables.from_columns("predictions", {
                    **key, "router": router, "seed": seed, "prediction": value, "priority": value,
                }))  # fmt: skip
    joined = {size: pa.concat_tables(parts) for size, parts in hypotheses.items()}
    return pa.concat_tables(predictions), pa.concat_tables(gains), joined


SETTINGS: dict[str, Any] = {
    "bootstrap": {"replicates": 120, "seed": 0, "level": 0.95},
    "budgets": [0.3],
    "risk_edges": [-5, -0.5, 0.5],
    "guards": {
        "rank": ["lora", "two"],
        "signals": ["lora-q", "two-q", "qe", "oracle", "unmeasured"],
        "quantiles": list(QUANTILES),
    },
    "oracles": ["oracle"],
    "random": ["random"],
    "cost": COST,
}


def rates_table() -> pa.Table:
    rows = [
        {"name": name, "step": step, "seconds": seconds, "low": np.nan, "high": np.nan,
         "origin": "given", "device": "d", "batches": None, "date": None,
         "measurements": 0}
        for (name, step), seconds in RATES.items()
    ]  # fmt: skip
    return tables.from_columns("rates", {c: [row[c] for row in rows] for c in rows[0]})


@pytest.fixture(scope="module")
def given() -> tuple[pa.Table, pa.Table, dict[str, pa.Table]]:
    return requests()


@pytest.fixture(scope="module")
def built(given: Any) -> pa.Table:
    predictions, gains, hypotheses = given
    evaluation = evaluated_requests(predictions, gains)
    table = guard_costs(SETTINGS, evaluation, gains, hypotheses, rates_table())
    tables.check(table, "guard_costs", "guard_costs")
    return table


@pytest.fixture(scope="module")
def ledger(built: pa.Table) -> Any:
    key = ["router", "guard", "quantile", "direction"]
    return built.to_pandas().set_index(key).sort_index()


def walked(
    evaluation: Evaluation, own: Any, router: str, guard: str, quantile: float
) -> list[tuple[float, float, float]]:
    """By direction: seconds if all are asked, seconds and share if asked one by one, of a loop."""
    found = []
    for d, direction in enumerate(evaluation.directions):
        prompt, output, large = own[d]
        c_s, c_l = prompt * 0.001 + output * 0.01, large
        seeds = []
        pairs = list(zip(evaluation.columns[router], evaluation.columns[guard], strict=False))
        if len(evaluation.columns[router]) != len(evaluation.columns[guard]):
            pairs = list(itertools.product(evaluation.columns[router], evaluation.columns[guard]))
        for rank, signal in pairs:
            priority, worse = direction.priorities[rank], direction.priorities[signal]
            k = int(0.3 * SIZE)
            eligible = set(np.argsort(-worse)[: int(quantile * SIZE + 1e-9)].tolist())
            routed: list[int] = []
            asked = 0
            for row in np.argsort(-priority).tolist():
                if len(routed) == k:
                    break
                asked += 1
                if row in eligible:
                    routed.append(row)
            rest = [row for row in np.argsort(-priority).tolist() if row not in routed]
            routed += rest[: k - len(routed)]
            z = np.isin(np.arange(SIZE), routed)
            walk = np.isin(np.arange(SIZE), np.argsort(-priority)[:asked])
            own_pass = 0.05 if router == "two" else prompt * 0.001
            signal_pass: Any = {
                "lora-q": prompt * 0.001, "two-q": 0.0 if router == "two" else 0.05,
                "qe": 0.02, "oracle": 0.0,
            }[guard]  # fmt: skip
            wasted = c_s if guard == "qe" else 0.0
            base = own_pass + np.where(z, c_l + wasted, c_s)
            seeds.append((
                1000 * np.mean(base + signal_pass),
                1000 * np.mean(base + signal_pass * walk),
                asked / SIZE,
            ))  # fmt: skip
        found.append(tuple(np.mean(seeds, axis=0)))
    return found


@pytest.mark.parametrize("router", ["lora", "two"])
@pytest.mark.parametrize("guard", ["lora-q", "two-q", "qe", "oracle"])
@pytest.mark.parametrize("quantile", QUANTILES[:3])
def test_seconds_are_those_of_a_loop_over_the_ranking(
    ledger: Any, given: Any, router: str, guard: str, quantile: float
) -> None:
    predictions, gains, hypotheses = given
    evaluation = evaluated_requests(predictions, gains)
    small, large = (hypotheses[size].to_pandas() for size in ("small", "large"))
    own = []
    for direction in evaluation.directions:
        s, b = (t[t.direction == direction.name] for t in (small, large))
        own.append((s.prompt_tokens.to_numpy(), s.output_tokens.to_numpy(),
                    b.prompt_tokens.to_numpy() * 0.01 + b.output_tokens.to_numpy() * 0.1))  # fmt: skip
    expected = walked(evaluation, own, router, guard, quantile)
    for direction, (everyone, calibrated, asked) in zip(
        evaluation.directions, expected, strict=True
    ):
        found = ledger.loc[(router, guard, quantile, direction.name)]
        assert found.seconds == pytest.approx(everyone)
        assert found.calibrated_seconds == pytest.approx(calibrated)
        assert found.asked == pytest.approx(asked)
        assert found.seconds_low <= found.seconds <= found.seconds_high
    average = ledger.loc[(router, guard, quantile, "average")]
    assert average.seconds == pytest.approx(np.mean([e for e, _, _ in expected]))
    assert average.calibrated_seconds == pytest.approx(np.mean([c for _, c, _ in expected]))


def test_losses_and_gains_are_those_of_the_guards_table(built: pa.Table, given: Any) -> None:
    predictions, gains, _ = given
    guards = build_table("guards", SETTINGS, predictions, gains)
    own = built.slice(0, guards.num_rows)
    for name in guards.column_names:
        if name not in ("oracle", "reason"):
            assert own.column(name).to_pylist() == guards.column(name).to_pylist(), name
    roles = ["oracle" if o else "router" for o in guards.column("oracle").to_pylist()]
    assert own.column("role").to_pylist() == roles


def test_a_guard_that_shares_the_pass_adds_nothing_and_at_quantile_1_nobody_is_asked(
    ledger: Any,
) -> None:
    shared = ledger.loc[("two", "two-q")]
    assert (shared.guard_seconds == 0).all()
    assert shared.seconds.to_numpy() == pytest.approx(shared.calibrated_seconds.to_numpy())
    assert (ledger.loc[("lora", "two-q", 0.5)].guard_seconds > 0).all()
    for guard in ("lora-q", "qe"):
        open_to_all, alone = ledger.loc[("lora", guard, 1.0)], ledger.loc[("lora", "none", 1.0)]
        assert (open_to_all.asked == 0).all() and (open_to_all.guard_seconds == 0).all()
        for name in ("seconds", "calibrated_seconds"):
            assert open_to_all[name].to_numpy() == pytest.approx(alone[name].to_numpy())


def test_the_degenerate_point_is_marked_and_asks_nearly_everybody(ledger: Any) -> None:
    marked = ledger[ledger.degenerate].reset_index()
    assert set(marked["quantile"]) == {0.3}
    assert "none" not in set(marked.guard) and len(marked) == 2 * 5 * 3
    guarded = ledger.loc[("lora", "qe")].asked.unstack()
    assert (guarded.loc[0.3] > guarded.loc[0.5]).all() and (guarded.loc[0.2] == 1).all()


def test_chance_is_its_expectation(ledger: Any, given: Any) -> None:
    _, gains, hypotheses = given
    frame = gains.to_pandas()
    small, large = (hypotheses[size].to_pandas() for size in ("small", "large"))
    for direction in ("en-ru", "ru-en"):
        found = ledger.loc[("random", "none", 1.0, direction)]
        gain = frame[frame.direction == direction].gain
        assert found.severe_loss == pytest.approx((gain <= -5).mean())
        assert found.mean_delta == pytest.approx(gain.mean())
        s, b = (t[t.direction == direction] for t in (small, large))
        c_s = (s.prompt_tokens * 0.001 + s.output_tokens * 0.01).mean()
        c_l = (b.prompt_tokens * 0.01 + b.output_tokens * 0.1).mean()
        assert found.seconds == pytest.approx(1000 * (0.7 * c_s + 0.3 * c_l))
        assert found.role == "random"


def test_what_has_no_rate_is_undefined_and_says_why(ledger: Any) -> None:
    found = ledger.loc[("lora", "unmeasured", 0.5)]
    assert found.seconds.isna().all() and found.calibrated_seconds.isna().all()
    assert set(found.reason) == {
        "no rate of router unmeasured: state rates.unmeasured.seconds_per_request"
    }
    assert found.severe_loss.notna().all()


def test_without_guards_there_are_no_rows(given: Any) -> None:
    predictions, gains, hypotheses = given
    plain = SETTINGS | {"guards": {"rank": [], "signals": [], "quantiles": [1.0]}}
    evaluation = evaluated_requests(predictions, gains)
    made = guard_costs(plain, evaluation, gains, hypotheses, rates_table())
    assert made.num_rows == 0
    tables.check(made, "guard_costs", "guard_costs")


def test_the_command_writes_the_table_and_the_layout_has_a_line_per_guard_and_quantile(
    built: pa.Table, given: Any, tmp_path: Path
) -> None:
    predictions, gains, hypotheses = given
    command = ["table", "guard_costs", "--settings", json.dumps(SETTINGS)]
    named = {"predictions": ("predictions", predictions), "gains": ("gains", gains),
             "hypotheses-small": ("hypotheses", hypotheses["small"]),
             "hypotheses-large": ("hypotheses", hypotheses["large"]), "rates": ("rates", rates_table())}  # fmt: skip
    for option, (name, table) in named.items():
        path = tmp_path / f"{option}.parquet"
        tables.write(table, path, name, {"parents": []})
        command += [f"--{option}", str(path)]
    out = tmp_path / "tables" / "guard_costs.parquet"
    assert main([*command, "--out", str(out)]) == 0 and main(["render", str(out)]) == 0
    assert tables.record_of(out)["content"] == tables.content_hash(built)
    assert len(list(out.parent.iterdir())) == 4
    layout = blocks(built, "guard_costs")
    assert [block.title.rsplit(", ")[1] for block in layout] == ["en-ru", "ru-en", "average"]
    assert len(layout[0].rows) == 2 * (1 + 5 * len(QUANTILES)) + 1
    assert ("random (expectation)", "none", "") in [names for names, _ in layout[0].rows]
