// Kernels for the tests of the device itself, in the form that the fake driver takes them.

namespace {
template <class T>
T& parameter(void** params, int i) {
    return *static_cast<T*>(params[i]);
}
}  // namespace

// x = scale * x + *step
extern "C" int tfs_host_params_mix(int* sizes) { return sizes[0] = 8, sizes[1] = 8, sizes[2] = 4, sizes[3] = 4, 4; }
extern "C" void tfs_host_mix(void** params, unsigned grid, unsigned block) {
    float* x = parameter<float*>(params, 0);
    for (int i = 0; i < parameter<int>(params, 3) && i < static_cast<int>(grid * block); i++)
        x[i] = parameter<float>(params, 2) * x[i] + static_cast<float>(*parameter<int*>(params, 1));
}

extern "C" int tfs_host_params_advance(int* sizes) { return sizes[0] = 8, 1; }
extern "C" void tfs_host_advance(void** params, unsigned, unsigned) { ++*parameter<int*>(params, 0); }

// Writes a float after the end of its buffer of n.
extern "C" int tfs_host_params_spill(int* sizes) { return sizes[0] = 8, sizes[1] = 4, 2; }
extern "C" void tfs_host_spill(void** params, unsigned, unsigned) {
    parameter<float*>(params, 0)[parameter<int>(params, 1)] = 1;
}
