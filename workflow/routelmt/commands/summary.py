"""Print an experiment's result, and where its tables, figures and report are."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("run", type=Path, help="folder of the experiment, results/runs/NAME")
    parser.add_argument("--focus", help="router compared with the others; the best by default")
    parser.add_argument("--report", type=Path, help="Snakemake report to point at")


def run(arguments: argparse.Namespace) -> None:
    """Print."""
    from routelmt import tables
    from routelmt.views.summary import format_summary

    folder = arguments.run / "tables"
    routers = tables.read(folder / "routers.parquet", "routers")
    comparisons = tables.read(folder / "comparisons.parquet", "comparisons")
    print(format_summary(routers, comparisons, arguments.focus))
    print(f"\ntables   {folder}/*.parquet (.csv, .tex, .md beside them)")
    print(f"page     {arguments.run / 'page.html'} (open it in a browser; needs no network)")
    print(f"figures  {arguments.run / 'figures'}/*.pdf (.png beside them)")
    if arguments.report and arguments.report.exists():
        print(f"report   {arguments.report} (Snakemake's own, every job with it)")
