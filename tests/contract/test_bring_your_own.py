"""Translations and scores that a user brings: through the real commands, right and wrong."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from routelmt import tables
from routelmt.__main__ import main

KEY = {"dataset": "mine", "direction": "en-de"}
IDS = ["a", "b", "c", "d"]
Rows = list[dict[str, Any]]


def translations(**changes: Any) -> Rows:
    return [{**KEY, "segment_id": i, "hypothesis": f"Satz {i}", **changes} for i in IDS]


def ratings(model: str = "system", scores: tuple[float, ...] = (1.0, -2.5, 0.0, 40.0)) -> Rows:
    rows = zip(IDS, scores, strict=True)
    return [{**KEY, "segment_id": i, "model": model, "score": s} for i, s in rows]


def write(path: Path, rows: Rows) -> Path:
    """Rows in the format that the suffix names."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", encoding="utf-8", newline="") as handle:
            writer = csv.DictWriter(
                handle,
                rows[0],
                delimiter="\t" if path.suffix == ".tsv" else ",",
                lineterminator="\n",
            )
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    rows = [
        {"segment_id": i, "direction": "en-de", "source": f"Sentence {i}", "reference": f"Satz {i}"}
        for i in IDS
    ]
    out = tmp_path / "segments.parquet"
    origin = write(tmp_path / "segments.jsonl", rows)
    assert call("segments", origin=origin, settings={"source": "jsonl"}, out=out, **KEY) == 0
    return out


def call(name: str, **options: Any) -> int:
    arguments = [name]
    for key, value in options.items():
        text = json.dumps(value) if isinstance(value, dict) else str(value)
        arguments += [f"--{key.replace('_', '-')}", text]
    return main(arguments)


def translate(segments: Path, file: Path) -> tuple[int, Path]:
    out = segments.parent / "hypotheses.parquet"
    settings = {"engine": "precomputed", "path": str(file), "languages": {"en": "English"}}
    return call("translate", segments=segments, model="system", settings=settings, out=out), out


def score(segments: Path, file: Path, **settings: Any) -> tuple[int, Path]:
    """The scores of right translations."""
    code, hypotheses = translate(segments, write(segments.parent / "right.jsonl", translations()))
    assert code == 0
    out = segments.parent / "scores.parquet"
    settings = {"type": "precomputed", "path": str(file), "higher_is_better": True, **settings}
    code = call(
        "score",
        segments=segments,
        hypotheses=hypotheses,
        metric="human",
        settings=settings,
        out=out,
    )
    return code, out


@pytest.mark.parametrize("suffix", ["jsonl", "csv", "tsv", "parquet"])
def test_translations_and_scores_come_in_any_format_and_order(segments: Path, suffix: str) -> None:
    folder = segments.parent
    code, out = translate(segments, write(folder / f"mt.{suffix}", translations()[::-1]))
    assert code == 0
    found = tables.read(out, "hypotheses")
    assert found.column("segment_id").to_pylist() == IDS
    assert found.column("hypothesis").to_pylist() == [f"Satz {i}" for i in IDS]
    assert found.column("output_tokens").null_count == len(IDS)
    others = ratings("another", (9.0, 9.0, 9.0, 9.0))
    code, out = score(segments, write(folder / f"scores.{suffix}", others + ratings()[::-1]))
    assert code == 0
    assert tables.read(out, "scores").column("score").to_pylist() == [1.0, -2.5, 0.0, 40.0]


def test_scores_that_count_errors_are_negated(segments: Path) -> None:
    file = write(segments.parent / "mqm.jsonl", ratings())
    code, out = score(segments, file, higher_is_better=False)
    assert code == 0
    assert tables.read(out, "scores").column("score").to_pylist() == [-1.0, 2.5, 0.0, -40.0]


def test_a_blank_translation_is_kept_and_flagged(segments: Path) -> None:
    rows = translations()
    rows[1]["hypothesis"] = ""
    code, out = translate(segments, write(segments.parent / "mt.jsonl", rows))
    assert code == 0
    assert tables.read(out, "hypotheses").column("degenerate").to_pylist() == [
        False,
        True,
        False,
        False,
    ]


def test_one_file_serves_a_part_of_a_dataset(tmp_path: Path) -> None:
    ids = [str(i) for i in range(20)]
    text = {"direction": "en-de", "reference": "Satz"}
    texts = [{"segment_id": i, "source": f"Sentence {i}", **text} for i in ids]
    origin = write(tmp_path / "segments.jsonl", texts)
    segments = tmp_path / "segments.parquet"
    settings = {"source": "jsonl", "part": [0.0, 0.5]}
    assert call("segments", origin=origin, settings=settings, out=segments, **KEY) == 0
    rows = [{**KEY, "segment_id": i, "hypothesis": f"Satz {i}", "model": "system"} for i in ids]
    code, hypotheses = translate(segments, write(tmp_path / "mt.jsonl", rows))
    kept = tables.read(hypotheses, "hypotheses").column("segment_id").to_pylist()
    assert code == 0 and 0 < len(kept) < 20
    scored = write(
        tmp_path / "scores.jsonl",
        [{**row, "score": float(i)} for i, row in zip(ids, rows, strict=True)],
    )
    metric = {"type": "precomputed", "path": str(scored), "higher_is_better": True}
    out = tmp_path / "scores.parquet"
    options = {"segments": segments, "hypotheses": hypotheses, "metric": "human", "out": out}
    assert call("score", **options, settings=metric) == 0
    assert tables.read(out, "scores").column("score").to_pylist() == [float(i) for i in kept]


