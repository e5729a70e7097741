"""Made are picked by rule: which, in what order, how many, and who sends them."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.evaluate.cases import cases
from routelmt.evaluate.given import Made
from routelmt.evaluate.requests import evaluated_requests
from routelmt.join import tie_keys
from routelmt.views.layouts import blocks
from routelmt.views.render import write_renderings

LIMIT, PER_DIRECTION = 2, 3
LONG = "a_long & dear text, 100 % of it { } \\ with | and\nnewlines " * 9
SPANS = [{"text": " wrong_word", "severity": "major", "confidence": 0.7, "start": 0, "end": 5}]


def scores_of(gains: pa.Table, size: str) -> pa.Table:
    key = {name: gains.column(name) for name in tables.JOIN_KEY}
    spans = [json.dumps(SPANS) if i % 3 else None for i in range(gains.num_rows)]
    return tables.from_columns("scores", {
        **key, "metric": "m", "model": size, "score": gains.column(f"quality_{size}"),
        "truncated": np.arange(gains.num_rows) % 2 == 0, "error_spans": spans,
    })  # fmt: skip


def hypotheses_of(gains: pa.Table, size: str) -> pa.Table:
    key = {name: gains.column(name) for name in tables.JOIN_KEY}
    texts = [f"{size} of {d}/{s}" for d, s in zip(
        gains.column("direction").to_pylist(), gains.column("segment_id").to_pylist(), strict=True
    )]  # fmt: skip
    return tables.from_columns("hypotheses", {
        **key, "model": size, "hypothesis": texts, "prompt_tokens": 5, "output_tokens": 5,
        "finish_reason": "stop", "mean_logprob": -1.0,
        "degenerate": np.arange(gains.num_rows) % 5 == 0,
    })  # fmt: skip


@pytest.fixture(scope="module")
def given(gains: pa.Table, segments: pa.Table) -> dict[str, pa.Table]:
    at = segments.schema.get_field_index("source")
    long = segments.set_column(at, "source", pa.array([LONG] * segments.num_rows))
    found = {"gains": gains, "segments": long}
    for size in ("small", "large"):
        found |= {f"hypotheses_{size}": hypotheses_of(gains, size),
                  f"scores_{size}": scores_of(gains, size)}  # fmt: skip
    return found


@pytest.fixture(scope="module")
def asked(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | {"cases": {"limit": LIMIT, "per_direction": PER_DIRECTION}}


def build(
    asked: dict[str, Any], predictions: pa.Table, given: dict[str, pa.Table], **changed: pa.Table
) -> Made:
    tables_ = given | changed
    evaluation = evaluated_requests(predictions, tables_["gains"])
    made = cases(asked, evaluation, tables_)
    tables.check(made.table, "cases", "cases")
    return made


@pytest.fixture(scope="module")
def built(asked: dict[str, Any], predictions: pa.Table, given: dict[str, pa.Table]) -> Made:
    return build(asked, predictions, given)


def by_hand(gains: pa.Table, predictions: pa.Table, direction: str, budget: float) -> pd.DataFrame:
    """Requests of a direction with the share of seeds that send them, by router, with pandas."""
    requests = gains.to_pandas().query("direction == @direction")
    requests = requests.assign(key=requests.dataset + ":" + requests.segment_id)
    requests["tie"] = tie_keys(requests.key)
    said = predictions.to_pandas().query("direction == @direction")
    said = said.assign(key=said.dataset + ":" + said.segment_id).merge(requests[["key", "tie"]])
    k = int(budget * len(requests) + 1e-9)
    for router, own in said.groupby("router"):
        first = (
            own.sort_values(["priority", "tie"], ascending=[False, True]).groupby("seed").head(k)
        )
        share = first.groupby("key").size() / own.seed.nunique()
        requests[router] = requests.key.map(share).fillna(0.0)
    return requests


@pytest.mark.parametrize("direction", ["en-ru", "ru-en"])
@pytest.mark.parametrize("budget", [0.3, 0.1])
def test_each_kind_is_what_its_rule_says(
    built: Made, gains: pa.Table, predictions: pa.Table, direction: str, budget: float
) -> None:
    requests = by_hand(gains, predictions, direction, budget)
    worst, best = (
        requests.sort_values(["gain", "tie"], ascending=[up, True]) for up in (True, False)
    )
    severe = worst[(worst.gain <= -5) & (worst[["length", "learned"]].max(axis=1) > 0)]
    expected = {
        "severe_loss": (severe.head(LIMIT), len(severe)),
        "largest_gain": (best.head(PER_DIRECTION), int((requests.gain > 0).sum())),
        "worst_regression": (worst.head(PER_DIRECTION), int((requests.gain < 0).sum())),
    }
    found = built.table.to_pandas().query("direction == @direction and budget == @budget")
    for kind, (rows, count) in expected.items():
        own = found[found.kind == kind]
        assert (own.dataset + ":" + own.segment_id).tolist() == rows.key.tolist()
        assert own["rank"].tolist() == list(range(1, len(rows) + 1))
        assert set(own.found) <= {count}
        assert own.gain.tolist() == rows.gain.tolist()
        for row, (_, request) in zip(own.itertuples(), rows.iterrows(), strict=True):
            sent = {r: request[r] for r in ("length", "learned") if request[r] > 0}
            shown = dict(zip(row.routed_by, row.seed_shares, strict=True))
            assert shown == pytest.approx(sent)
            assert list(row.oracles) == (["gain-oracle"] if request["gain-oracle"] else [])


def test_texts_scores_and_flags_are_those_of_the_request(
    built: Made, given: dict[str, pa.Table]
) -> None:
    key = [*tables.JOIN_KEY]
    frame = built.table.to_pandas()
    assert (frame.source == LONG).all()
    names = frame.direction + "/" + frame.segment_id
    assert (frame.hypothesis_small == "small of " + names).all()
    assert (frame.hypothesis_large == "large of " + names).all()
    assert (frame.quality_large - frame.quality_small).to_numpy() == pytest.approx(frame.gain)
    scores = given["scores_large"].to_pandas()[[*key, "truncated", "error_spans"]]
    hypotheses = given["hypotheses_small"].to_pandas()[[*key, "degenerate"]]
    joined = frame.merge(scores, on=key).merge(hypotheses, on=key)
    assert len(joined) == len(frame)
    assert (joined.truncated == joined.truncated_large).all()
    assert (joined.degenerate == joined.degenerate_small).all()
    assert joined.error_spans_large.fillna("").eq(joined.error_spans.fillna("")).all()
    assert frame.error_spans_large.notna().any()


def test_what_a_limit_leaves_out_is_said(built: Made, asked: dict[str, Any]) -> None:
    frame = built.table.to_pandas()
    severe = frame[(frame.kind == "severe_loss") & (frame.direction == "en-ru")]
    count = severe[severe.budget == 0.3].found.iloc[0]
    assert count > LIMIT
    assert (
        f"en-ru at budget 0.3: {count} severe losses, the worst {LIMIT} are listed." in built.notes
    )
    titles = [block.title for block in blocks(built.table, "cases")]
    assert f"Severe losses, en-ru, p = 0.3 ({LIMIT} of {count})" in titles


def test_the_order_of_the_rows_does_not_matter(
    built: Made, asked: dict[str, Any], predictions: pa.Table, given: dict[str, pa.Table]
) -> None:
    generator = np.random.default_rng(0)

    def shuffled(table: pa.Table) -> pa.Table:
        return table.take(pa.array(generator.permutation(table.num_rows)))

    others = {name: shuffled(table) for name, table in given.items()}
    again = build(asked, shuffled(predictions), others).table.to_pandas()
    order = ["budget", "kind", "direction", "rank"]
    columns = [*order, "dataset", "segment_id", "gain", "error_spans_small"]
    first = built.table.to_pandas().sort_values(order)[columns].reset_index(drop=True)
    assert first.equals(again.sort_values(order)[columns].reset_index(drop=True))


def test_without_any_case_the_table_is_empty_and_says_why(
    asked: dict[str, Any], predictions: pa.Table, given: dict[str, pa.Table], tmp_path: Path
) -> None:
    gains = given["gains"]
    flat = tables.from_columns("gains", {
        **{name: gains.column(name) for name in gains.column_names},
        "quality_large": gains.column("quality_small"), "gain": 0.0,
    })  # fmt: skip
    made = build(asked, predictions, given, gains=flat, scores_large=scores_of(flat, "large"))
    assert made.table.num_rows == 0
    assert len(made.notes) == 2 * 2 * 3  # directions, budgets, kinds
    assert "en-ru at budget 0.1: no request gains from the large model." in made.notes
    write_renderings(made.table, "cases", tmp_path / "cases.parquet", made.notes)
    assert "no request gains from the large model" in (tmp_path / "cases.md").read_text()
    assert "% en-ru at budget" in (tmp_path / "cases.tex").read_text()


def test_scores_of_another_metric_or_model_are_refused(
    asked: dict[str, Any], predictions: pa.Table, given: dict[str, pa.Table]
) -> None:
    swapped = {"scores_small": given["scores_large"], "scores_large": given["scores_small"]}
    with pytest.raises(UserError, match="scores of the small model, direction en-ru: "):
        build(asked, predictions, given, **swapped)
    with pytest.raises(UserError, match="hypotheses_large, direction ru-en: of 60"):
        build(asked, predictions, given, hypotheses_large=given["hypotheses_large"].slice(0, 61))


def test_shown_texts_are_cut_and_escaped_and_the_csv_has_them_whole(
    built: Made, tmp_path: Path
) -> None:
    write_renderings(built.table, "cases", tmp_path / "cases.parquet", built.notes)
    with (tmp_path / "cases.csv").open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert {row["source"] for row in rows} == {LONG}
    senders = ["; ".join(names) for names in built.table.column("routed_by").to_pylist()]
    assert [row["routed_by"] for row in rows] == senders
    latex, markdown = ((tmp_path / f"cases.{end}").read_text() for end in ("tex", "md"))
    assert r"a\_long \& dear text, 100 \% of it \{ \} \textbackslash{} with" in latex
    assert "…" in latex and "…" in markdown and LONG.split("\n")[0] not in markdown
    assert r"wrong\_word (major)" in latex
    lines = [line for line in markdown.splitlines() if line.startswith("|")]
    assert {line.replace(r"\|", "").count("|") for line in lines} == {6}
    for block in blocks(built.table, "cases"):
        assert max(len(names[3]) for names, _ in block.rows) <= 65


def test_the_command_reads_files_of_several_sets_and_writes_the_table(
    built: Made,
    asked: dict[str, Any],
    predictions: pa.Table,
    given: dict[str, pa.Table],
    tmp_path: Path,
) -> None:
    command = ["table", "cases", "--settings", json.dumps(asked)]
    for name, table in (given | {"predictions": predictions}).items():
        command.append(f"--{name.replace('_', '-')}")
        for at, half in enumerate((table.slice(0, 60), table.slice(60))):
            path = tmp_path / f"{name}.{at}.parquet"
            tables.write(half, path, name.split("_")[0], {"parents": []})
            command.append(str(path))
    out = tmp_path / "tables" / "cases.parquet"
    assert main([*command, "--out", str(out)]) == 0 and main(["render", str(out)]) == 0
    assert {path.name for path in out.parent.iterdir()} == {
        f"cases.{suffix}" for suffix in ("parquet", "csv", "tex", "md")
    }
    record = tables.record_of(out)
    assert record["notes"] == list(built.notes) and len(record["parents"]) == 2 * 7
    assert tables.content_hash(tables.read(out, "cases")) == tables.content_hash(built.table)
