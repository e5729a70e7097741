"""Check tables and follow them back to their sources: what was changed, cut short or is stale.

Without a file, every table below data/ and results/ is checked. Exits with 1 if a link is broken.
"""

import argparse
import sys
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="tables")
    parser.add_argument("--quiet", action="store_true", help="print broken links only")


def run(arguments: argparse.Namespace) -> int:
    """Audit and print."""
    from routelmt import provenance
    from routelmt.errors import UserError

    files = arguments.files or sorted(
        path
        for top in ("data", "results")
        for suffix in provenance.TABLE_SUFFIXES
        for path in Path(top).rglob(f"[!.]*{suffix}")
    )
    if not files:
        raise UserError("no tables below data/ and results/; run the workflow first.")
    report = provenance.audit(files)
    if not arguments.quiet:
        if len(arguments.files) == 1 and not any(str(files[0]) in b for b in report.broken):
            print(provenance.details(files[0]), end="\n\n")
        print("\n".join(report.lines))
    for broken in report.broken:
        print(f"broken link: {broken}", file=sys.stderr)
    print(f"{len(report.seen):,} tables checked, {len(report.broken)} broken links")
    return 1 if report.broken else 0
