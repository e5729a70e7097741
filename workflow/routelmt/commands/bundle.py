"""Make one archive of an experiment, to publish; `audit` checks it elsewhere (docs/publish.md)."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="folder of the experiment, results/runs/NAME")
    parser.add_argument("--config", type=Path, nargs="+", help="config files to put into it")
    parser.add_argument(
        "--licence", default="NOASSERTION", help="of the data: an SPDX name or an address"
    )
    parser.add_argument("--out", type=Path, help="the archive; NAME.zip by default")


def run(arguments: argparse.Namespace) -> None:
    """Write and say what is in it."""
    import yaml

    from routelmt import config
    from routelmt.bundle import write_bundle

    text = None
    if arguments.config:
        raw = config.read(*arguments.config)
        text = yaml.safe_dump(raw, allow_unicode=True, sort_keys=False)
    out = arguments.out or Path(f"{arguments.run.resolve().name}.zip")
    names = write_bundle(arguments.run, out, arguments.licence, text)
    print(f"{out}: {len(names)} files, {out.stat().st_size / 1e6:.1f} MB")
