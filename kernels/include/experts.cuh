// experts.cuh: which (row, slot) pairs of a step chose an expert, found by the block itself: no sort, no launch of its own, fixed order.
#pragma once

// Pairs row·TOP_K + slot of expert e in ascending order into s_pairs[0 .. returned); every thread of the block calls it and gets the count.
// rows ≤ ROWS; s_pairs has ROWS · TOP_K entries.
__device__ __forceinline__ int expert_pairs(const int *g_experts, int rows, int e, u16 *s_pairs) {
    __shared__ int s_count;
    if (threadIdx.x < 32) {
        int count = 0;
        for (int first = 0; first < rows * TOP_K; first += 32) {
            const int pair = first + threadIdx.x;
            const bool is_mine = pair < rows * TOP_K && g_experts[pair / TOP_K * LD_EXPERTS + pair % TOP_K] == e;
            const u32 mask = __ballot_sync(0xFFFFFFFFu, is_mine);
            if (is_mine) s_pairs[count + __popc(mask & ((1u << threadIdx.x) - 1))] = (u16)pair;
            count += __popc(mask);
        }
        if (threadIdx.x == 0) s_count = count;
    }
    __syncthreads();
    return s_count;
}

// Expert e of packed matrices [e][N][K].
template <int FORMAT, int N, int K, int SCALE_ROWS, int SCALE_COLS>
__device__ __forceinline__ PackedRows expert_rows(const u8 *data, const u8 *scales, const float *row_scale, int e) {
    using P = Packed<FORMAT>;
    constexpr long long SCALES = FORMAT == FORMAT_NVFP4 ? (long long)N * (P::row(K) / 16)
                               : 4LL * ((N + SCALE_ROWS - 1) / SCALE_ROWS) * ((K + SCALE_COLS - 1) / SCALE_COLS);
    return {data + (long long)e * N * P::row_bytes(K), scales + e * SCALES, row_scale + (long long)e * N};
}
