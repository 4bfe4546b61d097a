// experts.cuh: which (row, slot) pairs of a step chose an expert, found by the block itself: no sort, no launch of its own, fixed order.
#pragma once

// Pairs row·TOP_K + slot of expert e in ascending order into s_pairs[0 .. returned); every thread of the block calls it and gets the count. Each warp
// looks through its part of them, counts, and then writes behind the warps before it.
// rows ≤ ROWS; s_pairs has ROWS · TOP_K entries.
__device__ __forceinline__ int expert_pairs(const int *g_experts, int rows, int e, u16 *s_pairs) {
    __shared__ int s_count[WARPS];
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, all = rows * TOP_K;
    const int part = (all + 32 * WARPS - 1) / (32 * WARPS) * 32, begin = warp * part, end = min(begin + part, all);
    const auto is_mine = [&](int pair) { return pair < end && g_experts[pair / TOP_K * LD_EXPERTS + pair % TOP_K] == e; };
    int mine = 0;
#pragma unroll 4
    for (int first = begin; first < end; first += 32) mine += __popc(__ballot_sync(0xFFFFFFFFu, is_mine(first + lane)));
    if (lane == 0) s_count[warp] = mine;
    __syncthreads();
    int at = 0, count = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) {
        if (w < warp) at += s_count[w];
        count += s_count[w];
    }
    if (mine > 0)
        for (int first = begin; first < end; first += 32) {
            const u32 mask = __ballot_sync(0xFFFFFFFFu, is_mine(first + lane));
            if (mask >> lane & 1) s_pairs[at + __popc(mask & ((1u << lane) - 1))] = (u16)(first + lane);
            at += __popc(mask);
        }
    __syncthreads();
    return count;
}

// The expert of this block and its pairs: block y is an expert, or, BY_PAIR, the pair that speaks for all pairs of its expert when it is the first
// of them. Of one row each pair speaks for itself, and the block needs no list.
template <bool BY_PAIR> struct BlockPairs {
    static constexpr bool IS_ALONE = BY_PAIR && ROWS == 1;
    const u16 *list;
    int e, count;   // 0: no work for this block
    __device__ __forceinline__ int operator[](int at) const { return IS_ALONE ? blockIdx.y : list[at]; }
};

template <bool BY_PAIR> __device__ __forceinline__ BlockPairs<BY_PAIR> block_pairs(const int *g_experts, int rows) {
    __shared__ u16 s_pairs[BlockPairs<BY_PAIR>::IS_ALONE ? 1 : ROWS * TOP_K];
    const int y = blockIdx.y;
    if (BY_PAIR && y >= rows * TOP_K) return {s_pairs, 0, 0};
    const int e = BY_PAIR ? g_experts[y / TOP_K * LD_EXPERTS + y % TOP_K] : y;
    if constexpr (BlockPairs<BY_PAIR>::IS_ALONE) return {s_pairs, e, 1};
    const int count = expert_pairs(g_experts, rows, e, s_pairs);
    return {s_pairs, e, BY_PAIR && s_pairs[0] != y ? 0 : count};
}

// Expert e of packed matrices [e][N][K].
template <class P> __device__ __forceinline__ PackedRows expert_rows(const u8 *data, const u8 *scales, const float *row_scale, int e) {
    constexpr long long SCALES = P::FORMAT == FORMAT_NVFP4 ? (long long)P::N * P::SCALES
                               : 4LL * ((P::N + P::SCALE_ROWS - 1) / P::SCALE_ROWS) * ((P::K + P::SCALE_COLS - 1) / P::SCALE_COLS);
    return {data + (long long)e * P::N * P::ROW_BYTES, scales + e * SCALES, row_scale + (long long)e * P::N};
}
