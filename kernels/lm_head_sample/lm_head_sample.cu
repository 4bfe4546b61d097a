// lm_head_sample: logits of the wanted rows (each_product of tiles.cuh over rows gathered by out_row), then the greedy token of each: of parts of the
// vocabulary first, which one block alone would take longer for than the product.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "tiles.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");

typedef Product<FORMAT_W, IS_NVFP4_X, V, H, SCALE_ROWS_W, SCALE_COLS_W> P;

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
lm_head_sample(const void *g_x, const u8 *g_x_scales, const float2 *g_x_input, const u8 *g_w, const u8 *g_scales, const float *g_row_scale,
               float *g_logits, int *, const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w[1] = {{g_w, g_scales, g_row_scale}};
    each_product<P, WARPS, SPLIT, TILES, AHEAD, ACROSS, BLOCKS, STAGES, OUTS>(
        {g_x, g_x_scales}, w, step.outs(), [&](int out) { return (long long)step.out_row(out) * LD_X; }, [&](int n, int out, float sum) {
            g_logits[(long long)out * LD_LOGITS + n] = sum * row_factor<P>(w[0], n) * (P::IS_CODED ? g_x_input->x : 1.0f);
        });
}

static constexpr int TOP_THREADS = 256, TOP_PARTS = (V + TOP_PART - 1) / TOP_PART;

struct Top {
    float logit;
    int token;
};

// Of two the larger logit, the lower token among equals. None is before all others: token V.
__device__ __forceinline__ Top better(const Top &a, const Top &b) {
    const bool is_b = a.token == V || (b.token != V && (b.logit > a.logit || (b.logit == a.logit && b.token < a.token)));
    return is_b ? b : a;
}

// Of LANES lanes side by side, in each of them.
template <int LANES> __device__ __forceinline__ Top lanes_top(Top mine) {
#pragma unroll
    for (int d = LANES / 2; d > 0; d >>= 1)
        mine = better(mine, {__shfl_xor_sync(0xFFFFFFFFu, mine.logit, d), __shfl_xor_sync(0xFFFFFFFFu, mine.token, d)});
    return mine;
}

// Largest logit of TOP_PART of one row: one block a part and row.
extern "C" __global__ void __launch_bounds__(TOP_THREADS)
lm_head_part(const void *, const u8 *, const float2 *, const u8 *, const u8 *, const float *, const float *g_logits, int *, const int *g_step,
             void *g_scratch) {
    __shared__ Top s_top[TOP_THREADS / 32];
    const StepView step{g_step};
    const int out = blockIdx.y, first = blockIdx.x * TOP_PART, end = min(first + TOP_PART, V);
    if (out >= step.outs()) return;
    Top top = {0, V};
#pragma unroll 4
    for (int n = first + threadIdx.x; n < end; n += TOP_THREADS) top = better(top, {g_logits[(long long)out * LD_LOGITS + n], n});
    top = lanes_top<32>(top);
    if (threadIdx.x % 32 == 0) s_top[threadIdx.x / 32] = top;
    __syncthreads();
    if (threadIdx.x >= 32) return;
    top = lanes_top<TOP_THREADS / 32>(s_top[threadIdx.x % (TOP_THREADS / 32)]);
    if (threadIdx.x == 0) ((Top *)g_scratch)[out * TOP_PARTS + blockIdx.x] = top;
}

// Of the parts of one row the largest.
extern "C" __global__ void __launch_bounds__(32)
lm_head_top(const void *, const u8 *, const float2 *, const u8 *, const u8 *, const float *, const float *, int *g_token, const int *g_step,
            void *g_scratch) {
    const StepView step{g_step};
    const int out = blockIdx.x;
    if (out >= step.outs()) return;
    Top top = {0, V};
    for (int i = threadIdx.x; i < TOP_PARTS; i += 32) top = better(top, ((const Top *)g_scratch)[out * TOP_PARTS + i]);
    top = lanes_top<32>(top);
    if (threadIdx.x == 0) g_token[out] = top.token;
}
