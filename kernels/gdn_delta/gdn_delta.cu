// gdn_delta: the gated delta rule, row by row. A block has COLUMNS columns of the state of one (sequence, value head): PARTS lanes share a column, each
// keeps its elements in registers for all rows of the step, so the state is read and written once. Other warps prepare the rows (norms of q and k, decay,
// beta) BATCH at a time in shared memory, one batch ahead. Every state element belongs to one thread for all versions.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"

static constexpr int HK = (CD - HV * DV) / (2 * DK), WORKERS = COLUMNS * PARTS, HELPERS = 128;   // threads
static constexpr int MINE = (DK + 4 * PARTS - 1) / (4 * PARTS) * 4, PADDED = MINE * PARTS, GROUPS = (DV + COLUMNS - 1) / COLUMNS;
static_assert(WORKERS % 32 == 0 && WORKERS + HELPERS <= 1024, "whole warps");
static_assert(PARTS == 1 || PARTS == 2 || PARTS == 4 || PARTS == 8, "lanes of a column share a warp");

struct Batch {   // q and k normed, zeros behind DK
    float k[BATCH][PADDED], q[BATCH][PADDED], v[BATCH][COLUMNS], alpha[BATCH], beta[BATCH];
};

// Sum over the PARTS neighbouring lanes of a column.
__device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int d = 1; d < PARTS; d *= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, d);
    return x;
}

// softplus with the framework's threshold: the identity above 20.
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

// A vector of DK elements and its l2 norm by one warp: to = x · factor / |x|.
__device__ __forceinline__ void normed(const bf16 *g_x, float eps, float factor, float *s_to) {
    float x[(PADDED + 31) / 32], square = 0;
#pragma unroll
    for (int j = 0; j < (PADDED + 31) / 32; j++) {
        const int i = 32 * j + threadIdx.x % 32;
        x[j] = i < DK ? bf16_get(g_x[i]) : 0.0f;
        square += x[j] * x[j];
    }
    const float scale = 1.0f / sqrtf(warp_sum(square) + eps) * factor;
#pragma unroll
    for (int j = 0; j < (PADDED + 31) / 32; j++) {
        const int i = 32 * j + threadIdx.x % 32;
        if (i < PADDED) s_to[i] = x[j] * scale;
    }
}

extern "C" __global__ void __launch_bounds__(WORKERS + HELPERS, 1)
gdn_delta(const bf16 *g_qkv, const bf16 *g_a, const bf16 *g_b, const float *g_a_log, const void *, const float *, const float *g_dt_bias, const void *,
          const float *, float *g_state, bf16 *g_y, const int *g_rejected, const int *g_step, float, float eps, void *) {
    __shared__ __align__(16) Batch s_batch[2];
    const StepView step{g_step};
    const int seq = blockIdx.x / (HV * GROUPS), head = blockIdx.x / GROUPS % HV, column0 = blockIdx.x % GROUPS * COLUMNS;
    if (seq >= step.seqs()) return;
    const int first = step.seq_start(seq), count = step.seq_start(seq + 1) - first;
    const int back = HAS_REJECTED ? g_rejected[step.slot(seq)] : step.back(seq);
    const bool is_worker = threadIdx.x < WORKERS, is_fresh = step.pos(first) == 0;
    const int column = column0 + threadIdx.x / PARTS, part = threadIdx.x % PARTS, lane = threadIdx.x % 32;
    const bool has_column = is_worker && column < DV;
    constexpr long long VERSION = (long long)HV * DK * DV;
    float *state = g_state + step.slot(seq) * VERSIONS * VERSION + (long long)head * DK * DV + column;

    // The element of this thread's m-th place: four neighbours, then the other lanes' fours.
    const auto element = [&](int m) { return (m / 4 * PARTS + part) * 4 + m % 4; };
    float r_s[MINE];
#pragma unroll
    for (int m = 0; m < MINE; m++) {
        const int i = element(m);
        r_s[m] = has_column && i < DK && !is_fresh ? state[back * VERSION + (long long)i * DV] : 0.0f;
    }
    // Versions that this step's rows do not overwrite move: v becomes the old back + v - count, zeros where there is none.
    for (int n = count; n < VERSIONS; n++) {
        const int v = back > count ? n : VERSIONS - 1 - (n - count), from = back + v - count;
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            const int i = element(m);
            if (has_column && i < DK) state[v * VERSION + (long long)i * DV] = is_fresh || from >= VERSIONS ? 0.0f : state[from * VERSION + (long long)i * DV];
        }
    }
    const float decay = -expf(g_a_log[head]), bias = g_dt_bias[head];
    const int key_head = head / (HV / HK);
#pragma unroll 1
    for (int begin = -BATCH; begin < count; begin += BATCH) {   // workers are at rows begin …, helpers a batch later
        if (is_worker) {
            const Batch &now = s_batch[begin / BATCH & 1];
            for (int j = 0; begin >= 0 && j < BATCH && begin + j < count; j++) {
                const int t = begin + j;
                const float alpha = now.alpha[j];
                float read[4] = {}, out[4] = {};
#pragma unroll
                for (int m = 0; m < MINE; m++) {
                    r_s[m] *= alpha;
                    read[m % 4] += now.k[j][element(m)] * r_s[m];
                }
                const float delta = now.beta[j] * (now.v[j][threadIdx.x / PARTS] - column_sum((read[0] + read[1]) + (read[2] + read[3])));
#pragma unroll
                for (int m = 0; m < MINE; m++) {
                    r_s[m] += now.k[j][element(m)] * delta;
                    out[m % 4] += now.q[j][element(m)] * r_s[m];
                }
                const float y = column_sum((out[0] + out[1]) + (out[2] + out[3]));
                if (has_column && part == 0) g_y[(long long)(first + t) * LD_Y + head * DV + column] = bf16_put(y);
                if (count - 1 - t < VERSIONS)
#pragma unroll
                    for (int m = 0; m < MINE; m++) {
                        const int i = element(m);
                        if (has_column && i < DK) state[(count - 1 - t) * VERSION + (long long)i * DV] = r_s[m];
                    }
            }
        } else {
            const int from = begin + BATCH;
            Batch &next = s_batch[from / BATCH & 1];
#pragma unroll 2
            for (int j = (threadIdx.x - WORKERS) / 32; j < BATCH && from + j < count; j += HELPERS / 32) {
                const long long row = first + from + j;
                const bf16 *qkv = g_qkv + row * LD_QKV;
                normed(qkv + key_head * DK, eps, 1.0f / sqrtf((float)DK), next.q[j]);
                normed(qkv + (HK + key_head) * DK, eps, 1.0f, next.k[j]);
                for (int c = lane; c < COLUMNS; c += 32) next.v[j][c] = column0 + c < DV ? bf16_get(qkv[2 * HK * DK + head * DV + column0 + c]) : 0.0f;
                if (lane == 0) {
                    next.alpha[j] = expf(decay * softplus(bf16_get(g_a[row * LD_A + head]) + bias));
                    next.beta[j] = sigmoid(bf16_get(g_b[row * LD_B + head]));
                }
            }
        }
        __syncthreads();
    }
}
