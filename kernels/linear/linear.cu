// linear: y[row][n] = Σ_k x[row][k] · w[n][k]. A warp owns 16 weight rows; SPLIT warps share them and each takes every SPLIT-th chunk of k,
// their partial sums are added in order through shared memory, TILES·8 activation rows a block. With STAGES, many rows: tiles.cuh. See linear.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "tiles.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(FORMAT_W != FORMAT_FP8_BLOCK || SCALE_COLS_W % 64 == 0, "scale blocks are whole chunks");

typedef Product<FORMAT_W, IS_NVFP4_X, N, K, SCALE_ROWS_W, SCALE_COLS_W> P;

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
linear(const void *g_x, const u8 *g_x_scales, const float2 *g_x_input, const u8 *g_w, const u8 *g_scales, const float *g_row_scale, bf16 *g_y,
       const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w[1] = {{g_w, g_scales, g_row_scale}};
    each_product<P, WARPS, SPLIT, TILES, AHEAD, ACROSS, BLOCKS, STAGES, ROWS>(
        {g_x, g_x_scales}, w, step.rows(), [](int row) { return (long long)row * LD_X; }, [&](int n, int row, float sum) {
            g_y[(long long)row * LD_Y + n] = bf16_put(sum * row_factor<P>(w[0], n) * (P::IS_CODED ? g_x_input->x : 1.0f));
        });
}
