"""What a config needs of a machine, on machines that have it and lack it."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from routelmt import config
from routelmt.commands import doctor as command
from routelmt.doctor import FAILURE, OK, WARNING, examine

ROOT = Path(__file__).parents[2]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with nothing in it, and programs that are only those of its `bin`."""
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE", "ROUTELMT_VENVS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def program(folder: Path, name: str, prints: str) -> None:
    file = folder / "bin" / name
    file.write_text(f"#!/bin/sh\n/bin/cat <<'END'\n{prints}\nEND\n")
    file.chmod(0o755)


def found(resolved: dict[str, Any]) -> dict[str, str]:
    return {finding.what: finding.state for finding in examine(resolved)}


def test_the_demo_lacks_only_its_text(machine: Path) -> None:
    (machine / "data").symlink_to(ROOT / "data")
    states = found(config.load(ROOT / "profiles/demo/experiment.yaml"))
    assert FAILURE not in states.values()
    assert not any(what.startswith(("GPUs", "Slurm")) for what in states)


def test_a_bare_machine_lacks_what_the_paper_needs(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paper = config.load(ROOT / "config.yaml")
    states = found(paper)
    assert states["GPUs: 0 here, a job asks for 1"] == FAILURE
    assert states["environment 'vllm' (.venvs/vllm/bin/python)"] == FAILURE
    assert states["a token for the gated 'bouquet'"] == FAILURE
    assert states["models.lmt-60-8b: NiuTrans/LMT-60-8B in the hub's cache"] == WARNING
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert found(paper)["models.lmt-60-8b: NiuTrans/LMT-60-8B in the hub's cache"] == FAILURE


def test_a_machine_that_has_it_is_told_so(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(machine, "nvidia-smi", "NVIDIA A100, 81920 MiB")
    program(machine, "sbatch", "")
    program(machine, "scontrol", "MessageTimeout = 10 sec\nMinJobAge = 300 sec")
    (machine / ".venvs/vllm/lib/python3.11/site-packages/vllm").mkdir(parents=True)
    (machine / "data/raw/bouquet").mkdir(parents=True)
    snapshot = machine / "hub/hub/models--NiuTrans--LMT-60-8B/snapshots/abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    states = found(config.load(ROOT / "config.yaml"))
    assert states["GPUs: NVIDIA A100, 81920 MiB"] == OK
    assert states["Slurm: remembers ended jobs for 300 s"] == OK
    assert states["environment 'vllm' (.venvs/vllm/bin/python)"] == OK
    assert states["source 'bouquet' in data/raw"] == OK
    assert "a token for the gated 'bouquet'" not in states
    assert states["models.lmt-60-8b: NiuTrans/LMT-60-8B in the hub's cache"] == OK


def test_keys_are_asked_for_and_never_printed(
    machine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    del config["experiments"]["tiers"]  # costs in seconds of an endpoint are not to be had
    endpoint = {"engine": "openai", "path": "big", "base_url": "https://example.org/v1"}
    config["models"]["lmt-60-8b"] = endpoint | {"prompt": "{text}"}
    (machine / "mine.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    parser = argparse.ArgumentParser()
    command.configure(parser)
    assert command.run(parser.parse_args(["--config", "mine.yaml"])) == 1
    said = capsys.readouterr().out
    assert "ok       models.lmt-60-8b: OPENAI_API_KEY is set" in said
    assert "secret" not in said and "make setup-comet" in said
