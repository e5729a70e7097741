"""The worked example of docs/bring-your-own.md: own files, no model, everything made."""

from __future__ import annotations

import copy
import hashlib
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from routelmt import tables
from routelmt.evaluate.registry import TABLES
from routelmt.figures import registry
from tests.workflow.conftest import EXAMPLE, ROOT, Jobs, job_counts, run

EXPERIMENTS = ("by-ratings", "by-chrf")
ROUTERS = 5
ALWAYS = {name for name, kind in TABLES.items() if not kind.when}  # whatever an experiment has
EVALUATED = [name for name in ALWAYS if TABLES[name].of]
FIGURES = [name for name, f in registry.FIGURES.items() if ALWAYS.issuperset(f.tables)]
# One dataset, one direction; the two experiments share segments and translations.
LABELS = {
    "label_gains": 1,
    "predict": 2,
    "evaluate": len(EVALUATED),
    "render": len(EVALUATED),
    "plot": len(FIGURES) - 1,
    "page": 1,
}


@pytest.fixture
def planned(example: Path) -> Callable[[], Jobs]:
    """What a run would do now."""

    def plan() -> Jobs:
        result = run(example, "--configfile", EXAMPLE, "--dry-run")
        assert result.returncode == 0, result.stderr[-4000:]
        return job_counts(result.stdout + result.stderr)

    return plan


def test_the_example_is_planned_whole(project: Path) -> None:
    result = run(project, "--configfile", EXAMPLE, "--dry-run")
    assert result.returncode == 0, result.stderr
    assert job_counts(result.stdout + result.stderr) == {
        "read_segments": 1,
        "translate": 2,
        "score": 2 * 2,
        "label_gains": 2,
        "predict": 2 * ROUTERS,
        "find_overlaps": 2,
        "evaluate": 2 * len(ALWAYS),
        "render": 2 * len(ALWAYS),
        "plot": 2 * len(FIGURES),
        "page": 2,
    }


def test_every_table_and_figure_is_made_without_a_model(
    example: Path, planned: Callable[[], Jobs]
) -> None:
    for experiment in EXPERIMENTS:
        folder = example / "results/runs" / experiment
        for table in ALWAYS:
            tables.read(folder / f"tables/{table}.parquet", table)
        for figure in FIGURES:
            assert (folder / f"figures/{figure}.pdf").read_bytes().startswith(b"%PDF")
    assert planned() == {}


def test_the_gains_are_the_ratings_differences(example: Path) -> None:
    lines = (example / "docs/example/ratings.tsv").read_text().splitlines()[1:]
    rating = {tuple(line.split("\t")[2:4]): float(line.split("\t")[4]) for line in lines}
    path = example / "results/gains/ratings/system-a--system-b/phrases/en-de.parquet"
    for row in tables.read(path, "gains").to_pylist():
        name = row["segment_id"]
        assert row["gain"] == rating[name, "system-b"] - rating[name, "system-a"]


def test_an_edited_rating_redoes_its_own_branch(example: Path, planned: Callable[[], Jobs]) -> None:
    path = example / "docs/example/ratings.tsv"
    before = path.read_text()
    path.write_text(before.replace("\t31\n", "\t32\n"))
    plan = planned()
    path.write_text(before)
    flags = {name: LABELS[name] + 1 for name in ("evaluate", "render")}
    assert plan == {"score": 2, **LABELS, **flags}


