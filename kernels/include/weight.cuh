// weight.cuh: rows of packed weights as A fragments, and the product of 16 weight rows with up to 8·TILES activation rows.
//
// Weights are the A operand (16 rows), activations the B operand (8 columns a tile), so one to eight tokens cost the same. Any order of k is
// right as long as both operands follow it: a lane reads 16 bytes of its weight row (VALUES consecutive k) and the same k of its activation
// row, and uses them four at a time, so nothing moves between lanes.
//   chunk of k:  bf16 32 · fp8 64 · nvfp4 128            lane q holds k = chunk + q·VALUES + 0 .. VALUES-1, VALUES = 8 · 16 · 32
#pragma once

template <int FORMAT> struct Packed {
    static constexpr int VALUES = FORMAT == FORMAT_BF16 ? 8 : FORMAT == FORMAT_NVFP4 ? 32 : 16;
    static constexpr int CHUNK = 4 * VALUES;
    // Elements from one row to the next (core/model/pack.h).
    static constexpr __host__ __device__ int row(int k) {
        return FORMAT == FORMAT_NVFP4 ? (k + 127) / 128 * 128 : FORMAT == FORMAT_BF16 ? (k + 7) / 8 * 8 : (k + 15) / 16 * 16;
    }
    static constexpr __host__ __device__ int row_bytes(int k) { return FORMAT == FORMAT_BF16 ? 2 * row(k) : FORMAT == FORMAT_NVFP4 ? row(k) / 2 : row(k); }
};

struct PackedRows {      // one matrix
    const u8 *data, *scales;
    const float *row_scale;
};

__device__ __forceinline__ uint4 zero4() { return make_uint4(0, 0, 0, 0); }

// a · b per half, exact products kept: mul.bf16x2 needs sm_90, fma with -0 does the same from sm_80 on.
__device__ __forceinline__ u32 bf16x2_mul(u32 a, u32 b) {
    u32 d;
    asm("fma.rn.bf16x2 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(0x80008000u));
    return d;
}

// e4m3 → f32, exact: the byte's exponent and mantissa land in f32's fields, 2^120 corrects the bias, subnormals included.
__device__ __forceinline__ float e4m3_get(u32 byte) {
    return __uint_as_float((byte & 0x80u) << 24 | (byte & 0x7Fu) << 20) * 0x1p120f;
}

// Four e4m3 bytes → two bf16 pairs (bytes 0,1 and 2,3), exact.
__device__ __forceinline__ void e4m3_pairs(u32 word, u32 &p0, u32 &p1) {
    const u32 two_120 = 0x7B807B80u;   // 2^120 in bf16, both halves
    const u32 h0 = __byte_perm(word, 0, 0x1404), h1 = __byte_perm(word, 0, 0x3424);   // each byte in the upper half of 16 bits
    p0 = bf16x2_mul((h0 & 0x80008000u) | ((h0 & 0x7F007F00u) >> 4), two_120);
    p1 = bf16x2_mul((h1 & 0x80008000u) | ((h1 & 0x7F007F00u) >> 4), two_120);
}

// Eight e2m1 codes times a block scale → four bf16 pairs, exact. With the conversion instruction pairs are neighbours (0,1) (2,3) (4,5) (6,7);
// the bit trick gives (0,4) (1,5) (2,6) (3,7) and 2^-8 of the value (fp4_pair_scale undoes it, activation_pairs follows the order).
static constexpr float FP4_UNDO = CAP_FP4_CVT ? 1.0f : 256.0f;

__device__ __forceinline__ u32 fp4_scale(u32 byte) {
    const float s = e4m3_get(byte);
    if constexpr (CAP_FP4_CVT) {
        u32 h;
        asm("cvt.rn.f16x2.f32 %0, %1, %1;" : "=r"(h) : "f"(s));
        return h;
    } else {
        return bf16_pack(s * 0x1p118f, s * 0x1p118f);
    }
}

__device__ __forceinline__ void fp4_pairs(u32 word, u32 scale, u32 (&pair)[4]) {
    if constexpr (CAP_FP4_CVT) {
#pragma unroll
        for (int j = 0; j < 4; j++) {
            u32 h;
            float lo, hi;
            asm("{ .reg .b8 b; .reg .b16 w; mov.b16 w, %1; cvt.u8.u16 b, w; cvt.rn.f16x2.e2m1x2 %0, b; }" : "=r"(h) : "h"((u16)(word >> 8 * j & 0xFF)));
            asm("mul.rn.f16x2 %0, %0, %1;" : "+r"(h) : "r"(scale));
            asm("{ .reg .b16 l, u; mov.b32 {l, u}, %2; cvt.f32.f16 %0, l; cvt.f32.f16 %1, u; }" : "=f"(lo), "=f"(hi) : "r"(h));
            pair[j] = bf16_pack(lo, hi);
        }
    } else {
#pragma unroll
        for (int j = 0; j < 4; j++) {   // nibble j in the low half, j + 4 in the high half: e2m1's magnitude lands in bf16's bits 8..6
            const u32 w = word >> 4 * j;
            const u32 raw = ((w & 0x00080008u) << 12) | ((w & 0x00070007u) << 6);
            pair[j] = bf16x2_mul(raw, scale);
        }
    }
}

// A lane's activations of one chunk as B pairs in the order that its weights have.
template <int FORMAT, int K> __device__ __forceinline__ void activation_pairs(const bf16 *row, int k, u32 (&pair)[Packed<FORMAT>::VALUES / 2]) {
    constexpr int WORDS = Packed<FORMAT>::VALUES / 2;
#pragma unroll
    for (int i = 0; i < WORDS; i += 4) {
        uint4 w = zero4();
        if constexpr (K % 8 == 0) {
            if (row && k + 2 * i < K) w = *(const uint4 *)(row + k + 2 * i);
        } else {
            u32 part[4] = {0, 0, 0, 0};
#pragma unroll
            for (int j = 0; j < 8; j++)
                if (row && k + 2 * i + j < K) part[j / 2] |= (u32)row[k + 2 * i + j].bits << (j % 2 ? 16 : 0);
            w = make_uint4(part[0], part[1], part[2], part[3]);
        }
        if constexpr (FORMAT == FORMAT_NVFP4 && !CAP_FP4_CVT) {
            pair[i] = __byte_perm(w.x, w.z, 0x5410);
            pair[i + 1] = __byte_perm(w.x, w.z, 0x7632);
            pair[i + 2] = __byte_perm(w.y, w.w, 0x5410);
            pair[i + 3] = __byte_perm(w.y, w.w, 0x7632);
        } else {
            pair[i] = w.x, pair[i + 1] = w.y, pair[i + 2] = w.z, pair[i + 3] = w.w;
        }
    }
}

// A lane's 16 bytes of a weight row as A pairs.
template <int FORMAT, int K>
__device__ __forceinline__ void weight_pairs(const PackedRows &w, int row, int k, u32 (&pair)[Packed<FORMAT>::VALUES / 2]) {
    using P = Packed<FORMAT>;
    constexpr int KP = P::row(K);
    uint4 b = zero4();
    if (k < KP) b = *(const uint4 *)(w.data + (long long)row * P::row_bytes(K) + (FORMAT == FORMAT_BF16 ? 2 * k : FORMAT == FORMAT_NVFP4 ? k / 2 : k));
    const u32 word[4] = {b.x, b.y, b.z, b.w};
    if constexpr (FORMAT == FORMAT_BF16) {
#pragma unroll
        for (int i = 0; i < 4; i++) pair[i] = word[i];
    } else if constexpr (FORMAT == FORMAT_NVFP4) {
        u32 scales = 0;
        if (k < KP) scales = *(const u16 *)(w.scales + (long long)row * (KP / 16) + k / 16);
        const u32 scale[2] = {fp4_scale(scales & 0xFF), fp4_scale(scales >> 8)};
#pragma unroll
        for (int i = 0; i < 4; i++) {
            u32 four[4];
            fp4_pairs(word[i], scale[i / 2], four);
#pragma unroll
            for (int j = 0; j < 4; j++) pair[4 * i + j] = four[j];
        }
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) e4m3_pairs(word[i], pair[2 * i], pair[2 * i + 1]);
    }
}

