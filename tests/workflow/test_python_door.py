"""A run in Python is what its files say, and the notebook of docs/ runs on it."""

from __future__ import annotations

import json
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from routelmt import Run, tables
from routelmt.errors import UserError

ROOT = Path(__file__).parents[2]
KEY = list(tables.JOIN_KEY)


@pytest.fixture
def run(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(finished)
    return Run("results/runs/demo")


def test_every_table_is_a_frame_with_what_its_columns_mean(run: Run) -> None:
    assert {"routers", "datasheet", "costs"} < set(run.tables)
    for name in run.tables:
        frame = run.table(name)
        expected = tables.read(run.folder / f"tables/{name}.parquet", name).to_pandas()
        pd.testing.assert_frame_equal(frame, expected)
        assert list(frame.attrs["columns"]) == list(frame.columns)
        assert all(frame.attrs["columns"].values())
    assert any("fewer than" in note for note in run.table("transfer").attrs["notes"])


def test_requests_join_to_what_the_gains_are(run: Run) -> None:
    gains, scores = run.gains(), run.scores()
    assert set(scores.model) == {"demo-small", "demo-large"} == set(run.hypotheses().model)
    wide = scores.pivot(index=KEY, columns="model", values="score")
    joined = gains.set_index(KEY).join(wide, validate="1:1")
    assert (joined["demo-large"] - joined["demo-small"] == joined.gain).all()
    asked = run.predictions()
    assert len(asked) == len(gains) * len(asked[["router", "seed"]].drop_duplicates())
    assert len(run.segments().merge(gains, on=KEY, validate="1:1")) == len(gains)


def test_an_explanation_shows_what_each_model_said(run: Run) -> None:
    """Scores of the large model know those of the small one, which they may have taken over."""
    said = run.hypotheses().set_index([*KEY, "model"]).hypothesis
    best = run.gains().nlargest(1, "gain").iloc[0]
    found = run.explain(best.segment_id, dataset=best.dataset, direction=best.direction)
    for size in ("small", "large"):
        output = found.outputs[size]
        assert output.model == f"demo-{size}"
        assert output.hypothesis == said[(*best[KEY], output.model)]
        assert output.scores[0]["score"] == best[f"quality_{size}"]


def test_the_audit_and_the_figures_are_those_of_the_workflow(run: Run) -> None:
    assert run.audit(quick=True).broken == []
    figure = run.figure("pareto", palette="tol-bright", width=4)
    assert figure.get_figwidth() == 4
    plt.close("all")


def test_what_is_not_there_is_said(run: Run, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"it has no tables/routers\.parquet"):
        Run(tmp_path)
    with pytest.raises(UserError, match="no table 'router'; there are breakdown"):
        run.table("router")
    with pytest.raises(UserError, match="no sweep 'x'; there are none"):
        run.sweep("x")
    with pytest.raises(UserError, match="figure 'x' is not one of datasheet"):
        run.figure("x")
    with pytest.raises(UserError, match="style colour: allowed are width"):
        run.figure("pareto", colour="red")


def test_the_notebook_runs(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    cells = json.loads((ROOT / "docs/notebook.ipynb").read_text(encoding="utf-8"))["cells"]
    known: dict[str, object] = {}
    for cell in cells:
        if cell["cell_type"] == "code":
            assert len(cell["source"]) <= 11
            exec(compile("".join(cell["source"]), "notebook", "exec"), known)
    assert "0 broken links" in capsys.readouterr().out
    plt.close("all")
