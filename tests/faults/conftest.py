"""A trained router that loads in a second, and requests for it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "unit/routers"))

from router_toys import LANGUAGES, SPEED, toy

from routelmt.routers import ngram
from routelmt.routers.inputs import RouterContext

SPEC = {"type": "ngram", "target": "gain", "ngrams": [1, 2], "columns": 2**10, "alpha": 1.0}


@pytest.fixture(scope="session")
def router(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its folder."""
    out: Path = tmp_path_factory.mktemp("router") / "seed0"
    ngram.train(SPEC, toy(200, 0), toy(40, 1), RouterContext({}, LANGUAGES, SPEED, 0), out)
    return out


def requests(rows: int, seed: int) -> list[str]:
    """JSON lines."""
    inputs = toy(rows, seed)
    pairs = zip(inputs.directions, inputs.sources, strict=True)
    return [json.dumps({"id": str(i), "direction": d, "source": s})
            for i, (d, s) in enumerate(pairs)]  # fmt: skip


@pytest.fixture
def traffic() -> list[str]:
    """1,000 requests: more than a pipe holds the answers of."""
    return requests(1000, 5)


@pytest.fixture
def calibration(tmp_path: Path) -> Path:
    """Held-out requests."""
    path = tmp_path / "held-out.jsonl"
    path.write_text("\n".join(requests(150, 6)) + "\n")
    return path
