// lm_head_sample: logits of the wanted rows (the product of weight.cuh over rows gathered by out_row), then the greedy token of each.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");

typedef Product<FORMAT_W, false, V, H, SCALE_ROWS_W, SCALE_COLS_W> P;

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
lm_head_sample(const bf16 *g_x, const u8 *g_w, const u8 *g_scales, const float *g_row_scale, float *g_logits, int *, const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w[1] = {{g_w, g_scales, g_row_scale}};
    const int out0 = blockIdx.y * 8 * TILES;
    if (out0 >= step.outs()) return;
    ActRow<false> x[1][TILES];
    tile_rows(Activations<false>{g_x, nullptr}, out0, step.outs(), x[0], [&](int out) { return (long long)step.out_row(out) * LD_X; });
    float acc[1][TILES][4] = {};
    const int n0 = block_rows<P, WARPS, SPLIT, AHEAD>(w, blockIdx.x, x, acc);
    if (n0 < 0) return;
    each_sum(acc[0], n0, V, out0, step.outs(),
             [&](int n, int out, float sum) { g_logits[(long long)out * LD_LOGITS + n] = sum * row_factor<P>(w[0], n); });
}

static constexpr int TOP_THREADS = 256;

// Largest logit of one row, the lowest index among equals.
extern "C" __global__ void __launch_bounds__(TOP_THREADS)
lm_head_top(const bf16 *, const u8 *, const u8 *, const float *, const float *g_logits, int *g_token, const int *g_step, void *) {
    __shared__ float s_best[TOP_THREADS / 32];
    __shared__ int s_token[TOP_THREADS / 32];
    const StepView step{g_step};
    const int out = blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    if (out >= step.outs()) return;
    float best = -INFINITY;
    int token = V;
    for (int n = threadIdx.x; n < V; n += TOP_THREADS) {
        const float x = g_logits[(long long)out * LD_LOGITS + n];
        if (x > best || token == V) best = x, token = n;
    }
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) {
        const float other = __shfl_xor_sync(0xFFFFFFFFu, best, d);
        const int other_token = __shfl_xor_sync(0xFFFFFFFFu, token, d);
        if (other > best || (other == best && other_token < token)) best = other, token = other_token;
    }
    if (lane == 0) s_best[warp] = best, s_token[warp] = token;
    __syncthreads();
    if (threadIdx.x != 0) return;
#pragma unroll
    for (int i = 1; i < TOP_THREADS / 32; i++)
        if (s_best[i] > best || (s_best[i] == best && s_token[i] < token)) best = s_best[i], token = s_token[i];
    g_token[out] = token;
}
