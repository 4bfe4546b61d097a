// op.cuh: what every kernel sees of an op: element types, the live step, conversions between stored and computed numbers.
// Needs tune.cuh (generated) first. Parameters of an entry: core/model/launch.h.
#pragma once

typedef unsigned char  u8;
typedef unsigned short u16;
typedef unsigned int   u32;
typedef unsigned long long u64;
#define INFINITY __int_as_float(0x7F800000)   // NVRTC has no math.h
struct bf16 { u16 bits; };   // storage only: loads and stores go through bf16_get and bf16_put

__device__ __forceinline__ float f32_from_bits(u32 b) { return __uint_as_float(b); }
__device__ __forceinline__ float bf16_get(bf16 x) { return __uint_as_float((u32)x.bits << 16); }
__device__ __forceinline__ float bf16_low(u32 two) { return __uint_as_float(two << 16); }
__device__ __forceinline__ float bf16_high(u32 two) { return __uint_as_float(two & 0xFFFF0000u); }
// Nearest, ties to even; one instruction from sm_80 on. lo is the element with the lower address.
__device__ __forceinline__ u32 bf16_pack(float lo, float hi) {
    u32 two;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(hi), "f"(lo));
    return two;
}
__device__ __forceinline__ bf16 bf16_put(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}
// What an activation is once stored: references round there too.
__device__ __forceinline__ float bf16_round(float x) { return bf16_get(bf16_put(x)); }

// The live part of a step: an int array whose offsets follow from the plan's capacities. A step has at least one row, so where there is room for
// one only nothing waits for it to be read.
struct StepView {
    const int *p;
    __device__ int rows() const { return ROWS == 1 ? 1 : p[0]; }
    __device__ int seqs() const { return p[1]; }
    __device__ int outs() const { return p[2]; }
    __device__ int seq_start(int s) const { return p[4 + s]; }
    __device__ int slot(int s) const { return p[4 + (SEQS + 1) + s]; }
    __device__ int back(int s) const { return p[4 + (SEQS + 1) + SEQS + s]; }
    __device__ int pos(int r) const { return p[4 + (SEQS + 1) + 2 * SEQS + r]; }
    // Where counts lie on the device: a sequence goes on behind the taken[slot] rows that it has; one at position 0 starts over.
    __device__ int pos(int r, const int *taken) const {
        const int s = seq(r), first = seq_start(s);
        return (pos(first) == 0 ? 0 : taken[slot(s)]) + r - first;
    }
    __device__ int seq(int r) const { return p[4 + (SEQS + 1) + 2 * SEQS + ROWS + r]; }
    __device__ int out_row(int o) const { return p[4 + (SEQS + 1) + 2 * SEQS + 2 * ROWS + o]; }
};

// exp and friends: full-range f32 accuracy of a few ulp everywhere, not the fast-math forms.
__device__ __forceinline__ float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }
__device__ __forceinline__ float silu(float x) { return x / (1.0f + expf(-x)); }
