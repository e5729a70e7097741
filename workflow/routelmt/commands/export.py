"""Write translations as a sheet for raters: shuffled, and blind if there is a key."""

import argparse
from pathlib import Path


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--segments", type=Path, nargs="+", required=True, help="segments tables")
    parser.add_argument(
        "--hypotheses", type=Path, nargs="+", required=True, help="hypotheses of any models on them"
    )
    parser.add_argument("--seed", type=int, default=0, help="decides the order of the rows")
    parser.add_argument(
        "--blind",
        type=Path,
        metavar="KEY",
        help="leave models and ids out of the sheet, and write them to this file",
    )
    parser.add_argument("--out", type=Path, required=True, help="sheet to write, .csv or .tsv")


def run(arguments: argparse.Namespace) -> None:
    """Write the sheet, and its key first."""
    from routelmt import tables
    from routelmt.score.rating_sheets import delimiter_of, sheets, write_rows

    files = [arguments.out, *([arguments.blind] if arguments.blind else [])]
    for file in files:
        delimiter_of(file)
    segments = tables.read_all(arguments.segments, "segments")
    hypotheses = tables.read_all(arguments.hypotheses, "hypotheses")
    made = sheets(segments, hypotheses, arguments.seed, blind=bool(arguments.blind))
    if arguments.blind:
        write_rows(made.key, arguments.blind)
    write_rows(made.sheet, arguments.out, mark=True)
    print(f"{arguments.out}: {len(made.sheet):,} rows for {hypotheses.num_rows:,} translations")
