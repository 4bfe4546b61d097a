// router: logits of every expert (each_product of tiles.cuh), then one warp a row: softmax over all, the TOP_K largest, renormalised.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "tiles.cuh"
#include "reduce.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");

typedef Product<FORMAT_W, false, E, H, SCALE_ROWS_W, SCALE_COLS_W> P;

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
router(const bf16 *g_x, const u8 *g_w, const u8 *g_scales, const float *g_row_scale, float *g_logits, bf16 *, int *, const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w[1] = {{g_w, g_scales, g_row_scale}};
    each_product<P, WARPS, SPLIT, TILES, AHEAD, ACROSS, BLOCKS, STAGES, ROWS>(
        {g_x, nullptr}, w, step.rows(), [](int row) { return (long long)row * LD_X; },
        [&](int n, int row, float sum) { g_logits[(long long)row * LD_LOGITS + n] = sum * row_factor<P>(w[0], n); });
}

// Order of choice: the larger logit, then the lower index.
__device__ __forceinline__ bool is_before(float a, int a_idx, float b, int b_idx) { return a > b || (a == b && a_idx < b_idx); }

extern "C" __global__ void __launch_bounds__(32)
router_top(const bf16 *, const u8 *, const u8 *, const float *, const float *g_logits, bf16 *g_weights, int *g_experts, const int *g_step, void *) {
    const StepView step{g_step};
    const int row = blockIdx.x, lane = threadIdx.x;
    if (row >= step.rows()) return;
    constexpr int PER_LANE = (E + 31) / 32;
    float r_logit[PER_LANE];
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
        const int e = 32 * j + lane;
        r_logit[j] = e < E ? g_logits[(long long)row * LD_LOGITS + e] : -INFINITY;
    }
    // The softmax over all, renormalised over the chosen, is the softmax over the chosen.
    float largest = 0, total = 0, r_weight[(TOP_K + 31) / 32] = {};
#pragma unroll 1
    for (int k = 0; k < TOP_K; k++) {
        float best = -INFINITY;
        int best_e = E;
#pragma unroll
        for (int j = 0; j < PER_LANE; j++)
            if (is_before(r_logit[j], 32 * j + lane, best, best_e)) best = r_logit[j], best_e = 32 * j + lane;
#pragma unroll
        for (int d = 16; d > 0; d >>= 1) {
            const float other = __shfl_xor_sync(0xFFFFFFFFu, best, d);
            const int other_e = __shfl_xor_sync(0xFFFFFFFFu, best_e, d);
            if (is_before(other, other_e, best, best_e)) best = other, best_e = other_e;
        }
#pragma unroll
        for (int j = 0; j < PER_LANE; j++)
            if (32 * j + lane == best_e) r_logit[j] = -INFINITY;
        if (k == 0) largest = best;
        const float p = expf(best - largest);
        total += p;
        if (lane == 0) g_experts[(long long)row * LD_EXPERTS + k] = best_e;
#pragma unroll
        for (int j = 0; j < (TOP_K + 31) / 32; j++)
            if (32 * j + lane == k) r_weight[j] = p;
    }
#pragma unroll
    for (int j = 0; j < (TOP_K + 31) / 32; j++)
        if (32 * j + lane < TOP_K) g_weights[(long long)row * LD_WEIGHTS + 32 * j + lane] = bf16_put(r_weight[j] / total);
}
