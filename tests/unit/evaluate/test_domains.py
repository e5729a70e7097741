"""Named domains are evaluated as test data of their own, and compared with all the rest."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from routelmt import tables
from routelmt.errors import UserError
from routelmt.evaluate.build import build_table
from routelmt.evaluate.domains import domains
from routelmt.evaluate.requests import Evaluation, evaluated_requests
from routelmt.roles import IN_DOMAIN
from routelmt.views.layouts import blocks
from routelmt.views.render import write_renderings

METRICS = ("spearman", "hit_rate", "mean_delta", "headroom")
NAMED = {"talk": {"datasets": ["chat"], "domains": ["chat"]}, "odd": {"domains": ["rare"]}}


@pytest.fixture(scope="module")
def asked(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"domains": NAMED}


@pytest.fixture(scope="module")
def evaluation(predictions: pa.Table, gains: pa.Table, segments: pa.Table) -> Evaluation:
    found = evaluated_requests(predictions, gains)
    return Evaluation(found.directions, found.columns, segments)


@pytest.fixture(scope="module")
def built(asked: dict[str, Any], evaluation: Evaluation) -> Any:
    made = domains(asked, evaluation)
    tables.check(made, "domains", "domains")
    key = ["domain", "direction", "router", "budget", "metric"]
    return made.to_pandas().set_index(key).sort_index()


def only(table: pa.Table, segments: pa.Table, wanted: list[str]) -> pa.Table:
    """Rows of a table whose request has one of these domains."""
    frame = segments.to_pandas()
    keys = set(zip(*(frame[frame.domain.isin(wanted)][c] for c in tables.JOIN_KEY), strict=True))
    own = zip(*(table.column(c).to_pylist() for c in tables.JOIN_KEY), strict=True)
    return table.filter(pa.array([key in keys for key in own]))


@pytest.mark.parametrize(("domain", "wanted"), [("talk", ["chat"]), (IN_DOMAIN, ["news"])])
def test_a_domain_is_what_the_routers_table_says_of_its_requests_alone(
    built: Any, asked: dict[str, Any], predictions: pa.Table, gains: pa.Table, segments: pa.Table,
    domain: str, wanted: list[str],
) -> None:  # fmt: skip
    own = only(predictions, segments, wanted), only(gains, segments, wanted)
    alone = build_table("routers", asked, *own).to_pandas()
    for row in alone.itertuples():
        found = built.loc[(domain, row.direction, row.router, row.budget, row.metric)]
        assert found.value == pytest.approx(row.value, abs=1e-9)
        assert (found.requests, found.seeds) == (row.requests, row.seeds)
        assert found.seed_spread == pytest.approx(row.seed_spread, nan_ok=True)


def test_figures_and_differences_by_hand(
    built: Any, predictions: pa.Table, gains: pa.Table, segments: pa.Table
) -> None:
    rho, delta = {}, {}
    for domain, wanted in (("talk", ["chat"]), (IN_DOMAIN, ["news"])):
        frame = only(gains, segments, wanted).to_pandas()
        said = only(predictions, segments, wanted).to_pandas().query("router == 'learned'")
        for direction in ("en-ru", "ru-en"):
            values, means = [], []
            here = frame[frame.direction == direction]
            for seed in (0, 1, 2):
                joined = here.merge(
                    said[said.seed == seed], on=[*tables.JOIN_KEY], validate="one_to_one"
                )
                values.append(spearmanr(joined.priority, joined.gain).statistic)
                k = int(0.3 * len(joined) + 1e-9)
                means.append(joined.sort_values("priority", ascending=False).gain.head(k).mean())
            rho[domain, direction], delta[domain, direction] = np.mean(values), np.mean(means)
    for metric, by_hand in (("spearman", rho), ("mean_delta", delta)):
        both = {}
        for domain in ("talk", IN_DOMAIN):
            own = [by_hand[domain, d] for d in ("en-ru", "ru-en")]
            found = built.loc[(domain, "average", "learned", 0.3, metric)]
            assert found.value == pytest.approx(np.mean(own))
            both[domain] = np.mean(own)
        found = built.loc[("talk", "average", "learned", 0.3, metric)]
        assert found.difference == pytest.approx(both["talk"] - both[IN_DOMAIN])
        assert found.difference_low < found.difference < found.difference_high


def test_chance_expects_its_values_in_every_domain(built: Any) -> None:
    chance = built.xs("random", level="router").drop(index="odd", level="domain")
    by_metric = chance.groupby(level="metric").value
    assert np.allclose(chance.xs("spearman", level="metric").value, 0)
    assert np.allclose(chance.xs("headroom", level="metric").value, 0, atol=1e-12)
    hits = chance.xs("hit_rate", level="metric").xs(0.3, level="budget")
    assert hits.value.between(29, 36).all()  # floor(0.3 n) / n, and more where gains tie
    assert set(by_metric.groups) == set(METRICS)


def test_too_few_requests_and_the_rest_have_no_difference_and_say_why(built: Any) -> None:
    odd = built.loc["odd"]
    assert odd.value.isna().all() and odd.difference.isna().all()
    assert odd.loc["en-ru"].reason.unique().tolist() == ["3 requests, 12 are needed"]
    assert odd.loc["average"].reason.str.startswith("en-ru: 3 requests").all()
    assert built.loc[IN_DOMAIN].difference.isna().all()
    defined = built.drop(index="odd", level="domain")
    assert defined.value.notna().all() and defined.reason.isna().all()


def test_the_average_is_over_the_directions_that_have_the_domain(
    asked: dict[str, Any], evaluation: Evaluation, segments: pa.Table, built: Any
) -> None:
    frame = segments.to_pandas()
    one_way = (frame.dataset == "chat") & (frame.direction == "ru-en")
    domain = frame.domain.where(~one_way, "news")
    at = segments.schema.get_field_index("domain")
    changed = segments.set_column(at, "domain", pa.array(domain.tolist()))
    named = {"talk": {"domains": ["chat"]}, "odd": {"domains": ["rare"]}}
    own = Evaluation(evaluation.directions, evaluation.columns, changed)
    found = domains(asked | {"domains": named}, own).to_pandas()
    talk = found[(found.domain == "talk") & (found.router == "learned")]
    assert set(talk.direction) == {"en-ru", "average"} and set(talk.directions) == {1}
    first, average = (talk[talk.direction == d].set_index(["budget", "metric"])
                      for d in ("en-ru", "average"))  # fmt: skip
    columns = ["value", "low", "high", "difference", "requests"]
    assert np.allclose(first[columns], average[columns])
    same = built.loc[("talk", "en-ru", "learned")]
    assert np.allclose(same.value.sort_index(), first.value.sort_index())


def test_what_is_wrong_with_names_is_said(
    asked: dict[str, Any], evaluation: Evaluation, segments: pa.Table
) -> None:
    for named, message in (
        ({"a": {"domains": ["medical"]}}, "domains.a': no test request is of domains medical; there"),
        ({"a": {"datasets": ["chat"]}, "b": {"domains": ["rare"]}}, "3 requests are in both a and b"),
    ):  # fmt: skip
        with pytest.raises(UserError, match=message):
            domains(asked | {"domains": named}, evaluation)
    with pytest.raises(UserError, match="give --segments"):
        domains(asked, Evaluation(evaluation.directions, evaluation.columns))
    none = domains(asked | {"domains": {}}, evaluation)
    tables.check(none, "domains", "domains")
    assert none.num_rows == 0


def test_the_layout_has_a_block_of_figures_and_one_of_differences_per_place(
    asked: dict[str, Any], evaluation: Evaluation, tmp_path: Path
) -> None:
    made = domains(asked, evaluation)
    layout = blocks(made, "domains")
    assert len(layout) == 2 * 3 * 2  # budgets, places, figures and differences
    assert layout[0].title == "Routers by domain at p = 0.3, en-ru"
    assert [group for group, _ in layout[0].columns] == ["talk"] * 4 + [IN_DOMAIN] * 4
    assert [group for group, _ in layout[1].columns] == ["talk"] * 4
    write_renderings(made, "domains", tmp_path / "domains.parquet")
    assert len(list(tmp_path.iterdir())) == 3
