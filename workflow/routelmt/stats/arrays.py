"""Array types of the evaluation, and the checks that every metric makes on what it is given."""

from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
PlaceArray = npt.NDArray[np.uint32]
KeyArray = npt.NDArray[np.uint64]
BoolArray = npt.NDArray[np.bool_]
AnyArray = npt.NDArray[Any]


def column(name: str, values: npt.ArrayLike) -> FloatArray:
    """The values as a non-empty float64 column without NaN; infinities are allowed.

    Raises ValueError naming the column, and how many of its values are NaN.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or array.size == 0:
        raise ValueError(f"{name}: expected a non-empty column, found shape {array.shape}")
    missing = int(np.isnan(array).sum())
    if missing:
        raise ValueError(
            f"{name}: {missing} of {array.size} values are NaN; leave those requests out first"
        )
    return array


def finite_column(name: str, values: npt.ArrayLike) -> FloatArray:
    """As column, and every value must be finite (it will be summed)."""
    array = column(name, values)
    infinite = int(np.isinf(array).sum())
    if infinite:
        raise ValueError(f"{name}: {infinite} of {array.size} values are infinite")
    return array


def check_same_length(**columns: AnyArray) -> None:
    """Raise ValueError with every column's length unless all have the same one."""
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        found = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"columns differ in length: {found}")


def check_order(order: npt.ArrayLike, size: int) -> IntArray:
    """The order as int64; raise ValueError unless it names each of size requests once."""
    array = np.asarray(order)
    is_permutation = array.shape == (size,) and np.array_equal(np.sort(array), np.arange(size))
    if not is_permutation or not np.issubdtype(array.dtype, np.integer):
        raise ValueError(
            f"order: expected a permutation of 0..{size - 1} (see selection.ranking), "
            f"found {array.dtype} of shape {array.shape}"
        )
    return array.astype(np.int64)
