// attention: a warp has sixteen pairs of a row and a query head that share a kv head, and walks through keys 32 at a time with an online softmax: scores
// and values are products of bf16 (mma.cuh) with f32 sums, the weights of the values as the sum of two bf16. It sums DIMS dimensions of the values; warps
// with other slices compute the same scores. Few rows: each warp has SEGMENT keys, and
// attention_merge adds the parts up in order; many rows (SEGMENT 0): a warp has all keys. Keys and values go from memory to the fragments.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "kv.cuh"

static constexpr int GROUP = HEADS / KV_HEADS, KEYS = 32, SLICES = (D + DIMS - 1) / DIMS;
static constexpr int PARTS = (D < DIMS ? D + 63 : DIMS) / 64;   // of 64 dimensions, of a warp's slice of the values
static constexpr int SEGMENTS = SEGMENT > 0 ? (MAX_LEN + SEGMENT - 1) / SEGMENT : 1;
// Bytes from query to query in shared memory, 64 more than a multiple of 128: eight lanes that read 16 bytes each meet different banks.
static constexpr int LD_S = (2 * D + 127) / 128 * 128 + 64, LD_SUM = 68;
static constexpr int ROOM = 16 * (LD_S > 4 * LD_SUM ? LD_S : 4 * LD_SUM);          // bytes of a warp: queries first, sums later
static_assert(D % 8 == 0, "keys are read eight elements at a time");
static_assert(SEGMENT % KEYS == 0, "segments are whole tiles");
static_assert(DIMS % 64 == 0, "slices are whole parts");

// Pair p is row p / GROUP, head p % GROUP of the kv head's.
struct Pair {
    int row, head;
    bool is_there;
};
__device__ __forceinline__ Pair pair_of(int p, int rows, int kv_head) {
    return {min(p / GROUP, rows - 1), kv_head * GROUP + p % GROUP, p < rows * GROUP};
}

// Keys that a row sees.
__device__ __forceinline__ int keys_of(const StepView &step, int row, const int *g_taken) { return (HAS_TAKEN ? step.pos(row, g_taken) : step.pos(row)) + 1; }

// Of the four lanes that share a row of a fragment.
__device__ __forceinline__ float quad_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}
__device__ __forceinline__ float quad_sum(float x) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

// Eight neighbours of the cache as bf16, zeros where there is nothing.
__device__ __forceinline__ uint4 load8(const KvElement *p, bool is_there) {
    uint4 w = zero4();
    if (!is_there) return w;
    if constexpr (KV_IS_FP8) {
        const uint2 bytes = *(const uint2 *)p;
        e4m3_pairs(bytes.x, w.x, w.y), e4m3_pairs(bytes.y, w.z, w.w);
    } else w = *(const uint4 *)p;
    return w;
}
__device__ __forceinline__ void words_of(const uint4 &w, u32 (&word)[4]) { word[0] = w.x, word[1] = w.y, word[2] = w.z, word[3] = w.w; }

// What a warp knows of its pairs: for rows g and g + 8 of the fragments.
struct Softmax {
    float sum[PARTS][8][4];   // [64 dimensions][n]: column c of product n is dimension 8c + n of them
    float largest[2], total[2];
};

// Keys first … end - 1 of one cache, values from dimension d0 on, for pairs whose rows see len[i] keys, 0: not of this sequence.
__device__ __forceinline__ void walk(const u8 *s_q, const KvElement *keys, const KvElement *values, int d0, int first, int end, const int (&len)[2],
                                     float scale, Softmax &x) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
#pragma unroll 1
    for (int tile = first; tile < end; tile += KEYS) {
        float s[4][4] = {};
#pragma unroll 2
        for (int c = 0; c < D; c += 32) {
            u32 low[4], high[4], k[4];
            words_of(*(const uint4 *)(s_q + g * LD_S + 2 * c + 16 * q), low);
            words_of(*(const uint4 *)(s_q + (g + 8) * LD_S + 2 * c + 16 * q), high);
#pragma unroll
            for (int n = 0; n < 4; n++) {
                const int key = tile + 8 * n + g;
                words_of(load8(keys + (long long)key * D + c + 8 * q, key < end && c + 8 * q < D), k);
                mma_bf16(s[n], low, high, k);
            }
        }
        float keep[2];
#pragma unroll
        for (int i = 0; i < 2; i++) {
            float top = -INFINITY;
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    float &score = s[n][2 * i + j];
                    score = tile + 8 * n + 2 * q + j < len[i] ? score * scale : -INFINITY;
                    top = fmaxf(top, score);
                }
            const float now = fmaxf(x.largest[i], quad_max(top)), from = now == -INFINITY ? 0.0f : now;
            keep[i] = exp2f(x.largest[i] - from);
            x.largest[i] = now;
            float part = 0;
#pragma unroll
            for (int n = 0; n < 4; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) part += s[n][2 * i + j] = exp2f(s[n][2 * i + j] - from);
            x.total[i] = x.total[i] * keep[i] + quad_sum(part);
        }
