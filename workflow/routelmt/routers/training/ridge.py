"""Ridge regression on features crossed with the direction, for many penalties at once.

The score of a request x in direction d is b_d + x . (w_0 + w_d): w_0 is what all directions share,
w_d what is a direction's own (Daumé 2007). Minimised is the sum of (y - score)^2 plus penalty times
(|w_0|^2 + sum_d |w_d|^2). The intercepts b_d are free, so features and labels are centred in each
direction.

The normal equations of a hundred thousand features fit no memory. They are solved from products
alone by Lanczos' method, with one basis for all penalties; every vector of it is made orthogonal to
all before it, so that it converges as in exact arithmetic.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routelmt.progress import progress
from routelmt.routers.objective.targets import FloatArray

TOLERANCE = 1e-5  # of the residual, as a share of the right-hand side
MOST_STEPS = 200  # products, so passes over what is read from disk
IntArray = npt.NDArray[np.int64]


# --- the equations -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Solutions:
    """values: x of each penalty, (penalties, n). steps: products that were taken.

    residual: the largest |right - (G + penalty) x| / |right|, over TOLERANCE where the most steps
    did not do.
    """

    values: FloatArray
    steps: int
    residual: float


def solve(
    multiply: Callable[[FloatArray], FloatArray],
    right: FloatArray,
    penalties: Sequence[float],
    most: int = MOST_STEPS,
) -> Solutions:
    """Solve (G + penalty) x = right for each penalty > 0, with `most` products at most.

    multiply: product of the symmetric, positive semi-definite G with a vector (n,). Holds a vector
    a step. The same numbers whatever the number of threads, if the product's are.
    """
    from scipy.linalg import eigh_tridiagonal
    from threadpoolctl import threadpool_limits

    norm, shifts = float(np.linalg.norm(right)), np.array(penalties, dtype=np.float64)
    if norm == 0:
        return Solutions(np.zeros((len(shifts), len(right))), 0, 0.0)
    most = min(most, len(right))
    basis, diagonal, beside = np.empty((most, len(right))), np.empty(most), np.empty(most)
    basis[0] = right / norm
    with threadpool_limits(1):
        for step in progress(range(most), "ridge", "step", most):
            product = multiply(basis[step])
            diagonal[step] = basis[step] @ product
            for _ in range(2):  # a second time for what rounding left
                product = product - (basis[: step + 1] @ product) @ basis[: step + 1]
            beside[step] = np.linalg.norm(product)
            # In the basis, G is tridiagonal: its eigenvalues serve every penalty.
            values, vectors = eigh_tridiagonal(diagonal[: step + 1], beside[:step])
            inside = norm * (vectors[0] / (values.clip(min=0) + shifts[:, None])) @ vectors.T
            residual = float(beside[step] * np.abs(inside[:, -1]).max() / norm)
            if residual <= TOLERANCE or step + 1 == most:
                break
            basis[step + 1] = product / beside[step]
        return Solutions(inside @ basis[: step + 1], step + 1, residual)


# --- the penalty ---------------------------------------------------------------------------------


def choose(
    alphas: Sequence[float], errors: Sequence[float], solutions: Solutions
) -> tuple[int, dict[str, Any]]:
    """(place of the alpha with the lowest validation error, fields of the record about it).

    Of equal errors the strongest penalty. Standard error says if the best is at the edge of the
    list, or if the equations were not solved to TOLERANCE.
    """
    best = min(range(len(alphas)), key=lambda i: (errors[i], -alphas[i]))
    if len(alphas) > 1 and alphas[best] in (min(alphas), max(alphas)):
        print(
            f"ridge: alpha {alphas[best]:g} is at the edge of the list; widen it", file=sys.stderr
        )
    if solutions.residual > TOLERANCE:
        print(
            f"ridge: stopped after {solutions.steps} steps with a residual of "
            f"{solutions.residual:.1e}; small penalties act as somewhat larger ones",
            file=sys.stderr,
        )
    return best, {
        "alpha": alphas[best],
        "validation_loss": errors[best],
        "steps": solutions.steps,
        "residual": solutions.residual,
        "alphas": {f"{alpha:g}": error for alpha, error in zip(alphas, errors, strict=True)},
    }


def alphas_of(spec: Mapping[str, Any]) -> list[float]:
    """The penalties that a router's settings list, one or several."""
    found = spec["alpha"]
    return list(found) if isinstance(found, list) else [found]


# --- directions ----------------------------------------------------------------------------------


def places(directions: Sequence[str], known: Sequence[str]) -> IntArray:
    """Row of the heads for each request: from 1 on that of its direction in `known`.

    0, what all share, for a direction without training rows; standard error names those.
    """
    row = {direction: i for i, direction in enumerate(known, 1)}
    if unseen := sorted(set(directions) - row.keys()):
        print(
            f"no training row of {', '.join(unseen)}: predicted from what the directions share",
            file=sys.stderr,
        )
    return np.array([row.get(direction, 0) for direction in directions], dtype=np.int64)


def mixed(own: FloatArray) -> FloatArray:
    """M own, for own (directions, ...) and M symmetric with M M = 1 + all ones.

    With features X_d in direction d, those shared and those crossed have the inner products of M X:
    heads M v are what v stands for, and M (X^T y) is the right-hand side.
    """
    count = len(own)
    shared: FloatArray = own.sum(axis=0) * ((math.sqrt(1 + count) - 1) / count)
    return own + shared


def with_shared(heads: FloatArray) -> FloatArray:
    """w_0, then w_0 + w_d of each direction, from the latter alone, (directions, ...).

    Every minimum has w_0 = sum of the w_d (so are their gradients), which gives it away.
    """
    shared = heads.sum(axis=0, keepdims=True) / (len(heads) + 1)
    return np.concatenate((shared, heads))


def own_column(scores: FloatArray, places: IntArray) -> FloatArray:
    """The score of each row by the heads of its place, (rows, 1), of scores (rows, heads)."""
    return np.take_along_axis(scores, places[:, None], axis=1)
