// gdn_delta: the gated delta rule, row by row, one block a (sequence, value head). PARTS lanes share a column of the state: each keeps DK / PARTS of its
// elements in registers for all rows of the step, so the state is read and written once. Every state element belongs to one thread for all versions.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"

static constexpr int HK = (CD - HV * DV) / (2 * DK), THREADS = DV * PARTS, MINE = (DK + PARTS - 1) / PARTS;
static_assert(THREADS % 32 == 0 && THREADS <= 1024, "whole warps");
static_assert(PARTS == 1 || PARTS == 2 || PARTS == 4 || PARTS == 8, "lanes of a column share a warp");

// Sum over the PARTS neighbouring lanes of a column.
__device__ __forceinline__ float column_sum(float x) {
#pragma unroll
    for (int d = 1; d < PARTS; d *= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, d);
    return x;
}

// softplus with the framework's threshold: the identity above 20.
__device__ __forceinline__ float softplus(float x) { return x > 20.0f ? x : log1pf(expf(x)); }

extern "C" __global__ void __launch_bounds__(THREADS, 1)
gdn_delta(const bf16 *g_qkv, const bf16 *g_a, const bf16 *g_b, const float *g_a_log, const void *, const float *, const float *g_dt_bias, const void *,
          const float *, float *g_state, bf16 *g_y, const int *g_rejected, const int *g_step, float,
          float eps, void *) {
    __shared__ float s_q[DK], s_k[DK], s_part[2][THREADS / 32];
    const StepView step{g_step};
    const int seq = blockIdx.x / HV, head = blockIdx.x % HV, column = threadIdx.x / PARTS, part = threadIdx.x % PARTS;
    if (seq >= step.seqs()) return;
    const int first = step.seq_start(seq), count = step.seq_start(seq + 1) - first;
    const int back = HAS_REJECTED ? g_rejected[step.slot(seq)] : step.back(seq);
    const bool is_fresh = step.pos(first) == 0;
    constexpr long long VERSION = (long long)HV * DK * DV;
    float *state = g_state + step.slot(seq) * VERSIONS * VERSION + (long long)head * DK * DV + column;
    const float decay = -expf(g_a_log[head]), bias = g_dt_bias[head];

    float r_s[MINE];
#pragma unroll
    for (int m = 0; m < MINE; m++) {
        const int i = m * PARTS + part;
        r_s[m] = i < DK && !is_fresh ? state[back * VERSION + (long long)i * DV] : 0.0f;
    }
    // Versions that this step's rows do not overwrite move: v becomes the old back + v - count, zeros where there is none.
    for (int n = count; n < VERSIONS; n++) {
        const int v = back > count ? n : VERSIONS - 1 - (n - count), from = back + v - count;
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            const int i = m * PARTS + part;
            if (i < DK) state[v * VERSION + (long long)i * DV] = is_fresh || from >= VERSIONS ? 0.0f : state[from * VERSION + (long long)i * DV];
        }
    }
    for (int t = 0; t < count; t++) {
        const bf16 *qkv = g_qkv + (long long)(first + t) * LD_QKV;
        const int key_head = head / (HV / HK);
        float q_square = 0, k_square = 0;
        if (t > 0) __syncthreads();   // the row before has read q and k
        for (int i = threadIdx.x; i < DK; i += THREADS) {
            const float q = bf16_get(qkv[key_head * DK + i]), k = bf16_get(qkv[(HK + key_head) * DK + i]);
            s_q[i] = q, s_k[i] = k;
            q_square += q * q, k_square += k * k;
        }
        q_square = block_sum<THREADS>(q_square, s_part[0]);
        k_square = block_sum<THREADS>(k_square, s_part[1]);
        if constexpr (THREADS == 32) __syncwarp();   // block_sum of one warp has no barrier
        const float q_scale = 1.0f / sqrtf(q_square + eps) / sqrtf((float)DK), k_scale = 1.0f / sqrtf(k_square + eps);
        const float alpha = expf(decay * softplus(bf16_get(g_a[(long long)(first + t) * LD_A + head]) + bias));
        const float beta = sigmoid(bf16_get(g_b[(long long)(first + t) * LD_B + head]));
        float read = 0;
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            const int i = m * PARTS + part;
            r_s[m] *= alpha;
            if (i < DK) read += s_k[i] * k_scale * r_s[m];
        }
        const float v = bf16_get(qkv[2 * HK * DK + head * DV + column]);
        const float delta = beta * (v - column_sum(read));
        float out = 0;
#pragma unroll
        for (int m = 0; m < MINE; m++) {
            const int i = m * PARTS + part;
            if (i < DK) {
                r_s[m] += s_k[i] * k_scale * delta;
                out += s_q[i] * q_scale * r_s[m];
            }
        }
        out = column_sum(out);
        if (part == 0) g_y[(long long)(first + t) * LD_Y + head * DV + column] = bf16_put(out);
        if (count - 1 - t < VERSIONS)
#pragma unroll
            for (int m = 0; m < MINE; m++) {
                const int i = m * PARTS + part;
                if (i < DK) state[(count - 1 - t) * VERSION + (long long)i * DV] = r_s[m];
            }
    }
}
