"""Make the example cases: `pip install 'tfs-rt[examples]' && python examples/make_examples.py`.

T1 is nilearn's MNI152 template, the average of 152 brains. T2 and FDG-PET are simulated from its tissue maps by a
linear mix of tissue intensities (the PET blurred to a scanner's resolution, with noise, in pseudo-colour).
Simulated, not patient data. With a folder as argument, the same cases go there at full resolution.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from nilearn.datasets import load_mni152_gm_template, load_mni152_template, load_mni152_wm_template
from PIL import Image
from scipy.ndimage import gaussian_filter

HERE = Path(__file__).resolve().parent
FIELD_OF_VIEW = 256  # pixels of 1 mm
LOW_RESOLUTION = 64  # pixels of 4 mm
AXIAL_SLICES = {"mni-z060": 60, "mni-z075": 75, "mni-z090": 90, "mni-z105": 105}  # voxel indices, basal to vertex
PET_FWHM = 6.0  # mm
PET_NOISE = 0.05
RAMP = np.array([[0, 0, 0], [0, 0, 150], [30, 110, 255], [255, 235, 60], [255, 130, 0], [235, 20, 0]], dtype=np.float64)


def volumes() -> dict[str, np.ndarray]:
    """T1, T2 and PET, each (x, y, z) at 1 mm in [0, 1]."""
    # the template and its tissue maps, as probabilities
    loaders = (load_mni152_template, load_mni152_gm_template, load_mni152_wm_template)
    t1, grey, white = (np.asarray(load(resolution=1).get_fdata(), dtype=np.float64) for load in loaders)
    brain = t1 > 0
    csf = np.where(brain, np.clip(1 - grey - white, 0, 1), 0)
    # intensities of the tissues, mixed; the PET is blurred to a scanner's resolution
    t2 = 70 * white + 100 * grey + 250 * csf
    pet = gaussian_filter(128 * grey + 32 * white, PET_FWHM / 2.355)
    pet *= 1 + PET_NOISE * gaussian_filter(np.random.default_rng(0).standard_normal(pet.shape), 1.5) * 5
    return {"mr-t1": t1 / t1.max(), "mr-t2": t2 / 250, "pet": np.clip(pet / np.percentile(pet[brain], 99.5), 0, 1)}


def axial(volume: np.ndarray, z: int) -> np.ndarray:
    """One slice, anterior up, in the middle of the field of view."""
    plane = np.rot90(volume[:, :, z])
    height, width = plane.shape
    top = (FIELD_OF_VIEW - height) // 2
    left = (FIELD_OF_VIEW - width) // 2
    framed = np.zeros((FIELD_OF_VIEW, FIELD_OF_VIEW))
    framed[top : top + height, left : left + width] = plane
    return framed


def pseudo_colour(x: np.ndarray) -> np.ndarray:
    """[0, 1] -> RGB along a rainbow from black over blue and yellow to red."""
    stops = np.linspace(0, 1, len(RAMP))
    return np.stack([np.interp(x, stops, RAMP[:, channel]) for channel in range(3)], axis=-1)


def main() -> None:
    """Write one folder per slice, with its three images."""
    made = volumes()
    root = Path(sys.argv[1]) if sys.argv[1:] else HERE
    side = FIELD_OF_VIEW if sys.argv[1:] else LOW_RESOLUTION
    for name, z in AXIAL_SLICES.items():
        folder = root / name
        folder.mkdir(parents=True, exist_ok=True)
        for modality, volume in made.items():
            plane = axial(volume, z)
            pixels = pseudo_colour(plane) if modality == "pet" else plane * 255
            image = Image.fromarray(np.rint(pixels).clip(0, 255).astype(np.uint8))
            image.resize((side, side), Image.Resampling.BICUBIC).save(folder / f"{modality}.png")
        print(folder)


if __name__ == "__main__":
    main()
