// rows.cuh: the product of weight.cuh spread over the warps of a block: WARPS / SPLIT groups of 16 weight rows, k split SPLIT ways.
#pragma once

// Rows of weights one block covers.
static constexpr __host__ __device__ int block_n(int warps, int split) { return 16 * (warps / split); }

// Blocks an SM that registers must leave room for. Named 1, the assembler takes the registers it wants; left alone (0), it looks for occupancy,
// which suits many tiles but made it spill a few bytes of small kernels.
static constexpr __host__ __device__ int blocks_min(int warps, int tiles) { return tiles >= 8 ? 0 : 1; }

// Weight row of this warp's fragment whose sums are in acc afterwards, -1 for warps that only helped. Every warp of the block must call it.
// IS_AGAIN: an earlier call of the same block may still be read from, so a barrier stands in front.
template <class P, int WARPS, int SPLIT, int AHEAD, bool IS_AGAIN = false, int MATS, int INPUTS, int TILES>
__device__ __forceinline__ int block_rows(const PackedRows (&w)[MATS], int block, const ActRow<P::IS_CODED> (&x)[INPUTS][TILES],
                                          float (&acc)[MATS][TILES][4]) {
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, group = warp / SPLIT, part = warp % SPLIT;
    const int n0 = block * block_n(WARPS, SPLIT) + 16 * group;
    if (n0 < P::N) weight_rows<P, SPLIT, AHEAD>(w, n0, x, part, acc);
    if constexpr (SPLIT > 1) {
        constexpr int SUMS = MATS * TILES * 4;
        __shared__ __align__(16) float s_part[WARPS][SUMS][32];
        if constexpr (IS_AGAIN) __syncthreads();
        float *mine = &acc[0][0][0];
        if (part != 0) {
#pragma unroll
            for (int i = 0; i < SUMS; i++) s_part[warp][i][lane] = mine[i];
        }
        __syncthreads();
        if (part != 0) return -1;
#pragma unroll
        for (int i = 0; i < SUMS; i++)
#pragma unroll
            for (int p = 1; p < SPLIT; p++) mine[i] += s_part[group * SPLIT + p][i][lane];
    }
    return n0 < P::N ? n0 : -1;
}

// This lane's activation row of each tile (column g): rows first … of x, none from `rows` on. element maps a row to its first element.
template <int TILES, bool IS_CODED, class Element>
__device__ __forceinline__ void tile_rows(const Activations<IS_CODED> &x, int first, int rows, ActRow<IS_CODED> (&row)[TILES], Element element) {
#pragma unroll
    for (int t = 0; t < TILES; t++) {
        const int r = first + 8 * t + threadIdx.x % 32 / 4;
        row[t] = x.row(r < rows ? element(r) : 0, r < rows);
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
