"""Settings of all tests, and which of the project's environments they ran in."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import settings

from routelmt.environments import ENVIRONMENTS, python_of

# A busy machine is no failure: examples are not timed.
settings.register_profile("routelmt", deadline=None)
settings.load_profile("routelmt")

ROOT = Path(__file__).parents[1]
# Whole experiments, run once for all tests that look at them.
EXPERIMENTS = {"finished", "example", "paper", "local", "smoke_gpu", "demo_full"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With several processes: a file's tests stay together, and one process begins with the runs."""
    if not hasattr(config, "workerinput"):
        return

    def group(item: pytest.Item) -> str:
        runs = EXPERIMENTS & set(getattr(item, "fixturenames", ()))
        return "experiments" if runs else item.nodeid.split("::")[0]

    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    items.sort(key=lambda item: group(item) != "experiments")


def left_out(name: str) -> str | None:
    """Why an environment is not there; None if it is."""
    folder = (ROOT / python_of(name)).parents[1]
    if (folder / "bin/python").is_file():
        return None
    note = folder.with_name(f"{folder.name}.left-out")  # of envs/make_env.py
    why = note.read_text() if note.is_file() else f"`{ENVIRONMENTS[name].setup}` makes it"
    return f"{name} is left out: {why.strip()}"


def contents(python: str | Path) -> str:
    """Versions of Python and torch in an environment."""
    ask = "import sys, importlib.metadata as m; print(sys.version.split()[0], m.version('torch'))"
    said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=True).stdout
    return "Python {}, torch {}".format(*said.split())


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """After a run of all tests: the environments, and the tests of one that is left out."""
    if config.args_source != pytest.Config.ArgsSource.TESTPATHS:
        return
    terminalreporter.section("environments")
    terminalreporter.line(f"core: {contents(sys.executable)}")
    for name in ENVIRONMENTS:
        reason = left_out(name)
        if reason is None:
            terminalreporter.line(f"{name}: {contents(ROOT / python_of(name))}")
            continue
        skipped = terminalreporter.stats.get("skipped", [])
        files = Counter(r.nodeid.split("::")[0] for r in skipped if reason in str(r.longrepr))
        tests = ", ".join(f"{number} of {file}" for file, number in files.items())
        terminalreporter.line(f"{reason}; without it, not run: {tests or 'none'}", red=True)
