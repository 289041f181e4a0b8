// Copy a step's row of a table (steps, width), so that a captured graph can go through the table:
//
//   row = table[*step]
//
// Threads: width; the table has fewer than 2^31 elements. Bytes per element: 4 read, 4 written; the cost is that
// of a launch.

extern "C" __global__ void tfs_select(const float* table, const int* step, float* row, int width) {
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < width) row[i] = table[*step * width + i];
}
