// One axis of Pillow's resampling of 8-bit images, source (outer, n_in, inner) -> target (outer, n_out, inner):
//
//   target[j] = clip((2^21 + sum_k weights[j, k] source[first[j] + k]) >> 22, 0, 255),  k < taps[j]
//
// Source: Pillow's Resample.c, 8 bits per channel (PRECISION_BITS = 22). first[n_out], taps[n_out] and
// weights[n_out, most_taps] are those of tfs_rt.backends.gpu.resampling.tables. Along x: outer = images * height,
// inner = 3; along y: outer = images, inner = width * 3.
//
// Threads: outer * n_out * inner; source and target have fewer than 2^31 elements. Bytes per element of the target:
// 1 written, n_in / n_out read (the taps overlap in cache): 0.25 MB for an RGB image's second pass from 64x256 to
// 256x256, 0.25 us at 1 TB/s.

extern "C" __global__ void tfs_resample(const unsigned char* source, unsigned char* target, const int* first,
                                        const int* taps, const int* weights, int most_taps, int outer, int n_in,
                                        int n_out, int inner) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= outer * n_out * inner) return;
    const int c = i % inner, j = i / inner % n_out, o = i / inner / n_out;
    const unsigned char* from = source + (o * n_in + first[j]) * inner + c;
    int sum = 1 << 21;
    for (int k = 0; k < taps[j]; ++k) sum += weights[j * most_taps + k] * from[k * inner];
    target[i] = (unsigned char)min(max(sum >> 22, 0), 255);
}
