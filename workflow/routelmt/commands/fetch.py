"""Download the pinned files of sources, checked against their checksums, where a run needs them."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from routelmt.commands import json_object
from routelmt.config import load_sources
from routelmt.errors import UserError


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--source", help="entry of data/sources.yaml")
    which.add_argument(
        "--all", action="store_true", help="every source that the config needs, into data/raw"
    )
    parser.add_argument(
        "--config", type=Path, default=Path("config.yaml"), help="the config, for --all"
    )
    parser.add_argument(
        "--settings", type=json_object, help="the entry as JSON; by default it is looked up"
    )
    parser.add_argument("--out", type=Path, help="output, written whole or not at all")
    parser.add_argument(
        "--pin",
        action="store_true",
        help="download nothing to keep: print the entry with commit, sizes and checksums of now",
    )


def run(arguments: argparse.Namespace) -> None:
    """Fetch."""
    if arguments.all:
        fetch_all(arguments.config)
    elif arguments.pin:
        print(pinned(arguments.source, _settings(arguments)), end="")
    elif arguments.out is None:
        raise UserError("fetch --source needs --out, the folder to write.")
    else:
        from routelmt.data.fetch import fetch

        fetch(arguments.source, _settings(arguments), arguments.out)


def _settings(arguments: argparse.Namespace) -> dict[str, Any]:
    if arguments.settings:
        return dict(arguments.settings)
    sources = load_sources()
    if arguments.source not in sources:
        raise UserError(f"no source '{arguments.source}'; there are: {', '.join(sources)}.")
    return dict(sources[arguments.source])


def fetch_all(config: Path) -> None:
    """Fetch what a config needs and data/raw lacks or has of another entry, a line each.

    Raises UserError if any fails; a folder that cannot be replaced yet stays as it is.
    """
    from routelmt.config import load
    from routelmt.data.fetch import difference, fetch
    from routelmt.plan import Plan
    from routelmt.settings import stage_settings

    resolved = load(config)
    names = Plan(resolved).sources()
    settings = stage_settings(resolved)["sources"]
    failed = []
    for name in names:
        out, entry = Path("data/raw") / name, json.loads(settings[name])
        try:
            changed = difference(name, entry, out) if out.is_dir() else ""
            if out.is_dir() and not changed:
                unknown = "" if changed is not None else " (not by fetch, so not compared)"
                print(f"{name}: there already, {out}{unknown}", flush=True)
                continue
            fetch(name, entry, out)
            again = f" again ({changed})" if changed else ""
            print(f"{name}: fetched{again}, {out}", flush=True)
        except UserError as error:
            failed.append(name)
            print(f"{name}: failed: {error}", file=sys.stderr, flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} sources could not be fetched: {', '.join(failed)}. The "
            "reasons are above; the others are there, and the next run goes on with these."
        )
    if not names:
        print(f"{config} needs no download")


def pinned(source: str, settings: dict[str, Any]) -> str:
    """YAML of a source's entry with its commit, sizes and checksums, for data/sources.yaml."""
    import yaml

    from routelmt.data.fetch import pin

    text: str = yaml.safe_dump(
        {source: pin(source, settings)},
        sort_keys=False,
        allow_unicode=True,
        default_flow_style=None,
        width=1000,
    )
    return text
