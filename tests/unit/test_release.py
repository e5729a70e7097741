"""What says which release this is, and what continuous integration runs, agrees with the project."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

import routelmt

ROOT = Path(__file__).parents[2]


def test_citation_and_changelog_name_this_version_and_its_day() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    released = re.search(r"^## ([\d.]+) \((.*)\)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert released is not None
    assert citation["version"] == routelmt.__version__ == released[1]
    assert citation["date-released"] == released[2]
    assert citation["license"] in (ROOT / "LICENSE").read_text().splitlines()[0].upper()
    assert citation["references"][0]["url"] in (ROOT / "README.md").read_text()


def test_continuous_integration_calls_targets_that_there_are() -> None:
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    called = set()
    for file in (ROOT / ".github/workflows").glob("*.yml"):
        for job in yaml.safe_load(file.read_text())["jobs"].values():
            runs = [step["run"] for step in job["steps"] if "run" in step]
            assert all(run.startswith("make ") for run in runs), file
            called |= {word for run in runs for word in run.split()[1:] if "=" not in word}
    assert {"lint", "test", "demo"} <= called <= targets
