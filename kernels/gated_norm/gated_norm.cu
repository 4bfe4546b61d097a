// gated_norm: y = x · rsqrt(mean(x²) + eps) · w · silu(z) over each head's vector, one warp a head.
#include "tune.cuh"
#include "op.cuh"
#include "reduce.cuh"

extern "C" __global__ void __launch_bounds__(32 * WARPS)
gated_norm(const bf16 *g_x, const bf16 *g_z, const float *g_w, const void *, const float *, bf16 *g_y, const int *g_step, float eps, void *) {
    const StepView step{g_step};
    const int vector = blockIdx.x * WARPS + threadIdx.x / 32, lane = threadIdx.x % 32, row = vector / HV, head = vector % HV;
    if (row >= step.rows()) return;
    constexpr int PER_LANE = (DV + 31) / 32;
    float r_x[PER_LANE], square = 0;
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
        const int i = 32 * j + lane;
        r_x[j] = i < DV ? bf16_get(g_x[(long long)row * LD_X + head * DV + i]) : 0.0f;
        square += r_x[j] * r_x[j];
    }
    const float scale = 1.0f / sqrtf(warp_sum(square) / DV + eps);
#pragma unroll
    for (int j = 0; j < PER_LANE; j++) {
        const int i = 32 * j + lane;
        if (i < DV) g_y[(long long)row * LD_Y + head * DV + i] = bf16_put(r_x[j] * scale * g_w[i] * silu(bf16_get(g_z[(long long)row * LD_Z + head * DV + i])));
    }
}
