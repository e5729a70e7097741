"""Set the table of routers as RouteLMT's Table 2: LaTeX for a paper, from what is there."""

import argparse
from pathlib import Path

from routelmt.commands import add_out


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("--table", type=Path, required=True, help="tables/routers.parquet of a run")
    add_out(parser)


def run(arguments: argparse.Namespace) -> None:
    """Read and write."""
    from routelmt import tables
    from routelmt.errors import UserError
    from routelmt.views.paper_table import paper_table

    about = tables.record_of(arguments.table)["settings"].get("about")
    if about is None:
        raise UserError(
            f"{arguments.table}: its record does not say which metric and models it is about; "
            "make the table again with this version."
        )
    text = paper_table(tables.read(arguments.table, "routers"), about)
    with tables.atomic_path(arguments.out) as temporary:
        temporary.write_text(text, encoding="utf-8")
