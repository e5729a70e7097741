"""A whole folder is audited: every artifact once, with what is wrong with it."""

from __future__ import annotations

import argparse
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from routelmt import provenance, stages, tables
from routelmt.commands import audit as command
from routelmt.errors import UserError
from routelmt.routers import artifact
from routelmt.routers.networks.base_model import weights_hash
from routelmt.trail import tree
from routelmt.trail.artifacts import below, locate
from routelmt.trail.audit import Audit, audit

MakeRun = Callable[..., Path]


@pytest.fixture(autouse=True)
def fresh_hashes() -> None:
    provenance.identity_once.cache_clear()


def audited(run: Path, quick: bool = False) -> Audit:
    return audit(list(below(run)), quick)


def called(*arguments: str) -> int:
    parser = argparse.ArgumentParser()
    command.configure(parser)
    return command.run(parser.parse_args(arguments))


def test_a_sound_run_is_followed_to_its_sources_and_each_artifact_is_there_once(
    make_run: MakeRun,
) -> None:
    run = make_run()
    report = audited(run)
    assert report.broken == []
    files = {str(p.relative_to(run.parents[2])) for p in run.parents[2].rglob("*.parquet")}
    assert set(report.seen) == files
    assert report.artifacts["data/source.txt"].content == provenance.file_hash(
        Path("data/source.txt")
    )
    rows = sum(tables.record_of(file)["rows"] for file in files)
    assert tree.summarised(report)["rows"] == rows


def test_the_tree_has_a_line_for_every_artifact_within_100_columns(make_run: MakeRun) -> None:
    report = audited(make_run())
    lines = list(tree.tree(report))
    assert all(len(line) <= 100 for line in lines)
    leaves = [line for line in lines if line.split()[0].endswith((".parquet", ".txt"))]
    assert len(leaves) == len(report.artifacts)
    (row,) = [line for line in lines if line.split()[0] == "routers.parquet"]
    record = tables.record_of("results/runs/demo/tables/routers.parquet")
    assert row.split()[1:] == ["routers", str(record["rows"]), record["content"][:8], "current"]


def test_folders_can_be_folded_to_counts(make_run: MakeRun) -> None:
    lines = list(tree.tree(audited(make_run()), depth=2))
    (scores,) = [line for line in lines if line.strip().startswith("scores/")]
    assert scores.split()[1:] == ["scores", "80", "8", "artifacts"]
    assert not any("routers.parquet" in line for line in lines)


def test_a_tampered_file_is_named_and_marked(make_run: MakeRun) -> None:
    run = make_run()
    path = Path("results/gains/chrf/small--large/first/en-zh.parquet")
    record = tables.record_of(path)
    data = tables.read(path, "gains")
    gain = data.column("gain").to_pylist()
    forged = data.set_column(6, data.schema.field("gain"), [[gain[0] + 1, *gain[1:]]])
    import pyarrow.parquet as pq

    pq.write_table(forged.replace_schema_metadata({tables.METADATA_KEY: json.dumps(record)}), path)
    report = audited(run)
    assert f"{path}: its values were changed after it was written" in report.broken[0]
    assert len([line for line in tree.tree(report) if tree.BROKEN in line and "gains" in line]) == 1
    assert audited(run, quick=True).broken == []  # it trusts what the record says


def test_lineage_is_checked_even_when_no_values_are_read(make_run: MakeRun) -> None:
    run = make_run()
    make_run(name="other", shift=3.0)  # the same scores and gains, made again
    broken = audited(run, quick=True).broken
    assert any("routers.parquet: stale, made from results/gains/chrf" in b for b in broken)


def test_a_damaged_table_stands_in_the_tree(make_run: MakeRun) -> None:
    run = make_run()
    path = Path("results/scores/chrf/small/first/en-zh.parquet")
    path.write_bytes(path.read_bytes()[:100])
    report = audited(run)
    assert any("not a readable Parquet" in b for b in report.broken)
    assert any("its parent results/scores/chrf/small" in b for b in report.broken)
    assert [line.split()[1] for line in tree.tree(report) if "unreadable" in line] == ["unreadable"]


def test_a_missing_source_is_a_broken_link_of_those_made_from_it(make_run: MakeRun) -> None:
    run = make_run()
    Path("data/source.txt").unlink()
    report = audited(run)
    assert len(report.broken) == 4
    assert all("data/source.txt is missing" in b for b in report.broken)
    assert all("data/source.txt is missing" in b for b in audited(run, quick=True).broken)


