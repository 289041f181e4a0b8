"""A question about inputs that are as large as the model's results, asked once for a run.

Size alone decides. Sharpness does not tell an image of full resolution from one of low resolution: each has content up
to its own limit. Of 79 groups of 256x256 the anatomical images have 0.3 to 8 % of their power above half of the highest
frequency, and 2 to 21 % once they are made four times smaller. (Upsampled from 64x64 they have less than 0.01 %.)
"""

from __future__ import annotations

QUESTION = "did you mean"


def full_resolution_question(width: int, height: int, trained_size: int | None) -> str | None:
    """The question about inputs of this size; None if a model trained on such results should enlarge them."""
    if trained_size is None or min(width, height) < trained_size:
        return None
    return (
        f"inputs of {width}x{height} are as large as the results that the model was trained on"
        f" ({trained_size}x{trained_size}): {QUESTION} --scale 1 --method bitonicx, to fuse them at this size,"
        " --target-size, if they are upsampled already, or tfs-rt prepare, to make a training set?"
    )


def is_question(warning: str) -> bool:
    """True for a warning that is shown once for all cases."""
    return QUESTION in warning
