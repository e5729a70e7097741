"""What says which release this is, and what continuous integration runs, agrees with the project."""

from __future__ import annotations

import argparse
import importlib
import re
from pathlib import Path

import pytest
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


def documents() -> list[Path]:
    """Every document that people read, the made ones too."""
    places = ("*.md", "docs/*.md", "config/*.md")
    return [f for place in places for f in sorted(ROOT.glob(place)) if f.name != "CHANGELOG.md"]


@pytest.mark.parametrize("file", documents(), ids=lambda file: file.name)
def test_links_lead_to_files_and_commands_are_there(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text)
    assert [link for link in links if not (file.parent / link).exists()] == []
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make ([a-z0-9-]+)", text, re.M)
    assert [t for t in targets if not re.search(rf"^{t}:", makefile, re.M)] == []
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S):
        for line in block.replace("\\\n", " ").splitlines():
            if found := re.match(r"\s*python -m routelmt ([\w-]+)(.*)", line.split(" #")[0]):
                name, options = found[1], re.findall(r"(?<= )--[a-z-]+", found[2])
                assert set(options) <= offered(name), line


def offered(name: str) -> set[str]:
    """Long options of a command."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"routelmt.commands.{name.replace('-', '_')}").configure(parser)
    return {option for action in parser._actions for option in action.option_strings}


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130
