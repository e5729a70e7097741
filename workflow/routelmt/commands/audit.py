"""Check results and follow them back to their sources: what was changed, cut short or is stale.

Give tables, routers' folders, or folders of such; without any, data/ and results/ are checked. A
single file is shown in detail. Exits with 1 if a link is broken.

Example: python -m routelmt audit results/runs/demo
"""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

TOPS = ("data", "results")


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("paths", nargs="*", type=Path, metavar="PATH", help="files and folders")
    parser.add_argument("--quiet", action="store_true", help="print broken links only")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument(
        "--depth", type=int, metavar="N", help="folders of the N-th level are one line each"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="trust the files to hold the content that their records name; read no values",
    )


def run(arguments: argparse.Namespace) -> int:
    """Audit and print."""
    from routelmt.errors import UserError
    from routelmt.trail.artifacts import below, is_router
    from routelmt.trail.audit import audit

    paths = arguments.paths or [Path(top) for top in TOPS if Path(top).is_dir()]
    folders = [path for path in paths if path.is_dir() and not is_router(path)]
    files = [f for p in paths for f in (below(p) if p in folders else [p])]
    if not files:
        where = ", ".join(map(str, paths)) or "data/ and results/"
        raise UserError(f"{where}: no tables or routers there; run the workflow first.")
    report = audit(files, arguments.quick)
    if arguments.json:
        from routelmt.trail.tree import as_json

        print(json.dumps(as_json(report), ensure_ascii=False, indent=1))
        return 1 if report.broken else 0
    if not arguments.quiet:
        print("\n".join(_lines(arguments, report, files, folders)))
    for broken in report.broken:
        print(f"broken link: {broken}", file=sys.stderr)
    print(f"{len(report.seen):,} tables checked, {len(report.broken)} broken links")
    return 1 if report.broken else 0


def _lines(
    arguments: argparse.Namespace, report: Any, files: list[Path], folders: list[Path]
) -> Iterator[str]:
    """The tree and its summary; a single file in detail instead."""
    from routelmt.provenance import TABLE_SUFFIXES, details
    from routelmt.trail.tree import summary_lines, tree, unrecorded

    if folders or len(files) > 1:
        yield from tree(report, arguments.depth)
        yield ""
        yield from summary_lines(report)
        yield from unrecorded(folders)
        return
    if files[0].suffix in TABLE_SUFFIXES and not any(str(files[0]) in b for b in report.broken):
        yield details(files[0])
        yield ""
    yield from report.lines