def test_shards_make_the_same_tables(example: Path, project: Path) -> None:
    config = yaml.safe_load((project / EXAMPLE).read_text())
    config["datasets"]["phrases"]["shards"] = 3
    del config["experiments"]["by-ratings"]
    (project / "sharded.yaml").write_text(yaml.safe_dump(config))
    planned = run(project, "--configfile", "sharded.yaml", "--dry-run", "gains")
    assert job_counts(planned.stdout + planned.stderr) == {
        "read_segments": 1,
        "translate_shard": 2 * 3,
        "gather_hypotheses": 2,
        "score_shard": 2 * 3,
        "gather_scores": 2,
        "label_gains": 1,
    }
    done = run(project, "--configfile", "sharded.yaml", "--cores", "2", "gains")
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    for name in ("hypotheses/system-a", "scores/chrf/system-b", "gains/chrf/system-a--system-b"):
        path = f"results/{name}/phrases/en-de.parquet"
        whole, gathered = (tables.record_of(folder / path) for folder in (example, project))
        assert whole["content"] == gathered["content"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda c: c["datasets"]["phrases"].update(path="no/such.jsonl"),
            "config key 'datasets.phrases.path': 'no/such.jsonl': there is no such file",
        ),
        (
            lambda c: c["models"]["system-a"].update(path="no/such.jsonl"),
            "config key 'models.system-a.path': 'no/such.jsonl': there is no such file",
        ),
        (
            lambda c: c["metrics"]["ratings"].update(path="no/such.tsv"),
            "config key 'metrics.ratings.path': 'no/such.tsv': there is no such file",
        ),
        (
            lambda c: c["experiments"]["by-chrf"]["routers"].append("entropy"),
            "entropy read the small model, but 'system-a' (engine precomputed) has no weights",
        ),
    ],
)
def test_what_cannot_work_is_said_before_anything_runs(
    project: Path, change: Callable[[dict], object], message: str
) -> None:
    config = yaml.safe_load((project / EXAMPLE).read_text())
    config["routers"]["entropy"] = {"type": "entropy"}
    config["experiments"] = json.loads(json.dumps(config["experiments"]))  # no shared lists
    change(config)
    (project / "mine.yaml").write_text(yaml.safe_dump(config))
    result = run(project, "--configfile", "mine.yaml", "--dry-run")
    assert result.returncode == 1
    assert message in result.stdout + result.stderr


def test_translations_are_planned_before_there_are_ratings(project: Path) -> None:
    (project / "docs/example/ratings.tsv").unlink()
    planned = run(project, "--configfile", EXAMPLE, "--dry-run", "hypotheses")
    assert planned.returncode == 0, planned.stdout + planned.stderr
    assert job_counts(planned.stdout + planned.stderr) == {"read_segments": 1, "translate": 2}


def test_unscored_segments_are_dropped_from_the_dataset(project: Path) -> None:
    ratings = project / "docs/example/ratings.tsv"
    head, *rows = ratings.read_text().splitlines()
    ratings.write_text("\n".join([head, *rows[1:-1], rows[-1].rpartition("\t")[0] + "\t"]) + "\n")
    config = yaml.safe_load((project / EXAMPLE).read_text())
    config["datasets"]["phrases"] |= {"unscored": "drop", "rows": 14}
    (project / "mine.yaml").write_text(yaml.safe_dump(config))
    result = run(project, "--configfile", "mine.yaml", "--cores", "1", "gains")
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-4000:]
    for metric in ("ratings", "chrf"):
        path = project / f"results/gains/{metric}/system-a--system-b/phrases/en-de.parquet"
        assert tables.read(path, "gains").num_rows == 14
    log = (project / "logs/read_segments/phrases/en-de.log").read_text()
    assert "2 of 16 segments dropped" in log


def test_a_wrong_file_stops_the_job_and_leaves_no_table(project: Path) -> None:
    path = project / "docs/example/system-a.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    target = "results/hypotheses/system-a/phrases/en-de.parquet"
    result = run(project, "--configfile", EXAMPLE, "--cores", "1", target)
    assert result.returncode == 1 and not (project / target).exists()
    log = (project / "logs/translate/system-a/phrases/en-de.log").read_text()
    assert "lack rows (1, first: phrases/en-de/manuals-4)" in log
    assert "lack rows" in result.stdout + result.stderr  # shown where people look


JUDGE = """
import json, sys
for line in sys.stdin:
    row = json.loads(line)
    print(100 - abs(len(row["hypothesis"]) - 2 * len(row["source"])))
"""


