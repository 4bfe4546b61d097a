// weight.cuh: rows of packed weights as A fragments, and the product of 16 weight rows with up to 8·TILES activation rows.
//
// Weights are the A operand (16 rows), activations the B operand (8 columns a tile), so one to eight tokens cost the same. Any order of k is
// right as long as both operands follow it: a lane reads 16 bytes of its weight row (VALUES consecutive k) and the same k of its activation row.
//   chunk of k:  bf16 32 · fp8 64 · nvfp4 128            lane q holds k = chunk + q·VALUES + 0 .. VALUES-1, VALUES = 8 · 16 · 32
// By bf16 products it uses them eight at a time (a piece) and nothing moves between lanes. The block-scaled product wants the two words of a
// scale block in neighbouring lanes, so there each pair of lanes swaps one word of two (fp4_words).
#pragma once

template <int FORMAT> struct Packed {
    enum { VALUES = FORMAT == FORMAT_BF16 ? 8 : FORMAT == FORMAT_NVFP4 ? 32 : 16, CHUNK = 4 * VALUES };   // no static members: they end up in the PTX
    // Elements from one row to the next (core/model/pack.h).
    static constexpr __host__ __device__ int row(int k) {
        return FORMAT == FORMAT_NVFP4 ? (k + 127) / 128 * 128 : FORMAT == FORMAT_BF16 ? (k + 7) / 8 * 8 : (k + 15) / 16 * 16;
    }
    static constexpr __host__ __device__ int row_bytes(int k) { return FORMAT == FORMAT_BF16 ? 2 * row(k) : FORMAT == FORMAT_NVFP4 ? row(k) / 2 : row(k); }
};

// What is multiplied: weights [N][K] of a format, with activations that are bf16 or, IS_CODED, NVFP4. SCALE_ROWS, SCALE_COLS: block of a
// block-scaled FP8 matrix.
template <int FORMAT_, bool IS_CODED_, int N_, int K_, int SCALE_ROWS_, int SCALE_COLS_> struct Product {
    enum {
        FORMAT = FORMAT_, N = N_, K = K_, SCALE_ROWS = SCALE_ROWS_, SCALE_COLS = SCALE_COLS_, IS_CODED = IS_CODED_,
        IS_NATIVE = IS_CODED_ && CAP_FP4_MMA,                                                        // by the block-scaled product
        VALUES = Packed<FORMAT_>::VALUES, CHUNK = Packed<FORMAT_>::CHUNK,
        ROW_BYTES = Packed<FORMAT_>::row_bytes(K_), SCALES = Packed<FORMAT_>::row(K_) / 16,           // of one row; nvfp4's scales
        CHUNKS = (ROW_BYTES + 63) / 64                                                                // a chunk is 64 bytes
    };
    // What the decoding leaves out of every product: each decoded code is 2^-8 of its value (fp4_pairs).
    static constexpr float UNDO = FORMAT != FORMAT_NVFP4 || IS_NATIVE ? 1.0f : IS_CODED ? 0x1p16f : 0x1p8f;
    static_assert(!IS_CODED || FORMAT == FORMAT_NVFP4, "quantized activations meet NVFP4 weights");
};

struct PackedRows {      // one matrix
    const u8 *data, *scales;
    const float *row_scale;
};

// One row of activations as the products read it; nullptr: zeros.
template <bool IS_CODED> struct ActRow;
template <> struct ActRow<false> { const bf16 *data; };
template <> struct ActRow<true> { const u8 *data, *scales; };

// A whole argument; its vectors begin at a multiple of 16 elements where they are NVFP4.
template <bool IS_CODED> struct Activations {
    const void *data;
    const u8 *scales;
    __device__ __forceinline__ ActRow<IS_CODED> row(long long element, bool is_there) const {
        if constexpr (IS_CODED) return {is_there ? (const u8 *)data + element / 2 : nullptr, scales + element / 16};
        else return {is_there ? (const bf16 *)data + element : nullptr};
    }
};

__device__ __forceinline__ uint4 zero4() { return make_uint4(0, 0, 0, 0); }

// Read once by the whole grid: leaves L1 to the activations. Volatile: the compiler would hoist it above the test for what is there.
__device__ __forceinline__ uint4 load_once(const u8 *p) {
    uint4 w;
    asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(w.x), "=r"(w.y), "=r"(w.z), "=r"(w.w) : "l"(p));
    return w;
}

// e4m3 → f32, exact: the byte's exponent and mantissa land in f32's fields, 2^120 corrects the bias, subnormals included.
__device__ __forceinline__ float e4m3_get(u32 byte) {
    return __uint_as_float((byte & 0x80u) << 24 | (byte & 0x7Fu) << 20) * 0x1p120f;
}

