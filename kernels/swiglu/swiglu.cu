// swiglu: y = silu(gate) · up, elementwise.
#include "tune.cuh"
#include "op.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
swiglu(const bf16 *g_gate, const bf16 *g_up, bf16 *g_y, const int *g_step, void *) {
    const StepView step{g_step};
    const int row = blockIdx.y, i = blockIdx.x * THREADS + threadIdx.x;
    if (row >= step.rows() || i >= I) return;
    g_y[(long long)row * LD_Y + i] = bf16_put(silu(bf16_get(g_gate[(long long)row * LD_GATE + i])) * bf16_get(g_up[(long long)row * LD_UP + i]));
}
