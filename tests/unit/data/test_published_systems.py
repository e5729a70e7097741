"""Real systems, where the files are at hand: the workflow's numbers against a second reading.

None of the data is part of the project; without the folder these tests are skipped.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from routelmt.config import resolve
from tests.published import by_commands, by_hand

ROOT = Path(__file__).parents[3]
SHARED = ROOT.parent / "shared" / "data"
WMT25, PEOPLE = SHARED / "wmt25", SHARED / "human_pairs" / "wmt24.en-zh.esa.jsonl"
ROUTERS = ("gain-oracle", "quality-oracle", "qe-deferral")

pytestmark = pytest.mark.skipif(not WMT25.is_dir(), reason=f"needs WMT's files in {SHARED}")


def shipped() -> dict[str, Any]:
    text = (ROOT / "profiles" / "wmt25" / "experiment.yaml").read_text()
    config: dict[str, Any] = yaml.safe_load(text)
    own = {"local": str(WMT25)}
    return config | {"sources": {"wmt25": own, "wmt25-human": own}}


@pytest.mark.parametrize("ladder", ["qwen", "tower"])
def test_a_ladder_has_the_numbers_of_an_independent_script(
    ladder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    config = shipped()
    spec = config["experiments"][ladder] | {"routers": [*ROUTERS, "random"]}
    spec = spec | {"judge_metrics": [], "bootstrap": {"replicates": 100}}
    config["experiments"] = {ladder: spec}
    found = by_commands.routers(config, ladder)
    known = by_hand.by_pair(WMT25, spec["small"], spec["large"])
    assert len(known) == 4
    for pair, expected in known.iterrows():
        direction = "-".join(side.partition("_")[0] for side in str(pair).split("-"))
        assert found["random", direction] == pytest.approx(expected["mean"], abs=1e-6)
        for router in ROUTERS:
            assert found[router, direction] == pytest.approx(expected[router], abs=1e-6), router


def test_every_experiment_of_the_profile_has_its_systems() -> None:
    found = resolve(shipped())
    assert len(found["models"]) == len(list((WMT25 / "data" / "automatic_scores").iterdir()))


def as_mt_metrics_eval(folder: Path) -> None:
    """WMT24's ESA of English into Chinese in the layout of mt-metrics-eval."""
    rows = [json.loads(line) for line in PEOPLE.read_text().splitlines()]
    files = {
        "sources/en-zh.txt": [row["src"] for row in rows],
        "documents/en-zh.docs": [f"{row['domain']} {row['doc']}" for row in rows],
        "references/en-zh.refA.txt": [row["ref"] for row in rows],
        "human-scores/en-zh.esa.seg.score": [
            f"{system} {row['score'][system]}" for system in rows[0]["score"] for row in rows
        ],
    }
    for system in rows[0]["mt"]:
        files[f"system-outputs/en-zh/{system}.txt"] = [row["mt"][system] for row in rows]
    for name, lines in files.items():
        path = folder / "wmt24" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(line + "\n" for line in lines))


def test_people_of_wmt24_find_what_they_should(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    as_mt_metrics_eval(tmp_path / "mtme")
    source = {"source": "mt-metrics-eval", "test_set": "wmt24"}
    config = {
        "languages": {"en": "English", "zh": "Chinese"},
        "directions": ["en-zh"],
        "sources": {"mt-metrics-eval": {"local": "mtme"}},
        "datasets": {"wmt24": {**source, "rows": 634}},
        "models": {"mt-metrics-eval/*": {"test_set": "wmt24"}},
        "metrics": {"esa": {"type": "published", **source, "name": "esa", "range": [0, 100]}},
        "routers": {name: {"type": name} for name in (*ROUTERS[:2], "random")},
        "experiments": {
            "people": {
                "small": "IKUN-C", "large": "GPT-4", "metric": "esa", "test": ["wmt24"],
                "routers": [*ROUTERS[:2], "random"], "bootstrap": {"replicates": 100},
            }
        },
    }  # fmt: skip
    assert len(resolve(config)["models"]) == 12  # refA has scores, and is no system
    found = by_commands.routers(config, "people")
    values = [found[router, "en-zh"] for router in ("random", *ROUTERS[:2])]
    assert [round(values[0], 2), *(round(v, 1) for v in values[1:])] == [8.88, 34.3, 31.8]
    rows = pd.DataFrame([r["score"] for r in map(json.loads, PEOPLE.read_text().splitlines())])
    expected = by_hand.ladder(rows["IKUN-C"], rows["GPT-4"], rows["IKUN-C"])
    assert values == pytest.approx([expected[n] for n in ("mean", *ROUTERS[:2])], abs=1e-6)
