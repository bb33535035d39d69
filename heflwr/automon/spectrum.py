"""Extreme eigenpairs of the Hessian at many points at once: LAPACK where it is small, Lanczos where it is large."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heflwr.automon.function import Function

Vector = NDArray[np.float64]
Matrix = NDArray[np.float64]

DENSE_DIM = 24
"""Up to here a whole spectrum costs less than the products that Lanczos takes. It would up to about 60 on an idle
machine; on a busy one the threads of LAPACK wait for each other, thirty times as long as they compute."""
_STEPS = 16
"""Lanczos steps while searching: a Ritz pair of them is a direction worth climbing along, converged or not."""


@dataclass(frozen=True)
class Pairs:
    """The lowest and highest eigenvalue of n Hessians, shape (n,), with eigenvectors, shape (n, dim).

    Where a Hessian is not finite its eigenvalues are NaN and its vectors zero. From Lanczos they are Ritz values: never
    outside of the true extremes, and short of them by at most the residual if that is small against the spectrum's gap.
    """

    lowest: Vector
    highest: Vector
    lowest_vectors: Matrix
    highest_vectors: Matrix


def extreme_pairs(function: Function, rows: Matrix, rng: np.random.Generator) -> Pairs:
    """Return the extreme eigenpairs of the Hessian at every row, shape (n, dim)."""
    return _dense(function.hessians(rows)) if function.dim <= DENSE_DIM else _lanczos(function, rows, rng)


def exact_extremes(hessian: Matrix) -> tuple[float, float]:
    """Return the lowest and the highest eigenvalue of a Hessian; NaN where it is not finite."""
    if not np.isfinite(hessian).all():
        return np.nan, np.nan
    values = np.linalg.eigvalsh((hessian + hessian.T) / 2)
    return float(values[0]), float(values[-1])


def _dense(hessians: NDArray[np.float64]) -> Pairs:
    is_finite = np.all(np.isfinite(hessians), axis=(1, 2))
    clean = np.where(is_finite[:, None, None], hessians, 0.0)
    values, vectors = np.linalg.eigh((clean + clean.transpose(0, 2, 1)) / 2)
    return _pairs(is_finite, values[:, 0], values[:, -1], vectors[:, :, 0], vectors[:, :, -1])


def _lanczos(function: Function, rows: Matrix, rng: np.random.Generator) -> Pairs:
    """Lanczos with full re-orthogonalisation, all rows in step."""
    count, dim = rows.shape
    steps = min(_STEPS, dim)
    basis = np.zeros((count, steps, dim))
    diagonal, beside = np.zeros((count, steps)), np.zeros((count, steps))
    vector = rng.normal(size=(count, dim))
    vector /= np.linalg.norm(vector, axis=1, keepdims=True)
    is_finite: NDArray[np.bool_] = np.ones(count, dtype=np.bool_)
    for step in range(steps):
        basis[:, step] = vector
        product = function.hvps(rows, vector)
        is_finite = is_finite & np.all(np.isfinite(product), axis=1)
        product[~is_finite] = 0.0
        diagonal[:, step] = (product * vector).sum(axis=1)
        known = basis[:, : step + 1]
        for _ in range(2):  # once leaves what rounding brought back
            product -= np.matmul(np.matmul(known, product[:, :, None]).transpose(0, 2, 1), known)[:, 0]
        norm = np.linalg.norm(product, axis=1)
        # An invariant subspace is found: the rest of this row's basis stays empty, with zeros on its diagonal.
        is_alive = norm > 1e-10 * (np.abs(diagonal[:, : step + 1]).max(axis=1) + np.finfo(np.float64).tiny)
        beside[:, step] = np.where(is_alive, norm, 0.0)
        vector = np.where(is_alive[:, None], product / np.where(is_alive, norm, 1.0)[:, None], 0.0)
    tridiagonal = np.zeros((count, steps, steps))
    at = np.arange(steps)
    # Empty rows repeat the first diagonal entry, which lies within the spectrum, lest they add a zero eigenvalue.
    is_empty = ~basis.any(axis=2)
    tridiagonal[:, at, at] = np.where(is_empty, diagonal[:, :1], diagonal)
    tridiagonal[:, at[1:], at[:-1]] = beside[:, :-1]
    values, vectors = np.linalg.eigh(tridiagonal)
    directions = np.matmul(vectors[:, :, [0, -1]].transpose(0, 2, 1), basis)
    return _pairs(is_finite, values[:, 0], values[:, -1], directions[:, 0], directions[:, 1])


def _pairs(is_finite: NDArray[np.bool_], low: Vector, high: Vector, low_vectors: Matrix, high_vectors: Matrix) -> Pairs:
    return Pairs(
        np.where(is_finite, low, np.nan),
        np.where(is_finite, high, np.nan),
        np.where(is_finite[:, None], low_vectors, 0.0),
        np.where(is_finite[:, None], high_vectors, 0.0),
    )
