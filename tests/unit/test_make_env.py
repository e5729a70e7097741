"""envs/make_env.py with real pip and real environments, from a folder of tiny wheels: no network."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "envs/make_env.py"
LINUX = sys.platform.startswith("linux")
PYTHON = ".".join(map(str, sys.version_info[:2]))
MODULES = {"comet": "1", "pyarrow": "1", "yaml": "1", "tqdm": "1", "jsonschema": "1"}


class Place:
    """A folder with the script, a lock of COMET's environment, and wheels that pip alone finds."""

    def __init__(self, root: Path) -> None:
        self.root, self.folder, self.path = root, root / "made/comet", os.environ["PATH"]
        (root / "wheels").mkdir()
        shutil.copy(SCRIPT, root)
        for name, version in {**MODULES, "setuptools": "80.0", "torch": "1.0"}.items():
            self.wheel(name, version)
        self.lock(PYTHON)

    def wheel(self, name: str, version: str, text: str = "") -> None:
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(self.root / f"wheels/{name}-{version}-py3-none-any.whl", "w") as file:
            file.writestr(f"{name}.py", text)
            file.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
            )
            file.writestr(
                f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
            )
            file.writestr(f"{info}/RECORD", "")

    def lock(self, pythons: str, torch: str = "1.0") -> None:
        lines = [f"# Python: {pythons}", "# Download: 3 GB", f"torch=={torch}", "setuptools==80.0"]
        lines += [f"{name}=={version}" for name, version in MODULES.items()]
        (self.root / "comet.txt").write_text("\n".join(lines) + "\n")

    def make(self, *options: str) -> subprocess.CompletedProcess[str]:
        pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.root / "wheels")}
        nothing = {"PIP_CONFIG_FILE": os.devnull, "HOME": str(self.root), "PATH": self.path}
        return subprocess.run(
            [sys.executable, str(self.root / "make_env.py"), "comet", str(self.folder), *options],
            env={**os.environ, **pip, **nothing},
            capture_output=True,
            text=True,
            timeout=400,
        )

    def torch(self) -> str:
        (found,) = self.folder.glob("lib/python*/site-packages/torch-*.dist-info")
        return found.name

    @property
    def note(self) -> Path:
        return self.folder.with_name("comet.left-out")

    def reason(self) -> str:
        """Why it was left out, and nothing of it is there."""
        assert not self.folder.exists()
        return self.note.read_text()


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.skipif(not LINUX, reason="elsewhere PyPI's torch is the one for CPUs")
def test_torch_for_cpus_where_it_can_be_had_else_pypis(place: Place) -> None:
    done = place.make("--torch", "cpu")
    assert done.returncode == 0, done.stderr
    assert f"Python {PYTHON}" in done.stdout and "to download: 3 GB" in done.stdout
    assert "no torch==1.0+cpu for this Python" in done.stdout
    assert "so torch is PyPI's build for CUDA" in done.stdout
    assert place.torch() == "torch-1.0.dist-info"
    assert place.make("--torch", "cpu").stdout == place.make().stdout == ""  # nothing to be done

    place.lock(PYTHON, "1.0+cpu")  # another lock, for which PyPI's will not do
    done = place.make()
    assert done.returncode == 1 and "IS LEFT OUT: needs torch 1.0+cpu" in done.stderr
    assert place.reason().startswith("needs torch 1.0+cpu, which https://download.pytorch.org")

    place.wheel("torch", "1.0+cpu")
    assert place.make().returncode == 0 and place.torch() == "torch-1.0+cpu.dist-info"
    assert not place.note.exists()


def test_what_pip_or_an_import_says_is_the_reason(place: Place) -> None:
    place.wheel("comet", "1", "import numpy_of_long_ago")
    assert place.make().returncode == 1
    assert place.reason() == "ModuleNotFoundError: No module named 'numpy_of_long_ago'\n"
    (place.root / "wheels/tqdm-1-py3-none-any.whl").unlink()
    assert place.make("--torch", "cuda").returncode == 1
    assert place.reason() == "ERROR: No matching distribution found for tqdm==1\n"


def test_another_interpreter_of_the_machine_takes_over(place: Place) -> None:
    place.lock("2.9 2.8")
    assert place.make().returncode == 1
    assert place.reason().startswith(f"needs Python 2.9 or 2.8 with venv; this is {PYTHON}, and no")

    folder = place.root / "bin"  # one that makes no environments; one of an accepted version
    folder.mkdir()
    for name, answer in {"python2.9": "exit 1", "python2.8": "echo 2.8"}.items():
        text = f'#!/bin/sh\ncase "$2" in *ensurepip*) {answer};; *) echo full >&2; exit 2;; esac\n'
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    place.path = f"{folder}{os.pathsep}{place.path}"
    done = place.make("--torch", "cuda")
    assert done.returncode == 1 and place.reason() == "full\n"
    assert f"Python 2.8 ({folder}/python2.8), as Python {PYTHON} will not do;" in done.stdout


def test_it_starts_in_an_older_python_to_find_a_newer_one() -> None:
    ast.parse(SCRIPT.read_text(), feature_version=(3, 8))
