"""Loops as machine code, by Numba.

This module loads numba: import it inside functions, or in modules that always need it.
"""

from collections.abc import Callable
from typing import Any, TypeVar

import numba

_Function = TypeVar("_Function", bound=Callable[..., Any])
# What lets a sum be taken in another order, and so in several parts at once.
_ANY_ORDER = {"reassoc", "contract", "nsz"}


def compiled(function: _Function) -> _Function:
    """The function as machine code: made at its first call, kept on disk for later processes.

    Numbers behave as NumPy's do: a division by 0 is infinite or NaN.
    """
    return _made(function, fastmath=False)


def compiled_sums(function: _Function) -> _Function:
    """The same; its sums are in whatever order is fastest here, which is the same every time."""
    return _made(function, fastmath=_ANY_ORDER)


def _made(function: _Function, **options: Any) -> _Function:
    options |= {"nogil": True, "error_model": "numpy"}
    try:
        fast: _Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no folder can be written to: every process makes its own
        fast = numba.njit(**options)(function)
    return fast
