// Raise the step counter of a captured graph, whose launches are all the same:
//
//   *step = *step + 1
//
// Threads: 1. Bytes: 4 read, 4 written; the cost is that of a launch.

extern "C" __global__ void tfs_advance(int* step) {
    if (blockIdx.x * blockDim.x + threadIdx.x == 0) ++*step;
}
