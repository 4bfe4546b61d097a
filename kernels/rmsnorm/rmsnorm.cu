// rmsnorm: sum = x + delta; y = sum · rsqrt(mean(sum²) + eps) · (plus + w), one block a vector; sixteen lanes side by side hold a block of y's
// NVFP4 form. See rmsnorm.lua.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "fp4.cuh"

static_assert(THREADS % 32 == 0 && THREADS <= 1024, "whole warps");

extern "C" __global__ void __launch_bounds__(THREADS, 1)
rmsnorm(const bf16 *g_x, const bf16 *g_delta, const float *g_w, const void *, const float *, bf16 *g_sum, bf16 *g_y, u8 *g_codes, u8 *g_scales,
        const float2 *g_input, const int *g_step, float eps, float plus, void *) {
    __shared__ float s_part[THREADS / 32];
    const StepView step{g_step};
    const int row = blockIdx.x / GROUPS, group = blockIdx.x % GROUPS;
    if (row >= step.rows()) return;
    const bf16 *x = g_x + (long long)row * LD_X + group * H;
    constexpr int PER_THREAD = (H + THREADS - 1) / THREADS;
    float r_x[PER_THREAD], square = 0;
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        const int h = i * THREADS + threadIdx.x;
        r_x[i] = 0;
        if (h < H) {
            r_x[i] = bf16_get(x[h]);
            if constexpr (HAS_DELTA) {   // the stored sum is what is normalised
                r_x[i] = bf16_round(r_x[i] + bf16_get(g_delta[(long long)row * LD_DELTA + group * H + h]));
                if constexpr (HAS_SUM) g_sum[(long long)row * LD_SUM + group * H + h] = bf16_put(r_x[i]);
            }
        }
        square += r_x[i] * r_x[i];
    }
    const float scale = 1.0f / sqrtf(block_sum<THREADS>(square, s_part) / H + eps);
#pragma unroll
    for (int i = 0; i < PER_THREAD; i++) {
        const int h = i * THREADS + threadIdx.x;
        if (h >= H) continue;
        const bf16 y = bf16_put(r_x[i] * scale * (plus + g_w[h]));
        g_y[(long long)row * LD_Y + group * H + h] = y;
        if constexpr (HAS_Y_CODES) nvfp4_lanes(bf16_get(y), g_input->y, g_codes, g_scales, (long long)row * LD_Y_CODES + group * H + h, H - h);
    }
}
