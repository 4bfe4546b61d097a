// quantize_nvfp4: a thread takes a block of 16 values: 32 bytes in, 8 bytes of codes and one scale out. See quantize_nvfp4.lua.
#include "tune.cuh"
#include "op.cuh"
#include "weight.cuh"
#include "e4m3.cuh"
#include "fp4.cuh"

static_assert(LD_X % 8 == 0, "vectors begin at 16 bytes");
static_assert(SLOTS_IN == SLOTS || SLOTS_IN == 1, "a slot reads its own vector or the row's only one");

extern "C" __global__ void __launch_bounds__(THREADS)
quantize_nvfp4(const bf16 *g_x, const int *g_experts, u8 *g_codes, u8 *g_scales, const float2 *g_input, const int *g_step, void *) {
    constexpr int BLOCKS = K / 16;
    const StepView step{g_step};
    const int at = blockIdx.x * THREADS + threadIdx.x, slot = at / BLOCKS, block = at % BLOCKS, row = blockIdx.y;
    if (slot >= SLOTS || row >= step.rows()) return;
    const float s = g_input[QUANTIZERS_Y > 1 ? g_experts[(long long)row * LD_EXPERTS + slot] : 0].y;
    const long long to = ((long long)row * LD_Y + slot * K) / 16 + block;
    u8 scale;
    *(uint2 *)(g_codes + 8 * to) = nvfp4_block(g_x + (long long)row * LD_X + (SLOTS_IN > 1 ? slot * K : 0) + 16 * block, s, scale);
    g_scales[to] = scale;
}
