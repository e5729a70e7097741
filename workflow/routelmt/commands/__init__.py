"""The command line: each command reads files, calls a stage, and writes files with provenance."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from routelmt.errors import UserError
from routelmt.strict_json import JsonError, parse_object


def json_object(text: str) -> dict[str, Any]:
    """argparse type: settings as the workflow hands them over."""
    try:
        return parse_object(text)
    except JsonError as error:
        raise argparse.ArgumentTypeError(f"{error}") from None


def add_settings(parser: argparse.ArgumentParser, about: str) -> None:
    """The option that carries what shapes the output."""
    parser.add_argument("--settings", type=json_object, required=True, metavar="JSON", help=about)


def add_out(parser: argparse.ArgumentParser) -> None:
    """The option that names the output."""
    parser.add_argument(
        "--out", type=Path, required=True, help="output, written whole or not at all"
    )


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Options that name the segments of an experiment: --train, --valid, --test."""
    from routelmt.config import ROLES

    for role in ROLES:
        parser.add_argument(
            f"--{role}",
            type=Path,
            nargs="*",
            default=[],
            help=f"segments tables of the {role} sets",
        )


def read_roles(arguments: argparse.Namespace, columns: list[str] | None = None) -> dict[str, Any]:
    """The segments of each role, None for a role without files."""
    from routelmt import tables
    from routelmt.config import ROLES

    paths = {role: getattr(arguments, role) for role in ROLES}
    return {r: tables.read_all(p, "segments", columns) if p else None for r, p in paths.items()}


def role_files(arguments: argparse.Namespace) -> list[Path]:
    """The files of all roles."""
    from routelmt.config import ROLES

    return [file for role in ROLES for file in getattr(arguments, role)]


def add_shard(parser: argparse.ArgumentParser) -> None:
    """The option that leaves a job one shard of the segments."""
    parser.add_argument("--shard", default="1/1", help="I/N: the I-th of N shards; by default all")


def add_speed(parser: argparse.ArgumentParser) -> None:
    """Options that change how fast a model runs, never what it says."""
    parser.add_argument("--batch-tokens", type=int, default=16384, help="tokens of one batch")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--block-rows", type=int, help="rows between two resumable moments")
    parser.add_argument("--tensor-parallel", type=int, default=1, help="GPUs that share a model")
    parser.add_argument("--data-parallel", type=int, default=1, help="copies of the model")
    parser.add_argument("--concurrency", type=int, default=16, help="requests to an endpoint")


def speed(arguments: argparse.Namespace) -> dict[str, Any]:
    """The values of `add_speed` as the stages take them."""
    return {
        "batch_tokens": arguments.batch_tokens,
        "device": arguments.device,
        "threads": arguments.threads,
        "block_rows": arguments.block_rows,
        "tensor_parallel": arguments.tensor_parallel,
        "data_parallel": arguments.data_parallel,
        "concurrency": arguments.concurrency,
    }


def split_languages(settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """(model, languages) from the settings of a model; both empty for a router without one."""
    model = dict(settings)
    if model and "languages" not in model:
        raise UserError("--settings of a model need 'languages': names by language code.")
    return model, model.pop("languages", {})


def router_inputs(segments: Sequence[Path], files: Mapping[str, Sequence[Path] | None]) -> Any:
    """RouterInputs of some segments tables and of the tables by need; needs without files are None.

    Of sample_scores, the first half of the files is the small model's.
    """
    from routelmt import tables
    from routelmt.routers.inputs import RouterInputs

    rows = tables.read_all(segments, "segments")
    found: dict[str, Any] = {}
    for need, paths in files.items():
        if not paths:
            continue
        if need == "states":
            from routelmt.states import open_states

            found[need] = open_states(paths, rows)
        elif need == "sample_scores":
            halves = paths[: len(paths) // 2], paths[len(paths) // 2 :]
            found[need] = tuple(tables.read_all(half, need) for half in halves)
        else:
            found[need] = tables.read_all(paths, "scores" if need == "estimates" else need)
            if need == "hypotheses" and found[need].column("hypothesis").null_count:
                raise UserError(
                    "a router reads the small model's translations, and they are not published, "
                    "their scores alone. Leave it out, or take a source with the texts."
                )
    return RouterInputs.aligned(rows, **found)


def local_files(model: dict[str, Any]) -> list[Path]:
    """The model's folder, or its file of translations, as a parent for provenance if local."""
    path = Path(model["path"]) if "path" in model else None
    return [path] if path is not None and path.exists() else []