// Four e4m3 bytes → two bf16 pairs (bytes 0,1 and 2,3), exact: each byte in the upper half of 16 bits, exponent and mantissa moved into bf16's fields,
// 2^120 corrects the bias. One asm for the sake of the PTX's length.
__device__ __forceinline__ void e4m3_pairs(u32 word, u32 &p0, u32 &p1) {
    asm("{.reg .b32 h,m;\n"
        "prmt.b32 h,%2,0,0x1404;and.b32 m,h,0x7F007F00;shr.b32 m,m,4;lop3.b32 m,h,%4,m,0xEA;fma.rn.bf16x2 %0,m,%3,%4;\n"
        "prmt.b32 h,%2,0,0x3424;and.b32 m,h,0x7F007F00;shr.b32 m,m,4;lop3.b32 m,h,%4,m,0xEA;fma.rn.bf16x2 %1,m,%3,%4;}"
        : "=r"(p0), "=r"(p1)
        : "r"(word), "r"(0x7B807B80u), "r"(0x80008000u));   // 2^120 twice; both the signs' mask and -0.0 twice
}

// A block scale, never negative, as fp4_pairs takes it: 2^118 of its value in both halves.
__device__ __forceinline__ u32 fp4_scale(u32 byte) {
    const float s = __uint_as_float(byte << 20) * 0x1p120f * 0x1p118f;
    return bf16_pack(s, s);
}

// Eight e2m1 codes times their block scale → bf16 pairs of 2^-8 of the values, exact: nibble j in the low half, j + 4 in the high half.
// e2m1's magnitude lands in bf16's bits 8..6, its sign in bit 15; lop3 0xEA is (a & b) | c. (The conversion instruction of sm_120a ends in f16;
// from there to bf16 it costs as much.) One asm because its text, eight times in a chunk, is what makes a kernel's PTX long.
__device__ __forceinline__ void fp4_pairs(u32 word, u32 scale, u32 (&pair)[4]) {
    asm("{.reg .b32 m,s;\n"
        "shl.b32 m,%4,6;and.b32 m,m,0x1C001C0;shl.b32 s,%4,12;lop3.b32 s,s,%6,m,0xEA;fma.rn.bf16x2 %0,s,%5,%6;\n"
        "shl.b32 m,%4,2;and.b32 m,m,0x1C001C0;shl.b32 s,%4,8;lop3.b32 s,s,%6,m,0xEA;fma.rn.bf16x2 %1,s,%5,%6;\n"
        "shr.b32 m,%4,2;and.b32 m,m,0x1C001C0;shl.b32 s,%4,4;lop3.b32 s,s,%6,m,0xEA;fma.rn.bf16x2 %2,s,%5,%6;\n"
        "shr.b32 m,%4,6;and.b32 m,m,0x1C001C0;lop3.b32 s,%4,%6,m,0xEA;fma.rn.bf16x2 %3,s,%5,%6;}"
        : "=r"(pair[0]), "=r"(pair[1]), "=r"(pair[2]), "=r"(pair[3])
        : "r"(word), "r"(scale), "r"(0x80008000u));   // both the signs' mask and -0.0 twice
}

__device__ __forceinline__ u32 word_of(const uint4 &w, int i) { return i == 0 ? w.x : i == 1 ? w.y : i == 2 ? w.z : w.w; }

// A lane's part of one chunk of rows g and g + 8, as it lies in memory. Scales (nvfp4): the two of each row's 32 codes, or, for the block-scaled
// product, all eight of the chunk of row g + 8·(lane & 1).
struct LaneChunk {
    uint4 row[2];
    u32 scales[2];
};

template <class P> __device__ __forceinline__ LaneChunk load_chunk(const PackedRows &w, const int (&row)[2], int chunk) {
    const int lane = threadIdx.x % 32, q = lane % 4;
    LaneChunk p = {{zero4(), zero4()}, {0, 0}};
#pragma unroll
    for (int i = 0; i < 2; i++)
        if (P::ROW_BYTES % 64 == 0 || chunk * 64 + q * 16 < P::ROW_BYTES) p.row[i] = load_once(w.data + (long long)row[i] * P::ROW_BYTES + chunk * 64 + q * 16);
    if constexpr (P::IS_NATIVE) {
        const uint2 s = *(const uint2 *)(w.scales + (long long)(lane & 1 ? row[1] : row[0]) * P::SCALES + chunk * 8);
        p.scales[0] = s.x, p.scales[1] = s.y;
    } else if constexpr (P::FORMAT == FORMAT_NVFP4) {
#pragma unroll
        for (int i = 0; i < 2; i++) p.scales[i] = *(const u16 *)(w.scales + (long long)row[i] * P::SCALES + chunk * 8 + q * 2);
    }
    return p;
}

