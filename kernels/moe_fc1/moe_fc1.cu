// moe_fc1: y[row][slot] = silu(gate_e · x) · (up_e · x) for the expert e of each (row, slot). A block owns some rows of one expert and every pair
// that chose it, 8·TILES at a time; the gate and up products of a neuron sit in the same lane. See moe_fc1.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "experts.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(ROWS * TOP_K <= 65536, "a pair fits 16 bits");
static_assert(FORMAT_GATE == FORMAT_UP, "gate and up have one format");

extern "C" __global__ void __launch_bounds__(32 * WARPS)
moe_fc1(const bf16 *g_x, const u8 *, const bf16 *, const u8 *, const int *g_experts, const u8 *g_gate, const u8 *g_gate_scales,
        const float *g_gate_row_scale, const u8 *g_up, const u8 *g_up_scales, const float *g_up_row_scale, bf16 *g_y, const int *g_step, void *) {
    __shared__ u16 s_pairs[ROWS * TOP_K];
    const StepView step{g_step};
    const int e = blockIdx.y, lane = threadIdx.x % 32;
    const int count = expert_pairs(g_experts, step.rows(), e, s_pairs);
    const PackedRows gate = expert_rows<FORMAT_GATE, I, H, SCALE_ROWS_GATE, SCALE_COLS_GATE>(g_gate, g_gate_scales, g_gate_row_scale, e);
    const PackedRows up = expert_rows<FORMAT_UP, I, H, SCALE_ROWS_UP, SCALE_COLS_UP>(g_up, g_up_scales, g_up_row_scale, e);
    for (int first = 0; first < count; first += 8 * TILES) {
        const bf16 *x[TILES];
        tile_rows(g_x, LD_X, first, count, x, [&](int at) { return s_pairs[at] / TOP_K; });
        float gates[TILES][4] = {}, ups[TILES][4] = {};
        block_rows<FORMAT_GATE, I, H, TILES, WARPS, SPLIT, SCALE_ROWS_GATE, SCALE_COLS_GATE, true>(gate, blockIdx.x, x, gates);
        const int n0 = block_rows<FORMAT_UP, I, H, TILES, WARPS, SPLIT, SCALE_ROWS_UP, SCALE_COLS_UP, true>(up, blockIdx.x, x, ups);
        if (n0 < 0) continue;
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int n = n0 + lane / 4 + 8 * (i / 2), at = first + 8 * t + 2 * (lane % 4) + i % 2;
                if (n >= I || at >= count) continue;
                const float g = gates[t][i] * row_factor<FORMAT_GATE>(gate, n), u = ups[t][i] * row_factor<FORMAT_UP>(up, n);
                g_y[(long long)(s_pairs[at] / TOP_K) * LD_Y + s_pairs[at] % TOP_K * I + n] = bf16_put(silu(g) * u);
            }
    }
}
