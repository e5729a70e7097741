"""The folder of a trained router: what is damaged in it is named, never used."""

from __future__ import annotations

import json
import math
import os
import shutil
from pathlib import Path

import pytest
from router_toys import SPEED, unsealed

from routelmt.errors import UserError
from routelmt.routers.artifact import atomic_folder, read_record, write_record
from routelmt.routers.deploy import load_router

ASKED = ["en-zh"], ["open the file"]


def flip(path: Path) -> None:
    """One bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.fixture
def copy(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained[0], tmp_path / "copy"))


@pytest.mark.parametrize(
    "name",
    ["head.safetensors", "adapter_model.safetensors", "adapter_config.json", "history.jsonl"],
)
def test_a_flipped_bit_or_a_missing_file_is_named(copy, name):
    flip(copy / name)
    with pytest.raises(UserError, match=rf"copy/{name}: damaged or .*; copy the router's folder"):
        load_router(copy, speed=SPEED)
    (copy / name).unlink()
    with pytest.raises(UserError, match=rf"copy/{name}: missing \(No such file"):
        load_router(copy, speed=SPEED)


def test_a_changed_number_of_the_record_is_found(copy):
    record = json.loads((copy / "router.json").read_text())
    (copy / "router.json").write_text(json.dumps(record | {"scale": record["scale"] * 2}))
    with pytest.raises(UserError, match=r"copy/router\.json: was changed after training"):
        load_router(copy, speed=SPEED)


def test_the_card_may_be_written_on_and_files_may_be_added(copy):
    (copy / "README.md").write_text("license: mit\n")
    (copy / ".gitattributes").write_text("*.safetensors filter=lfs\n")
    assert load_router(copy, speed=SPEED).record["type"] == "lora"


def test_a_router_without_hashes_is_used_and_told(trained, tmp_path, capsys):
    old = load_router(unsealed(trained[0], tmp_path / "old"), speed=SPEED)
    said = capsys.readouterr().err
    assert said.count("old: trained before a router's files were hashed") == 1
    new = load_router(trained[0], speed=SPEED)
    assert "hashed" not in capsys.readouterr().err
    assert old.score(*ASKED)[0].tolist() == new.score(*ASKED)[0].tolist()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "magic"}, "'type' is 'magic', which is no type of trained router"),
        ({"type": "random"}, "'type' is 'random', which is no type of trained router"),
        ({"type": ["lora"]}, r"'type' is \['lora'\], not the name of a router type"),
        ({"directions": []}, r"'directions' is \[\], not a list of directions"),
        ({"directions": "en-zh"}, "'directions' is 'en-zh', not a list"),
        ({"base": {"path": "x"}}, "'base' is {'path': 'x'}, not a base model with path and"),
        ({"base": None}, "'base' is None, not a base model"),
        ({"dtype": "float3"}, "'dtype' is 'float3', not a number format"),
        ({"scale": "1"}, "'scale' is '1', not a number"),
        ({"shift": math.nan}, "'shift' is nan, not a number"),
        ({"target": 3}, "'target' is 3, not the name of a target"),
    ],
)
def test_a_field_that_cannot_be_is_named(trained, tmp_path, changes, reason):
    folder = unsealed(trained[0], tmp_path / "r", **changes)
    with pytest.raises(UserError, match=rf"r/router\.json: {reason}"):
        load_router(folder, speed=SPEED)


@pytest.mark.parametrize(
    "name", ["type", "target", "directions", "base", "prompt", "languages", "dtype", "max_length",
             "prompt_fingerprint", "hyperparameters", "shift", "scale"]
)  # fmt: skip
def test_a_field_that_is_missing_is_named(trained, tmp_path, name):
    folder = unsealed(trained[0], tmp_path / "r")
    record = json.loads((folder / "router.json").read_text())
    del record[name]
    (folder / "router.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=rf"r/router\.json: '{name}' is missing; copy the router"):
        load_router(folder, speed=SPEED).score(*ASKED)


@pytest.mark.parametrize(
    ("text", "reason"),
    [("[]", "expected an object, found list"), ("{", "damaged"), ("[" * 10_000, "damaged"),
     ("{}", "format None")],
    ids=["list", "half", "deep", "empty"],
)  # fmt: skip
def test_a_record_that_is_none_is_refused(tmp_path, text, reason):
    (tmp_path / "router.json").write_text(text)
    with pytest.raises(UserError, match=rf"router\.json: {reason}"):
        load_router(tmp_path)


@pytest.mark.parametrize(
    ("shape", "value", "reason"),
    [
        ((1, 32), math.nan, "'weight' has numbers that are not finite"),
        ((2, 32), 0.0, "router.json speaks of a linear layer with 1 outputs"),
        ((32,), 0.0, "router.json speaks of a linear layer"),
        ((1, 31), 0.0, "reads states of 31 units, base model .* has 32"),
    ],
)
def test_a_head_of_another_shape_or_of_no_numbers_is_refused(
    trained, tmp_path, shape, value, reason
):
    import torch
    from safetensors.torch import save_file

    folder = unsealed(trained[0], tmp_path / "r")
    head = {"weight": torch.full(shape, value), "bias": torch.zeros(shape[:1])}
    save_file(head, folder / "head.safetensors")
    with pytest.raises(UserError, match=rf"head\.safetensors: .*{reason}"):
        load_router(folder, speed=SPEED)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"peft_type": "NONE"}', '{"peft_type": "LORA", "r": "four"}']
)
def test_settings_of_an_adapter_that_cannot_be_read_are_named(trained, tmp_path, text):
    folder = unsealed(trained[0], tmp_path / "r")
    (folder / "adapter_config.json").write_text(text)
    with pytest.raises(UserError, match=r"r: adapter_config\.json and .* are no adapter of base"):
        load_router(folder, speed=SPEED)


def test_a_relative_base_is_found_from_any_directory(trained, base, tmp_path, monkeypatch):
    root = tmp_path / "project"
    shutil.copytree(base, root / "models" / "small")
    record = read_record(trained[0])
    moved = {**record["base"], "path": "models/small"}
    folder = unsealed(trained[0], root / "results" / "seed0", base=moved)
    found = []
    for place in (root, tmp_path, Path("/")):
        monkeypatch.chdir(place)
        found.append(load_router(folder, speed=SPEED).score(*ASKED)[0].tolist())
    monkeypatch.chdir(folder)
    found.append(load_router(".", speed=SPEED).score(*ASKED)[0].tolist())
    assert found == [load_router(trained[0], speed=SPEED).score(*ASKED)[0].tolist()] * 4


def test_files_have_the_mode_that_the_umask_says(tmp_path):
    before = os.umask(0o027)
    try:
        with atomic_folder(tmp_path / "r") as folder:
            write_record(folder, {"type": "x"})
            (folder / "weights").touch(mode=0o600)
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "r").iterdir()}
    assert modes == {"router.json": 0o640, "weights": 0o640}
