"""Sparse codes by orthogonal matching pursuit, in Rubinstein's batch form: Gram matrix and Cholesky factor."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tfs_rt.methods.compiled import compiled

Field = NDArray[np.float64]
# Square of a correlation, or of an atom's part outside the span of those chosen.
NEGLIGIBLE = 1e-14


def sparse_codes(dictionary: Field, signals: Field, *, error: float = 0.0, atoms: int | None = None) -> Field:
    """Codes (k, n) of `signals` (d, n) over unit atoms (d, k).

    Each step adds the atom that is most correlated with the residual, and solves for all coefficients again. It ends if
    the residual's norm is at most `error`, or at `atoms` atoms (by default d). It also ends if the best atom was chosen
    before, is uncorrelated, or depends linearly on those chosen.
    """
    most = min(atoms or dictionary.shape[0], *dictionary.shape)
    energy = np.einsum("dn,dn->n", signals, signals)
    correlations = np.ascontiguousarray((dictionary.T @ signals).T)
    return _pursue(dictionary.T @ dictionary, correlations, energy, error * error, most).T


@compiled()
def _pursue(gram, correlations, energy, error, most):
    signals, size = correlations.shape
    codes = np.zeros((signals, size))
    factor = np.zeros((most, most))  # L, with L L' the Gram matrix of the chosen atoms
    forward = np.zeros(most)  # y of L y = correlations
    coefficients = np.zeros(most)  # c of L' c = y
    chosen = np.zeros(most, np.int64)
    for s in range(signals):
        residual = correlations[s].copy()  # the residual's correlations with all atoms
        residual_energy = energy[s]
        n = 0  # atoms chosen
        while residual_energy > error and n < most:
            # Choose an atom.
            atom = np.argmax(np.abs(residual))
            if residual[atom] ** 2 < NEGLIGIBLE or (chosen[:n] == atom).any():
                break
            if not _append(factor, gram, chosen, n, atom):
                break

            # Solve for all coefficients.
            forward[n] = (correlations[s, atom] - np.dot(factor[n, :n], forward[:n])) / factor[n, n]
            residual_energy -= forward[n] ** 2
            n += 1
            _solve_transposed(factor, forward, coefficients, n)

            # Update the residual's correlations.
            residual[:] = correlations[s]
            for i in range(n):
                _subtract(residual, coefficients[i], gram[chosen[i]])
        for i in range(n):
            codes[s, chosen[i]] = coefficients[i]
    return codes


@compiled()
def _append(factor, gram, chosen, n, atom):
    """Add an atom to the n chosen ones, and a row to their factor; False if it depends on them linearly."""
    independent = 1.0  # squared norm of the atom's part outside their span
    for i in range(n):
        factor[n, i] = (gram[atom, chosen[i]] - np.dot(factor[i, :i], factor[n, :i])) / factor[i, i]
        independent -= factor[n, i] ** 2
    if independent <= NEGLIGIBLE:
        return False
    factor[n, n] = np.sqrt(independent)
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
def _subtract(total, weight, values):
    for i in range(total.size):
        total[i] -= weight * values[i]
