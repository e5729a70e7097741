"""How every figure looks, and how it is saved: the same bytes for the same tables and style."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from routelmt.roles import ORACLE, RANDOM
from routelmt.tables import atomic_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe & Ito 2008 and Tol 2021, without black, grey and the yellow that vanishes on white.
PALETTES = {
    "okabe-ito": ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"),
    "tol-bright": ("#4477AA", "#EE6677", "#228833", "#CCBB44", "#66CCEE", "#AA3377"),
}
# Five dashes and seven markers against six colours: no two of 30 routers look the same, and
# neighbours differ without colour.
DASHES: tuple[Any, ...] = ("-", (0, (4, 1.2)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (7, 1.5)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
# Brightness of the seventh router's colour against the first one's.
SHADE = 0.6
ORACLE_COLOURS = ("#000000", "#777777")
ORACLE_DASHES = (0, (2.5, 2.0))
ORACLE_MARKERS = ("*", "p", "h", "<", ">")
RANDOM_COLOUR = "#555555"


class Look(NamedTuple):
    """Colour, dashes and marker of a router in every figure."""

    colour: str
    dashes: Any
    marker: str
    width: float


def looks(routers: Iterable[tuple[str, str]], palette: str) -> dict[str, Look]:
    """The look of every router, given (router, role) in table order.

    Oracles are dashed and colourless, random is a thin grey line.
    """
    colours, found, oracles = PALETTES[palette], dict[str, Look](), 0
    for name, role in routers:
        if role == ORACLE:
            shade = ORACLE_COLOURS[oracles % len(ORACLE_COLOURS)]
            marker = ORACLE_MARKERS[oracles % len(ORACLE_MARKERS)]
            found[name] = Look(shade, ORACLE_DASHES, marker, 1.1)
            oracles += 1
        elif role == RANDOM:
            found[name] = Look(RANDOM_COLOUR, "-", "|", 0.8)
        else:
            i = sum(look.width > 1.2 for look in found.values())
            found[name] = Look(
                _darker(colours[i % len(colours)], i // len(colours)),
                DASHES[i % len(DASHES)],
                MARKERS[i % len(MARKERS)],
                1.4,
            )
    return found


def _darker(colour: str, times: int) -> str:
    """The colour in another shade for every time the palette was used up before."""
    channels = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(channel * SHADE**times):02X}" for channel in channels)


@contextmanager
def applied(style: dict[str, Any]) -> Iterator[None]:
    """Context in which a figure is drawn: matplotlib's own defaults and ours, no user's file."""
    import matplotlib.style

    size = style["font_size"]
    ours = {
        "font.size": size,
        "axes.titlesize": size,
        "axes.labelsize": size,
        "xtick.labelsize": size - 1,
        "ytick.labelsize": size - 1,
        "legend.fontsize": size - 1,
        "legend.frameon": False,
        "legend.handlelength": 2.6,
        "axes.linewidth": 0.6,
        "xtick.major.width": 0.6,
        "ytick.major.width": 0.6,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": "#e4e4e4",
        "grid.linewidth": 0.5,
        "hatch.linewidth": 0.5,
        **_SAVING,
    }
    with matplotlib.style.context(["default", ours]):
        yield


def new_figure(style: dict[str, Any], height: float) -> Figure:
    """An empty figure of the style's width and this height, in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(style["width"], height), layout="constrained")
    FigureCanvasAgg(figure)  # no display, no global state
    return figure


def save(figure: Figure, pdf_path: str | Path, png_path: str | Path, dpi: int) -> None:
    """Write the figure as PDF (text as TrueType) and as PNG; each is whole or absent."""
    import matplotlib.style

    with matplotlib.style.context(["default", _SAVING]):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once: both files show the same picture
        with atomic_path(png_path) as temporary:
            figure.savefig(temporary, format="png", dpi=dpi, metadata={"Software": None})
        with atomic_path(pdf_path) as temporary:
            figure.savefig(temporary, format="pdf", metadata={"CreationDate": None})


_SAVING = {"pdf.fonttype": 42, "font.family": "sans-serif", "font.sans-serif": ["DejaVu Sans"]}
