"""Decide for new requests with a trained router: which go to the large model within a budget.

Requests are JSON lines with direction and source (and id, if you like); so are the decisions.
"""

import argparse
import json
import sys
from pathlib import Path

from routelmt.commands import add_speed, speed


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--router", type=Path, required=True, help="folder of a trained router")
    parser.add_argument(
        "--budget", type=float, required=True, help="share of the requests for the large model"
    )
    parser.add_argument("--input", type=Path, required=True, help="requests, JSON lines")
    parser.add_argument("--out", type=Path, help="decisions, JSON lines; standard output if absent")
    parser.add_argument("--base", help="folder of the small model, if it has moved")
    add_speed(parser)


def run(arguments: argparse.Namespace) -> None:
    """Score, decide, write."""
    from routelmt.routers.deploy import route_requests
    from routelmt.tables import atomic_path

    decisions = route_requests(
        arguments.router, arguments.input, arguments.budget, arguments.base, speed(arguments)
    )
    lines = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in decisions)
    if arguments.out is None:
        sys.stdout.write(lines)
        return
    with atomic_path(arguments.out) as temporary:
        temporary.write_text(lines, encoding="utf-8")
