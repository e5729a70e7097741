"""Flags of translations: counted per model and direction, and left out where that is asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.evaluate.describe import flag_counts
from routelmt.evaluate.flags import flagged_requests, left_out, without

PLACES = (("news", "en-ru"), ("news", "ru-en"), ("chat", "en-ru"))
PROVENANCE = {"stage": "test"}

Marks = list[tuple[int, bool, bool]]  # of a segment: finish (stop, length, none), two flags


def made(marks: dict[str, Marks]) -> tuple[pa.Table, pa.Table]:
    """Hypotheses and scores of models whose translations have these marks, over PLACES in turn."""
    hypotheses, scores = [], []
    for model, own in marks.items():
        place = [PLACES[i % len(PLACES)] for i in range(len(own))]
        key = {
            "dataset": [d for d, _ in place],
            "direction": [d for _, d in place],
            "segment_id": [f"s{i}" for i in range(len(own))],
            "model": model,
        }
        finish = [("stop", "length", None)[f] for f, _, _ in own]
        hypotheses.append(
            tables.from_columns(
                "hypotheses",
                key
                | {"hypothesis": "x", "prompt_tokens": 3, "output_tokens": 2,
                   "finish_reason": pa.array(finish, pa.string()), "mean_logprob": np.nan,
                   "degenerate": [d for _, d, _ in own]},
            )
        )  # fmt: skip
        scores.append(
            tables.from_columns(
                "scores",
                key
                | {"metric": "chrf", "score": 1.0, "truncated": [t for _, _, t in own],
                   "error_spans": None},
            )
        )  # fmt: skip
    shuffled = pa.concat_tables(scores)
    order = np.random.default_rng(0).permutation(shuffled.num_rows)
    return pa.concat_tables(hypotheses), shuffled.take(pa.array(order))


one = st.tuples(st.integers(0, 2), st.booleans(), st.booleans())


@given(
    small=st.lists(one, min_size=1, max_size=20),
    large=st.lists(one, min_size=20, max_size=20),
    leave_out=st.lists(st.sampled_from(["truncated", "degenerate"]), unique=True),
)
@settings(deadline=None, max_examples=40)
def test_counts_and_what_is_left_out_are_pandas(
    small: Marks, large: Marks, leave_out: list[str]
) -> None:
    large = large[: len(small)]
    hypotheses, scores = made({"S": small, "L": large})
    key = [*tables.JOIN_KEY, "model"]
    frame = hypotheses.to_pandas().merge(scores.to_pandas()[[*key, "truncated"]], on=key)
    frame["length"] = frame.finish_reason == "length"
    flags = ["truncated", "degenerate"]
    either = frame.groupby(list(tables.JOIN_KEY))[flags].any()
    found = flagged_requests(hypotheses, scores)
    tables.check(found, "flagged", "flagged")
    expected = either[either.any(axis=1)].sort_index()
    shown = found.to_pandas().set_index(list(tables.JOIN_KEY)).sort_index()
    assert shown.index.tolist() == expected.index.tolist()
    assert shown.to_numpy().tolist() == expected.to_numpy().tolist()
    dropped = either[leave_out].any(axis=1) if leave_out else either.truncated & False
    kept = without(hypotheses, left_out(found, leave_out)).to_pandas()
    ids = kept.set_index(list(tables.JOIN_KEY)).index
    assert ids.tolist() == [i for i in map(tuple, frame[key[:3]].to_numpy()) if not dropped[i]]
    counts = flag_counts(hypotheses, scores, leave_out)
    tables.check(counts, "flags", "flags")
    grouped = frame.groupby(["model", "dataset", "direction"])[[*flags, "length"]].sum()
    for row in counts.to_pylist():
        here = (row["model"], row["dataset"], row["direction"])
        assert [row[name] for name in grouped.columns] == grouped.loc[here].tolist()
        assert row["left_out"] == dropped.xs(here[1:], level=(0, 1)).sum()
    assert sum(row["requests"] for row in counts.to_pylist()) == len(frame)


def test_hypotheses_without_scores_are_refused() -> None:
    hypotheses, scores = made({"S": [(0, False, True)] * 4})
    with pytest.raises(UserError, match="scores of model 'S' lack rows"):
        flag_counts(hypotheses, scores.slice(1), [])


@pytest.fixture
def files(
    tmp_path: Path, predictions: pa.Table, gains: pa.Table, segments: pa.Table
) -> dict[str, Path]:
    """Predictions and gains on disk; the first ten requests of a direction are flagged."""
    frame = gains.to_pandas()
    first = frame[(frame.direction == "en-ru") & (frame.dataset == "news")].head(10)
    flagged = tables.from_columns(
        "flagged",
        {**{name: first[name].tolist() for name in tables.JOIN_KEY},
         "truncated": [True] * 6 + [False] * 4, "degenerate": [False] * 4 + [True] * 6},
    )  # fmt: skip
    found = {}
    for name, table in (("predictions", predictions), ("gains", gains), ("flagged", flagged),
                        ("segments", segments)):  # fmt: skip
        found[name] = tmp_path / f"{name}.parquet"
        tables.write(table, found[name], name, PROVENANCE)
    return found


def evaluated(files: dict[str, Path], asked: dict[str, Any], out: Path, *more: str) -> pd.DataFrame:
    code = main(["table", "routers", "--settings", json.dumps(asked),
          "--predictions", str(files["predictions"]), "--gains", str(files["gains"]),
          "--out", str(out), *more])  # fmt: skip
    assert code == 0 and main(["render", str(out)]) == 0
    return tables.read(out, "routers").to_pandas()


def test_leave_out_takes_requests_out_and_says_so(
    files: dict[str, Path],
    settings: dict[str, Any],
    gains: pa.Table,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "routers.parquet"
    asked = settings | {"leave_out": ["truncated"]}
    found = evaluated(files, asked, out, "--flagged", str(files["flagged"]))
    assert found[found.direction == "en-ru"].requests.unique().tolist() == [54]
    assert found[found.direction == "ru-en"].requests.unique().tolist() == [60]
    chance = found.query("router == 'random' and direction == 'en-ru' and metric == 'mean_delta'")
    flagged = set(tables.read(files["flagged"], "flagged").to_pandas().segment_id[:6])
    frame = gains.to_pandas().query("direction == 'en-ru'")
    kept = frame[~((frame.dataset == "news") & frame.segment_id.isin(flagged))]
    assert chance.value.tolist() == pytest.approx([kept.gain.mean()] * 2)
    said = "Left out: 6 requests of the experiment's sets whose translations are truncated"
    assert said in capsys.readouterr().err
    assert (
        said in out.with_suffix(".md").read_text() and said in out.with_suffix(".tex").read_text()
    )
    assert said in tables.record_of(out)["notes"][0]
    assert str(files["flagged"]) in str(tables.record_of(out)["parents"])


def test_nothing_is_left_out_by_default_and_the_flags_must_be_given(
    files: dict[str, Path],
    settings: dict[str, Any],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = evaluated(files, settings, tmp_path / "all.parquet")
    assert found[found.direction == "en-ru"].requests.unique().tolist() == [60]
    with pytest.raises(AssertionError):
        evaluated(files, settings | {"leave_out": ["degenerate"]}, tmp_path / "none.parquet")
    assert "leave_out needs --flagged" in capsys.readouterr().err
    assert not (tmp_path / "none.parquet").exists()
