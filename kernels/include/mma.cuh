// mma.cuh: one warp's m16n8k16 product of bf16, f32 accumulation (sm_80 and later).
//   lane l, g = l / 4, q = l % 4, a pair is two neighbouring k in one register, the lower k in the low half
//   A  a0 row g     k pair q       a1 row g + 8  k pair q        a2 row g  k pair q + 4     a3 row g + 8  k pair q + 4
//   B  b0 column g  k pair q       b1 column g   k pair q + 4
//   C  c0 row g  column 2q         c1 row g  column 2q + 1       c2, c3 the same of row g + 8
#pragma once

__device__ __forceinline__ void mma_bf16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
                 : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
                 : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}