#pragma unroll
        for (int d = 0; d < PARTS; d++)
#pragma unroll
            for (int n = 0; n < 8; n++)
#pragma unroll
                for (int i = 0; i < 4; i++) x.sum[d][n][i] *= keep[i / 2];
#pragma unroll 1
        for (int half = 0; half < 2; half++) {   // of sixteen keys; p[i]: row g + 8i, keys 2q, 2q + 1 and 2q + 8, 2q + 9, then what bf16 left of them
            u32 p[2][4];
#pragma unroll
            for (int i = 0; i < 2; i++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const float a = half == 0 ? s[j][2 * i] : s[2 + j][2 * i], b = half == 0 ? s[j][2 * i + 1] : s[2 + j][2 * i + 1];
                    p[i][j] = bf16_pack(a, b);
                    p[i][2 + j] = bf16_pack(a - bf16_low(p[i][j]), b - bf16_high(p[i][j]));
                }
#pragma unroll
            for (int d = 0; d < PARTS; d++) {
                u32 v[4][4];   // [key 2q, 2q + 1, 2q + 8, 2q + 9][two dimensions]
#pragma unroll
                for (int j = 0; j < 4; j++) {
                    const int key = tile + 16 * half + 2 * q + j % 2 + j / 2 * 8, at = d0 + 64 * d + 8 * g;
                    words_of(load8(values + (long long)key * D + at, key < end && at < D), v[j]);
                }
#pragma unroll
                for (int n = 0; n < 8; n++) {
                    const u32 take = n % 2 ? 0x7632 : 0x5410, b0 = __byte_perm(v[0][n / 2], v[1][n / 2], take), b1 = __byte_perm(v[2][n / 2], v[3][n / 2], take);
                    mma_bf16(x.sum[d][n], p[0], p[1], {b0, b1, b0, b1});
                }
            }
        }
    }
}

// store(m, dimension, two) for every pair m and dimensions side by side, through the warp's shared memory.
template <class Store> __device__ __forceinline__ void each_sum(const Softmax &x, int d0, float *s_sum, Store store) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
#pragma unroll
    for (int d = 0; d < PARTS; d++) {
        __syncwarp();   // what lay there has been read
#pragma unroll
        for (int n = 0; n < 8; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) s_sum[(g + i / 2 * 8) * LD_SUM + 8 * (2 * q + i % 2) + n] = x.sum[d][n][i];
        __syncwarp();
#pragma unroll 2
        for (int m = 0; m < 16; m++)
            if (d0 + 64 * d + 2 * lane < D) store(m, d0 + 64 * d + 2 * lane, *(const float2 *)(s_sum + m * LD_SUM + 2 * lane));
    }
}

__device__ __forceinline__ u32 gated(const bf16 *g_gate, int row, int head, int i, float2 y) {
    const u32 gate = *(const u32 *)(g_gate + (long long)row * LD_GATE + head * 2 * D + D + i);
    return bf16_pack(y.x * sigmoid(bf16_low(gate)), y.y * sigmoid(bf16_high(gate)));
}

