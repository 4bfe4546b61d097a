// linear: y[row][n] = Σ_k x[row][k] · w[n][k]. A warp owns 16 weight rows; SPLIT warps share them and each takes every SPLIT-th chunk of k,
// their partial sums are added in order through shared memory. TILES·8 activation rows a block. See linear.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(FORMAT_W != FORMAT_FP8_BLOCK || SCALE_COLS_W % 64 == 0, "scale blocks are whole chunks");

extern "C" __global__ void __launch_bounds__(32 * WARPS)
linear(const bf16 *g_x, const u8 *, const u8 *g_w, const u8 *g_scales, const float *g_row_scale, bf16 *g_y, const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w{g_w, g_scales, g_row_scale};
    const int row0 = blockIdx.y * 8 * TILES;
    if (row0 >= step.rows()) return;
    const bf16 *x[TILES];
    tile_rows(g_x, LD_X, row0, step.rows(), x, [](int row) { return row; });
    float acc[TILES][4] = {};
    const int n0 = block_rows<FORMAT_W, N, K, TILES, WARPS, SPLIT, SCALE_ROWS_W, SCALE_COLS_W>(w, blockIdx.x, x, acc);
    if (n0 < 0) return;
    each_sum(acc, n0, N, row0, step.rows(),
             [&](int n, int row, float sum) { g_y[(long long)row * LD_Y + n] = bf16_put(sum * row_factor<FORMAT_W>(w, n)); });
}
