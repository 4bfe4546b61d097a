// moe_fc2: y[row][slot] = down_e · x[row][slot] for the expert e of each (row, slot). As moe_fc1, with one product. See moe_fc2.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "tiles.cuh"
#include "experts.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(ROWS * TOP_K <= 65536, "a pair fits 16 bits");

typedef Product<FORMAT_DOWN, IS_NVFP4_X, H, I, SCALE_ROWS_DOWN, SCALE_COLS_DOWN> P;

// One expert's share of this block by tiles. A template so that it is only looked at where there are stages.
template <int STAGES_N, class XRow, class Store>
__device__ __forceinline__ void expert_tiles(const PackedRows (&w)[1], int count, XRow x_row, Store store) {
    typedef Tiled<P, 1, 1, WARPS, ACROSS, BLOCKS, TILES, STAGES_N> T;
    for (int first = 0; first < count; first += T::ROWS) {
        float acc[BLOCKS][TILES][4] = {};
        T::product(w, blockIdx.x, [&](int, int r) { return x_row(first + r); }, acc);
        T::each(acc, blockIdx.x, [&](int n, int r, const float (&sum)[1]) {
            if (n < H && first + r < count) store(n, first + r, sum[0]);
        });
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
moe_fc2(const void *g_x, const u8 *g_x_scales, const float2 *g_x_input, const int *g_experts, const u8 *g_down, const u8 *g_down_scales,
        const float *g_down_row_scale, bf16 *g_y, const int *g_step, void *) {
    const StepView step{g_step};
    const BlockPairs<BY_PAIR> pairs = block_pairs<BY_PAIR>(g_experts, step.rows());
    const int e = pairs.e, count = pairs.count;
    if (count == 0) return;
    const PackedRows down[1] = {expert_rows<P>(g_down, g_down_scales, g_down_row_scale, e)};
    const Activations<P::IS_CODED> x{g_x, g_x_scales};
    const float input = P::IS_CODED ? g_x_input[QUANTIZERS_X > 1 ? e : 0].x : 1.0f;
    const auto element = [&](int at) { return (long long)(pairs[at] / TOP_K) * LD_X + pairs[at] % TOP_K * I; };
    const auto store = [&](int n, int at, float sum) {
        g_y[(long long)(pairs[at] / TOP_K) * LD_Y + pairs[at] % TOP_K * H + n] = bf16_put(sum * row_factor<P>(down[0], n) * input);
    };
    if constexpr (STAGES > 0) {
        expert_tiles<STAGES>(down, count, [&](int at) { return x.row(element(min(at, count - 1)), at < count); }, store);
        return;
    }
    for (int first = 0; first < count; first += 8 * TILES) {
        ActRow<P::IS_CODED> row[1][TILES];
        tile_rows(x, first, count, row[0], element);
        float acc[1][TILES][4] = {};
        const int n0 = block_rows<P, WARPS, SPLIT, AHEAD, true>(down, blockIdx.x, row, acc);
        if (n0 >= 0) each_sum(acc[0], n0, H, first, count, store);
    }
}