def test_older_code_is_counted_by_stage(make_run: MakeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    run, real = make_run(), stages.fingerprint
    monkeypatch.setattr(
        stages, "fingerprint", lambda stage, kind: "0" if stage == "gains" else real(stage, kind)
    )
    report = audited(run)
    counts = tree.summarised(report)["stages"]
    assert counts["gains"]["alike_code"] == 4 and counts["gains"]["broken_links"] == 0
    assert "with the same declared behaviour" in "\n".join(tree.summary_lines(report))
    monkeypatch.setitem(stages.BEHAVIOUR, "gains", stages.BEHAVIOUR["gains"] + 1)
    stages.behaviour.cache_clear()
    counts = tree.summarised(audited(run))["stages"]
    stages.behaviour.cache_clear()
    assert counts["gains"]["older_code"] == counts["gains"]["broken_links"] == 4
    assert counts["gains"]["alike_code"] == counts["scores"]["older_code"] == 0


def test_code_that_is_no_longer_there_is_older_code(make_run: MakeRun) -> None:
    run = make_run()
    path = run / "tables/routers.parquet"
    record = provenance.describe("tables", {}, []) | {"kind": "", "stage": "no-such-stage"}
    tables.write(tables.read(path, "routers"), path, "routers", record)
    (message,) = audit([path]).broken
    assert "stale, the code of stage 'no-such-stage' has changed" in message


def test_versions_stand_in_the_tree_where_they_are_not_the_usual_ones(make_run: MakeRun) -> None:
    run = make_run()
    path = run / "tables/routers.parquet"
    record = tables.record_of(path)
    kept = {k: record[k] for k in ("stage", "kind", "settings", "code", "parents")}
    kept["packages"] = record["packages"] | {"routelmt": "0.0.1"}
    tables.write(tables.read(path, "routers"), path, "routers", kept)
    report = audited(run)
    odd = [line for line in tree.tree(report) if "routelmt 0.0.1" in line]
    assert len(odd) == 1 and "routers.parquet" in odd[0]
    assert any("(1)" in line and "0.0.1" in line for line in tree.summary_lines(report))


def test_a_router_is_a_node_with_its_chain_if_its_record_has_it(make_run: MakeRun) -> None:
    run = make_run()
    gains = Path("results/gains/chrf/small--large/first/en-zh.parquet")
    base = Path("models/small")
    base.mkdir(parents=True)
    (base / "model.safetensors").write_bytes(b"weights")
    folder = run / "routers/learned/seed0"
    folder.mkdir(parents=True)
    artifact.write_record(
        folder,
        {
            "base": {"path": str(base), "weights_sha256": weights_hash(base)},
            "rows": {"training": {"count": 12}},
            "packages": {"torch": "1"},
            "provenance": provenance.describe("routers", {}, [gains], "routelmt.routers.lora"),
        },
    )
    report = audited(run)
    node = report.seen["results/runs/demo/routers/learned/seed0"]
    assert (node.what, node.rows, node.code) == ("router", 12, "current")
    assert report.broken == []
    (base / "model.safetensors").write_bytes(b"others")
    (message,) = audited(run).broken
    assert "routers/learned/seed0: stale, trained on the weights" in message


def test_results_can_be_audited_from_another_folder(
    make_run: MakeRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    report = audited(run)
    assert report.broken == []
    assert str(tmp_path / "project/data/source.txt") in report.artifacts


def test_a_parent_that_is_nowhere_keeps_its_name(tmp_path: Path) -> None:
    assert locate("no/such.parquet", tmp_path / "a/b.parquet") == Path("no/such.parquet")


def test_tables_of_others_in_a_folder_are_left_alone_and_named_ones_refused(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    run = make_run()
    pq.write_table(pa.table({"a": [1]}), run / "mine.parquet")
    assert called(str(run)) == 0
    assert called(str(run / "mine.parquet")) == 1
    assert "without provenance" in capsys.readouterr().err


def test_the_command_prints_the_tree_the_counts_and_what_carries_no_record(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    (run / "tables/routers.csv").write_text("x")
    assert called() == 0
    printed = capsys.readouterr().out
    assert "routers.parquet" in printed and "1 .csv" in printed
    assert printed.splitlines()[-1].endswith("0 broken links")
    shutil.rmtree("data/segments")
    assert called(str(run)) == 1
    assert "broken link: " in capsys.readouterr().err


def test_a_single_table_is_shown_in_detail(
    make_run: MakeRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called(str(make_run() / "tables/routers.parquet")) == 0
    printed = capsys.readouterr().out
    assert "settings" in printed and "hit_rate" in printed and "data/source.txt: sha256" in printed


def test_machines_get_json(make_run: MakeRun, capsys: pytest.CaptureFixture[str]) -> None:
    assert called("--json", str(make_run())) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    table = next(a for a in found["artifacts"] if a["path"].endswith("tables/routers.parquet"))
    assert table["code"] == "current" and len(table["parents"]) == 16
    assert found["summary"]["stages"]["scores"]["artifacts"] == 8


def test_an_empty_folder_and_a_file_without_a_record_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no tables or routers there"):
        called(str(tmp_path))
    (tmp_path / "x.png").write_bytes(b"")
    (message,) = audit([tmp_path / "x.png"]).broken
    assert "carries no record" in message
