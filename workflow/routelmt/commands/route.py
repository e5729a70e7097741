"""Decide for new requests with a trained router: which go to the large model within a budget.

Requests are JSON lines with direction and source (and id, if you like); so are the decisions. With
--input, all requests are known before any is decided, and the share is kept exactly. With --stream,
lines are read from standard input (or --input) and answered one by one, against thresholds from
--calibration data; what has been decided is kept in --state, and the next start goes on from it.
Lines that have arrived together are scored together. A broken line is answered with {line, error}.

One stream at a time has a state. Beside it lies STATE.journal with what was decided since it was
written. Answers are written first, then the journal: a request that counts was answered. After
kill -9 the next start goes on from there and says after which request; send it those that follow.
If some of them had been answered (at most the 64 lines of one reading), they get the same answers.
Answered is what was written: what a reader leaves in a pipe (`| head -5`) counts, too, and the next
start says up to which request.
The state is synced to the disk after every --save-every answers, the journal is not (which would
take 0.4 ms of an SSD at each reading): after a loss of power at most so many answers do not count,
and the next start says so in the same way, or refuses a journal that does not follow on the state.

An alarm (on standard error, and in the answers) says that the share that was sent, or that is above
the calibrated threshold, is further from the budget than chance makes likely. If calibration data
and traffic are exchangeable (requests of the same kind, in random order, not alike in clusters such
as sentences of one document), a run has a false alarm with a probability of at most 5 %, however
long it is, over all directions together. If they are not, the share is not promised.
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
    parser.add_argument("--input", type=Path, help="requests, JSON lines")
    parser.add_argument("--out", type=Path, help="decisions, JSON lines; standard output if absent")
    parser.add_argument("--base", help="folder of the small model, if it has moved")
    _configure_stream(parser.add_argument_group("streams"))
    add_speed(parser)


def _configure_stream(parser: "argparse._ArgumentGroup") -> None:
    parser.add_argument("--stream", action="store_true", help="answer line by line")
    parser.add_argument("--state", type=Path, help="file that the stream's state is kept in")
    parser.add_argument(
        "--calibration",
        type=Path,
        nargs="+",
        default=[],
        help="held-out traffic: predictions tables, or JSON lines of requests; not needed again "
        "once there is a state",
    )
    parser.add_argument("--calibration-router", help="ROUTER/seedN in the predictions tables")
    parser.add_argument(
        "--policy",
        default="fixed",
        help="threshold: fixed, rolling (of the last --window requests) or controller",
    )
    parser.add_argument("--window", type=int, help="requests that --policy rolling looks back on")
    parser.add_argument(
        "--correction", type=float, help="of --policy controller: how fast it follows"
    )
    parser.add_argument("--seed", type=int, default=0, help="of decisions at the threshold")
    parser.add_argument(
        "--save-every",
        type=int,
        default=1000,
        help="answers after which the journal goes into the state",
    )
    parser.add_argument("--strict", action="store_true", help="stop at the first broken line")


def run(arguments: argparse.Namespace) -> None:
    """Score, decide, write."""
    from routelmt.errors import UserError
    from routelmt.routers.deploy import route_requests
    from routelmt.tables import atomic_path

    if arguments.stream:
        _run_stream(arguments)
        return
    if arguments.input is None:
        raise UserError(
            "--input: give the file of the requests, or --stream to read them as they come."
        )
    decisions = route_requests(
        arguments.router, arguments.input, arguments.budget, arguments.base, speed(arguments)
    )
    lines = "".join(json.dumps(d, ensure_ascii=False) + "\n" for d in decisions)
    if arguments.out is None:
        sys.stdout.write(lines)
        return
    with atomic_path(arguments.out) as temporary:
        temporary.write_text(lines, encoding="utf-8")


def _run_stream(arguments: argparse.Namespace) -> None:
    """Load, answer until the end, keep the state."""
    from routelmt.errors import UserError
    from routelmt.routers.deploy import load_router
    from routelmt.routers.stream import exclusive, open_stream, serve
    from routelmt.stats.streaming import POLICIES, Settings

    if arguments.state is None:
        raise UserError(
            "--state: a stream keeps its thresholds and counts in a file. Give --state FILE; where "
            "it is not there yet, it is made from --calibration FILES, held-out requests."
        )
    if arguments.out is not None:
        raise UserError("--out: a stream answers on standard output; redirect that instead.")
    if arguments.policy not in POLICIES:
        raise UserError(f"--policy: '{arguments.policy}' is not one of {', '.join(POLICIES)}.")
    chosen = {"window": arguments.window, "correction": arguments.correction}
    given = {name: value for name, value in chosen.items() if value is not None}
    try:
        settings = Settings(arguments.budget, arguments.seed, **given)
    except ValueError as error:
        raise UserError(f"--budget, --window or --correction: {error}.") from None
    options = {"strict": arguments.strict, "save_every": arguments.save_every}
    with exclusive(arguments.state):
        router = load_router(arguments.router, arguments.base, speed(arguments))
        stream = open_stream(
            arguments.router, router, arguments.policy, settings, arguments.state,
            arguments.calibration, arguments.calibration_router,
        )  # fmt: skip
        if arguments.input is None:
            serve(stream, sys.stdin.fileno(), sys.stdout, arguments.state, **options)
            return
        with arguments.input.open("rb") as source:
            serve(stream, source.fileno(), sys.stdout, arguments.state, **options)
