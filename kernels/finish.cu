// From the network's range to pixels: the last 3 channels of x (batch, channels, padded_height, padded_width),
// cropped, -> image (batch, height, width, 3):
//
//   image = round((clip(x, -1, 1) + 1) 127.5), half to even;  *bad = 1 where any value is NaN or infinite
//
// Source: tfs_rt.images.from_model. Values in the padding count as well, as in tfs_rt.methods.diffusion. Threads that
// find a bad value all store the same 1, so their race does no harm. *bad is never cleared here, and the pixels of a bad
// image are undefined.
//
// Threads: batch * padded_height * padded_width, one for each pixel; x has fewer than 2^31 elements. Bytes per element:
// 4 read, 1 written: 1.0 MB for 256x256, 1 us at 1 TB/s.

extern "C" __global__ void tfs_finish(const float* x, unsigned char* image, int* bad, int batch, int channels,
                                      int height, int width, int padded_height, int padded_width) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x, plane = padded_height * padded_width;
    if (i >= batch * plane) return;
    const int column = i % padded_width, row = i / padded_width % padded_height, b = i / plane;
    const bool kept = row < height && column < width;
    for (int c = 0; c < 3; ++c) {
        const float v = x[(b * channels + channels - 3 + c) * plane + i % plane];
        if (!isfinite(v)) *bad = 1;
        const float level = rintf((fminf(fmaxf(v, -1.0f), 1.0f) + 1.0f) * 127.5f);
        if (kept) image[((b * height + row) * width + column) * 3 + c] = (unsigned char)level;
    }
}
