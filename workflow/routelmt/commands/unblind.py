"""Make a file of scores from a blind sheet that came back from its raters, and its key."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--ratings", type=Path, required=True, help="the sheet, with scores")
    parser.add_argument("--key", type=Path, required=True, help="the key that `export` wrote")
    parser.add_argument("--quoting", choices=("csv", "none"), help="how a sheet in TSV quotes")
    parser.add_argument("--out", type=Path, required=True, help="file of scores, .csv or .tsv")


def run(arguments: argparse.Namespace) -> None:
    """Join and write."""
    from routelmt.score.rating_sheets import scores_of, write_rows

    rows = scores_of(arguments.ratings, arguments.key, arguments.quoting)
    write_rows(rows, arguments.out)
    without = sum(not row["score"] for row in rows)
    print(f"{arguments.out}: {len(rows):,} translations, {without:,} of them without a score")
