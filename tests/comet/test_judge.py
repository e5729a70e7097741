"""Routers trained and chosen by one metric, judged by COMET: the whole way through the workflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml

from routelmt import tables
from routelmt.environments import FOLDER_VARIABLE
from tests.comet.conftest import EXAMPLE
from tests.workflow.conftest import run

TABLE = "results/runs/by-chrf/tables/cross_metric.parquet"


@pytest.fixture
def judged(project: Path, comet_python: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The example of docs/, whose experiment by chrF has the small COMET checkpoint as its judge."""
    config = yaml.safe_load((project / EXAMPLE).read_text())
    config["experiments"]["by-chrf"]["judge_metrics"] = ["tiny"]
    (project / EXAMPLE).write_text(yaml.safe_dump(config))
    monkeypatch.setenv(FOLDER_VARIABLE, str(comet_python.parents[2]))
    done = run(project, "--configfile", EXAMPLE, "--cores", "2", "--", TABLE, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return project


def test_comet_judges_routers_that_chrf_chose(judged: Path) -> None:
    found = tables.read(judged / TABLE, "cross_metric").to_pylist()
    gains = {
        metric: tables.read_all(
            sorted(judged.glob(f"results/gains/{metric}/**/*.parquet")), "gains"
        )
        for metric in ("chrf", "tiny")
    }
    assert {row["judge"] for row in found} == set(gains)
    own = gains["chrf"].column("gain").to_numpy()
    for metric, table in gains.items():
        assert table.column("segment_id").to_pylist() == gains["chrf"]["segment_id"].to_pylist()
        judging = table.column("gain").to_numpy()
        (row,) = (
            r for r in found
            if (r["judge"], r["router"], r["metric"], r["direction"], r["budget"])
            == (metric, "gain-oracle", "mean_delta", "average", 0.5)
        )  # fmt: skip
        k = len(own) // 2
        best = np.argsort(-own, kind="stable")[:k]  # chosen by chrF, whoever judges
        assert len(set(own[best])) == k  # no ties to be broken
        assert row["value"] == pytest.approx(judging[best].mean())
        assert row["low"] <= row["value"] <= row["high"]
    agreements = [r for r in found if r["metric"] == "kendall_tau"]
    assert {(r["judge"], r["budget"]) for r in agreements} == {("tiny", 0.25), ("tiny", 0.5)}