// Piece i of a row's 16 bytes: eight values as four A pairs.
template <class P> __device__ __forceinline__ void weight_pairs(const uint4 &row, u32 scales, int i, u32 (&pair)[4]) {
    if constexpr (P::FORMAT == FORMAT_BF16) pair[0] = row.x, pair[1] = row.y, pair[2] = row.z, pair[3] = row.w;
    else if constexpr (P::FORMAT == FORMAT_NVFP4) fp4_pairs(word_of(row, i), fp4_scale(scales >> 8 * (i / 2) & 0xFF), pair);
    else e4m3_pairs(word_of(row, 2 * i), pair[0], pair[1]), e4m3_pairs(word_of(row, 2 * i + 1), pair[2], pair[3]);
}

// Eight bf16 values as B pairs in the order that the weights have.
template <class P> __device__ __forceinline__ void bf16_pairs(const uint4 &w, u32 (&pair)[4]) {
    if constexpr (P::FORMAT == FORMAT_NVFP4) {
        pair[0] = __byte_perm(w.x, w.z, 0x5410), pair[1] = __byte_perm(w.x, w.z, 0x7632);
        pair[2] = __byte_perm(w.y, w.w, 0x5410), pair[3] = __byte_perm(w.y, w.w, 0x7632);
    } else {
        pair[0] = w.x, pair[1] = w.y, pair[2] = w.z, pair[3] = w.w;
    }
}

// Those of a row from k on.
template <class P> __device__ __forceinline__ void activation_pairs(const ActRow<false> &x, int k, u32 (&pair)[4]) {
    uint4 w = zero4();
    if constexpr (P::K % 8 == 0) {
        if (x.data && k < P::K) w = *(const uint4 *)(x.data + k);
    } else {
        u32 part[4] = {0, 0, 0, 0};
#pragma unroll
        for (int j = 0; j < 8; j++)
            if (x.data && k + j < P::K) part[j / 2] |= (u32)x.data[k + j].bits << (j % 2 ? 16 : 0);
        w = make_uint4(part[0], part[1], part[2], part[3]);
    }
    bf16_pairs<P>(w, pair);
}

// The lane's 32 codes of one chunk of an NVFP4 row; zeros beyond K, which is a multiple of 16.
template <class P> __device__ __forceinline__ uint4 load_codes(const ActRow<true> &x, int chunk) {
    const int k = chunk * 128 + threadIdx.x % 4 * 32;
    uint4 codes = zero4();
    if constexpr (P::K % 32 == 0) {
        if (x.data && k < P::K) codes = *(const uint4 *)(x.data + k / 2);
    } else {
        uint2 half[2] = {{0, 0}, {0, 0}};
#pragma unroll
        for (int i = 0; i < 2; i++)
            if (x.data && k + 16 * i < P::K) half[i] = *(const uint2 *)(x.data + k / 2 + 8 * i);
        codes = make_uint4(half[0].x, half[0].y, half[1].x, half[1].y);
    }
    return codes;
}

// COUNT scales of an NVFP4 row from block on, as many bytes; zeros beyond K.
template <class P, int COUNT> __device__ __forceinline__ uint2 load_scales(const ActRow<true> &x, int block) {
    constexpr int BLOCKS = P::K / 16;
    uint2 s = {0, 0};
    if constexpr (BLOCKS % COUNT == 0) {
        if (x.data && block < BLOCKS) {
            if constexpr (COUNT == 8) s = *(const uint2 *)(x.scales + block);
            else s.x = *(const u16 *)(x.scales + block);
        }
    } else {
#pragma unroll
        for (int i = 0; i < COUNT; i++)
            if (x.data && block + i < BLOCKS) (i < 4 ? s.x : s.y) |= (u32)x.scales[block + i] << 8 * (i % 4);
    }
    return s;
}

// Words 0 .. 3 of the lane → word[s][h] of the two block-scaled products s: lanes 2i and 2i + 1 then hold the two words of one scale block, that
// of lane 2i for h = 0, of lane 2i + 1 for h = 1. The blocks come in the order 0 4 2 6, then 1 5 3 7: fp4_block_scales puts scales likewise.
__device__ __forceinline__ void fp4_words(const uint4 &w, u32 (&word)[2][2]) {
    const bool is_odd = threadIdx.x & 1;
    const u32 got0 = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? w.x : w.y, 1), got1 = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? w.z : w.w, 1);
    word[0][0] = is_odd ? got0 : w.x, word[0][1] = is_odd ? w.y : got0;
    word[1][0] = is_odd ? got1 : w.z, word[1][1] = is_odd ? w.w : got1;
}
__device__ __forceinline__ u32 fp4_block_scales(u32 low, u32 high, int s) { return __byte_perm(low, high, s ? 0x7351 : 0x6240); }

