// kv.cuh: elements of the KV cache: bf16, or e4m3 with a scale per layer.
#pragma once

template <bool IS_FP8> struct KvCodec;

template <> struct KvCodec<true> {
    typedef u8 Element;
    static __device__ __forceinline__ u8 put(float x, float scale) { return e4m3_put(x / scale); }
    static __device__ __forceinline__ float get(u8 e) { return e4m3_get(e); }
    static __device__ __forceinline__ void get8(const u8 *p, float (&x)[8]) {
        const uint2 w = *(const uint2 *)p;
#pragma unroll
        for (int i = 0; i < 8; i++) x[i] = e4m3_get((i < 4 ? w.x : w.y) >> 8 * (i % 4) & 0xFF);
    }
};

template <> struct KvCodec<false> {
    typedef bf16 Element;
    static __device__ __forceinline__ bf16 put(float x, float) { return bf16_put(x); }
    static __device__ __forceinline__ float get(bf16 e) { return bf16_get(e); }
    static __device__ __forceinline__ void get8(const bf16 *p, float (&x)[8]) {
        const uint4 w = *(const uint4 *)p;
        const u32 two[4] = {w.x, w.y, w.z, w.w};
#pragma unroll
        for (int i = 0; i < 4; i++) x[2 * i] = bf16_low(two[i]), x[2 * i + 1] = bf16_high(two[i]);
    }
};

// put(x, scale) stores x / scale; get and get8 (eight neighbours, aligned) leave the scale out.
typedef KvCodec<KV_IS_FP8> Kv;
typedef Kv::Element KvElement;
