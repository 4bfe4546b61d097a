// linear: y[row][n] = Σ_k x[row][k] · w[n][k]. A warp owns 16 weight rows; SPLIT warps share them and each takes every SPLIT-th chunk of k,
// their partial sums are added in order through shared memory. TILES·8 activation rows a block. See linear.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(FORMAT_W != FORMAT_FP8_BLOCK || SCALE_COLS_W % 64 == 0, "scale blocks are whole chunks");

typedef Product<FORMAT_W, IS_NVFP4_X, N, K, SCALE_ROWS_W, SCALE_COLS_W> P;

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
linear(const void *g_x, const u8 *g_x_scales, const float2 *g_x_input, const u8 *g_w, const u8 *g_scales, const float *g_row_scale, bf16 *g_y,
       const int *g_step, void *) {
    const StepView step{g_step};
    const PackedRows w[1] = {{g_w, g_scales, g_row_scale}};
    const int row0 = blockIdx.y * 8 * TILES;
    if (ROWS > 8 * TILES && row0 >= step.rows()) return;   // else row0 is 0
    ActRow<P::IS_CODED> x[1][TILES];
    tile_rows(Activations<P::IS_CODED>{g_x, g_x_scales}, row0, step.rows(), x[0], [](int row) { return (long long)row * LD_X; });
    float acc[1][TILES][4] = {};
    const int n0 = block_rows<P, WARPS, SPLIT, AHEAD>(w, blockIdx.x, x, acc);
    if (n0 < 0) return;
    const float input = P::IS_CODED ? g_x_input->x : 1.0f;
    each_sum(acc[0], n0, N, row0, step.rows(),
             [&](int n, int row, float sum) { g_y[(long long)row * LD_Y + n] = bf16_put(sum * row_factor<P>(w[0], n) * input); });
}
