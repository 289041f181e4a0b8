// Ways into philox.cuh for the tests, compiled after kernels.cu.

extern "C" __global__ void test_philox(const unsigned long long* counter, const unsigned long long* key,
                                       unsigned long long* words) {
    if (blockIdx.x * blockDim.x + threadIdx.x > 0) return;
    const PhiloxWords from = {{counter[0], counter[1], counter[2], counter[3]}};
    const PhiloxWords to = philox4x64_10(from, key[0], key[1]);
    for (int k = 0; k < 4; ++k) words[k] = to.word[k];
}

// The first 8 blocks numbers of a draw.
extern "C" __global__ void test_gaussian(const unsigned long long* key, int draw, float* z, int blocks) {
    const int block = blockIdx.x * blockDim.x + threadIdx.x;
    if (block < blocks) gaussian8(key, draw, block, z + 8 * block);
}
