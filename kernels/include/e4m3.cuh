// e4m3.cuh: f32 → e4m3, nearest even, saturating; by instruction where there is one, else in integers.
#pragma once

__device__ __forceinline__ u8 e4m3_put(float x) {
    if constexpr (CAP_FP8_CVT) {
        u16 two;
        asm("cvt.rn.satfinite.e4m3x2.f32 %0, %1, %2;" : "=h"(two) : "f"(0.0f), "f"(x));
        return (u8)two;
    } else {
        const u32 sign = __float_as_uint(x) >> 24 & 0x80;
        const float a = fabsf(x);
        if (!(a < 464.0f)) return (u8)(a == a ? sign | 0x7E : 0x7F);
        if (a < 0x1p-6f) return (u8)(sign | (u32)rintf(a * 512.0f));      // subnormals: multiples of 2^-9; 8 of them is the first normal
        u32 b = __float_as_uint(a);
        b += 0x7FFFF + (b >> 20 & 1);                                     // round the 23-bit mantissa to 3 bits
        b = (b >> 20) - (120 << 3);
        return (u8)(sign | (b > 0x7E ? 0x7E : b));
    }
}
