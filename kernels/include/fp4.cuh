// fp4.cuh: f32 → e2m1 and a block of 16 activations → NVFP4, bit for bit what core/num/nvfp4.h makes (specification of the formats §2.3, exact
// build): every operation is one f32 operation in the order written. Needs e4m3.cuh and weight.cuh (e4m3_get).
#pragma once

// Nearest, ties to the even code, saturating; the sign is copied, NaN is code 7. Two values, the lower one in the low nibble.
__device__ __forceinline__ u32 e2m1_put2(float lo, float hi) {
    if constexpr (CAP_FP4_CVT) {
        u32 two;
        asm("{ .reg .b8 b; cvt.rn.satfinite.e2m1x2.f32 b, %2, %1; cvt.u32.u8 %0, b; }" : "=r"(two) : "f"(lo), "f"(hi));
        return two;
    } else {
        u32 code[2];
        const float x[2] = {lo, hi};
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const float a = fminf(fabsf(x[i]), 6.0f);
            const u32 b = __float_as_uint(a);
            code[i] = a < 1.0f ? (u32)rintf(2.0f * a) : ((b + 0x1FFFFF + (b >> 22 & 1)) >> 22) - 252;   // halves, then one bit of mantissa
            if (x[i] == x[i]) code[i] |= __float_as_uint(x[i]) >> 28 & 8;
        }
        return code[0] | code[1] << 4;
    }
}

// Scale of a block and what its values are multiplied by; s: inverse of the input scale.
__device__ __forceinline__ float nvfp4_factor(float largest, float s, u8 &scale) {
    const float x = s * (largest * (1.0f / 6.0f));
    if constexpr (CAP_FP8_CVT) {
        scale = e4m3_put(x);
    } else {   // e4m3_put of what is neither negative nor NaN
        const float a = fminf(x, 448.0f);
        const u32 b = __float_as_uint(a);
        scale = (u8)(a < 0x1p-6f ? (u32)rintf(a * 512.0f) : ((b + 0x7FFFF + (b >> 20 & 1)) >> 20) - (120 << 3));
    }
    return scale == 0 ? 0.0f : 1.0f / (e4m3_get(scale) * (1.0f / s));
}

// Codes of x, the low nibble of the first byte first.
__device__ __forceinline__ uint2 nvfp4_block(const float (&x)[16], float s, u8 &scale) {
    float largest = 0;
#pragma unroll
    for (int i = 0; i < 16; i++) largest = fmaxf(largest, fabsf(x[i]));
    const float m = nvfp4_factor(largest, s, scale);
    u32 word[2] = {0, 0};
#pragma unroll
    for (int i = 0; i < 16; i += 2) word[i / 8] |= e2m1_put2(x[i] * m, x[i + 1] * m) << 4 * (i % 8);
    return {word[0], word[1]};
}

// A block spread over sixteen lanes side by side, lane i with value i: codes and scale of the block that begins at element `at` less the lane's
// place. Every lane of the warp that has a value calls it; left: values from this lane's to the last, whole blocks in all. is_there, the same for a
// whole block: else nothing is stored.
__device__ __forceinline__ void nvfp4_lanes(float x, float s, u8 *g_codes, u8 *g_scales, long long at, int left, bool is_there = true) {
    const int lane = threadIdx.x % 32;
    const u32 mask = lane + left >= 32 ? 0xFFFFFFFFu : 0xFFFFu;
    float largest = fabsf(x);
#pragma unroll
    for (int d = 8; d > 0; d >>= 1) largest = fmaxf(largest, __shfl_xor_sync(mask, largest, d));
    u8 scale;
    const float m = nvfp4_factor(largest, s, scale);
    u32 word = e2m1_put2(x * m, 0.0f) << 4 * (lane % 8);
#pragma unroll
    for (int d = 4; d > 0; d >>= 1) word |= __shfl_xor_sync(mask, word, d);
    if (is_there && lane % 8 == 0) *(u32 *)(g_codes + at / 2) = word;
    if (is_there && lane % 16 == 0) g_scales[at / 16] = scale;
}

// A block down a column of a fragment's sums (mma.cuh): the lanes of one q hold values g (low) and g + 8 (high); `to` is its first element. Every
// lane of the warp calls it; is_there holds for all of a column or none.
__device__ __forceinline__ void nvfp4_column(float low, float high, float s, u8 *g_codes, u8 *g_scales, long long to, bool is_there) {
    const int g = threadIdx.x % 32 / 4;
    float largest = fmaxf(fabsf(low), fabsf(high));
#pragma unroll
    for (int d = 16; d > 2; d >>= 1) largest = fmaxf(largest, __shfl_xor_sync(0xFFFFFFFFu, largest, d));
    u8 scale;
    const float m = nvfp4_factor(largest, s, scale);
    const u32 two = e2m1_put2(low * m, high * m);
    u32 word[2] = {(two & 15) << 4 * g, two >> 4 << 4 * g};
#pragma unroll
    for (int d = 16; d > 2; d >>= 1)
#pragma unroll
        for (int i = 0; i < 2; i++) word[i] |= __shfl_xor_sync(0xFFFFFFFFu, word[i], d);
    if (is_there && g == 0) {
        *(uint2 *)(g_codes + to / 2) = {word[0], word[1]};
        g_scales[to / 16] = scale;
    }
}

// nvfp4_block of bf16 in memory, 16 of them side by side.
__device__ __forceinline__ uint2 nvfp4_block(const bf16 *g_x, float s, u8 &scale) {
    const uint4 half[2] = {*(const uint4 *)g_x, *(const uint4 *)(g_x + 8)};
    float x[16];
#pragma unroll
    for (int i = 0; i < 16; i += 2) {
        const uint4 &h = half[i / 8];
        const u32 two = i % 8 == 0 ? h.x : i % 8 == 2 ? h.y : i % 8 == 4 ? h.z : h.w;
        x[i] = bf16_low(two), x[i + 1] = bf16_high(two);
    }
    return nvfp4_block(x, s, scale);
}