def test_a_program_judges_and_defers_and_an_edit_of_it_scores_again(example: Path) -> None:
    """What it says is what a router defers by; of a reference it never sees one."""
    config = yaml.safe_load((example / EXAMPLE).read_text())
    (example / "judge.py").write_text(JUDGE)
    config["metrics"]["judge"] = {
        "type": "command",
        "command": ["python", "judge.py"],
        "reference": False,
    }
    config["routers"]["defer"] = {"type": "qe-deferral", "metric": "judge"}
    config["experiments"]["by-ratings"]["routers"] += ["defer"]
    config["experiments"] = {
        "judged": config["experiments"]["by-ratings"] | {"judge_metrics": ["judge"]}
    }
    (example / "judged.yaml").write_text(yaml.safe_dump(config))
    wanted = [f"results/runs/judged/tables/{name}.parquet" for name in ("routers", "cross_metric")]
    done = run(example, "--configfile", "judged.yaml", "--cores", "2", *wanted, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    scores = tables.read(example / "results/scores/judge/system-a/phrases/en-de.parquet", "scores")
    place = "results/runs/judged/predictions/defer/seed0/test.parquet"
    deferred = tables.read(example / place, "predictions")
    assert deferred.column("priority").to_pylist() == [
        -s for s in scores.column("score").to_pylist()
    ]
    assert len(set(scores.column("score").to_pylist())) > 5
    (example / "judge.py").write_text(f"{JUDGE}# another judge\n")
    again = run(example, "--configfile", "judged.yaml", "--dry-run", *wanted)
    counts = job_counts(again.stdout + again.stderr)
    assert counts["score"] == 2 and counts["label_gains"] == 1 and counts["predict"] == 1


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of the package, in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-m", "routelmt", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT / "workflow")},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_bundle_is_checked_without_the_rest_of_the_results(example: Path, tmp_path: Path) -> None:
    out = tmp_path / "by-chrf.zip"
    published = ("bundle", "results/runs/by-chrf", "--config", EXAMPLE, "--licence", "CC0-1.0")
    done = command(example, *published, "--out", str(out))
    assert done.returncode == 0, done.stderr
    again = command(example, *published, "--out", str(tmp_path / "again.zip"))
    assert again.returncode == 0 and (tmp_path / "again.zip").read_bytes() == out.read_bytes()
    elsewhere = tmp_path / "elsewhere"
    with zipfile.ZipFile(out) as archive:
        archive.extractall(elsewhere)

    run = elsewhere / "results/runs/by-chrf"
    assert (run / "page.html").is_file() and (run / "tables/routers.csv").is_file()
    assert not (elsewhere / "data").exists() and not (run / "predictions").exists()
    assert yaml.safe_load((elsewhere / "config.yaml").read_text())["experiments"]["by-chrf"]
    crate = json.loads((elsewhere / "ro-crate-metadata.json").read_text())["@graph"]
    files = {entry["@id"]: entry for entry in crate if entry["@type"] == "File"}
    there = {f.relative_to(elsewhere).as_posix() for f in elsewhere.rglob("*") if f.is_file()}
    assert set(files) == there - {"ro-crate-metadata.json"}
    for name, entry in files.items():
        data = (elsewhere / name).read_bytes()
        assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert int(entry["contentSize"]) == len(data)

    audit = ("audit", "results/runs/by-chrf")
    checked = command(elsewhere, *audit)
    assert checked.returncode == 0, checked.stderr
    assert (
        "data/segments/phrases/en-de.parquet"
        in command(elsewhere, *audit[:1], "results/runs/by-chrf/tables/routers.parquet").stdout
    )
    # A record that names another content than its child does is a broken link, wherever it is.
    records = json.loads((elsewhere / "records.json").read_text())
    for place in ("results/gains/chrf/system-a--system-b/phrases/en-de.parquet",
                  "docs/example/segments.jsonl"):  # fmt: skip
        changed = copy.deepcopy(records)
        changed[place]["content"] = "0" * 64
        (elsewhere / "records.json").write_text(json.dumps(changed))
        broken = command(elsewhere, *audit)
        assert broken.returncode == 1 and f"made from {place}" in broken.stderr
    del records["docs/example/segments.jsonl"]
    (elsewhere / "records.json").write_text(json.dumps(records))
    assert "docs/example/segments.jsonl is missing" in command(elsewhere, *audit).stderr
    (elsewhere / "records.json").write_text("{")
    assert "damaged records of a bundle" in command(elsewhere, *audit).stderr
