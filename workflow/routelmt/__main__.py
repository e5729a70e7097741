"""`python -m routelmt COMMAND`: the stages of the workflow, and tools around them."""

from __future__ import annotations

import argparse
import errno
import gc
import importlib
import os
import sys
from typing import Any

import routelmt
from routelmt.environments import enter
from routelmt.errors import UserError
from routelmt.gpus import claim

# Importing torch and transformers makes 700,000 objects that stay. Looking at them again and again
# for garbage, and once more at the end (see below), takes a third of a job's start.
gc.set_threshold(200_000, 10, 10)

COMMANDS = {
    "estimate": "say what a config will take: jobs, GPU-hours, memory, disk, downloads, money",
    "doctor": "check, before a run, what a config needs of this machine",
    "slice": "write a config whose experiments are a slice of another's (see `make try`)",
    "fetch": "download the pinned files of a source",
    "catalogs": "read, clean and split the gettext catalogs of wheels",
    "segments": "read one dataset and direction into the segments table",
    "overlaps": "find training rows whose text is in held-out data",
    "translate": "translate segments with one model",
    "samples": "draw several translations of segments from one model",
    "signals": "one prefill of the small model: entropy, margin, states",
    "score": "score hypotheses against references",
    "score-samples": "score sampled translations against references",
    "mean-scores": "average the scores of several metrics",
    "gather": "put the shards of a table together",
    "export": "write translations as a sheet for raters, blind if asked",
    "unblind": "make a file of scores from a blind sheet and its key",
    "gains": "label segments with the gain of the large model",
    "flagged": "list the requests with truncated or degenerate translations",
    "train": "train a router",
    "predict": "ask a router for its priorities",
    "predict-in-model": "ask all routers that are adapters of the small model at once",
    "table": "make one table of an experiment or a sweep",
    "paper-table": "set the table of routers as RouteLMT's Table 2, for a paper",
    "rates": "measure how long models and routers take here",
    "render": "write tables as CSV, LaTeX and Markdown",
    "plot": "draw one figure from tables",
    "page": "make the page of an experiment: one HTML file that needs no network",
    "summary": "print an experiment's result and where its files are",
    "route": "decide for new requests with a trained router",
    "bundle": "make one archive of an experiment, to publish",
    "audit": "check tables and follow them back to their sources",
    "explain": "follow one request through the chain: why did it go to the large model",
    "diff": "show what changed between two runs",
    "demo-models": "train the demo's translators (see `make demo-models`)",
}


# What to do about refusals of the system; nothing half-written is left in any case.
REMEDIES = {
    **dict.fromkeys(
        (errno.ENOSPC, errno.EDQUOT, errno.EFBIG),
        "Free some space (or raise the quota or ulimit -f) and run it again",
    ),
    **dict.fromkeys(
        (errno.EACCES, errno.EPERM, errno.EROFS),
        "Change its permissions, or write to another folder",
    ),
    errno.ENOENT: "Check the path",
    errno.ENOTDIR: "A part of the path is a file; check the path",
    errno.ENAMETOOLONG: "Shorten the names in the config",
}


def usage() -> str:
    """What the command line offers."""
    listed = "\n".join(f"  {name:<12} {about}" for name, about in COMMANDS.items())
    return (
        f"routelmt {routelmt.__version__}: which translation requests deserve the large model\n\n"
        f"usage: python -m routelmt COMMAND [--help] ...\n\n{listed}\n"
    )


def main(arguments: list[str] | None = None) -> int:
    """Run one command; 0 is success, 1 bad input (one paragraph on standard error), 2 bad usage."""
    arguments = sys.argv[1:] if arguments is None else arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print(usage())
        return 0
    if arguments[0] == "--version":
        print(routelmt.__version__)
        return 0
    name = arguments[0]
    if name not in COMMANDS:
        print(f"routelmt: unknown command '{name}'\n\n{usage()}", file=sys.stderr)
        return 2
    command = importlib.import_module(f"routelmt.commands.{name.replace('-', '_')}")
    parser = argparse.ArgumentParser(f"routelmt {name}", description=command.__doc__)
    command.configure(parser)
    parsed = parser.parse_args(arguments[1:])
    try:
        if hasattr(command, "environment"):
            enter(command.environment(parsed), arguments)
        claim(parsed)
        return int(command.run(parsed) or 0)
    except BrokenPipeError:  # the reader, `head` for one, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UserError as error:
        print(f"routelmt {name}: error: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"routelmt {name}: error: {_explain(error, parsed)}", file=sys.stderr)
        return 1


def _explain(error: OSError, parsed: argparse.Namespace) -> str:
    """What the system refused (disk full, no permission), at which file, and what to do."""
    reason = os.strerror(error.errno) if error.errno else str(error)
    file = error.filename or getattr(parsed, "out", None) or "a file"
    return f"{file}: {reason}. {REMEDIES.get(error.errno or 0, 'Check the path and the disk')}."


class _NoPandas:
    """A finder of modules that finds no pandas."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> None:
        """Refuse pandas, leave all else to the other finders."""
        if name == "pandas":
            raise ModuleNotFoundError(name)


def without_pandas() -> None:
    """Let pyarrow, which asks once in a process whether there is pandas, believe that there is not.

    Its first conversion of a list would load it: a quarter of a second for each of the workflow's
    jobs, none of which uses it. Whoever imports pandas itself still gets it.
    """
    import pyarrow

    sys.meta_path.insert(0, _NoPandas)
    try:
        pyarrow.array([None])
    finally:
        sys.meta_path.remove(_NoPandas)


if __name__ == "__main__":
    if sys.argv[1:2] and sys.argv[1] in COMMANDS:
        without_pandas()
    code = main()
    gc.freeze()
    sys.exit(code)
