// CUDA's words for a host compiler, so that the kernels' own source runs on the CPU: one thread after another, which
// suits kernels without barriers, shared memory or warp intrinsics.

#pragma once

#include <math.h>

#include <algorithm>

#define __global__
#define __device__

struct Index {
    unsigned x, y, z;
};
static thread_local Index threadIdx, blockIdx, blockDim, gridDim;

using std::max;
using std::min;
using std::isfinite;

inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)(((unsigned __int128)a * b) >> 64);
}

// sin(pi x) and cos(pi x), with the exact reduction that CUDA's has: x = q / 2 + r, |r| <= 1/4.
inline void sincospi(double x, double* sine, double* cosine) {
    const double q = nearbyint(2 * x), r = M_PI * (x - q / 2), s = sin(r), c = cos(r);
    const double turned[] = {s, c, -s, -c};
    *sine = turned[(long)q & 3];
    *cosine = turned[((long)q + 1) & 3];
}

template <typename Kernel>
void for_each_thread(unsigned grid, unsigned block, Kernel kernel) {
    gridDim = {grid, 1, 1};
    blockDim = {block, 1, 1};
    for (blockIdx = {0, 0, 0}; blockIdx.x < grid; ++blockIdx.x)
        for (threadIdx = {0, 0, 0}; threadIdx.x < block; ++threadIdx.x) kernel();
}
