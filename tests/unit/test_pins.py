"""What a run says is not pinned."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from routelmt import config
from routelmt.pins import unpinned

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paper() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((ROOT / "config.yaml").read_text())
    return found


def told(raw: dict[str, Any]) -> set[str]:
    return {line.partition(" ")[0] for line in unpinned(config.resolve(raw))}


def test_models_metrics_routers_and_their_encoders_count(paper: dict[str, Any]) -> None:
    for section in ("models", "metrics", "routers"):
        for entry in paper[section].values():
            entry.pop("revision", None)
            entry.pop("encoder_revision", None)
    assert told(paper) == {
        "models.lmt-60-0.6b", "models.lmt-60-8b", "metrics.xcomet-xxl", "metrics.comet-22",
        "metrics.xcomet-xxl.encoder", "metrics.comet-22.encoder", "routers.xlmr-gain",
        "routers.xlmr-quality", "routers.sentinel-src-24", "routers.sentinel-src-25",
        "routers.sentinel-src-24.encoder", "routers.sentinel-src-25.encoder",
    }  # fmt: skip


def test_folders_and_what_no_experiment_uses_do_not(paper: dict[str, Any], tmp_path: Path) -> None:
    before = told(paper)
    assert "models.lmt-60-8b" in before
    paper["models"]["lmt-60-8b"]["path"] = str(tmp_path)
    spec = paper["experiments"]["paper"]
    spec["routers"] = [r for r in spec["routers"] if r != "sentinel-src-24"]
    assert told(paper) == before - {"models.lmt-60-8b", "routers.sentinel-src-24"}
    # A checkpoint in a folder can still name an encoder on the hub.
    paper["metrics"]["comet-22"] |= {"path": str(tmp_path), "encoder_revision": None}
    assert "metrics.comet-22.encoder" in told(paper)
    paper["metrics"]["comet-22"]["encoder"] = str(tmp_path)
    assert "metrics.comet-22.encoder" not in told(paper)
