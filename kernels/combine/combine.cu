// combine: routed = Σ weights · y over the slots in order; sum = routed (before it is rounded) + sigmoid(shared_gate) · shared.
#include "tune.cuh"
#include "op.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
combine(const bf16 *g_y, const bf16 *g_weights, const bf16 *g_shared, const bf16 *g_shared_gate, bf16 *g_routed, bf16 *g_sum, const int *g_step, void *) {
    const StepView step{g_step};
    const int row = blockIdx.y, h = blockIdx.x * THREADS + threadIdx.x;
    if (row >= step.rows() || h >= H) return;
    float routed = 0;
#pragma unroll
    for (int k = 0; k < TOP_K; k++)
        routed += bf16_get(g_weights[(long long)row * LD_WEIGHTS + k]) * bf16_get(g_y[(long long)row * LD_Y + k * H + h]);
    const float share = sigmoid(bf16_get(g_shared_gate[(long long)row * LD_SHARED_GATE]));
    g_routed[(long long)row * LD_ROUTED + h] = bf16_put(routed);
    g_sum[(long long)row * LD_SUM + h] = bf16_put(routed + share * bf16_get(g_shared[(long long)row * LD_SHARED + h]));
}
