"""Learn CTSR's dictionary by K-SVD: `python -m tfs_rt_reference.data.ctsr_dictionary DATA -o dictionary.npy`.

The authors learnt 512 atoms with 20 non-zeros a patch in 180 rounds from 8x8 patches of images that they did not
publish. K-SVD: M. Aharon, M. Elad, A. Bruckstein, IEEE TSP 54, 2006; each atom's rank-one fit is one power step, as in
Rubinstein's approximate K-SVD, and an unused atom is replaced by the patch with the largest error.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfs_rt.methods.colour import grey, to_yuv
from tfs_rt.methods.ctsr.fuse import PATCH, patches
from tfs_rt.methods.ctsr.pursuit import sparse_codes
from tfs_rt_reference.data.groups import read_groups

Field = NDArray[np.float64]
ATOMS = 512
NON_ZEROS = 20
ROUNDS = 180
SAMPLES = 40_000  # patches


def learn(signals: Field, *, atoms: int, non_zeros: int, rounds: int, report: Callable[[int, float], None]) -> Field:
    """Unit atoms (d, k) for sparse codes of `signals` (d, n); reports round and root mean square error."""
    rng = np.random.default_rng(0)
    dictionary = _unit(signals[:, rng.permutation(signals.shape[1])[:atoms]])
    for number in range(1, rounds + 1):
        codes = sparse_codes(dictionary, signals, atoms=non_zeros)
        residual = signals - dictionary @ codes
        report(number, float(np.sqrt(np.mean(residual**2))))
        for k in range(atoms):
            _update_atom(dictionary, codes, residual, k)
    return dictionary


def _update_atom(dictionary: Field, codes: Field, residual: Field, k: int) -> None:
    users = np.flatnonzero(codes[k])
    if not users.size:
        worst = int(np.argmax(np.einsum("dn,dn->n", residual, residual)))
        if residual[:, worst].any():
            dictionary[:, k] = residual[:, worst] / np.linalg.norm(residual[:, worst])
            residual[:, worst] = 0  # so that the next idle atom takes another
        return
    errors = residual[:, users] + np.outer(dictionary[:, k], codes[k, users])
    atom = errors @ codes[k, users]
    if atom.any():
        dictionary[:, k] = atom / np.linalg.norm(atom)
    codes[k, users] = dictionary[:, k] @ errors
    residual[:, users] = errors - np.outer(dictionary[:, k], codes[k, users])


def _unit(columns: Field) -> Field:
    return columns / np.linalg.norm(columns, axis=0)


def training_patches(root: Path) -> Field:
    """(64, n): patches without overlap of each grey image and luminance of the split `train`, but for dark ones."""
    found = []
    for group in read_groups(root, "train"):
        *anatomical, functional = group.sources
        luminances = [*map(grey, anatomical), to_yuv(functional)[..., 0]]
        found += [patches(image, PATCH) for image in luminances]
    signals = np.concatenate(found, axis=1)
    signals = np.unique(signals[:, np.linalg.norm(signals, axis=0) > 0.1], axis=1)
    return signals[:, np.random.default_rng(0).permutation(signals.shape[1])[:SAMPLES]]


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    signals = training_patches(arguments.data)
    print(f"{signals.shape[1]} patches")

    def report(number: int, error: float) -> None:
        print(f"{number} {error:.6f}", flush=True)

    atoms = learn(signals, atoms=ATOMS, non_zeros=NON_ZEROS, rounds=ROUNDS, report=report)
    np.save(arguments.output, atoms.astype(np.float32))


if __name__ == "__main__":
    main()
