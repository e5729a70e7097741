"""vLLM and COMET live in Python environments of their own; the commands that need one enter it.

Their pins conflict with one another and with the core's, so no environment holds all three. Ready
ones stand in .venvs/NAME (see the Makefile), in a container in /opt/venvs/NAME; a Python that has
the package itself, because Snakemake started the job in a conda environment, stays as it is.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from routelmt import plugins
from routelmt.errors import UserError

FOLDER_VARIABLE = "ROUTELMT_VENVS"  # where the environments are, if not in .venvs
CORE = "../../envs/core.yaml"  # for conda, as seen from workflow/rules
IMAGE = "envs/routelmt.sif"  # made of envs/Dockerfile
_ENTERED = "ROUTELMT_ENTERED"


class Environment(NamedTuple):
    """The module by which an environment is known, and what makes it.

    conda: what `snakemake --sdm conda` makes it of, as seen from workflow/rules; image: what
    `snakemake --sdm apptainer` runs its jobs in. Without them both leave it as it is.
    """

    module: str
    setup: str
    conda: str | None = None
    image: str | None = None


_BUILT_IN: dict[str, Environment] = {
    "comet": Environment("comet", "make setup-comet", "../../envs/comet.yaml", IMAGE),
    "vllm": Environment("vllm", "make setup-vllm", "../../envs/vllm.yaml", IMAGE),
}
ENVIRONMENTS = plugins.Registry("environments", _BUILT_IN)


def python_of(name: str) -> Path:
    """The Python of a ready environment, whether it is there or not."""
    return Path(os.environ.get(FOLDER_VARIABLE, ".venvs")) / name / "bin" / "python"


def conda_file(name: str) -> str | None:
    """What an environment has for conda."""
    return ENVIRONMENTS[name].conda if name else CORE


def container_image(name: str) -> str | None:
    """What a job that needs an environment runs in as a container; None for core, as Snakemake."""
    return ENVIRONMENTS[name].image if name else None


def python_path() -> str:
    """PYTHONPATH by which another Python runs this package, whatever it has installed."""
    package = str(Path(__file__).parents[1])
    others = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    return os.pathsep.join([package, *(path for path in others if path not in ("", package))])


def enter(name: str, arguments: Sequence[str]) -> None:
    """Return if this Python has the environment's package, else run the command in its Python.

    arguments: of the command line, command first. Does not return when it changes over. Raises
    UserError that says what makes the environment.
    """
    if not name or importlib.util.find_spec(ENVIRONMENTS[name].module) is not None:
        return
    python, setup = python_of(name), ENVIRONMENTS[name].setup
    if os.environ.get(_ENTERED) == name:
        raise UserError(
            f"{python} has no module '{ENVIRONMENTS[name].module}': the environment is not whole. "
            f"Remove its folder and make it again: {setup}."
        )
    if not python.is_file():
        raise UserError(
            f"this step needs the '{name}' environment, and {python} is not there. `{setup}` makes "
            f"it; {FOLDER_VARIABLE} names another folder of environments (docs/cluster.md)."
        )
    changed = {"PYTHONPATH": python_path(), _ENTERED: name}
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(python, [str(python), "-m", "routelmt", *arguments], {**os.environ, **changed})
