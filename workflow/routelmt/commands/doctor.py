"""Check, before a run, what a config needs of this machine; exit code 1 if it lacks it."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[Path("config.yaml")], help="config files"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print every finding; what is missing with its remedy."""
    from routelmt import config, doctor

    findings = list(doctor.examine(config.load(*arguments.config)))
    for state, what, remedy in findings:
        print(f"{state:<8} {what}" + (f"\n         {remedy}" if remedy and state != "ok" else ""))
    return int(any(finding.state == doctor.FAILURE for finding in findings))
