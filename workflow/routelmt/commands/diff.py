"""What changed from one run to another: settings, versions, and numbers with their intervals.

RUN_A and RUN_B are folders of experiments, or two tables of one kind. The first line says at which
stage the two part: what comes before is the same in both.

Example: python -m routelmt diff results/runs/before results/runs/after
"""

import argparse
import json
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("a", type=Path, metavar="RUN_A")
    parser.add_argument("b", type=Path, metavar="RUN_B")
    parser.add_argument("--all", action="store_true", help="every change, not only the largest")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def run(arguments: argparse.Namespace) -> None:
    """Compare and print."""
    from routelmt.commands.explain import without_nan
    from routelmt.trail.diff import diff
    from routelmt.trail.diff_text import as_json, diff_lines

    found = diff(arguments.a, arguments.b)
    if arguments.json:
        print(json.dumps(without_nan(as_json(found)), ensure_ascii=False, indent=1))
    else:
        print("\n".join(diff_lines(found, arguments.all)))
