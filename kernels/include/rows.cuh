// rows.cuh: the product of weight.cuh spread over the warps of a block: WARPS / SPLIT groups of 16 weight rows, k split SPLIT ways.
#pragma once

// Rows of weights one block covers.
static constexpr __host__ __device__ int block_n(int warps, int split) { return 16 * (warps / split); }

// Weight row of this warp's fragment whose sums are in acc afterwards, -1 for warps that only helped. Every warp of the block must call it.
// IS_AGAIN: an earlier call of the same block may still be read from, so a barrier stands in front.
template <int FORMAT, int N, int K, int TILES, int WARPS, int SPLIT, int SCALE_ROWS, int SCALE_COLS, bool IS_AGAIN = false>
__device__ __forceinline__ int block_rows(const PackedRows &w, int block, const bf16 *const (&x)[TILES], float (&acc)[TILES][4]) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp / SPLIT, part = warp % SPLIT;
    const int n0 = block * block_n(WARPS, SPLIT) + 16 * group;
    if (n0 < N) weight_rows<FORMAT, N, K, TILES, SCALE_ROWS, SCALE_COLS>(w, n0, x, part, SPLIT, acc);
    if constexpr (SPLIT > 1) {
        __shared__ float s_part[WARPS][TILES][4][32];
        if constexpr (IS_AGAIN) __syncthreads();
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) s_part[warp][t][i][lane] = acc[t][i];
        __syncthreads();
        if (part != 0) return -1;
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                float sum = 0;
#pragma unroll
                for (int p = 0; p < SPLIT; p++) sum += s_part[group * SPLIT + p][t][i][lane];
                acc[t][i] = sum;
            }
    }
    return n0 < N ? n0 : -1;
}

// This lane's activation row of each tile (column g): rows first … of g_x, null from `rows` on. index maps a row to its place.
template <int TILES, class Index>
__device__ __forceinline__ void tile_rows(const bf16 *g_x, int ld, int first, int rows, const bf16 *(&x)[TILES], Index index) {
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        const int row = first + 8 * t + threadIdx.x % 32 / 4;
        x[t] = row < rows ? g_x + (long long)index(row) * ld : nullptr;
    }
}

// store(n, row, sum) for every sum of this warp's fragment: weight rows n0 …, activation rows first … below the ends.
template <int TILES, class Store>
__device__ __forceinline__ void each_sum(const float (&acc)[TILES][4], int n0, int n_end, int first, int rows, Store store) {
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int n = n0 + lane / 4 + 8 * (i / 2), row = first + 8 * t + 2 * (lane % 4) + i % 2;
            if (n < n_end && row < rows) store(n, row, acc[t][i]);
        }
}
