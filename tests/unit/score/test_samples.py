"""Scores of sampled translations: each distinct triple once, equal texts with equal scores."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.blocks import Blocks
from routelmt.errors import UserError
from routelmt.score.hypotheses import score_hypotheses
from routelmt.score.sacrebleu_metrics import SacrebleuScorer
from routelmt.score.samples import known_of, score_samples
from routelmt.score.scorers import Scored, Triple
from routelmt.shards import gather, rows_of, shard_of

SOURCES = ["one", "two", "one", "three"]
REFERENCES = ["eins", "zwei", "eins", "drei"]
SMALL = [["eins", "ein", "eins"], ["zwo", "zwei", ""], ["ein", "eine", "eins"], ["3", "drei", "dr"]]
LARGE = [["eins", "uno", "ein"], ["zwei", "zwo", "due"], ["eins"] * 3, ["drei", "tre", "dri"]]
CHRF = {"type": "chrf", "word_order": 0}


class Counting:
    """A score that depends on when it was asked, as a batch's noise does."""

    def __init__(self) -> None:
        self.seen: list[Triple] = []

    def signature(self) -> dict[str, object]:
        return {"metric": "counting"}

    def score(self, triples: Sequence[Triple]) -> Scored:
        start = len(self.seen)
        self.seen += triples
        return Scored([float(start + n) for n in range(len(triples))], [False] * len(triples))


def segments() -> pa.Table:
    ids = [f"s{n}" for n in range(len(SOURCES))]
    columns = {"segment_id": ids, "group_id": ids, "source": SOURCES, "reference": REFERENCES}
    fixed = {"dataset": "d", "direction": "en-de", "doc_id": None, "domain": None, "split": "test"}
    return tables.from_columns("segments", {**fixed, **columns})


def samples(texts: list[list[str]], model: str = "small") -> pa.Table:
    count = len(texts[0])
    return tables.from_columns(
        "samples",
        {
            "dataset": "d",
            "direction": "en-de",
            "segment_id": [f"s{n}" for n in range(len(texts)) for _ in range(count)],
            "sample": list(range(count)) * len(texts),
            "model": model,
            "hypothesis": [t for row in texts for t in row],
            "prompt_tokens": 3,
            "output_tokens": 2,
            "finish_reason": "stop",
            "mean_logprob": -1.0,
        },
    )


def flat(texts: list[list[str]]) -> list[str]:
    return [t for row in texts for t in row]


def test_every_sample_has_the_score_of_its_own_triple() -> None:
    from sacrebleu import sentence_chrf

    table = score_samples(SacrebleuScorer(CHRF), segments(), samples(SMALL), "m")
    tables.check(table, "sample_scores", "here")
    assert table["score"].to_pylist() == [
        sentence_chrf(h, [REFERENCES[n // 3]]).score for n, h in enumerate(flat(SMALL))
    ]
    assert table["sample"].to_pylist() == [0, 1, 2] * 4
    assert table["segment_id"].to_pylist() == samples(SMALL)["segment_id"].to_pylist()
    assert set(table["model"].to_pylist()) == {"small"}


def test_a_distinct_triple_is_scored_once() -> None:
    scorer = Counting()
    table = score_samples(scorer, segments(), samples(SMALL), "m")
    distinct = {(SOURCES[n // 3], h, REFERENCES[n // 3]) for n, h in enumerate(flat(SMALL))}
    assert len(scorer.seen) == len(distinct) == 9 and set(scorer.seen) == distinct
    score = table["score"].to_pylist()
    assert score[0] == score[2] == score[8]  # segments s0 and s2 have one source and reference


def test_equal_samples_of_two_models_have_equal_scores() -> None:
    small = score_samples(Counting(), segments(), samples(SMALL), "m")
    known = known_of(segments(), samples(SMALL), small.take(list(range(12))[::-1]))
    scorer = Counting()
    large = score_samples(scorer, segments(), samples(LARGE, "large"), "m", known)
    of_large = zip(flat(LARGE), large["score"].to_pylist(), strict=True)
    for n, (text, score) in enumerate(of_large):
        triple = SOURCES[n // 3], text, REFERENCES[n // 3]
        assert score == known.get(triple, (score,))[0]
    assert {h for _, h, _ in scorer.seen} == {"uno", "due", "tre", "dri"}


def test_scores_of_hypotheses_are_known_too() -> None:
    hypotheses = tables.from_columns(
        "hypotheses",
        {
            **{k: segments().column(k) for k in tables.JOIN_KEY},
            "model": "small",
            "hypothesis": [row[0] for row in SMALL],
            "prompt_tokens": None,
            "output_tokens": None,
            "finish_reason": None,
            "mean_logprob": float("nan"),
            "degenerate": False,
        },
    )
    scores = score_hypotheses(Counting(), segments(), hypotheses, "m")
    known = known_of(segments(), hypotheses, scores)
    scorer = Counting()
    table = score_samples(scorer, segments(), samples(SMALL), "m", known)
    assert table["score"].to_pylist()[::3] == scores["score"].to_pylist()
    assert not {r[0] for r in SMALL} & {h for s, h, _ in scorer.seen if h != "eins"}


def test_samples_and_scores_of_different_rows_are_refused() -> None:
    scores = score_samples(Counting(), segments(), samples(SMALL), "m")
    with pytest.raises(UserError, match="11 sample scores"):
        known_of(segments(), samples(SMALL), scores.slice(1))


def test_shards_together_are_the_whole() -> None:
    scorer = SacrebleuScorer(CHRF)
    whole = score_samples(scorer, segments(), samples(SMALL), "m")
    parts = [
        score_samples(scorer, part, rows_of(samples(SMALL), part), "m")
        for part in (shard_of(segments(), f"{n}/2") for n in (1, 2))
    ]
    assert gather(segments(), parts[::-1]).equals(whole)
    with pytest.raises(UserError, match="rows of the shards"):
        gather(segments(), parts[:1])


def test_a_killed_run_goes_on_with_the_blocks_it_finished(tmp_path: Path) -> None:
    blocks = Blocks(tmp_path / "scores.parquet", {"a": 1})
    once = score_samples(Counting(), segments(), samples(SMALL), "m", None, 4, blocks)
    scorer = Counting()
    assert score_samples(scorer, segments(), samples(SMALL), "m", None, 4, blocks).equals(once)
    assert scorer.seen == []


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def path(name: str) -> str:
        return str(tmp_path / f"{name}.parquet")

    tables.write(segments(), path("segments"), "segments", {"settings": {}})
    for model, texts in (("small", SMALL), ("large", LARGE)):
        tables.write(samples(texts, model), path(model), "samples", {"settings": {}})

    def command(model: str, metric: dict[str, object], *more: str) -> int:
        return main(
            ["score-samples", "--segments", path("segments"), "--samples", path(model),
             "--metric", "m", "--settings", json.dumps(metric), *more, "--out", path(f"{model}-m")]
        )  # fmt: skip

    assert command("small", CHRF) == 0
    known = ["--known-outputs", path("small"), "--known-scores", path("small-m")]
    assert command("large", CHRF, *known) == 0
    found = tables.read(path("large-m"), "sample_scores")
    expected = score_samples(SacrebleuScorer(CHRF), segments(), samples(LARGE, "large"), "m")
    assert found.equals(expected)
    assert tables.record_of(path("large-m"))["signature"] == SacrebleuScorer(CHRF).signature()
    assert command("small", {"type": "precomputed", "path": "x"}) == 1
    assert "has scores of translations, none of samples" in capsys.readouterr().err
