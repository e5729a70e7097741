"""A finished experiment in Python: `from routelmt import Run`, as pandas users expect it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from routelmt import tables
from routelmt.config import load_schema
from routelmt.errors import UserError
from routelmt.figures.registry import FIGURES, SWEEP_FIGURES
from routelmt.trail.artifacts import below, open_table
from routelmt.trail.audit import Audit, audit
from routelmt.trail.chain import nearest, of_kind
from routelmt.trail.explain import Explanation, explain, run_table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Run:
    """Results of one experiment, read as they are asked for.

    folder: results/runs/NAME, from wherever it is. Every table comes as a DataFrame with a column's
    meaning in `.attrs["columns"]` and what is to be said of the table as a whole in
    `.attrs["notes"]`; a missing value is NaN or None. Raises UserError for a folder without an
    evaluation, and wherever a file is missing or damaged.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        run_table(self.folder)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    @property
    def tables(self) -> list[str]:
        """Names of the tables that are there."""
        return sorted(path.stem for path in (self.folder / "tables").glob("*.parquet"))

    @property
    def sweeps(self) -> list[str]:
        """Names of the sweeps that are there."""
        return sorted(path.stem for path in (self.folder / "sweeps").glob("*.parquet"))

    def table(self, name: str) -> pd.DataFrame:
        """One of `tables`."""
        return self._read("tables", name, self.tables)

    def sweep(self, name: str) -> pd.DataFrame:
        """One of `sweeps`."""
        return self._read("sweeps", name, self.sweeps)

    def gains(self) -> pd.DataFrame:
        """A row for every test request: quality of both models and gain, in points."""
        return _frame(self._made_of("gains"), "gains")

    def predictions(self) -> pd.DataFrame:
        """A row for every test request, router and seed: prediction and priority."""
        return _frame(self._made_of("predictions"), "predictions")

    def segments(self) -> pd.DataFrame:
        """A row for every test request: source, reference, document and domain."""
        return _frame(self._before_gains("segments"), "segments")

    def hypotheses(self) -> pd.DataFrame:
        """A row for every test request and model: what the model said."""
        return _frame(self._before_gains("hypotheses"), "hypotheses")

    def scores(self) -> pd.DataFrame:
        """A row for every test request and model: the metric's score."""
        return _frame(self._before_gains("scores"), "scores")

    def explain(self, segment_id: str, **which: Any) -> Explanation:
        """One request through the whole chain; which: see `trail.explain.explain`."""
        return explain(self.folder, segment_id, **which)

    def audit(self, quick: bool = False) -> Audit:
        """Every table of the run, followed back to its sources; quick: values are not read."""
        return audit(list(below(self.folder)), quick=quick)

    def figure(self, name: str, **style: Any) -> Figure:
        """A figure of `figures.registry`, drawn anew; a sweep's by the sweep's name.

        style: of the config's `figures` (width, dpi, font_size, palette, curves), else its
        defaults. The figure is matplotlib's own: change it, save it.
        """
        if name in self.sweeps:
            kind, files = SWEEP_FIGURES["sweep"], {"sweep": self.folder / f"sweeps/{name}.parquet"}
        elif name in FIGURES:
            kind = FIGURES[name]
            files = {table: self._path("tables", table, self.tables) for table in kind.tables}
        else:
            known = ", ".join([*FIGURES, *self.sweeps])
            raise UserError(f"figure '{name}' is not one of {known}.")
        declared = load_schema()["properties"]["figures"]["properties"]
        if unknown := set(style) - set(declared):
            raise UserError(f"style {', '.join(unknown)}: allowed are {', '.join(declared)}.")
        about = run_table(self.folder).settings.get("about", {})
        given = {key: entry["default"] for key, entry in declared.items()} | style
        draw: Callable[..., Figure] = import_module(kind.module).draw
        read = {table: tables.read(path, table) for table, path in files.items()}
        return draw(read, given | {"metric": about.get("metric", "")})

    def _read(self, folder: str, name: str, there: list[str]) -> pd.DataFrame:
        path = self._path(folder, name, there)
        return _frame([path], tables.record_of(path)["table"])

    def _path(self, folder: str, name: str, there: list[str]) -> Path:
        if name not in there:
            raise UserError(
                f"{self.folder}: no {folder.removesuffix('s')} '{name}'; there are "
                f"{', '.join(there) or 'none'}."
            )
        return self.folder / folder / f"{name}.parquet"

    def _made_of(self, table: str) -> list[Path]:
        """Files of one kind that the table of routers was made of."""
        return [parent.path for parent in of_kind(run_table(self.folder), table)]

    def _before_gains(self, table: str) -> list[Path]:
        """Files of one kind that the gains were made of."""
        found = [p for gains in self._made_of("gains") for p in nearest(open_table(gains), table)]
        if not found:
            raise UserError(f"{self.folder}: no {table} are left that its gains were made of.")
        return list(dict.fromkeys(found))


def _frame(paths: list[Path], table: str) -> pd.DataFrame:
    """Tables of one kind as one DataFrame, see Run."""
    frame: pd.DataFrame = tables.read_all(paths, table).to_pandas()
    columns = tables.TABLES[table].columns
    frame.attrs["columns"] = {name: columns[name].about for name in frame.columns}
    notes = (note for path in paths for note in tables.record_of(path).get("notes", ()))
    frame.attrs["notes"] = list(dict.fromkeys(notes))
    return frame
