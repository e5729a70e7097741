"""routelmt: which translation requests deserve the large model (RouteLMT, arXiv 2604.22520)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from routelmt.results import Run

__version__ = "1.0.0"
__all__ = ["Run"]


def __getattr__(name: str) -> Any:
    """`Run`, loaded when it is first asked for: the package itself loads nothing."""
    if name == "Run":
        from routelmt.results import Run

        return Run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
