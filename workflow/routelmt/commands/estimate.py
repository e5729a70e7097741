"""Say what a config will take: jobs, GPU-hours, the longest job, memory, disk, downloads, money."""

import argparse
from pathlib import Path

from routelmt.estimate import HARDWARE


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--config", type=Path, nargs="+", default=[Path("config.yaml")], help="config files"
    )
    parser.add_argument("--gpu", choices=HARDWARE, default="a100", help="card of the jobs")
    parser.add_argument("--price", type=float, help="of an hour of a card")
    parser.add_argument("--profile", help="Snakemake profile that sets resources")


def run(arguments: argparse.Namespace) -> None:
    """Ask Snakemake for its plan, and print what it takes."""
    import subprocess

    from routelmt import config, estimate
    from routelmt.errors import UserError

    resolved = config.load(*arguments.config)
    command = ["snakemake", "--dry-run", "--cores", "all", "--configfile", *arguments.config]
    command += ["--profile", arguments.profile] if arguments.profile else []
    planned = subprocess.run(command, capture_output=True, text=True, check=False)
    if planned.returncode:
        said = (planned.stderr or planned.stdout).strip()
        raise UserError(f"snakemake --dry-run stopped: {said[-2000:]}")
    jobs = estimate.parse(planned.stdout)
    rates = estimate.measured_rates(resolved, resolved["models"])
    found = estimate.Estimate(resolved, jobs, arguments.gpu, rates, arguments.price)
    print(estimate.told(found))
