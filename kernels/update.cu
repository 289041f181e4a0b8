// One reverse step, for x_t = the last 3 channels of x (batch, channels, height, width), in place:
//
//   x_0    = clip(r_xt x_t + r_pred prediction, -1, 1)
//   x_prev = c_x0 x_0 + c_xt x_t + c_z z + c_x0_prev x_0'    x_0' is the previous step's, which x_0 held
//
// Source: tfs_rt.sampling.tables and tfs_rt.sampling.engine.reverse_step, in its order of operations.
// rows (steps, 8) holds (noise_level, r_xt, r_pred, c_x0, c_xt, c_z, c_x0_prev, -). z is draw *step + 1 of the case's
// noise, with keys as in start.cu. A coefficient of 0 leaves its term out: x_0 is undefined before the first step. An
// infinite guess becomes NaN (infinity - infinity), not a plausible pixel. The clip lets NaN through, as NumPy's does
// and fminf does not; finish.cu reports it.
//
// Threads: batch * ceil(3 height width / 8), one for 8 consecutive elements; x has fewer than 2^31 elements. Bytes per
// element: 8 read and 8 written, 4 more read by a multistep method: 3.1 to 3.9 MB for 256x256, 4 us at 1 TB/s. Where
// c_z is not 0, Box-Muller costs more than that on cards slow in float64.

#include "philox.cuh"

extern "C" __global__ void tfs_update(const float* prediction, float* x, float* x_0, const float* rows, const int* step,
                                      const unsigned long long* keys, int batch, int channels, int height, int width) {
    const int count = 3 * height * width, blocks = (count + 7) / 8;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch * blocks) return;
    const int b = i / blocks, block = i % blocks;
    const float* row = rows + 8 * *step;
    const float r_xt = row[1], r_pred = row[2], c_x0 = row[3], c_xt = row[4], c_z = row[5], c_x0_prev = row[6];
    float* x_t = x + (b * channels + channels - 3) * height * width;
    float z[8];
    if (c_z != 0.0f) gaussian8(keys + 2 * b, *step + 1, block, z);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        const int e = 8 * block + k, f = b * count + e;
        if (e >= count) return;
        const float guess = r_xt * x_t[e] + r_pred * prediction[f];
        const float clean = !isfinite(guess) ? guess - guess : guess < -1.0f ? -1.0f : guess > 1.0f ? 1.0f : guess;
        float x_prev = c_x0 * clean + c_xt * x_t[e];
        if (c_z != 0.0f) x_prev = x_prev + c_z * z[k];
        if (c_x0_prev != 0.0f) x_prev = x_prev + c_x0_prev * x_0[f];
        x_t[e] = x_prev;
        x_0[f] = clean;
    }
}
