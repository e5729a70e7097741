"""The scores table: each distinct triple once, in blocks, in shards, with what is known already."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.blocks import Blocks
from routelmt.errors import UserError
from routelmt.score.hypotheses import known_scores, score_hypotheses, triples_of
from routelmt.score.sacrebleu_metrics import SacrebleuScorer
from routelmt.score.scorers import Scored, Triple
from routelmt.shards import gather, rows_of, shard_of

SOURCES = ["a", "b", "a", "c", "d", "e", "b"]
REFERENCES = ["one two", "three", "one two", "four", "five six", "seven", "three"]
SMALL = ["one two", "tree", "one two", "", "five sick", "heaven", "3"]
LARGE = ["one two", "three", "two", "", "five six", "heaven", "tree"]


class Recording:
    """Scores by length, marks what is longer than the reference, and remembers what it was asked."""

    def __init__(self, die_at: int | None = None) -> None:
        self.seen: list[Triple] = []
        self.calls, self.die_at = 0, die_at

    def signature(self) -> dict[str, Any]:
        return {"metric": "recording"}

    def score(self, triples: Sequence[Triple]) -> Scored:
        if self.calls == self.die_at:
            raise KeyboardInterrupt
        self.calls += 1
        self.seen += triples
        longer = [len(h) > len(r) for _, h, r in triples]
        return Scored(
            [len(h) / 3 + self.calls for _, h, r in triples],
            longer,
            [[{"text": "ж", "start": 0}] if flag else [] for flag in longer],
        )


def segments() -> pa.Table:
    ids = [f"s{n}" for n in range(len(SOURCES))]
    columns = {"segment_id": ids, "group_id": ids, "source": SOURCES, "reference": REFERENCES}
    fixed = {"dataset": "d", "direction": "en-ru", "doc_id": None, "domain": None, "split": "test"}
    return tables.from_columns("segments", {**fixed, **columns})


def hypotheses(texts: list[str], model: str = "small") -> pa.Table:
    columns = {"segment_id": [f"s{n}" for n in range(len(texts))], "hypothesis": texts}
    fixed = {
        "dataset": "d",
        "direction": "en-ru",
        "model": model,
        "prompt_tokens": None,
        "output_tokens": None,
        "finish_reason": None,
        "mean_logprob": float("nan"),
        "degenerate": False,
    }
    return tables.from_columns("hypotheses", {**fixed, **columns})


def values(table: pa.Table) -> list[float]:
    found: list[float] = table.column("score").to_pylist()
    return found


def chrf() -> SacrebleuScorer:
    return SacrebleuScorer({"type": "chrf", "word_order": 0})


def test_every_hypothesis_gets_the_score_of_its_own_triple() -> None:
    from sacrebleu import sentence_chrf

    table = score_hypotheses(chrf(), segments(), hypotheses(SMALL), "m")
    assert values(table) == [
        sentence_chrf(h, [r]).score for h, r in zip(SMALL, REFERENCES, strict=True)
    ]
    assert set(table.column("model").to_pylist()) == {"small"}
    assert set(table.column("metric").to_pylist()) == {"m"}
    assert table.column("error_spans").null_count == len(SMALL)


def test_hypotheses_in_another_order_than_the_segments() -> None:
    order = [3, 0, 6, 5, 1, 2, 4]
    table = score_hypotheses(chrf(), segments(), hypotheses(SMALL).take(order), "m")
    straight = values(score_hypotheses(chrf(), segments(), hypotheses(SMALL), "m"))
    assert table.column("segment_id").to_pylist() == [f"s{n}" for n in order]
    assert values(table) == [straight[n] for n in order]


def test_a_distinct_triple_is_scored_once() -> None:
    scorer = Recording()
    table = score_hypotheses(scorer, segments(), hypotheses(SMALL), "m")
    assert len(scorer.seen) == len(set(scorer.seen)) == 6
    assert values(table)[0] == values(table)[2]


def test_flags_and_spans_stay_with_their_rows() -> None:
    table = score_hypotheses(Recording(), segments(), hypotheses(SMALL), "m", block_rows=2)
    flags = [len(h) > len(r) for h, r in zip(SMALL, REFERENCES, strict=True)]
    assert table.column("truncated").to_pylist() == flags and any(flags)
    marked = '[{"text": "ж", "start": 0}]'
    assert table.column("error_spans").to_pylist() == [marked if f else "[]" for f in flags]


def test_what_another_model_said_too_is_not_scored_again() -> None:
    # A metric whose score of a text depends on when it was asked, as a batch's noise does.
    small = score_hypotheses(Recording(), segments(), hypotheses(SMALL), "m")
    known = known_scores(segments(), hypotheses(SMALL), small)
    scorer = Recording()
    large = score_hypotheses(
        scorer, segments(), hypotheses(LARGE, "large"), "m", known, block_rows=1
    )
    same = [n for n, (a, b) in enumerate(zip(SMALL, LARGE, strict=True)) if a == b]
    assert same == [0, 3, 5]
    assert [values(large)[n] for n in same] == [values(small)[n] for n in same]
    # The last row says "tree" as well, for the source and reference of row 1.
    assert values(large)[6] == values(small)[1]
    assert {h for _, h, _ in scorer.seen} == {"three", "two", "five six"}


def test_nothing_new_to_score() -> None:
    small = score_hypotheses(Recording(), segments(), hypotheses(SMALL), "m")
    known = known_scores(segments(), hypotheses(SMALL), small)
    scorer = Recording()
    large = score_hypotheses(scorer, segments(), hypotheses(SMALL, "large"), "m", known)
    assert values(large) == values(small) and scorer.calls == 0
    assert set(large.column("model").to_pylist()) == {"large"}


def test_a_killed_run_goes_on_with_the_blocks_it_finished(tmp_path: Path) -> None:
    out = tmp_path / "scores.parquet"
    with pytest.raises(KeyboardInterrupt):
        score_hypotheses(
            Recording(die_at=2),
            segments(),
            hypotheses(SMALL),
            "m",
            block_rows=2,
            blocks=Blocks(out, {"a": 1}),
        )
    rest = Recording()
    table = score_hypotheses(
        rest, segments(), hypotheses(SMALL), "m", block_rows=2, blocks=Blocks(out, {"a": 1})
    )
    assert len(rest.seen) == 2
    flags = [len(h) > len(r) for h, r in zip(SMALL, REFERENCES, strict=True)]
    assert table.column("truncated").to_pylist() == flags


def test_a_metric_without_spans_resumes_too(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "scores.parquet", {})
    once = score_hypotheses(chrf(), segments(), hypotheses(SMALL), "m", None, 2, blocks)
    again = score_hypotheses(chrf(), segments(), hypotheses(SMALL), "m", None, 2, blocks)
    assert again.equals(once)


def test_shards_together_are_the_whole() -> None:
    whole = score_hypotheses(chrf(), segments(), hypotheses(SMALL), "m")
    parts = []
    for n in (1, 2, 3):
        part = shard_of(segments(), f"{n}/3")
        parts.append(score_hypotheses(chrf(), part, rows_of(hypotheses(SMALL), part), "m"))
    assert gather(segments(), parts[::-1]).equals(whole)


def test_hypotheses_of_two_models_are_refused() -> None:
    both = pa.concat_tables([hypotheses(SMALL), hypotheses(LARGE, "large")])
    with pytest.raises(UserError, match=r"one model expected, found \['large', 'small'\]"):
        score_hypotheses(chrf(), segments(), both, "m")


def test_a_hypothesis_without_a_segment_is_refused() -> None:
    with pytest.raises(UserError, match="segments"):
        triples_of(segments().slice(1), hypotheses(SMALL))
