"""A batch is fused step by step; a value that is not finite ends it at any step."""

import dataclasses
import math
import warnings

import numpy as np
import pytest

from support.helpers import FEW, NumpyEngine, model_spec
from tfs_rt.images import Array
from tfs_rt.sampling.engine import ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Prediction

STEPS = 16


def is_caught(prediction: Prediction, sampler: dict, value: float, at: int) -> bool:
    """True if a value in one element of one step's prediction ends the batch, with a network that ignores x_t."""
    calls = 0

    def predict(condition: Array, x_t: Array, noise_level: Array) -> Array:
        nonlocal calls
        calls += 1
        predicted = np.tanh(condition[:, 6:])
        if calls == at:
            predicted[0, 1, 2, 3] = value
        return predicted

    spec = model_spec(prediction=prediction)
    table = step_table(spec, dataclasses.replace(FEW, steps=STEPS, **sampler))
    case = [np.full((4, 4, 3), 60 * k, np.uint8) for k in range(1, 4)]
    try:
        fuse_batch(NumpyEngine(spec, predict), table, ImageBatch([case], ["a"], size=(8, 8)))
    except FloatingPointError:
        return True
    assert calls == STEPS
    return False


SAMPLERS = ({"sampler": "ddim", "eta": 0.0}, {"sampler": "ddim", "eta": 1.0}, {"sampler": "dpmpp-2m", "eta": 0.0})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
def test_a_prediction_that_is_not_finite_is_caught_at_whichever_step(prediction: Prediction, value: float) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "invalid value encountered", RuntimeWarning)
        missed = [
            (n, at) for n in range(3) for at in range(1, STEPS + 1) if not is_caught(prediction, SAMPLERS[n], value, at)
        ]
    assert missed == []