// Where the products of one chunk find their activations: rows in global memory. tiles.cuh has the one for shared memory.
template <class P, int INPUTS, int TILES> struct RowActs {
    const ActRow<P::IS_CODED> (&x)[INPUTS][TILES];
    int chunk;
    __device__ __forceinline__ uint4 codes(int in, int t) const { return load_codes<P>(x[in][t], chunk); }
    __device__ __forceinline__ uint2 chunk_scales(int in, int t) const { return load_scales<P, 8>(x[in][t], chunk * 8); }
    __device__ __forceinline__ u32 lane_scales(int in, int t) const { return load_scales<P, 2>(x[in][t], chunk * 8 + threadIdx.x % 4 * 2).x; }
    __device__ __forceinline__ void pairs(int in, int t, int i, u32 (&pair)[4]) const {
        activation_pairs<P>(x[in][t], chunk * P::CHUNK + threadIdx.x % 4 * P::VALUES + 8 * i, pair);
    }
};

// One chunk of MATS matrices with TILES tiles by the block-scaled product; matrix m reads input m % INPUTS.
template <class P, int INPUTS, int MATS, int TILES, class Acts>
__device__ __forceinline__ void chunk_fp4(const LaneChunk (&w)[MATS], const Acts &x, float (&acc)[MATS][TILES][4]) {
    u32 a[MATS][2][2][2];   // [matrix][row][s][h]
#pragma unroll
    for (int m = 0; m < MATS; m++)
#pragma unroll
        for (int r = 0; r < 2; r++) fp4_words(w[m].row[r], a[m][r]);
#pragma unroll
    for (int t = 0; t < TILES; t++)
#pragma unroll
        for (int in = 0; in < INPUTS; in++) {
            u32 b[2][2];
            fp4_words(x.codes(in, t), b);
            const uint2 scales = x.chunk_scales(in, t);
#pragma unroll
            for (int m = in; m < MATS; m += INPUTS)
#pragma unroll
                for (int s = 0; s < 2; s++)
                    mma_nvfp4(acc[m][t], a[m][0][s][0], a[m][1][s][0], a[m][0][s][1], a[m][1][s][1], fp4_block_scales(w[m].scales[0], w[m].scales[1], s),
                              b[s][0], b[s][1], fp4_block_scales(scales.x, scales.y, s));
        }
}

// The same by bf16 products, a piece (eight values) of every row at a time. Many products of one chunk of codes are a loop over its halves, because of
// the PTX's length: what a half needs is then chosen by its number.
template <class P, int INPUTS, int MATS, int TILES, class Acts>
__device__ __forceinline__ void chunk_bf16(const LaneChunk (&w)[MATS], const Acts &x, float (&acc)[MATS][TILES][4]) {
    constexpr int PIECES = P::VALUES / 8, HALVES = PIECES == 4 && MATS * TILES >= 4 ? 2 : 1;
    uint4 codes[INPUTS][TILES];
    u32 scales[INPUTS][TILES];
    if constexpr (P::IS_CODED) {
#pragma unroll
        for (int in = 0; in < INPUTS; in++)
#pragma unroll
            for (int t = 0; t < TILES; t++) codes[in][t] = x.codes(in, t), scales[in][t] = x.lane_scales(in, t);
    }
#pragma unroll 1
    for (int half = 0; half < HALVES; half++) {
        const auto of_half = [&](const uint4 &v) { return HALVES == 1 || half == 0 ? v : make_uint4(v.z, v.w, 0, 0); };
        const int first = half * (PIECES / HALVES);
#pragma unroll
        for (int i = 0; i < PIECES / HALVES; i++) {
            u32 a[MATS][2][4];
#pragma unroll
            for (int m = 0; m < MATS; m++)
#pragma unroll
                for (int r = 0; r < 2; r++) weight_pairs<P>(of_half(w[m].row[r]), w[m].scales[r] >> 4 * first, i, a[m][r]);
#pragma unroll
            for (int t = 0; t < TILES; t++)
#pragma unroll
                for (int in = 0; in < INPUTS; in++) {
                    u32 b[4];
                    if constexpr (P::IS_CODED) fp4_pairs(word_of(of_half(codes[in][t]), i), fp4_scale(scales[in][t] >> 4 * first >> 8 * (i / 2) & 0xFF), b);
                    else x.pairs(in, t, first + i, b);
#pragma unroll
                    for (int m = in; m < MATS; m += INPUTS) mma_bf16(acc[m][t], a[m][0], a[m][1], b);
                }
        }
    }
}

