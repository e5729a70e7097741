"""The training table says what the routers' folders say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from routelmt import tables
from routelmt.__main__ import main
from routelmt.errors import UserError
from routelmt.evaluate.training_curves import training_table
from routelmt.routers.artifact import write_record
from routelmt.views.layouts import blocks

STEPS = 10  # an epoch


def epoch(rate: float, number: int, loss: float | None, rho: float | None = 0.4) -> dict[str, Any]:
    return {
        "learning_rate": rate, "epoch": number, "step": STEPS * number, "train_loss": 0.5,
        "validation_loss": loss, "validation_spearman": rho, "seconds": 1.5,
    }  # fmt: skip


def folder(
    root: Path, name: str, history: list[dict[str, Any]] | None, kept: tuple[float, int],
    losses: list[dict[str, Any]] | None = None,
) -> Path:  # fmt: skip
    out = root / name
    out.mkdir(parents=True)
    write_record(out, {"result": {"learning_rate": kept[0], "epoch": kept[1]}})
    for file, entries in (("history.jsonl", history), ("losses.jsonl", losses)):
        if entries is not None:
            (out / file).write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return out


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    searched = [epoch(1e-4, 1, 0.9), epoch(1e-4, 2, 0.8), epoch(3e-4, 1, 0.7),
                epoch(3e-4, 2, 0.75)]  # fmt: skip
    points = [
        {"learning_rate": rate, "step": step, "train_loss": step / 100}
        for rate in (1e-4, 3e-4)
        for step in (5, 10, 15, 20)
    ]
    return [
        folder(tmp_path, "routelmt/seed0", searched, (3e-4, 1), points),
        folder(tmp_path, "routelmt/seed11", searched, (1e-4, 2)),
        folder(tmp_path, "probe/seed0", [epoch(0.1, 1, 2.0, None)], (0.1, 1)),
    ]


def test_a_row_an_epoch_and_the_kept_one_is_marked(folders: list[Path]) -> None:
    table = training_table(folders)
    tables.check(table, "training", "training")
    assert "seconds" not in table.column_names
    frame = table.to_pandas()
    ends = frame[frame.epoch_end]
    assert ends.groupby(["router", "seed"]).size().to_dict() == {
        ("probe", 0): 1, ("routelmt", 0): 4, ("routelmt", 11): 4,
    }  # fmt: skip
    kept = ends[ends.kept].set_index(["router", "seed"])
    assert kept.index.is_unique
    assert kept.loc[("routelmt", 0)][["learning_rate", "epoch"]].tolist() == [3e-4, 1]
    assert kept.loc[("routelmt", 11)][["learning_rate", "epoch"]].tolist() == [1e-4, 2]
    assert np.isnan(kept.loc[("probe", 0)].validation_spearman)
    assert kept.loc[("routelmt", 0)].validation_loss == 0.7


def test_the_running_loss_stands_within_its_epochs(folders: list[Path]) -> None:
    frame = training_table(folders).to_pandas()
    running = frame[~frame.epoch_end]
    assert set(running.router) == {"routelmt"} and set(running.seed) == {0}
    first = running[running.learning_rate == 1e-4]
    assert first.step.tolist() == [5, 10, 15, 20]
    assert first.epoch.tolist() == [1, 1, 2, 2]
    assert first.train_loss.tolist() == [0.05, 0.1, 0.15, 0.2]
    assert first.validation_loss.isna().all() and not first.kept.any()


def test_a_diverged_learning_rate_is_kept_as_it_was(tmp_path: Path) -> None:
    history = [epoch(1e-4, 1, 0.9), epoch(1.0, 1, float("inf")), epoch(1.0, 2, float("nan"), None)]
    points = [{"learning_rate": 1.0, "step": 23, "train_loss": float("inf")}]
    table = training_table([folder(tmp_path, "r/seed0", history, (1e-4, 1), points)])
    tables.check(table, "training", "training")
    assert np.isinf(table.column("validation_loss")[1].as_py())
    assert table.column("epoch").to_pylist() == [1, 1, 2, 3]  # the last: within an epoch
    cells = dict(blocks(table, "training")[0].rows)
    assert cells[("r", "0", "1")][0].value == "1" and cells[("r", "0", "1")][-1].value == ""
    assert cells[("r", "0", "0.0001")][-1].value == "yes"


def test_without_trained_routers_it_is_empty_and_valid() -> None:
    table = training_table([])
    tables.check(table, "training", "training")
    assert table.num_rows == 0 and blocks(table, "training") == []


def test_a_router_without_a_history_is_left_out_and_named(tmp_path: Path, capsys: Any) -> None:
    solved = folder(tmp_path, "solved/seed0", None, (0.0, 0))
    assert training_table([solved]).num_rows == 0
    assert f"{solved}: no history.jsonl" in capsys.readouterr().err


def test_the_layout_has_a_line_per_learning_rate(folders: list[Path]) -> None:
    block = blocks(training_table(folders), "training")[0]
    lines = {names: [cell.value for cell in cells] for names, cells in block.rows}
    assert lines[("routelmt", "0", "0.0003")] == ["1", "2", "0.5", "0.7", "0.400", "yes"]
    assert lines[("routelmt", "0", "0.0001")] == ["2", "2", "0.5", "0.8", "0.400", ""]
    assert lines[("probe", "0", "0.1")] == ["1", "1", "0.5", "2", "–", "yes"]


def test_bad_folders_are_named(tmp_path: Path) -> None:
    good = folder(tmp_path, "r/seed0", [epoch(0.1, 1, 1.0)], (0.1, 1))
    cases = {
        "not the folder of one seed": good.rename(good.with_name("final")),
        "has no epoch 2 at learning rate 0.1": folder(
            tmp_path, "b/seed0", [epoch(0.1, 1, 1.0)], (0.1, 2)
        ),
        "history.jsonl:1: lacks train_loss, validation_loss": folder(
            tmp_path, "c/seed0",
            [{"learning_rate": 0.1, "epoch": 1, "step": 1, "train_mse": 1.0, "validation_mse": 1.0,
              "validation_spearman": 0.1}], (0.1, 1),
        ),
        "history.jsonl:1: damaged": folder(tmp_path, "d/seed0", [], (0.1, 1)),
        "does not say which": folder(tmp_path, "e/seed0", [epoch(0.1, 1, 1.0)], (0.1, 1)),
        "not a trained router": tmp_path / "f" / "seed0",
    }  # fmt: skip
    (tmp_path / "d/seed0/history.jsonl").write_text('{"learning_rate": 0.1, "ep')
    write_record(tmp_path / "e/seed0", {"result": {"epoch": 1}})
    for message, path in cases.items():
        with pytest.raises(UserError, match=message):
            training_table([path])


def test_the_same_router_twice_is_refused(folders: list[Path], tmp_path: Path) -> None:
    table = training_table([folders[0], folders[0]])
    with pytest.raises(UserError, match="occur more than once"):
        tables.check(table, "training", "training")


def test_the_command_writes_the_table_and_its_renderings(
    folders: list[Path], tmp_path: Path
) -> None:
    out = tmp_path / "tables" / "training.parquet"
    paths = [str(path) for path in folders]
    command = ["table", "training", "--settings", "{}", "--out", str(out)]
    assert main([*command, "--routers", *paths]) == 0 and main(["render", str(out)]) == 0
    assert {path.name for path in out.parent.iterdir()} == {
        f"training.{suffix}" for suffix in ("parquet", "csv", "tex", "md")
    }
    assert tables.record_of(out)["content"] == tables.content_hash(training_table(folders))
    assert [p["path"] for p in tables.record_of(out)["parents"]] == paths
    assert main(command) == 0  # nothing was trained
    assert tables.read(out, "training").num_rows == 0