def without(rows: Rows, name: str) -> Rows:
    return [{k: v for k, v in row.items() if k != name} for row in rows]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (translations()[:2], "lack rows (2, first: mine/en-de/c, mine/en-de/d)"),
        (translations() + translations()[:1], "1 rows occur twice"),
        (translations() + translations(segment_id="z")[:1], "extra rows (1, first: mine/en-de/z)"),
        (translations(dataset="mien"), "no row with dataset 'mine', direction 'en-de'"),
        (translations(dataset="mien"), "mien, en-de (4 rows)"),
        (translations(direction="de-en"), "mine, de-en (4 rows)"),
        (without(translations(), "hypothesis"), "hypothesis"),
        (without(translations(), "direction"), "direction"),
        (translations(hypothesis=7), "hypothesis"),
    ],
)
def test_wrong_translations_are_refused(
    segments: Path, rows: Rows, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write(segments.parent / "mt.jsonl", rows)
    code, out = translate(segments, file)
    error = capsys.readouterr().err
    assert code == 1 and not out.exists()
    assert message in error and "mt.jsonl" in error


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        (ratings()[1:], {}, "lack rows (1, first: mine/en-de/a)"),
        (ratings() + ratings()[2:], {}, "2 rows occur twice"),
        (ratings("sytem"), {}, "no row with dataset 'mine', direction 'en-de', model 'system'"),
        (ratings("sytem"), {}, "mine, en-de, sytem (4 rows)"),
        (
            ratings(),
            {"range": [0, 100]},
            "1 scores of model 'system' are outside the range [0, 100]",
        ),
        (ratings(), {"range": [0, 100]}, "segment b: -2.5"),
        (ratings() + ratings()[2:], {}, "Of several raters give each a file"),
        (ratings()[1:], {}, "'datasets.mine.unscored: drop'"),
        (ratings(scores=(1, 2, float("nan"), 4)), {}, "scores.jsonl:3"),
        (ratings(scores=(1, 2, float("inf"), 4)), {}, "scores.jsonl:3"),
        (ratings(scores=(1, 2, 3, "good")), {}, "scores.jsonl:4"),  # type: ignore[arg-type]
        (ratings(scores=(1, None, 3, 4)), {}, "first: segment b"),  # type: ignore[arg-type]
        (ratings(scores=(1, None, 3, "")), {}, "2 of 4 translations"),  # type: ignore[arg-type]
        (ratings(scores=(1, None, 3, 4)), {}, "'datasets.mine.unscored: drop'"),  # type: ignore[arg-type]
    ],
)
def test_wrong_scores_are_refused(
    segments: Path,
    rows: Rows,
    settings: dict[str, Any],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, out = score(segments, write(segments.parent / "scores.jsonl", rows), **settings)
    assert code == 1 and not out.exists()
    assert message in capsys.readouterr().err


def test_remarks_on_the_data_reach_the_tables_of_it(
    segments: Path, command: Callable[..., None], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = segments.parent
    file = write(folder / "mqm.jsonl", ratings(scores=(-1.0, -2.0, 0.0, -4.0)))
    code, small = score(segments, file, higher_is_better=False)
    assert code == 0 and "so that more errors are better" in capsys.readouterr().err
    large = write(folder / "large.jsonl", ratings(scores=(3.0, 2.0, 1.0, 0.0)))
    small = small.rename(folder / "small.parquet")
    _, scored = score(segments, large)
    gains, out = folder / "gains.parquet", folder / "risk_buckets.parquet"
    command("gains", segments=segments, small=small, large=scored, out=gains)
    predictions = folder / "gain-oracle.parquet"
    command(
        "predict",
        segments=segments,
        gains=gains,
        router="gain-oracle",
        settings={"type": "gain-oracle"},
        model={},
        seed=0,
        out=predictions,
    )
    settings = {
        "bootstrap": {"replicates": 100, "seed": 0, "level": 0.95},
        "oracles": ["gain-oracle"],
        "random": [],
        "budgets": [0.5],
        "risk_edges": [-50, -0.5, 0.5],
    }
    arguments = ["table", "risk_buckets", "--predictions", str(predictions), "--gains", str(gains)]
    assert main([*arguments, "--settings", json.dumps(settings), "--out", str(out)]) == 0
    record = tables.record_of(out)
    assert [remark.split(":")[0] for remark in record["remarks"]] == [
        "metric 'human'",
        "The large model scores 0.25 points lower than the small one on average. If that is not "
        "so, their files are swapped, or the metric counts errors and lacks 'higher_is_better",
        "No gain can be a severe loss",
    ]
    assert set(record["remarks"]) <= set(record["notes"])


HUMAN = Path(__file__).parents[3] / "shared/data/human_pairs/wmt24.en-zh.esa.jsonl"


@pytest.mark.skipif(not HUMAN.is_file(), reason=f"{HUMAN.name} is not beside the project")
def test_real_ratings_give_the_known_gains(tmp_path: Path, command: Callable[..., None]) -> None:
    """IKUN-C against GPT-4 on 634 WMT24 segments with human ESA scores."""
    with HUMAN.open(encoding="utf-8") as handle:
        given = [json.loads(line) for line in handle]
    key = {"dataset": "wmt24", "direction": "en-zh"}
    names = {"ikun-c": "IKUN-C", "gpt-4": "GPT-4"}
    write(
        tmp_path / "segments.jsonl",
        [
            {"segment_id": r["id"], "direction": "en-zh", "source": r["src"], "reference": r["ref"]}
            for r in given
        ],
    )
    write(
        tmp_path / "scores.jsonl",
        [
            {**key, "segment_id": r["id"], "model": model, "score": r["score"][system]}
            for r in given
            for model, system in names.items()
        ],
    )
    segments, gains = tmp_path / "segments.parquet", tmp_path / "gains.parquet"
    origin = tmp_path / "segments.jsonl"
    command(
        "segments", origin=origin, settings={"source": "jsonl", "rows": 634}, out=segments, **key
    )
    for model, system in names.items():
        rows = [{**key, "segment_id": r["id"], "hypothesis": r["mt"][system]} for r in given]
        file = write(tmp_path / f"{model}.jsonl", rows)
        hypotheses = tmp_path / f"hypotheses-{model}.parquet"
        engine = {"engine": "precomputed", "path": str(file), "languages": {}}
        command("translate", segments=segments, model=model, settings=engine, out=hypotheses)
        metric = {
            "type": "precomputed",
            "path": str(tmp_path / "scores.jsonl"),
            "range": [0, 100],
            "higher_is_better": True,
        }
        command(
            "score",
            segments=segments,
            hypotheses=hypotheses,
            metric="esa",
            settings=metric,
            out=tmp_path / f"scores-{model}.parquet",
        )
    command(
        "gains",
        segments=segments,
        small=tmp_path / "scores-ikun-c.parquet",
        large=tmp_path / "scores-gpt-4.parquet",
        out=gains,
    )
    own = np.array([r["score"]["GPT-4"] - r["score"]["IKUN-C"] for r in given])
    assert tables.read(gains, "gains").column("gain").to_numpy() == pytest.approx(own)
    assert own.mean() == pytest.approx(8.88, abs=0.005)
    value = mean_delta(tmp_path, segments, gains, command)
    assert value["gain-oracle"] == pytest.approx(34.3, abs=0.05)
    # 22 ratings tie at the quality oracle's boundary: 31.8 is the mean over all ways to break them.
    quality = np.array([r["score"]["IKUN-C"] for r in given])
    expected = mean_gain_over_ties(quality, own, k=190)
    assert expected == pytest.approx(31.8, abs=0.05)
    assert value["quality-oracle"] == pytest.approx(expected)


def mean_gain_over_ties(quality: np.ndarray, gain: np.ndarray, k: int) -> float:
    """Mean gain of the k rows of lowest quality, over all tie-breaks."""
    boundary = np.sort(quality)[k - 1]
    surely, tied = gain[quality < boundary], gain[quality == boundary]
    return float((surely.sum() + (k - len(surely)) * tied.mean()) / k)


def mean_delta(
    folder: Path, segments: Path, gains: Path, command: Callable[..., None]
) -> dict[str, float]:
    """MeanΔ of both oracles at p = 0.3, through prediction and evaluation."""
    oracles = ["gain-oracle", "quality-oracle"]
    files = [folder / f"{oracle}.parquet" for oracle in oracles]
    for oracle, file in zip(oracles, files, strict=True):
        command(
            "predict",
            segments=segments,
            gains=gains,
            router=oracle,
            settings={"type": oracle},
            model={},
            seed=0,
            out=file,
        )
    settings = {
        "bootstrap": {"replicates": 100, "seed": 0, "level": 0.95},
        "oracles": oracles,
        "random": [],
        "budgets": [0.3],
    }
    out = folder / "routers.parquet"
    command("table", "routers", predictions=files, gains=[gains], settings=settings, out=out)
    rows = tables.read(out, "routers").to_pylist()
    return {
        r["router"]: r["value"]
        for r in rows
        if r["metric"] == "mean_delta" and r["direction"] == "average"
    }
