// reduce.cuh: sums and maxima over a warp or a block in a fixed order, so that bits do not depend on scheduling.
#pragma once

__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) x += __shfl_xor_sync(0xFFFFFFFFu, x, d);
    return x;
}

__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int d = 16; d > 0; d >>= 1) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, d));
    return x;
}

// Sum over a block of THREADS threads; every thread gets it. `part` is shared memory of THREADS / 32 floats, free to reuse after the
// next barrier.
template <int THREADS> __device__ __forceinline__ float block_sum(float x, float *part) {
    x = warp_sum(x);
    if (THREADS == 32) return x;
    if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = x;
    __syncthreads();
    float sum = 0;
#pragma unroll
    for (int w = 0; w < THREADS / 32; w++) sum += part[w];
    return sum;
}
