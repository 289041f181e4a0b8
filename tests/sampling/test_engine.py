"""One reverse step on arrays, as engines on the CPU take it."""

import numpy as np

from tfs_rt.sampling.engine import reverse_step
from tfs_rt.sampling.tables import StepRow

ROW = StepRow(noise_level=0.5, r_xt=2.0, r_pred=-1.0, c_x0=0.5, c_xt=0.25, c_z=0.0, c_x0_prev=0.0)


def test_x0_is_clipped_before_it_enters_the_next_state() -> None:
    x_t = np.array([0.1, 3.0, -3.0], np.float32)
    prediction = np.array([0.1, 1.0, -1.0], np.float32)
    x_prev, x_0 = reverse_step(prediction, x_t, None, ROW, None)
    np.testing.assert_allclose(x_0, [0.1, 1.0, -1.0], rtol=1e-6)
    np.testing.assert_allclose(x_prev, 0.5 * x_0 + 0.25 * x_t, rtol=1e-6)
