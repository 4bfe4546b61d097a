// mma.cuh: one warp's products with f32 accumulation.
//   lane l, g = l / 4, q = l % 4
// m16n8k16 of bf16 (sm_80 and later); a pair is two neighbouring k in one register, the lower k in the low half
//   A  a0 row g     k pair q       a1 row g + 8  k pair q        a2 row g  k pair q + 4     a3 row g + 8  k pair q + 4
//   B  b0 column g  k pair q       b1 column g   k pair q + 4
//   C  c0 row g  column 2q         c1 row g  column 2q + 1       c2, c3 the same of row g + 8
// m16n8k64 of e2m1 with a ue4m3 scale per 16 k (CAP_FP4_MMA); a word is eight neighbouring k, the lowest in the low nibble
//   A  a0 row g     k word q       a1 row g + 8  k word q        a2 row g  k word q + 4     a3 row g + 8  k word q + 4
//   B  b0 column g  k word q       b1 column g   k word q + 4
//   scales  byte i for k 16i .. 16i+15;  of row g: lane 4g's, of row g + 8: lane 4g+1's;  of column g: lane 4g's;  C as above
#pragma once

// Two products of 16 k: pairs 0, 1 and then 2, 3 of row g, of row g + 8 and of column g. One asm, for the sake of the PTX's length.
__device__ __forceinline__ void mma_bf16(float (&c)[4], const u32 (&low)[4], const u32 (&high)[4], const u32 (&b)[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%8,%5,%9}, {%12,%13}, {%0,%1,%2,%3};\n"
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%6,%10,%7,%11}, {%14,%15}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(low[0]), "r"(low[1]), "r"(low[2]), "r"(low[3]), "r"(high[0]), "r"(high[1]), "r"(high[2]), "r"(high[3]),
          "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]));
}

__device__ __forceinline__ void mma_nvfp4(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 scale_a, u32 b0, u32 b1, u32 scale_b) {
    asm volatile("mma.sync.aligned.m16n8k64.row.col.kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3 "
        "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3}, {%10}, {0, 0}, {%11}, {0, 0};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1), "r"(scale_a), "r"(scale_b));
}
