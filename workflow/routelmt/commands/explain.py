"""Follow one request through the whole chain: why did this go to the large model?

Text, both outputs, scores and gain, then every router's priority, rank and decision. No config is
needed: the run's tables name what they were made from.

Example: python -m routelmt explain 00511f56707891b4 --run results/runs/demo --direction en-zh
"""

import argparse
import json
from pathlib import Path
from typing import Any


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("segment_id", metavar="SEGMENT_ID")
    parser.add_argument(
        "--run", type=Path, default=Path("results/runs/demo"), help="folder of the experiment"
    )
    parser.add_argument("--dataset", help="if several have the id")
    parser.add_argument("--direction", help="if several have the id, e.g. en-zh")
    parser.add_argument("--budget", type=budget, metavar="P", help="by default those of the run")
    parser.add_argument("--router", help="router of the last sentence; by default the best one")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")


def budget(text: str) -> float:
    """argparse type: a share of the requests."""
    try:
        share = float(text)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"found '{text}', expected a share from 0 to 1")
    return share


def run(arguments: argparse.Namespace) -> None:
    """Explain and print."""
    from dataclasses import asdict

    from routelmt.trail.explain import explain
    from routelmt.trail.explanation_text import explanation_lines

    found = explain(
        arguments.run,
        arguments.segment_id,
        arguments.dataset,
        arguments.direction,
        arguments.budget,
        arguments.router,
    )
    if arguments.json:
        print(json.dumps(without_nan(asdict(found)), ensure_ascii=False, indent=1))
    else:
        print("\n".join(explanation_lines(found)))


def without_nan(value: Any) -> Any:
    """The value with null for NaN, which JSON has not."""
    if isinstance(value, dict):
        return {name: without_nan(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inner) for inner in value]
    return None if isinstance(value, float) and value != value else value
