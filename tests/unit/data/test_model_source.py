"""Pretrained models from wheels: what is unpacked, when it is another, and who waits for it."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from routelmt import config, pins
from routelmt.data.fetch import difference, fetch
from routelmt.errors import UserError
from routelmt.plan import Plan
from routelmt.provenance import file_hash

FILES = {"config.json": "{}", "1_Pooling/config.json": "[]", "model.safetensors": "weights"}


def entry(folder: Path, monkeypatch: pytest.MonkeyPatch, **changes: Any) -> dict[str, Any]:
    """A source whose wheel pip finds in a folder."""
    name = "tiny_reader-0.1.0-py3-none-any.whl"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as wheel:
        for path, text in FILES.items():
            wheel.writestr(f"tiny_reader/model/{path}", text)
        wheel.writestr("tiny_reader/__init__.py", "")
        wheel.writestr(
            "tiny_reader-0.1.0.dist-info/METADATA",
            "Metadata-Version: 2.1\nName: tiny-reader\nVersion: 0.1.0\n",
        )
        wheel.writestr(
            "tiny_reader-0.1.0.dist-info/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    wheel = {"package": "tiny-reader", "version": "0.1.0", "file": name,
             "size": (folder / name).stat().st_size, "sha256": file_hash(folder / name)}  # fmt: skip
    return {"kind": "model", "model": "tiny_reader/model", "files": [wheel]} | changes


def test_a_folder_of_a_wheel_is_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, out = entry(tmp_path / "wheels", monkeypatch), tmp_path / "raw/tiny"
    fetch("tiny", source, out)
    assert {
        p.relative_to(out).as_posix(): p.read_text()
        for p in out.rglob("*.*")
        if p.name != "SOURCE.json"
    } == FILES
    assert difference("tiny", source, out) == ""
    assert not list(out.parent.glob(".*"))
    other = copy.deepcopy(source)
    other["files"][0]["sha256"] = "0" * 64
    assert difference("tiny", other, out) == "the entry has other 'files'"
    (out / "model.safetensors").write_text("w")
    assert "model.safetensors is missing or has another size" in str(
        difference("tiny", source, out)
    )


def test_a_wheel_without_the_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = entry(tmp_path / "wheels", monkeypatch, model="tiny_reader/other")
    with pytest.raises(UserError, match="tiny_reader/other"):
        fetch("tiny", source, tmp_path / "raw/tiny")
    assert not (tmp_path / "raw/tiny").exists()
    with pytest.raises(UserError, match="needs 'model'"):
        fetch("tiny", {k: v for k, v in source.items() if k != "model"}, tmp_path / "raw/tiny")


def test_models_and_encoders_wait_for_their_source() -> None:
    raw = yaml.safe_load(Path("profiles/demo/experiment.yaml").read_text())
    raw["models"]["reader"] = {
        "engine": "transformers",
        "path": "data/raw/smollm2",
        "prompt": "{text}",
    }
    raw["routers"]["entropy"]["base"] = "reader"
    raw["routers"]["minilm"] = {"type": "encoder", "target": "gain", "path": "data/raw/minilm"}
    raw["experiments"]["demo"]["routers"] += ["minilm"]
    resolved = config.resolve(raw)
    plan = Plan(resolved)
    assert plan.weights("reader") == ["data/raw/smollm2"]
    assert plan.own_weights("minilm") == ["data/raw/minilm"]
    assert plan.sources() == ["gettext", "smollm2", "minilm"]
    assert pins.unpinned(resolved) == []
    # A folder of the user's own there is one like any other.
    assert config.fetched_model(resolved, "data/raw/gettext") is None
    assert config.fetched_model(resolved, "elsewhere/smollm2") is None
    assert config.fetched_model(resolved, None) is None
