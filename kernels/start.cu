// The start of a chain: the last 3 channels of x (batch, channels, height, width), from the images before them:
//
//   x = start[0] clip(functional + max over images of luma - luma of functional, -1, 1) + start[1] z
//   luma = 0.299 R + 0.587 G + 0.114 B,  functional = the last image,  z = draw 0 of the case's noise
//
// Source: tfs_rt.sampling.loop, warm_start and sample. keys (batch, 2) are Philox keys as (low, high) 64-bit words.
//
// Threads: batch * ceil(3 height width / 8), one for 8 consecutive elements; x has fewer than 2^31 elements. Bytes per
// element: 4 written, 4 (channels - 3) / 3 read if the images stay in cache for all three channels: 3.1 MB for 256x256
// and 9 + 3 channels, 3 us at 1 TB/s. On cards slow in float64 Box-Muller costs more than that.

#include "philox.cuh"

__device__ inline float luma(const float* image, int plane) {
    return 0.299f * image[0] + 0.587f * image[plane] + 0.114f * image[2 * plane];
}

// Element `channel` of the warm start at one pixel, whose condition starts at `condition`.
__device__ inline float warm_start(const float* condition, int images, int plane, int channel) {
    const float* functional = condition + 3 * (images - 1) * plane;
    const float own = luma(functional, plane);
    float brightest = own;
    for (int n = 0; n < images - 1; ++n) brightest = fmaxf(brightest, luma(condition + 3 * n * plane, plane));
    return fminf(fmaxf(functional[channel * plane] + (brightest - own), -1.0f), 1.0f);
}

extern "C" __global__ void tfs_start(float* x, const unsigned long long* keys, const float* start, int batch,
                                     int channels, int height, int width) {
    const int plane = height * width, blocks = (3 * plane + 7) / 8;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch * blocks) return;
    const int b = i / blocks, block = i % blocks;
    float* condition = x + b * channels * plane;
    float* x_t = condition + (channels - 3) * plane;
    const bool noisy = start[1] != 0.0f;
    float z[8];
    if (noisy) gaussian8(keys + 2 * b, 0, block, z);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
        const int e = 8 * block + k;
        if (e >= 3 * plane) return;
        const float warm = start[0] * warm_start(condition + e % plane, channels / 3 - 1, plane, e / plane);
        x_t[e] = noisy ? warm + start[1] * z[k] : warm;
    }
}
