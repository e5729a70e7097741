"""Products with fp16 states as they are on disk, (rows, layers, hidden), their bits as uint16.

A row is read, made float32 and multiplied in one go, while it is in the processor's cache: a probe
on every layer reads 60 kB a request, and a float32 copy of a batch would leave that cache.

This module loads numba: import it inside functions.
"""

from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.extending import intrinsic

from routelmt.compiled import compiled, compiled_sums

Bits = npt.NDArray[np.uint16]
Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.int64]


@intrinsic  # type: ignore[untyped-decorator]
def _as_float(_context: Any, bits: Any) -> Any:
    """The float32 that the bits of an fp16 number stand for, infinities and NaN included."""

    def code(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.fpext(builder.bitcast(arguments[0], ir.HalfType()), ir.FloatType())

    return numba.types.float32(numba.types.uint16), code


@compiled_sums
def dots(memory: Bits, places: Places, heads: Floats) -> Floats:
    """memory[place, layer] . heads[layer], shape (places, layers); one head may serve them all."""
    layers, hidden = memory.shape[1:]
    found = np.empty((places.size, layers), np.float32)
    for i in range(places.size):
        for layer in range(layers):
            states, head = memory[places[i], layer], heads[min(layer, len(heads) - 1)]
            total = np.float32(0)
            for h in range(hidden):
                total += _as_float(states[h]) * head[h]
            found[i, layer] = total
    return found


@compiled
def gradient(memory: Bits, places: Places, of_dots: Floats, heads: int) -> Floats:
    """That of the heads, (heads, hidden), from that of `dots`; heads: 1, or one for each layer."""
    layers, hidden = memory.shape[1:]
    found = np.zeros((heads, hidden), np.float32)
    for i in range(places.size - 1, -1, -1):  # those that `dots` read last are still in the cache
        for layer in range(layers):
            states, of_head = memory[places[i], layer], found[min(layer, heads - 1)]
            factor = of_dots[i, layer]
            for h in range(hidden):
                of_head[h] += factor * _as_float(states[h])
    return found
