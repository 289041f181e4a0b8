// A network of sorts for tests of the loop on the fake GPU: it leans on every image, on x_t and on its step's bias, so
// that a wrong buffer, row or order shows. tests/support/formula_network.py writes the same in NumPy.

extern "C" __global__ void test_network(const float* x, const float* bias, float* prediction, int batch, int channels,
                                        int height, int width) {
    const int plane = height * width, count = 3 * plane;
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= batch * count) return;
    const float* condition = x + (i / count) * channels * plane;
    const int e = i % count;
    const float* x_t = condition + (channels - 3) * plane;
    const float mixed = 0.5f * condition[e + 6 * plane] + 0.3f * condition[e] + 0.1f * condition[e + 3 * plane];
    prediction[i] = mixed + bias[1] * x_t[e] + 0.1f * bias[0];
}