// acc += 16 weight rows (from row n0 of a matrix of N rows) · up to 8·TILES activation rows, over the chunks first, first + step, …
// x[t]: this lane's activation row of tile t (column g), null for none. Rows beyond N repeat the last one: the caller does not store them.
// SCALE_ROWS, SCALE_COLS: block of a block-scaled FP8 matrix.
template <int FORMAT, int N, int K, int TILES, int SCALE_ROWS, int SCALE_COLS>
__device__ __forceinline__ void weight_rows(const PackedRows &w, int n0, const bf16 *const (&x)[TILES], int first, int step, float (&acc)[TILES][4]) {
    using P = Packed<FORMAT>;
    constexpr int CHUNKS = (P::row(K) + P::CHUNK - 1) / P::CHUNK;
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
    const int row0 = min(n0 + g, N - 1), row1 = min(n0 + g + 8, N - 1);
#pragma unroll 1
    for (int c = first; c < CHUNKS; c += step) {
        const int k = c * P::CHUNK + q * P::VALUES;
        u32 a0[P::VALUES / 2], a1[P::VALUES / 2];
        weight_pairs<FORMAT, K>(w, row0, k, a0);
        weight_pairs<FORMAT, K>(w, row1, k, a1);
        float scale0 = 1, scale1 = 1;
        if constexpr (FORMAT == FORMAT_FP8_BLOCK) {
            constexpr int COLS = (K + SCALE_COLS - 1) / SCALE_COLS;
            const float *s = (const float *)w.scales;
            scale0 = s[row0 / SCALE_ROWS * COLS + c * P::CHUNK / SCALE_COLS];
            scale1 = s[row1 / SCALE_ROWS * COLS + c * P::CHUNK / SCALE_COLS];
        }
#pragma unroll
        for (int t = 0; t < TILES; t++) {
            u32 b[P::VALUES / 2];
            activation_pairs<FORMAT, K>(x[t], k, b);
            if constexpr (FORMAT == FORMAT_FP8_BLOCK) {
                float part[4] = {0, 0, 0, 0};
#pragma unroll
                for (int i = 0; i < P::VALUES / 4; i++) mma_bf16(part, a0[2 * i], a1[2 * i], a0[2 * i + 1], a1[2 * i + 1], b[2 * i], b[2 * i + 1]);
                acc[t][0] += scale0 * part[0], acc[t][1] += scale0 * part[1], acc[t][2] += scale1 * part[2], acc[t][3] += scale1 * part[3];
            } else {
#pragma unroll
                for (int i = 0; i < P::VALUES / 4; i++) mma_bf16(acc[t], a0[2 * i], a1[2 * i], a0[2 * i + 1], a1[2 * i + 1], b[2 * i], b[2 * i + 1]);
            }
        }
    }
}

// What turns an accumulator of weight row n into the product.
template <int FORMAT> __device__ __forceinline__ float row_factor(const PackedRows &w, int n) {
    if constexpr (FORMAT == FORMAT_NVFP4) return w.row_scale[n] * FP4_UNDO;
    if constexpr (FORMAT == FORMAT_FP8) return w.row_scale[n];
    return 1.0f;
}
