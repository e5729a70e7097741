"""Settings of all tests, and which of the project's environments they ran in."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from routelmt.environments import ENVIRONMENTS, python_of

# A busy machine is no failure: examples are not timed.
settings.register_profile("routelmt", deadline=None)
settings.load_profile("routelmt")

ROOT = Path(__file__).parents[1]
# Tests that look at whole experiments, each run once for all of them.
EXPERIMENTS = "tests/workflow/"


def group(nodeid: str) -> str:
    """What one process does of a run by several: a file, or all that looks at experiments."""
    return EXPERIMENTS if nodeid.startswith(EXPERIMENTS) else nodeid.split("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Of `--dist loadscope`, with these groups for scopes."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Scheduling(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Of several processes one begins with the experiments, which take longest."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: group(item.nodeid) != EXPERIMENTS)


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
    skipped = terminalreporter.stats.get("skipped", [])
    for report in skipped:
        if "PyPI cannot be reached" in str(report.longrepr):
            terminalreporter.line(f"not run on a real language model: {report.nodeid}", red=True)
    terminalreporter.section("environments")
    terminalreporter.line(f"core: {contents(sys.executable)}")
    for name in ENVIRONMENTS:
        reason = left_out(name)
        if reason is None:
            terminalreporter.line(f"{name}: {contents(ROOT / python_of(name))}")
            continue
        files = Counter(r.nodeid.split("::")[0] for r in skipped if reason in str(r.longrepr))
        tests = ", ".join(f"{number} of {file}" for file, number in files.items())
        terminalreporter.line(f"{reason}; without it, not run: {tests or 'none'}", red=True)
