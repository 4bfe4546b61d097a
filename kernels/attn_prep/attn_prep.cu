// attn_prep: q and k norm (times 1 + w), rotary embedding, keys and values into the cache; one warp a head of one row.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"
#include "mma.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "kv.cuh"

static constexpr int PER_LANE = (D + 31) / 32;

// cos and sin of pos · freq, the angle rounded to f32 as in the reference, reduced by 2π in three parts (|angle| up to 2^19).
__device__ __forceinline__ void turn_of(int pos, float freq, float &c, float &s) {
    const float angle = __fmul_rn((float)pos, freq), turns = rintf(angle * 0.15915494309189535f);
    float r = __fmaf_rn(-turns, 6.28125f, angle);          // 2π in parts whose products with turns are exact
    r = __fmaf_rn(-turns, 1.9353071795864769e-3f, r);
    sincospif(r * 0.31830988618379067f, &s, &c);
}

// The normed vector of one head into s_head and, rounded, to `normed`.
__device__ __forceinline__ void norm_head(const bf16 *x, const float *w, float eps, bf16 *normed, float *s_head, int lane) {
    float r_x[PER_LANE], square = 0;
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
        r_x[j] = 32 * j + lane < D ? bf16_get(x[32 * j + lane]) : 0.0f;
        square += r_x[j] * r_x[j];
    }
    const float scale = 1.0f / sqrtf(warp_sum(square) / D + eps);
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
        const int i = 32 * j + lane;
        if (i >= D) continue;
        s_head[i] = r_x[j] * scale * (1.0f + w[i]);
        normed[i] = bf16_put(s_head[i]);
    }
    __syncwarp();
}

// Element i of the turned head.
__device__ __forceinline__ float turned(const float *s_head, const float *s_turn, int i) {
    if (i >= 2 * HALF) return s_head[i];
    const int pair = i % HALF;
    const float c = s_turn[2 * pair], s = s_turn[2 * pair + 1];
    return i < HALF ? s_head[i] * c - s_head[i + HALF] * s : s_head[i] * c + s_head[i - HALF] * s;
}

extern "C" __global__ void __launch_bounds__(32 * WARPS)
attn_prep(const bf16 *g_q, const bf16 *g_k, const bf16 *g_v, const float *g_q_norm, const void *, const float *, const float *g_k_norm, const void *,
          const float *, const float *g_inv_freq, bf16 *g_q_normed, bf16 *g_k_normed, bf16 *g_q_rot, KvElement *g_keys, KvElement *g_values,
          const int *g_taken, const int *g_step, float eps, float rope_factor, float k_scale, float v_scale, void *) {
    __shared__ float s_heads[WARPS][D], s_turns[WARPS][2 * HALF];
    const StepView step{g_step};
    const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, at = blockIdx.x * WARPS + warp;
    const int row = at / (HEADS + KV_HEADS), head = at % (HEADS + KV_HEADS);
    if (row >= step.rows()) return;
    float *s_head = s_heads[warp], *s_turn = s_turns[warp];
    const int pos = HAS_TAKEN ? step.pos(row, g_taken) : step.pos(row);
    for (int i = lane; i < HALF; i += 32) {
        float c, s;
        turn_of(pos, g_inv_freq[i], c, s);
        s_turn[2 * i] = c * rope_factor, s_turn[2 * i + 1] = s * rope_factor;
    }
    if (head < HEADS) {
        norm_head(g_q + (long long)row * LD_Q + head * 2 * D, g_q_norm, eps, g_q_normed + (long long)row * LD_Q_NORMED + head * D, s_head, lane);
        for (int i = lane; i < D; i += 32) g_q_rot[(long long)row * LD_Q_ROT + head * D + i] = bf16_put(turned(s_head, s_turn, i));
        return;
    }
    const int kv_head = head - HEADS;
    norm_head(g_k + (long long)row * LD_K + kv_head * D, g_k_norm, eps, g_k_normed + (long long)row * LD_K_NORMED + kv_head * D, s_head, lane);
    const long long cache = (((long long)step.slot(step.seq(row)) * KV_HEADS + kv_head) * MAX_LEN + pos) * D;
    for (int i = lane; i < D; i += 32) {
        g_keys[cache + i] = Kv::put(bf16_round(turned(s_head, s_turn, i)), k_scale);
        g_values[cache + i] = Kv::put(bf16_get(g_v[(long long)row * LD_V + kv_head * D + i]), v_scale);
    }
}
