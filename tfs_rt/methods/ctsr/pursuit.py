"""Sparse codes by orthogonal matching pursuit in Rubinstein's batch form, by Gram matrix and Cholesky factor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.methods.compiled import compiled

Field = NDArray[np.float64]
NOTHING = 1e-14  # squared: a correlation, or what an atom adds to those chosen


def sparse_codes(dictionary: Field, signals: Field, *, error: float = 0.0, atoms: int | None = None) -> Field:
    """Codes (k, n) of `signals` (d, n) over unit atoms (d, k): atoms are added until the residual's norm is <= `error`.

    Each step takes the atom most correlated with the residual and solves all coefficients anew. It also ends at `atoms`
    of them (by default d), or where the best atom was chosen before, is uncorrelated, or depends on those chosen.
    """
    most = min(atoms or dictionary.shape[0], *dictionary.shape)
    energy = np.einsum("dn,dn->n", signals, signals)
    correlations = np.ascontiguousarray((dictionary.T @ signals).T)
    return _pursue(dictionary.T @ dictionary, correlations, energy, error * error, most).T


@compiled()
def _pursue(gram, correlations, energy, error, most):
    signals, size = correlations.shape
    codes = np.zeros((signals, size))
    factor = np.zeros((most, most))  # L L' is the chosen atoms' Gram matrix
    forward, coefficients = np.zeros(most), np.zeros(most)  # L y = correlations, L' c = y
    chosen = np.zeros(most, np.int64)
    for s in range(signals):
        residual = correlations[s].copy()  # correlations with it
        left, n = energy[s], 0
        while left > error and n < most:
            atom = np.argmax(np.abs(residual))
            if residual[atom] ** 2 < NOTHING or (chosen[:n] == atom).any():
                break
            if not _append(factor, gram, chosen, n, atom):
                break
            forward[n] = (correlations[s, atom] - np.dot(factor[n, :n], forward[:n])) / factor[n, n]
            left -= forward[n] ** 2
            n += 1
            _solve_transposed(factor, forward, coefficients, n)
            residual[:] = correlations[s]
            for i in range(n):
                _subtract(residual, coefficients[i], gram[chosen[i]])
        for i in range(n):
            codes[s, chosen[i]] = coefficients[i]
    return codes


@compiled()
def _append(factor, gram, chosen, n, atom):
    """Add an atom to the n chosen and a row to their factor; False if it depends on them."""
    rest = 1.0
    for i in range(n):
        factor[n, i] = (gram[atom, chosen[i]] - np.dot(factor[i, :i], factor[n, :i])) / factor[i, i]
        rest -= factor[n, i] ** 2
    if rest <= NOTHING:
        return False
    factor[n, n] = np.sqrt(rest)
    chosen[n] = atom
    return True


@compiled()
def _solve_transposed(factor, right, solution, n):
    for i in range(n - 1, -1, -1):
        value = right[i]
        for j in range(i + 1, n):
            value -= factor[j, i] * solution[j]
        solution[i] = value / factor[i, i]


@compiled()
def _subtract(to, weight, what):
    for i in range(to.size):
        to[i] -= weight * what[i]
