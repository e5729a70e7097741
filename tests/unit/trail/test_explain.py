"""One request, explained: against ranks and decisions that are counted anew from the tables."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any
from unicodedata import east_asian_width

import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.trail.explain import Explanation, explain
from routelmt.trail.explanation_text import explanation_lines, wrapped

MakeRun = Callable[..., Path]


def rows_of(pattern: str, table: str) -> list[dict[str, Any]]:
    return [row for p in sorted(Path().glob(pattern)) for row in tables.read(p, table).to_pylist()]


def counted(row: dict[str, Any], column: str, rows: list[dict[str, Any]]) -> int:
    """Rank of a row by brute force: how many go before it, plus one."""

    def order(one: dict[str, Any]) -> tuple[float, int]:
        name = f"{one['dataset']}:{one['segment_id']}".encode()
        return -one[column], int.from_bytes(blake2b(name, digest_size=8).digest(), "little")

    return 1 + sum(order(other) < order(row) for other in rows)


@pytest.mark.parametrize(("budget", "step"), [(0.0, 9), (0.3, 1), (1.0, 9)])
def test_every_rank_and_decision_is_what_counting_gives(
    make_run: MakeRun, budget: float, step: int
) -> None:
    run = make_run()
    said = rows_of("results/runs/demo/predictions/*/*/*/*.parquet", "predictions")
    gains = rows_of("results/gains/*/*/*/*.parquet", "gains")
    asked = [g for g in gains if g["direction"] == "zh-en"]
    sent, by_hash = 0, 0
    for gain in asked[::step]:
        found = explain(run, gain["segment_id"], direction="zh-en", budget=budget)
        assert found.gain == gain["gain"]
        assert found.gain_rank == counted(gain, "gain", asked)
        assert {(d.router, d.seed) for d in found.decisions} == {
            ("gain-oracle", 0), ("learned", 0), ("learned", 1)
        }  # fmt: skip
        for d in found.decisions:
            same = [r for r in said if (r["router"], r["seed"]) == (d.router, d.seed)]
            peers = [r for r in same if r["direction"] == "zh-en"]
            (own,) = [r for r in peers if r["segment_id"] == gain["segment_id"]]
            assert d.rank == counted(own, "priority", peers)
            assert d.requests == len(peers) == 17
            assert d.k == math.floor(budget * 17 + 1e-9)
            assert d.large == (d.rank <= d.k)
            assert (d.prediction, d.priority) == (own["prediction"], own["priority"])
            assert d.ties == sum(r["priority"] == own["priority"] for r in peers)
            _check_cut(d, peers)
            sent, by_hash = sent + d.large, by_hash + d.by_hash
    if step == 1:  # every request was asked for
        assert sent == 3 * math.floor(budget * 17)  # routers and seeds
        assert by_hash  # the fixture's priorities tie at the cut


def _check_cut(d: Any, peers: list[dict[str, Any]]) -> None:
    ordered = sorted((r["priority"] for r in peers), reverse=True)
    if d.k == 0:
        assert math.isnan(d.margin) and not d.by_hash
        return
    assert d.margin == pytest.approx(d.priority - ordered[d.k - 1])
    on_both_sides = d.k < len(ordered) and ordered[d.k - 1] == ordered[d.k] == d.priority
    assert d.by_hash == on_both_sides


def test_the_whole_chain_is_told(make_run: MakeRun) -> None:
    found = explain(make_run(), "seg-003", direction="en-zh")
    assert found.key == {"dataset": "first", "direction": "en-zh", "segment_id": "seg-003"}
    assert found.segment["source"] == "request 3" and found.segment["domain"] == "made up"
    for size in ("small", "large"):
        output = found.outputs[size]
        assert (output.model, output.hypothesis) == (size, f"{size} says 3")
        assert output.scores[0]["score"] == found.quality[size]
        assert output.scores[0]["signature"] == "chrf|version:1"
        assert output.scores[0]["error_spans"][0]["severity"] == "major"
    assert found.gain == found.quality["large"] - found.quality["small"]
    edges = {"severe_loss": -5, "minor_loss": -0.5, "tie": 0.5, "substantial_gain": math.inf}
    bucket = next(b for b, high in edges.items() if found.gain <= high)
    assert found.bucket == bucket


def test_the_last_sentence_answers_the_question(make_run: MakeRun) -> None:
    found = explain(make_run(), "seg-003", direction="en-zh")
    lines = list(explanation_lines(found))
    own = [d for d in found.decisions if d.router == "learned"]
    verb = "sends it to the large model" if own[0].large else "leaves it to the small model"
    text = " ".join(lines)
    assert f"At p = 0.3 learned (seed 0) {verb}: rank {own[0].rank} of 23" in text
    assert f"the cut is at 6; predicted gain {own[0].prediction:+.1f}" in text
    assert all(width(line) <= 100 for line in lines)
    assert sum(line.startswith("learned ") for line in lines) == 2


def width(line: str) -> int:
    return sum(2 if east_asian_width(c) in "WF" else 1 for c in line)


def test_the_router_spoken_of_can_be_chosen(make_run: MakeRun) -> None:
    run = make_run()
    assert explain(run, "seg-003", direction="en-zh").focus == "learned"  # oracles are not deployed
    found = explain(run, "seg-003", direction="en-zh", router="gain-oracle")
    assert found.focus == "gain-oracle"
    with pytest.raises(UserError, match=r"--router x: not in .*there: gain-oracle, learned"):
        explain(run, "seg-003", direction="en-zh", router="x")


def test_an_id_of_several_requests_is_to_be_told_apart(make_run: MakeRun) -> None:
    run = make_run()
    with pytest.raises(
        UserError, match=r"2 requests; choose one: --dataset first --direction en-zh"
    ):
        explain(run, "seg-003")
    with pytest.raises(UserError, match="not among those requests, but here"):
        explain(run, "seg-003", dataset="second")
    assert explain(run, "seg-020").key["direction"] == "en-zh"  # zh-en has 17


def test_an_unknown_id_is_answered_with_those_like_it(make_run: MakeRun) -> None:
    with pytest.raises(UserError, match=r"no such segment among the 40 .*like it: .*seg-003"):
        explain(make_run(), "sge-003")


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no tables/routers.parquet"):
        explain(tmp_path, "x")


def test_a_missing_prediction_file_is_named(make_run: MakeRun) -> None:
    run = make_run()
    (run / "predictions/learned/seed1/first/en-zh.parquet").unlink()
    with pytest.raises(UserError, match=r"learned/seed1/first/en-zh.parquet: missing, and "):
        explain(run, "seg-003", direction="en-zh")


def test_missing_scores_are_named_and_missing_text_is_not_needed(make_run: MakeRun) -> None:
    run = make_run()
    Path("results/hypotheses/small/first/en-zh.parquet").unlink()
    found = explain(run, "seg-003", direction="en-zh")
    assert found.outputs["small"].hypothesis is None
    assert any("no text" in line for line in explanation_lines(found))
    Path("results/scores/chrf/small/first/en-zh.parquet").unlink()
    with pytest.raises(UserError, match="of the two tables of scores"):
        explain(run, "seg-003", direction="en-zh")


def test_what_was_made_again_since_is_noted(make_run: MakeRun) -> None:
    run = make_run()
    make_run(name="other", shift=3.0)
    found: Explanation = explain(run, "seg-003", direction="en-zh")
    assert any(
        "gains/chrf/small--large/first/en-zh.parquet was made again" in n for n in found.notes
    )


def test_it_is_explained_from_another_folder(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    here = explain(run, "seg-003", direction="en-zh")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert explain(run, "seg-003", direction="en-zh") == here


def test_the_command_prints_text_or_json(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["explain", "seg-003", "--run", str(make_run()), "--direction", "en-zh"]
    assert main(arguments) == 0
    assert "goes to" in capsys.readouterr().out
    assert main([*arguments, "--json", "--budget", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["decisions"][0]["margin"] is None and found["segment"]["source"] == "request 3"
    assert main(["explain", "nothing", "--run", "nowhere"]) == 1
    with pytest.raises(SystemExit):
        main([*arguments, "--budget", "1.5"])


def test_long_texts_are_broken_by_their_width_on_screen() -> None:
    lines = list(wrapped("翻译" * 40 + " end\nof it", 50))
    assert all(width(line) <= 50 for line in lines)
    assert "".join(lines).replace(" ", "") == "翻译" * 40 + r"end\nofit"
    assert list(wrapped("a few words here", 8)) == ["a few", "words", "here"]
