"""Engines load only what is asked for, and say what is missing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from routelmt.errors import UserError
from routelmt.translate.engines import open_engine


def test_importing_the_stages_does_not_load_torch() -> None:
    code = (
        "import sys, routelmt.translate.hypotheses, routelmt.translate.signals, "
        "routelmt.translate.transformers_engine; "
        "sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_unknown_engine_is_refused(model_config: dict[str, Any], speed: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"'magic'.*transformers, vllm"):
        open_engine({**model_config, "engine": "magic"}, speed)


@pytest.mark.parametrize("path", ["/no/such/folder", "data/no/such", "./here", "nothing"])
def test_a_missing_folder_is_named(
    path: str, model_config: dict[str, Any], speed: dict[str, Any]
) -> None:
    with pytest.raises(UserError, match=f"'{path}': no such folder"):
        open_engine({**model_config, "path": path}, speed)


def test_a_hub_model_that_cannot_be_had_is_named_with_its_revision(
    model_config: dict[str, Any], speed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    model = {**model_config, "path": "nobody/nothing", "revision": "abc123"}
    with pytest.raises(UserError, match="'nobody/nothing' at revision abc123 cannot be loaded"):
        open_engine(model, speed)


@pytest.mark.parametrize("lost", ["model.safetensors", "config.json", "tokenizer.json"])
def test_an_incomplete_folder_is_refused(
    lost: str, folder: Path, tmp_path: Path, model_config: dict[str, Any], speed: dict[str, Any]
) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / lost).unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine({**model_config, "path": str(tmp_path / "copy")}, speed)


def test_weights_that_were_cut_short_are_refused(
    folder: Path, tmp_path: Path, model_config: dict[str, Any], speed: dict[str, Any]
) -> None:
    weights = shutil.copytree(folder, tmp_path / "copy") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine({**model_config, "path": str(tmp_path / "copy")}, speed)


def test_code_that_comes_with_a_model_is_never_run(
    folder: Path, tmp_path: Path, model_config: dict[str, Any], speed: dict[str, Any]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config |= {
        "model_type": "mine",
        "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"},
    }
    (copy / "config.json").write_text(json.dumps(config))
    (copy / "code.py").write_text("raise SystemExit('ran')")
    with pytest.raises(UserError, match="cannot be loaded"):
        open_engine({**model_config, "path": str(copy)}, speed)


def test_a_gpu_that_is_not_there_is_named(
    model_config: dict[str, Any], speed: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match="'cuda:0': torch sees no GPU"):
        open_engine(model_config, {**speed, "device": "cuda:0"})


def test_threads_are_set(model_config: dict[str, Any], speed: dict[str, Any]) -> None:
    import torch

    open_engine(model_config, {**speed, "threads": 1})
    assert torch.get_num_threads() == 1
