"""Tiny COMET checkpoints, tables to score, and the command line that scores them."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from routelmt import tables
from routelmt.environments import python_of
from tests.conftest import left_out
from tests.workflow.conftest import copy_project

EXAMPLE = "docs/example/experiment.yaml"
HERE = Path(__file__).parent
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
ADJECTIVES = ["tiny", "noisy", "yellow", "borrowed", "unfinished", "brave"]
NOUNS = ["kettle", "violin", "harbour", "notebook", "tractor", "lantern"]
VERBS = ["waits for", "repairs", "paints", "forgets", "carries", "measures"]
SYLLABLES = ["ба", "ку", "ро", "ми", "зе", "山", "河", "木", "雨", "村"]
Row = dict[str, str]


def sentence(draw: random.Random) -> str:
    parts = [draw.choice(x) for x in (ADJECTIVES, NOUNS, VERBS, ADJECTIVES, NOUNS)]
    return f"The {' '.join(parts[:3])} the {' '.join(parts[3:])}."


def gibberish(draw: random.Random, words: int) -> str:
    """Words of no language, in two scripts."""
    return " ".join("".join(draw.choices(SYLLABLES, k=draw.randint(1, 4))) for _ in range(words))


def make_rows() -> list[Row]:
    """Rows of very different lengths; one has a blank hypothesis, two do not fit the encoder."""
    draw = random.Random(11)
    rows = []
    for n in range(36):
        source = " ".join(sentence(draw) for _ in range(1 + n % 3))
        words = draw.randint(2, 9) * (1 + n % 3)
        rows.append({"src": source, "mt": gibberish(draw, words), "ref": gibberish(draw, words)})
    rows[4]["mt"] = ""
    rows[7]["mt"] = gibberish(draw, 150)  # longer than the encoder by itself
    rows[9]["src"] = " ".join(sentence(draw) for _ in range(4))  # only joined with the others
    rows[9]["mt"] = gibberish(draw, 16)
    rows[11]["mt"] = "雨 <pad> and </s> in the text 🦔 e\u0301"
    rows[20] = dict(rows[3])  # the same triple under another id
    return rows


@pytest.fixture(scope="session")
def comet_python() -> Path:
    reason = left_out("comet")
    if reason is not None:
        pytest.skip(reason)
    return python_of("comet").absolute()


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    return make_rows()


@pytest.fixture(scope="session")
def checkpoints(
    comet_python: Path, rows: list[Row], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Folder with a checkpoint of each kind, and expected.json."""
    out = tmp_path_factory.mktemp("checkpoints")
    (out / "rows.json").write_text(json.dumps(rows))
    run_in_comet(comet_python, HERE / "build_checkpoints.py", out)
    return out


@pytest.fixture(scope="session")
def expected(checkpoints: Path) -> dict[str, Any]:
    """COMET's own scores (0 to 1) and spans by kind."""
    found: dict[str, Any] = json.loads((checkpoints / "expected.json").read_text())
    return found


def run_in_comet(python: Path, *arguments: object) -> str:
    """Standard output of a script in the comet environment."""
    package = HERE.parents[1] / "workflow"
    done = subprocess.run(
        [str(a) for a in (python, *arguments)],
        env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(package)},
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="session")
def settings(checkpoints: Path) -> Callable[..., dict[str, Any]]:
    """The metric of the config for a kind of checkpoint."""

    def make(kind: str, **changes: Any) -> dict[str, Any]:
        return {
            "type": "comet",
            "path": str(checkpoints / kind),
            "revision": None,
            "encoder": None,
            "reference": True,
            "dtype": "float32",
            **changes,
        }

    return make


@pytest.fixture(scope="session")
def data(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with segments.parquet, and hypotheses of models `small` and `large`.

    The large model says the same as the small one in every third row.
    """
    folder = tmp_path_factory.mktemp("data")
    key = {
        "dataset": "tiny",
        "direction": "en-zh",
        "segment_id": [f"s{n}" for n in range(len(rows))],
    }
    segments = {
        **key,
        "group_id": key["segment_id"],
        "doc_id": None,
        "domain": None,
        "split": "test",
        "source": [r["src"] for r in rows],
        "reference": [r["ref"] for r in rows],
    }
    write(folder / "segments.parquet", "segments", segments)
    small = [r["mt"] for r in rows]
    large = [t if n % 3 == 0 else f"{t} 山" for n, t in enumerate(small)]
    for model, texts in (("small", small), ("large", large)):
        columns = {
            **key,
            "model": model,
            "hypothesis": texts,
            "prompt_tokens": None,
            "output_tokens": None,
            "finish_reason": None,
            "mean_logprob": float("nan"),
            "degenerate": [not t for t in texts],
        }
        write(folder / f"{model}.parquet", "hypotheses", columns)
    return folder


def write(path: Path, table: str, columns: dict[str, Any]) -> None:
    record = {
        "stage": "segments",
        "kind": "",
        "settings": {},
        "code": "",
        "packages": {},
        "parents": [],
    }
    tables.write(tables.from_columns(table, columns), path, table, record)


def score_command(data: Path, settings: dict[str, Any], out: Path, *more: object) -> list[str]:
    """The command line that scores the small model's hypotheses, or those that `more` names."""
    return [
        *(sys.executable, "-m", "routelmt", "score", "--metric", "m", "--device", "cpu"),
        *("--segments", str(data / "segments.parquet")),
        *("--hypotheses", str(data / "small.parquet")),
        *("--settings", json.dumps(settings), "--batch-tokens", "600", "--out", str(out)),
        *map(str, more),
    ]


def run_score(
    data: Path, settings: dict[str, Any], out: Path, *more: object, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        score_command(data, settings, out, *more),
        env={**os.environ, **ENVIRONMENT, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def project(tmp_path: Path, checkpoints: Path) -> Path:
    """The example of docs/, with a small COMET checkpoint as one more metric."""
    folder = copy_project(tmp_path / "project")
    config = yaml.safe_load((folder / EXAMPLE).read_text())
    config["metrics"]["tiny"] = {
        "type": "comet",
        "path": str(checkpoints / "regression"),
        "speed": {"device": "cpu", "batch_tokens": 600},
    }
    (folder / EXAMPLE).write_text(yaml.safe_dump(config))
    return folder