// Sums of one chunk take the scales of the FP8 blocks that the rows of each matrix lie in.
template <class P, int INPUTS, int MATS, int TILES, class Acts>
__device__ __forceinline__ void chunk_fp8_block(const u8 *const (&g_scales)[MATS], const int (&row)[MATS][2], const LaneChunk (&data)[MATS], const Acts &x,
                                                int chunk, float (&acc)[MATS][TILES][4]) {
    constexpr int COLS = (P::K + P::SCALE_COLS - 1) / P::SCALE_COLS;
    float part[MATS][TILES][4] = {};
    chunk_bf16<P, INPUTS>(data, x, part);
#pragma unroll
    for (int m = 0; m < MATS; m++) {
        const float *s = (const float *)g_scales[m] + chunk * P::CHUNK / P::SCALE_COLS;
        const float scale[2] = {s[row[m][0] / P::SCALE_ROWS * COLS], s[row[m][1] / P::SCALE_ROWS * COLS]};
#pragma unroll
        for (int t = 0; t < TILES; t++)
#pragma unroll
            for (int i = 0; i < 4; i++) acc[m][t][i] += scale[i / 2] * part[m][t][i];
    }
}

// One chunk by whichever product the format has. row: weight rows g and g + 8 of each matrix; scales: of each matrix, where they are read here.
template <class P, int INPUTS, int MATS, int TILES, class Acts>
__device__ __forceinline__ void chunk_product(const u8 *const (&g_scales)[MATS], const int (&row)[MATS][2], const LaneChunk (&data)[MATS], const Acts &x,
                                              int chunk, float (&acc)[MATS][TILES][4]) {
    if constexpr (P::IS_NATIVE) chunk_fp4<P, INPUTS>(data, x, acc);
    else if constexpr (P::FORMAT == FORMAT_FP8_BLOCK) chunk_fp8_block<P, INPUTS>(g_scales, row, data, x, chunk, acc);
    else chunk_bf16<P, INPUTS>(data, x, acc);
}

// acc += 16 weight rows (from row n0) of MATS matrices · up to 8·TILES activation rows, over the chunks first, first + STEP, …; the weights of
// AHEAD chunks are on their way before the first is used. x[i][t]: this lane's activation row of tile t (column g); matrix m reads x[m % INPUTS].
// Rows beyond N repeat the last one: the caller does not store them.
template <class P, int STEP, int AHEAD, int MATS, int INPUTS, int TILES>
__device__ __forceinline__ void weight_rows(const PackedRows (&w)[MATS], int n0, const ActRow<P::IS_CODED> (&x)[INPUTS][TILES], int first,
                                            float (&acc)[MATS][TILES][4]) {
    constexpr bool IS_WHOLE = P::CHUNKS % (STEP * AHEAD) == 0;
    const int g = threadIdx.x % 32 / 4;
    int row[MATS][2];
    const u8 *g_scales[MATS];
#pragma unroll
    for (int m = 0; m < MATS; m++) row[m][0] = min(n0 + g, P::N - 1), row[m][1] = min(n0 + g + 8, P::N - 1), g_scales[m] = w[m].scales;
#pragma unroll 1
    for (int c0 = first; c0 < P::CHUNKS; c0 += STEP * AHEAD) {
        LaneChunk data[AHEAD][MATS];
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
#pragma unroll
            for (int m = 0; m < MATS; m++)
                if (IS_WHOLE || c0 + u * STEP < P::CHUNKS) data[u][m] = load_chunk<P>(w[m], row[m], c0 + u * STEP);
#pragma unroll
        for (int u = 0; u < AHEAD; u++) {
            const int chunk = c0 + u * STEP;
            if (!IS_WHOLE && chunk >= P::CHUNKS) break;
            chunk_product<P, INPUTS>(g_scales, row, data[u], RowActs<P, INPUTS, TILES>{x, chunk}, chunk, acc);
        }
    }
}

// What turns an accumulator of weight row n into the product with the codes' values; NVFP4 activations still want their input scale.
template <class P> __device__ __forceinline__ float row_factor(const PackedRows &w, int n) {
    if constexpr (P::FORMAT == FORMAT_NVFP4) return w.row_scale[n] * P::UNDO;
    if constexpr (P::FORMAT == FORMAT_FP8) return w.row_scale[n];
    return 1.0f;
}
