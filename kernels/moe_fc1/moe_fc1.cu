// moe_fc1: y[row][slot] = silu(gate_e · x) · (up_e · x) for the expert e of each (row, slot). A block owns some rows of one expert and every pair
// that chose it, 8·TILES at a time (STAGES, many rows: a tile of tiles.cuh); the gate and up products of a neuron sit in the same lane. See moe_fc1.lua.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "rows.cuh"
#include "tiles.cuh"
#include "experts.cuh"
#include "e4m3.cuh"
#include "fp4.cuh"

static_assert(WARPS % SPLIT == 0, "splits are whole warps");
static_assert(ROWS * TOP_K <= 65536, "a pair fits 16 bits");
static_assert(FORMAT_GATE == FORMAT_UP, "gate and up have one format");
static_assert(SCALE_ROWS_GATE == SCALE_ROWS_UP && SCALE_COLS_GATE == SCALE_COLS_UP, "gate and up have one format");
static_assert(!HAS_Y_CODES || I % 16 == 0, "blocks are whole");
static_assert(!HAS_X_UP || IS_NVFP4_X == IS_NVFP4_X_UP, "both inputs have one type");

typedef Product<FORMAT_GATE, IS_NVFP4_X, I, H, SCALE_ROWS_GATE, SCALE_COLS_GATE> P;
static constexpr int INPUTS = HAS_X_UP ? 2 : 1;

// First element of a pair's vector of an argument with one slot for all experts of a row, or one for each.
template <int SLOTS_N, int LD> __device__ __forceinline__ long long vector_of(int pair) {
    return (long long)(pair / TOP_K) * LD + (SLOTS_N > 1 ? pair % TOP_K * H : 0);
}

// Input scale of an NVFP4 argument for expert e.
template <int QUANTIZERS> __device__ __forceinline__ float input_of(const float2 *input, int e) {
    return P::IS_CODED ? input[QUANTIZERS > 1 ? e : 0].x : 1.0f;
}

typedef BlockPairs<BY_PAIR> Pairs;

// Element of y's NVFP4 form where neuron n of the pair lies.
__device__ __forceinline__ long long codes_at(const Pairs &pairs, int at, int n) {
    const int pair = pairs[at];
    return (long long)(pair / TOP_K) * LD_Y_CODES + pair % TOP_K * I + n;
}

// One expert's share of this block by tiles. A template so that it is only looked at where there are stages.
template <int STAGES_N, class XRow, class Sum, class Store>
__device__ __forceinline__ void expert_tiles(const PackedRows (&w)[2], const Pairs &pairs, XRow x_row, Sum sum_of, Store store, u8 *g_codes, u8 *g_scales, float s) {
    typedef Tiled<P, 2, INPUTS, WARPS, ACROSS, BLOCKS, TILES, STAGES_N> T;
    for (int first = 0; first < pairs.count; first += T::ROWS) {
        float acc[2 * BLOCKS][TILES][4] = {};
        T::product(w, blockIdx.x, [&](int in, int r) { return x_row(in, first + r); }, acc);
        T::template each<HAS_Y_CODES ? 1 : 2>(acc, blockIdx.x, [&](int n, int r, const float (&sum)[2]) {
            const int at = first + r;
            const bool is_there = n < I && at < pairs.count;
            const bf16 y = sum_of(n, sum[0], sum[1]);
            if (is_there) store(n, at, y);
            if constexpr (HAS_Y_CODES) nvfp4_lanes(is_there ? bf16_get(y) : 0.0f, s, g_codes, g_scales, codes_at(pairs, min(at, pairs.count - 1), n), 32, is_there);
        });
    }
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, blocks_min(WARPS, TILES))
moe_fc1(const void *g_x, const u8 *g_x_scales, const float2 *g_x_input, const void *g_x_up, const u8 *g_x_up_scales, const float2 *g_x_up_input,
        const int *g_experts, const u8 *g_gate, const u8 *g_gate_scales, const float *g_gate_row_scale, const u8 *g_up, const u8 *g_up_scales,
        const float *g_up_row_scale, bf16 *g_y, u8 *g_codes, u8 *g_scales, const float2 *g_codes_input, const int *g_step, void *) {
    const StepView step{g_step};
    const Pairs pairs = block_pairs<BY_PAIR>(g_experts, step.rows());
    const int e = pairs.e, count = pairs.count, lane = threadIdx.x % 32;
    if (count == 0) return;
    const PackedRows w[2] = {expert_rows<P>(g_gate, g_gate_scales, g_gate_row_scale, e), expert_rows<P>(g_up, g_up_scales, g_up_row_scale, e)};
    const float input = input_of<QUANTIZERS_X>(g_x_input, e), input_up = HAS_X_UP ? input_of<QUANTIZERS_X_UP>(g_x_up_input, e) : input;
    const float s = HAS_Y_CODES ? g_codes_input[QUANTIZERS_Y_CODES > 1 ? e : 0].y : 0.0f;
    // y of neuron n (or the last one) from its sums; its place.
    const auto y_of = [&](int n, float gate, float up) {
        const int row = min(n, I - 1);
        return bf16_put(silu(gate * row_factor<P>(w[0], row) * input) * (up * row_factor<P>(w[1], row) * input_up));
    };
    const auto store = [&](int n, int at, bf16 y) { g_y[(long long)(pairs[at] / TOP_K) * LD_Y + pairs[at] % TOP_K * I + n] = y; };
    if constexpr (STAGES > 0) {
        expert_tiles<STAGES>(w, pairs, [&](int in, int at) {
            const int pair = pairs[min(at, count - 1)];
            return HAS_X_UP && in == 1 ? Activations<P::IS_CODED>{g_x_up, g_x_up_scales}.row(vector_of<SLOTS_UP, LD_X_UP>(pair), at < count)
                                       : Activations<P::IS_CODED>{g_x, g_x_scales}.row(vector_of<SLOTS, LD_X>(pair), at < count);
        }, y_of, store, g_codes, g_scales, s);
        return;
    }
    for (int first = 0; first < count; first += 8 * TILES) {
        ActRow<P::IS_CODED> x[INPUTS][TILES];
        tile_rows(Activations<P::IS_CODED>{g_x, g_x_scales}, first, count, x[0], [&](int at) { return vector_of<SLOTS, LD_X>(pairs[at]); });
        if constexpr (HAS_X_UP)
            tile_rows(Activations<P::IS_CODED>{g_x_up, g_x_up_scales}, first, count, x[1], [&](int at) { return vector_of<SLOTS_UP, LD_X_UP>(pairs[at]); });
        float acc[2][TILES][4] = {};
        const int n0 = block_rows<P, WARPS, SPLIT, AHEAD, true>(w, blockIdx.x, x, acc);
        if (n0 < 0) continue;
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                const int n = n0 + lane / 4 + 8 * (i / 2), at = first + 8 * t + 2 * (lane % 4) + i % 2;
                const bool is_there = n < I && at < count;
                const bf16 y = y_of(n, acc[0][t][i], acc[1][t][i]);
                if (is_there) store(n, at, y);
                acc[0][t][i] = is_there ? bf16_get(y) : 0.0f;
            }
        if constexpr (HAS_Y_CODES) {
#pragma unroll
            for (int t = 0; t < TILES; t++)
#pragma unroll
                for (int i = 0; i < 2; i++) {
                    const int at = first + 8 * t + 2 * (lane % 4) + i;
                    nvfp4_column(acc[0][t][i], acc[0][t][i + 2], s, g_codes, g_scales, codes_at(pairs, min(at, count - 1), n0), at < count);
                }
        }
    }
}