extern "C" __global__ void __launch_bounds__(32 * WARPS, 1)
attention(const bf16 *g_q, const bf16 *g_gate, const KvElement *g_keys, const KvElement *g_values, bf16 *g_y, const int *g_taken, const int *g_step,
          float k_scale, float v_scale, void *g_scratch) {
    __shared__ __align__(16) u8 s_room[WARPS][ROOM];
    __shared__ float s_stats[WARPS][2][16];
    const StepView step{g_step};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, g = lane / 4, kv_head = blockIdx.y / SLICES, d0 = blockIdx.y % SLICES * DIMS, rows = step.rows();
    const int tile = SEGMENT > 0 ? blockIdx.x : blockIdx.x * WARPS + warp, segment = SEGMENT > 0 ? blockIdx.z * WARPS + warp : 0;
    const int pair0 = 16 * tile, row0 = pair0 / GROUP, row_end = min((pair0 + 15) / GROUP + 1, rows);
    if (row0 >= rows) return;
    u8 *s_q = s_room[warp];
#pragma unroll 2
    for (int i = lane; i < 16 * (D / 8); i += 32) {   // the tail of a row of 32 dimensions must be zeros
        const Pair p = pair_of(pair0 + i / (D / 8), rows, kv_head);
        *(uint4 *)(s_q + i / (D / 8) * LD_S + i % (D / 8) * 16) = *(const uint4 *)(g_q + (long long)p.row * LD_Q + p.head * D + i % (D / 8) * 8);
    }
    if constexpr (D % 32 != 0)
#pragma unroll 1
        for (int i = lane; i < 16 * (4 - D / 8 % 4); i += 32)
            *(uint4 *)(s_q + i % 16 * LD_S + 2 * D + i / 16 * 16) = zero4();
    __syncwarp();
    Softmax x = {{}, {-INFINITY, -INFINITY}, {0, 0}};
    const int mine[2] = {(pair0 + g) / GROUP, (pair0 + g + 8) / GROUP};   // rows
    const int begin = segment * SEGMENT;
    // Scores in base 2: log2(e) / sqrt(D), and the cache's scale.
    const float scale = 1.4426950408889634f / sqrtf((float)D) * (KV_IS_FP8 ? k_scale : 1.0f);
#pragma unroll 1
    for (int row = row0; row < row_end;) {   // sequence after sequence
        const int seq = step.seq(row), next = min(step.seq_start(seq + 1), row_end);
        const int longest = keys_of(step, next - 1, g_taken), end = SEGMENT > 0 ? min(longest, begin + SEGMENT) : longest;
        const long long cache = ((long long)step.slot(seq) * KV_HEADS + kv_head) * MAX_LEN * D;
        int len[2];
#pragma unroll
        for (int i = 0; i < 2; i++) len[i] = mine[i] >= row && mine[i] < next ? min(keys_of(step, mine[i], g_taken), end) : 0;
        walk(s_q, g_keys + cache, g_values + cache, d0, begin, end, len, scale, x);
        row = next;
    }
    if (lane % 4 == 0)
#pragma unroll
        for (int i = 0; i < 2; i++) s_stats[warp][0][g + 8 * i] = x.largest[i], s_stats[warp][1][g + 8 * i] = x.total[i];
    each_sum(x, d0, (float *)s_room[warp], [&](int m, int i, float2 sum) {
        const Pair p = pair_of(pair0 + m, rows, kv_head);
        if (!p.is_there) return;
        if constexpr (SEGMENT > 0) {
            float *part = (float *)g_scratch + (((long long)p.row * HEADS + p.head) * SEGMENTS + segment) * (D + 2);
            if (begin >= keys_of(step, p.row, g_taken)) return;
            *(float2 *)(part + i) = sum;
            if (i == 0) part[D] = s_stats[warp][0][m], part[D + 1] = s_stats[warp][1][m];
        } else {
            const float factor = (KV_IS_FP8 ? v_scale : 1.0f) / s_stats[warp][1][m];
            *(u32 *)(g_y + (long long)p.row * LD_Y + p.head * D + i) = gated(g_gate, p.row, p.head, i, {sum.x * factor, sum.y * factor});
        }
    });
}

// The segments of a row and head, one block each.
extern "C" __global__ void __launch_bounds__(128)
attention_merge(const bf16 *, const bf16 *g_gate, const KvElement *, const KvElement *, bf16 *g_y, const int *g_taken, const int *g_step, float,
                float v_scale, const void *g_scratch) {
    if constexpr (SEGMENT > 0) {
        const StepView step{g_step};
        const int row = blockIdx.x / HEADS, head = blockIdx.x % HEADS;
        if (row >= step.rows()) return;
        const float *part = (const float *)g_scratch + ((long long)row * HEADS + head) * SEGMENTS * (D + 2);
        const int count = (keys_of(step, row, g_taken) + SEGMENT - 1) / SEGMENT;
        float largest = -INFINITY, total = 0;
#pragma unroll 4
        for (int n = 0; n < count; n++) largest = fmaxf(largest, part[n * (D + 2) + D]);
#pragma unroll 4
        for (int n = 0; n < count; n++) total += part[n * (D + 2) + D + 1] * exp2f(part[n * (D + 2) + D] - largest);
        for (int i = 2 * threadIdx.x; i < D; i += 256) {
            float2 sum = {0, 0};
#pragma unroll 4
            for (int n = 0; n < count; n++) {
                const float2 mine = *(const float2 *)(part + n * (D + 2) + i);
                const float keep = exp2f(part[n * (D + 2) + D] - largest);
                sum.x += mine.x * keep, sum.y += mine.y * keep;
            }
            const float factor = (KV_IS_FP8 ? v_scale : 1.0f) / total;
            *(u32 *)(g_y + (long long)row * LD_Y + head * D + i) = gated(g_gate, row, head, i, {sum.x * factor, sum.y * factor});
        }
    }
}
