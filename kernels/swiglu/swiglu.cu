// swiglu: y = silu(gate) · up, elementwise; sixteen lanes side by side hold a block of y's NVFP4 form.
#include "tune.cuh"
#include "op.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "fp4.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
swiglu(const bf16 *g_gate, const bf16 *g_up, bf16 *g_y, u8 *g_codes, u8 *g_scales, const float2 *g_input, const int *g_step, void *) {
    const StepView step{g_step};
    const int row = blockIdx.y, i = blockIdx.x * THREADS + threadIdx.x;
    if (row >= step.rows() || i >= I) return;
    const bf16 y = bf16_put(silu(bf16_get(g_gate[(long long)row * LD_GATE + i])) * bf16_get(g_up[(long long)row * LD_UP + i]));
    g_y[(long long)row * LD_Y + i] = y;
    if constexpr (HAS_Y_CODES) nvfp4_lanes(bf16_get(y), g_input->y, g_codes, g_scales, (long long)row * LD_Y_CODES + i, I - i);
}
