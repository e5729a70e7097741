"""Systems that are published rather than run: both layouts, right and wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from routelmt import tables
from routelmt.config import resolve
from routelmt.data import published
from routelmt.data.registry import READERS
from routelmt.data.segments import in_part, read_segments
from routelmt.errors import UserError
from routelmt.plan import Plan
from routelmt.score.hypotheses import score_hypotheses
from routelmt.score.precomputed import scores
from routelmt.translate.precomputed import hypotheses
from tests.published import layouts

PAIR = "en-xx"
SPEECH = {"exclude": {"domains": ["speech"]}}


def segments(folder: Path, direction: str = PAIR, **settings: Any) -> Any:
    settings = {"source": "wmt25", "reference": "refA", **settings}
    reader = READERS[settings["source"]].module
    return read_segments(reader, folder, settings, "test", direction)


def translated(own: Any, folder: Path, system: str = "ant-1B", **model: Any) -> Any:
    model = {
        "engine": "published",
        "source": "wmt25",
        "path": str(folder),
        "system": system,
        **model,
    }
    return hypotheses(own, "small", model, spare=True)


def scored(own: Any, folder: Path, name: str, system: str = "ant-1B", **metric: Any) -> list[float]:
    model = {k: v for k, v in metric.items() if k in ("source", "test_set", "human")}
    said = translated(own, folder, system, **model)
    metric = {"type": "published", "source": "wmt25", "path": str(folder), "name": name,
              "system": system, "higher_is_better": True, **metric}  # fmt: skip
    return scores(said, "metric", metric, spare=True).column("score").to_pylist()


@pytest.fixture
def wmt25(tmp_path: Path) -> Path:
    return layouts.wmt25(tmp_path / "wmt25")


@pytest.fixture
def eval_set(tmp_path: Path) -> Path:
    return layouts.mt_metrics_eval(tmp_path / "mtme")


MTME = {"source": "mt-metrics-eval", "test_set": "wmtxx"}


def test_documents_become_segments_with_one_group_in_every_direction(wmt25: Path) -> None:
    first, second = (segments(wmt25, d) for d in (PAIR, "en-yy"))
    assert first.column("segment_id").to_pylist() == [
        "news_#_paper.1_#_0", "news_#_paper.1_#_1", "news_#_paper.1_#_2", "social_#_post_7_#_0",
        "speech_#_a_b_#_0", "speech_#_a_b_#_1",
    ]  # fmt: skip
    assert first.column("source").to_pylist()[:2] == ["The mill is old.", "It grinds on."]
    assert first.column("reference").to_pylist()[3] == "xx_AA: Look at this!"
    assert first.column("group_id").equals(second.column("group_id"))
    by_document = dict(
        zip(*(first.column(c).to_pylist() for c in ("group_id", "doc_id")), strict=True)
    )
    assert list(by_document.values()) == ["news_#_paper.1", "social_#_post_7", "speech_#_a_b"]


def test_a_part_is_of_whole_documents(wmt25: Path) -> None:
    whole = segments(wmt25)
    groups = sorted(set(whole.column("group_id").to_pylist()))
    cut = segments(wmt25, part=[0.0, 0.5], rows=sum(
        in_part(g, 0, 0.5) for g in whole.column("group_id").to_pylist()))  # fmt: skip
    assert set(cut.column("group_id").to_pylist()) == {g for g in groups if in_part(g, 0, 0.5)}


def test_a_domain_is_excluded_and_counted(wmt25: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = segments(wmt25, **SPEECH)
    assert set(own.column("domain").to_pylist()) == {"news", "social"}
    assert "2 of 6 rows excluded, of domain speech; there are: news, social, speech" in (
        capsys.readouterr().err
    )


def test_references_may_be_missing_or_others(
    wmt25: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = segments(wmt25, "en-yy")
    assert own.column("reference").to_pylist()[:3] == ["", "", ""]
    assert "1 documents have no refA" in capsys.readouterr().err
    other = segments(wmt25, reference="refB")
    kept = [text for text in other.column("reference").to_pylist() if text]
    assert kept == ["xx_AA, B: Look at this!"]


def test_a_metric_that_reads_the_reference_refuses_segments_without(wmt25: Path) -> None:
    class Scorer:
        def signature(self) -> dict[str, Any]:
            return {"reference": True}

    own = segments(wmt25, "en-yy")
    said = translated(own, wmt25)
    with pytest.raises(UserError, match="3 of 6 segments have no reference"):
        score_hypotheses(Scorer(), own, said, "chrf")  # type: ignore[arg-type]


def test_texts_and_scores_are_of_their_segments(wmt25: Path) -> None:
    own = segments(wmt25, **SPEECH)
    said = translated(own, wmt25).column("hypothesis").to_pylist()
    assert said[0] == "The mill is old ant-1B."
    found = scored(own, wmt25, "XCOMET-XL", scale=100)
    ids = own.column("segment_id").to_pylist()
    expected = [
        100 * layouts.score("ant-1B", "XCOMET-XL", i.split("_#_")[0], int(i[-1])) for i in ids
    ]
    assert found == pytest.approx(expected)
    assert scored(own, wmt25, "MetricX-24-Hybrid-XL")[0] < 0  # negated by upstream


def test_range_is_of_scaled_scores(wmt25: Path) -> None:
    own = segments(wmt25)
    with pytest.raises(UserError, match=r"outside the range \[0, 1\]"):
        scored(own, wmt25, "XCOMET-XL", scale=100, range=[0, 1])


def test_a_system_without_texts_has_scores(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = layouts.wmt25(tmp_path, texts=False)
    own = segments(folder)
    said = translated(own, folder)
    assert said.column("hypothesis").null_count == 6
    assert not any(said.column("degenerate").to_pylist())
    assert "scores alone" in capsys.readouterr().err
    tables.write(said, tmp_path / "said.parquet", "hypotheses", {})
    assert len(scored(own, folder, "XCOMET-XL")) == 6
    with pytest.raises(UserError, match="texts of model 'small' are not published"):
        score_hypotheses(None, own, said, "chrf")  # type: ignore[arg-type]


def test_texts_cut_otherwise_than_their_source_are_left_out(
    wmt25: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layouts.edit(wmt25 / "data/systems/ant-1B.jsonl", r"ant-1B.\n\nIt", r"ant-1B. It")
    said = translated(segments(wmt25), wmt25).column("hypothesis").to_pylist()
    assert said[:3] == [None] * 3
    assert said[3]
    assert "1 documents have other segments" in capsys.readouterr().err


def test_people_are_a_metric_and_each_rater_another(wmt25: Path) -> None:
    own = segments(wmt25, scored={"esa": {"type": "published", "source": "wmt25", "name": "ESA",
                   "path": str(wmt25), "models": ["b"], "systems": {"b": "bee-2B"}}})  # fmt: skip
    assert [i[-1] for i in own.column("segment_id").to_pylist()] == ["1", "2", "1"]
    assert scored(own, wmt25, "ESA", "bee-2B") == [65.5, 66, 65.5]
    assert scored(own, wmt25, "ESA-1", "bee-2B") == [61, 62, 61]
    with pytest.raises(UserError, match=r"nobody rated system 'bee-2B'.*as rater 3"):
        scored(own, wmt25, "ESA-3", "bee-2B")


def test_what_a_system_does_not_support_is_remarked(wmt25: Path) -> None:
    metric = {"type": "published", "source": "wmt25", "path": str(wmt25), "system": "ant-1B"}
    assert published.remarks(metric, PAIR) == []
    assert published.remarks(metric, "en-yy_Latn")[0].startswith("ant-1B does not support en-yy_La")
    assert published.remarks({**metric, "system": "bee-2B"}, "en-yy") == []


SCORES = "data/automatic_scores/ant-1B.jsonl"
DOCUMENTS = "data/wmt25-genmt.jsonl"


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (SCORES, "1.01, ", "", r"2 scores by XCOMET-XL for the 3 segments.*not of one commit"),
        (SCORES, '"paper.1"', '"paper.2"', r"jsonl:1: document 'news_#_paper.2' is not in"),
        (SCORES, "1.01", "null", r"1 of 6 translations .* have no score"),
        (SCORES, "1.01", '"1.01"', r"jsonl:1: '1.01' is no score"),
        (SCORES, '{"language', "version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (SCORES, '"XCOMET-XL": [1.0', '"XCOMET-XL": [1.0,', r"jsonl:1: .*Fetch"),
        (DOCUMENTS, '"src_text": "The', '"src": "The', "'src_text' is no text"),
        (DOCUMENTS, "en-xx_AA_#_social", "en-xx_AA_#_news", "is not in"),
    ],
)
def test_a_damaged_file_is_named_with_its_line(
    wmt25: Path, file: str, old: str, new: str, message: str
) -> None:
    own = segments(wmt25)
    said = translated(own, wmt25)
    layouts.edit(wmt25 / file, old, new)
    metric = {"type": "published", "source": "wmt25", "path": str(wmt25), "name": "XCOMET-XL",
              "system": "ant-1B", "higher_is_better": True}  # fmt: skip
    with pytest.raises(UserError, match=message):
        scores(said, "metric", metric)


def test_a_file_that_ends_early_and_a_system_that_lacks_documents(wmt25: Path) -> None:
    own, path = segments(wmt25), wmt25 / SCORES
    whole = path.read_text()
    path.write_text(whole[: len(whole) // 4])
    with pytest.raises(UserError, match=rf"{path}:\d: not JSON .*Fetch the file again"):
        scored(own, wmt25, "XCOMET-XL")
    path.write_text("".join(whole.splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=r"lacks 1 of 3 documents, first: news_#_paper.1"):
        scored(own, wmt25, "XCOMET-XL")


def test_what_is_not_there_is_named(wmt25: Path) -> None:
    own = segments(wmt25)
    with pytest.raises(UserError, match=r"no scores by 'BLEU'.*there: XCOMET-XL, MetricX"):
        scored(own, wmt25, "BLEU")
    with pytest.raises(UserError, match=r"cow-3B.jsonl: no such file.*'sources.wmt25.files'"):
        scored(own, wmt25, "XCOMET-XL", "cow-3B")
    with pytest.raises(UserError, match=r"'en-zz' is not in it; there: en-xx_AA, en-yy_Latn_BB"):
        segments(wmt25, "en-zz")


def test_mt_metrics_eval_has_texts_metrics_and_raters(eval_set: Path) -> None:
    own = segments(eval_set, **MTME, **SPEECH)
    assert own.column("segment_id").to_pylist() == ["1", "2", "3", "4"]
    assert own.column("doc_id").to_pylist() == ["paper.1"] * 3 + ["post_7"]
    assert own.column("reference").to_pylist()[0] == "refA: The mill is old."
    said = translated(own, eval_set, **MTME).column("hypothesis").to_pylist()
    assert said[3] == "ant-1B: Look at this!"
    assert scored(own, eval_set, "Judge-src", **MTME) == pytest.approx([0.6, 0.61, 0.62, 0.63])
    assert scored(own, eval_set, "esa1", "bee-2B", **MTME) == [60, 61, 62, 63]
    assert scored(own, eval_set, "esa2", "bee-2B", **MTME) == [70, 71, 72, 73]
    with pytest.raises(UserError, match=r"1 of 4 translations .* have no score.*segment 2"):
        scored(own, eval_set, "esa1", **MTME)
    with pytest.raises(
        UserError, match=r"no scores by 'mqm' of en-xx; there: Judge-src, esa1, esa2"
    ):
        scored(own, eval_set, "mqm", **MTME)


def test_a_reference_is_a_system_on_request_alone(eval_set: Path) -> None:
    own = segments(eval_set, **MTME, reference="refB")
    with pytest.raises(UserError, match=r"'refA' is a human reference of en-xx"):
        translated(own, eval_set, "refA", **MTME)
    assert scored(own, eval_set, "esa1", "refA", **MTME, human=True)[0] == 60


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("documents/en-xx.docs", "5 lines for the 6 of the sources"),
        ("references/en-xx.refA.txt", "5 lines for the 6 of the sources"),
        ("system-outputs/en-xx/ant-1B.txt", "5 lines for the 6 of the sources"),
        ("metric-scores/en-xx/Judge-src.seg.score", "5 scores of system 'ant-1B' for 6 segments"),
    ],
)
def test_files_of_other_lengths_are_refused(eval_set: Path, file: str, message: str) -> None:
    path = eval_set / "wmtxx" / file
    own = None if "docs" in file or "ref" in file else segments(eval_set, **MTME)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    with pytest.raises(UserError, match=message):
        own = own or segments(eval_set, **MTME)
        scored(own, eval_set, "Judge-src", **MTME)


# --- the config ---------------------------------------------------------------------------------


def config(wmt25: Path, models: dict[str, Any], **metric: Any) -> dict[str, Any]:
    return {
        "languages": {"en": "English", "xx": "Exish"},
        "directions": [PAIR],
        "sources": {"wmt25": {"local": str(wmt25)}},
        "datasets": {"test": {"source": "wmt25"}},
        "models": models,
        "metrics": {
            "xcomet": {"type": "published", "source": "wmt25", "name": "XCOMET-XL", "scale": 100},
            "kiwi": {"type": "published", "source": "wmt25", "name": "CometKiwi-XL", **metric},
        },
        "routers": {"qe": {"type": "qe-deferral", "metric": "kiwi"}},
        "experiments": {
            "e": {"small": "ant-1B", "large": "bee-2B", "metric": "xcomet", "test": ["test"],
                  "routers": ["qe"]}
        },
    }  # fmt: skip


def test_every_system_of_a_source_is_a_model(wmt25: Path) -> None:
    given = config(wmt25, {"wmt25/*": {}}, reference=False)
    found = resolve(given)
    assert {name: m["system"] for name, m in found["models"].items()} == {
        "ant-1B": "ant-1B", "bee-2B": "bee-2B",
    }  # fmt: skip
    assert Plan(found).sources() == []
    assert Plan(found).engine("ant-1B") == READERS["wmt25"].module
    given["models"] = {"wmt25/*": {"except": ["dog"]}}
    with pytest.raises(UserError, match="no system dog; there: ant-1B, bee-2B"):
        resolve(given)
    given["models"] = {"flores/*": {}}
    with pytest.raises(UserError, match="'flores' publishes no systems"):
        resolve(given)


def test_what_is_fetched_lists_its_systems(wmt25: Path, tmp_path: Path) -> None:
    given = config(wmt25, {"wmt25/*": {}}, reference=False)
    given["sources"] = {}
    given["experiments"]["e"] |= {"small": "Qwen2.5-7B", "large": "Qwen3-235B"}
    found = resolve(given)
    assert {"Qwen2.5-7B", "Qwen3-235B", "TowerPlus-9B"} <= set(found["models"])
    assert Plan(found).sources() == ["wmt25"]


def test_a_metric_that_read_the_reference_routes_nothing(wmt25: Path) -> None:
    with pytest.raises(UserError, match=r"'kiwi' reads the reference.*published with"):
        resolve(config(wmt25, {"wmt25/*": {}}))


def test_references_stand_among_the_systems_on_request(eval_set: Path) -> None:
    files = [p.relative_to(eval_set).as_posix() for p in eval_set.rglob("*.*")]
    from routelmt.data.readers.mt_metrics_eval import systems

    assert systems(files, {"test_set": "wmtxx"}) == ["ant-1B", "bee-2B"]
    assert systems(files, {"test_set": "wmtxx", "human": True}) == ["ant-1B", "bee-2B", "refA"]
