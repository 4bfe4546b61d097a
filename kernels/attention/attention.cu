// attention: one block a (row, query head). A warp takes every WARPS-th tile of 32 keys: first a lane a key (scores), then a lane a dimension (values),
// with an online softmax; the warps' parts are merged in order at the end. f32 throughout, base-2 exponentials.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "kv.cuh"

static constexpr int PER_LANE = (D + 31) / 32;
static_assert(D % 8 == 0, "keys are read eight elements at a time");

extern "C" __global__ void __launch_bounds__(32 * WARPS)
attention(const bf16 *g_q, const bf16 *g_gate, const KvElement *g_keys, const KvElement *g_values, bf16 *g_y, const int *g_taken, const int *g_step,
          float k_scale, float v_scale, void *) {
    __shared__ float s_q[D], s_sum[WARPS][D], s_max[WARPS], s_total[WARPS];
    const StepView step{g_step};
    const int row = blockIdx.x / HEADS, head = blockIdx.x % HEADS, warp = threadIdx.x / 32, lane = threadIdx.x % 32;
    if (row >= step.rows()) return;
    const int len = (HAS_TAKEN ? step.pos(row, g_taken) : step.pos(row)) + 1, kv_head = head / (HEADS / KV_HEADS);
    const long long cache = ((long long)step.slot(step.seq(row)) * KV_HEADS + kv_head) * MAX_LEN * D;
    // Scores in base 2: log2(e) / sqrt(D), and the cache's scale, go into q.
    const float q_scale = 1.4426950408889634f / sqrtf((float)D) * (KV_IS_FP8 ? k_scale : 1.0f);
    for (int i = threadIdx.x; i < D; i += 32 * WARPS) s_q[i] = bf16_get(g_q[(long long)row * LD_Q + head * D + i]) * q_scale;
    __syncthreads();
    float r_sum[PER_LANE] = {}, largest = -INFINITY, total = 0;
    for (int tile = 32 * warp; tile < len; tile += 32 * WARPS) {
        const int t = tile + lane;
        float score = -INFINITY;
        if (t < len) {
            score = 0;
            for (int i = 0; i < D; i += 8) {
                float k[8];
                Kv::get8(g_keys + cache + (long long)t * D + i, k);
#pragma unroll
                for (int j = 0; j < 8; j++) score += s_q[i + j] * k[j];
            }
        }
        const float now = fmaxf(largest, warp_max(score)), keep = exp2f(largest - now), p = exp2f(score - now);
        total = total * keep + warp_sum(p);
        largest = now;
#pragma unroll
        for (int j = 0; j < PER_LANE; j++) r_sum[j] *= keep;
        for (int i = 0; i < min(32, len - tile); i++) {
            const float weight = __shfl_sync(0xFFFFFFFFu, p, i);
#pragma unroll
            for (int j = 0; j < PER_LANE; j++)
                if (32 * j + lane < D) r_sum[j] += weight * Kv::get(g_values[cache + (long long)(tile + i) * D + 32 * j + lane]);
        }
    }
#pragma unroll
    for (int j = 0; j < PER_LANE; j++)
        if (32 * j + lane < D) s_sum[warp][32 * j + lane] = r_sum[j];
    if (lane == 0) s_max[warp] = largest, s_total[warp] = total;
    __syncthreads();
    float all_max = -INFINITY, all = 0;
#pragma unroll
    for (int w = 0; w < WARPS; w++) all_max = fmaxf(all_max, s_max[w]);
#pragma unroll
    for (int w = 0; w < WARPS; w++) all += s_total[w] * exp2f(s_max[w] - all_max);
    for (int i = threadIdx.x; i < D; i += 32 * WARPS) {
        float sum = 0;
#pragma unroll
        for (int w = 0; w < WARPS; w++) sum += s_sum[w][i] * exp2f(s_max[w] - all_max);
        const float gate = bf16_get(g_gate[(long long)row * LD_GATE + head * 2 * D + D + i]);
        g_y[(long long)row * LD_Y + head * D + i] = bf16_put(sum / all * (KV_IS_FP8 ? v_scale : 1.0f) * sigmoid(gate));
    }
}
