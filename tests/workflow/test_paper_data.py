"""The paper's data out of one command, from a local hub that serves upstream's layouts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from routelmt import tables
from tests.hub import layouts
from tests.hub.server import Hub
from tests.workflow.conftest import copy_project, job_counts, run

DIRECTIONS = ("en-zh", "en-ru", "zh-en", "ru-en")
TESTS = ("flores", "wmt24pp", "bouquet")
TRAIN, VALID = 40, 10  # pairs of each language; the tests have their real sizes
TOKEN = "hf_accepted"  # of the account that accepted the licence


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    """All four datasets, at the revisions of data/sources.yaml; BOUQuET asks for a licence."""
    folder = tmp_path_factory.mktemp("upstream")
    layouts.write_commt(folder / "commt", TRAIN, valid_rows=VALID)
    layouts.write_wmt24pp(folder / "wmt24pp", 998)
    layouts.write_bouquet(folder / "bouquet", 504, test_rows=854)
    layouts.write_flores_tarball(folder / "flores", 1012)
    layouts.pack_tarball(folder / "flores", folder / "flores.tar.gz")
    with Hub() as hub:
        hub.add("NiuTrans/ComMT", folder / "commt")
        hub.add("google/wmt24pp", folder / "wmt24pp")
        hub.add("facebook/bouquet", folder / "bouquet", gated=True)
        hub.add_file("flores200_dataset.tar.gz", (folder / "flores.tar.gz").read_bytes())
        yield hub


@pytest.fixture(scope="module")
def fetched(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose data has been fetched on the login node."""
    folder = copy_project(tmp_path_factory.mktemp("paper"))
    config = yaml.safe_load((folder / "config.yaml").read_text())
    archive = hub.plain["flores200_dataset.tar.gz"]
    config["sources"] = {
        "flores": {
            "url": f"{hub.endpoint}/files/flores200_dataset.tar.gz",
            "size": len(archive),
            "sha256": sha256(archive).hexdigest(),
        },
        "wmt24pp": {
            "revision": hub.repositories["google/wmt24pp"].commit,
            "files": ["en-zh_CN.jsonl", "en-ru_RU.jsonl"],
        },
        "commt": {"revision": hub.repositories["NiuTrans/ComMT"].commit[:7]},
        "bouquet": {"revision": hub.repositories["facebook/bouquet"].commit},
    }
    config["datasets"]["commt-train"]["rows"] = TRAIN
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    result = fetch_all(folder, hub, HF_TOKEN=TOKEN)
    assert result.returncode == 0, result.stderr
    assert TOKEN not in result.stdout + result.stderr
    return folder


def fetch_all(folder: Path, hub: Hub, **environment: str) -> subprocess.CompletedProcess[str]:
    known = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.run(
        ["timeout", "-k", "5", "200", sys.executable, "-m", "routelmt", "fetch", "--all"],
        cwd=folder,
        env=known
        | {"PYTHONPATH": str(folder / "workflow"), "HF_ENDPOINT": hub.endpoint}
        | {"HF_HOME": str(folder / "hf")}
        | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_a_token_the_licence_page_is_named_and_the_rest_is_there(
    fetched: Path, hub: Hub, tmp_path: Path
) -> None:
    folder = copy_project(tmp_path)
    (folder / "config.yaml").write_text((fetched / "config.yaml").read_text())
    result = fetch_all(folder, hub)
    assert result.returncode == 1
    assert "https://huggingface.co/datasets/facebook/bouquet" in result.stderr
    assert "HF_TOKEN" in result.stderr
    there = sorted(p.name for p in (folder / "data/raw").iterdir() if not p.name.startswith("."))
    assert there == ["commt", "flores", "wmt24pp"]


def test_offline_everything_is_read_and_nothing_is_fetched(fetched: Path) -> None:
    planned = run(fetched, "--dry-run", "segments")
    assert job_counts(planned.stdout + planned.stderr) == {"read_segments": 7 * 4}
    done = run(fetched, "--cores", "2", "segments", timeout=300)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]

    def read(dataset: str, direction: str) -> list[dict]:
        path = fetched / f"data/segments/{dataset}/{direction}.parquet"
        return tables.read(path, "segments").to_pylist()

    for direction in DIRECTIONS:
        assert sum(len(read(name, direction)) for name in TESTS) == 3368
        assert len(read("commt-train", direction)) == TRAIN
        assert len(read("commt-valid", direction)) == VALID
    for dataset in (*TESTS, "commt-train"):
        there, back = read(dataset, "en-zh"), read(dataset, "zh-en")
        assert {(r["group_id"], r["source"], r["reference"]) for r in there} == {
            (r["group_id"], r["reference"], r["source"]) for r in back
        }


def test_another_number_of_rows_stops_with_both_numbers(fetched: Path) -> None:
    config = (fetched / "config.yaml").read_text()
    (fetched / "short.yaml").write_text(config.replace("rows: 1358", "rows: 1357"))
    target = "data/segments/bouquet/en-ru.parquet"
    result = run(fetched, "--configfile", "short.yaml", "--cores", "1", target)
    assert result.returncode == 1
    assert "1358 segments" in result.stdout + result.stderr
    assert "expects 1357 ('datasets.bouquet.rows')" in result.stdout + result.stderr


def test_a_local_copy_replaces_a_download(fetched: Path, tmp_path: Path) -> None:
    layouts.write_bouquet(tmp_path / "mine", 504, test_rows=854, layout="benchmark")
    config = yaml.safe_load((fetched / "config.yaml").read_text())
    config["sources"]["bouquet"] = {"local": str(tmp_path / "mine")}
    (fetched / "local.yaml").write_text(yaml.safe_dump(config))
    target = "data/segments/bouquet/zh-en.parquet"
    result = run(
        fetched,
        "--configfile",
        "local.yaml",
        "--cores",
        "1",
        "--forcerun",
        "read_segments",
        "--",
        target,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    record = tables.record_of(fetched / target)
    assert record["parents"][0]["path"] == str(tmp_path / "mine")
