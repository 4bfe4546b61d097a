// moe_fc2: y[row][slot] = down_e · x[row][slot] for the expert e of each (row, slot). As moe_fc1, with one product. See moe_fc2.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "experts.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(ROWS * TOP_K <= 65536, "a pair fits 16 bits");

extern "C" __global__ void __launch_bounds__(32 * WARPS)
moe_fc2(const bf16 *g_x, const u8 *, const int *g_experts, const u8 *g_down, const u8 *g_down_scales, const float *g_down_row_scale, bf16 *g_y,
        const int *g_step, void *) {
    __shared__ u16 s_pairs[ROWS * TOP_K];
    const StepView step{g_step};
    const int e = blockIdx.y;
    const int count = expert_pairs(g_experts, step.rows(), e, s_pairs);
    const PackedRows down = expert_rows<FORMAT_DOWN, H, I, SCALE_ROWS_DOWN, SCALE_COLS_DOWN>(g_down, g_down_scales, g_down_row_scale, e);
    for (int first = 0; first < count; first += 8 * TILES) {
        const bf16 *x[TILES];
        tile_rows(g_x, 1, first, count, x, [&](int at) { return (long long)(s_pairs[at] / TOP_K) * LD_X + s_pairs[at] % TOP_K * I; });
        float acc[TILES][4] = {};
        const int n0 = block_rows<FORMAT_DOWN, H, I, TILES, WARPS, SPLIT, SCALE_ROWS_DOWN, SCALE_COLS_DOWN, true>(down, blockIdx.x, x, acc);
        if (n0 < 0) continue;
        each_sum(acc, n0, H, first, count, [&](int n, int at, float sum) {
            g_y[(long long)(s_pairs[at] / TOP_K) * LD_Y + s_pairs[at] % TOP_K * H + n] = bf16_put(sum * row_factor<FORMAT_DOWN>(down, n));
        });
    }
}
