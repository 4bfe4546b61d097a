// tiles.cuh: the product of weight.cuh for many rows: a block's weights and activations go through shared memory, STAGES chunks of k in a ring, the
// copies of the next ones on their way while one is used. ACROSS warps stand beside each other over the activations, WARPS / ACROSS over the weights;
// each has BLOCKS·16 weight rows of each of MATS matrices and TILES·8 activation rows.
// Everything is copied in vectors of 16 bytes: rows of activations begin at multiples of 16 bytes and K is whole vectors. tiles.lua has the
// rules and the bytes of shared memory.
#pragma once

// Copies BYTES (8 or 16) to shared memory behind the thread's back; zeros where there is nothing.
template <int BYTES> __device__ __forceinline__ void copy_async(void *s_to, const void *g_from, bool is_there) {
    const u32 to = (u32)__cvta_generic_to_shared(s_to), count = is_there ? BYTES : 0;
    if constexpr (BYTES == 16) asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" :: "r"(to), "l"(g_from), "r"(count) : "memory");
    else asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" :: "r"(to), "l"(g_from), "r"(count) : "memory");
}

// Where vector v of an activation row lies, bf16: vector q·PIECES + i at q·PIECES + (i ^ (q ^ row) % PIECES), so that the eight lanes which read at a
// time meet different banks.
template <int PIECES> __device__ __forceinline__ int swizzled(int row, int v) { return v / PIECES * PIECES + (v % PIECES ^ (v / PIECES ^ row) % PIECES); }

template <class P, int MATS, int INPUTS, int WARPS, int ACROSS, int BLOCKS, int TILES, int STAGES> struct Tiled {
    enum {   // not static members: the compiler would write each into the PTX
        THREADS = 32 * WARPS,
        N = 16 * BLOCKS * (WARPS / ACROSS), ROWS = 8 * TILES * ACROSS,             // of a block: weight rows, activation rows
        PIECES = P::VALUES / 8, VECTORS = P::IS_CODED ? 4 : 4 * PIECES,             // of a chunk of an activation row
        HAS_SCALES = P::FORMAT == FORMAT_NVFP4,
        X = MATS * N * 64, W_SCALES = X + INPUTS * ROWS * VECTORS * 16, X_SCALES = W_SCALES + (HAS_SCALES ? MATS * N * 8 : 0),
        STAGE = X_SCALES + (P::IS_CODED ? INPUTS * ROWS * 8 : 0)                     // bytes of a chunk; its weights are first
    };
    static_assert(WARPS % ACROSS == 0 && STAGES >= 2, "a ring of whole warps");
    static_assert(P::IS_CODED ? P::K % 128 == 0 : P::K % 8 == 0, "whole vectors");

    // A chunk's activations in shared memory as the products want them (weight.cuh).
    struct Acts {
        const u8 *x, *scales;
        int first;   // row of the tile that is this lane's of the warp's first tile
        __device__ __forceinline__ int row(int in, int t) const { return in * ROWS + first + 8 * t; }
        __device__ __forceinline__ uint4 codes(int in, int t) const { return *(const uint4 *)(x + row(in, t) * 64 + threadIdx.x % 4 * 16); }
        __device__ __forceinline__ uint2 chunk_scales(int in, int t) const { return *(const uint2 *)(scales + row(in, t) * 8); }
        __device__ __forceinline__ u32 lane_scales(int in, int t) const { return *(const u16 *)(scales + row(in, t) * 8 + threadIdx.x % 4 * 2); }
        __device__ __forceinline__ void pairs(int in, int t, int i, u32 (&pair)[4]) const {
            const int r = row(in, t), v = swizzled<PIECES>(r, threadIdx.x % 4 * PIECES + i);
            bf16_pairs<P>(*(const uint4 *)(x + (r * VECTORS + v) * 16), pair);
        }
    };

    static __device__ __forceinline__ u8 *ring() {
        extern __shared__ __align__(16) u8 s_ring[];
        return s_ring;
    }

    // First weight row and first activation row of this warp.
    static __device__ __forceinline__ int warp_n(int block) { return block * N + threadIdx.x / 32 / ACROSS * BLOCKS * 16; }
    static __device__ __forceinline__ int warp_row() { return threadIdx.x / 32 % ACROSS * TILES * 8; }

    // do_(u) for 0 .. COUNT-1, spread over the threads of the block. Codes make the longest kernels: there it is a loop, for the sake of the PTX's length.
    template <int COUNT, class Do> static __device__ __forceinline__ void each_of(Do do_) {
        constexpr int TIMES = (COUNT + THREADS - 1) / THREADS;
#pragma unroll (HAS_SCALES ? 1 : TIMES)
        for (int j = 0; j < TIMES; j++)
            if (COUNT % THREADS == 0 || threadIdx.x + j * THREADS < COUNT) do_(threadIdx.x + j * THREADS);
    }

    // One chunk on its way. row_of(in, r): row r of the tile (ActRow).
    template <class RowOf> static __device__ __forceinline__ void fetch(const PackedRows (&w)[MATS], int n0, RowOf row_of, int chunk, u8 *s) {
        const int q = threadIdx.x % 4;
#pragma unroll
        for (int m = 0; m < MATS; m++) {
            each_of<4 * N>([&](int u) {
                const int r = u / 4, at = chunk * 64 + q * 16;
                copy_async<16>(s + (m * N + r) * 64 + q * 16, w[m].data + (long long)min(n0 + r, P::N - 1) * P::ROW_BYTES + at, at < P::ROW_BYTES);
            });
            if constexpr (HAS_SCALES)
                each_of<N>([&](int r) {
                    copy_async<8>(s + W_SCALES + (m * N + r) * 8, w[m].scales + (long long)min(n0 + r, P::N - 1) * P::SCALES + chunk * 8, true);
                });
        }
#pragma unroll
        for (int in = 0; in < INPUTS; in++) {
            each_of<ROWS * VECTORS>([&](int u) {
                const int r = u / VECTORS, v = u % VECTORS;
                const ActRow<P::IS_CODED> x = row_of(in, r);
                u8 *to = s + X + in * ROWS * VECTORS * 16;
                if constexpr (P::IS_CODED) copy_async<16>(to + u * 16, x.data + chunk * 64 + v * 16, x.data);
                else {
                    const int k = chunk * P::CHUNK + v * 8;
                    copy_async<16>(to + (r * VECTORS + swizzled<PIECES>(r, v)) * 16, x.data + k, x.data && k < P::K);
                }
            });
            if constexpr (P::IS_CODED)
                each_of<ROWS>([&](int r) {
                    const ActRow<true> x = row_of(in, r);
                    copy_async<8>(s + X_SCALES + (in * ROWS + r) * 8, x.scales + chunk * 8, x.data);
                });
        }
    }

    // acc[b·MATS + m] += sums of weight rows warp_n + 16·b … of matrix m with activation rows warp_row … of the tile; matrix m has input m % INPUTS.
    // Every thread of the block calls it, also again: nothing is overwritten before all of them have met.
    template <class RowOf>
    static __device__ __forceinline__ void product(const PackedRows (&w)[MATS], int block, RowOf row_of, float (&acc)[MATS * BLOCKS][TILES][4]) {
        const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4, n0 = warp_n(block), at = n0 - block * N + g;
        int row[MATS * BLOCKS][2];
        const u8 *g_scales[MATS * BLOCKS];
#pragma unroll
        for (int b = 0; b < MATS * BLOCKS; b++) {
            g_scales[b] = w[b % MATS].scales;
#pragma unroll
            for (int i = 0; i < 2; i++) row[b][i] = min(n0 + 16 * (b / MATS) + g + 8 * i, P::N - 1);
        }
        u8 *s = ring(), *const s_end = s + STAGES * STAGE;   // of the chunk that is fetched; the one after it is the oldest
#pragma unroll 1
        for (int c = 1 - STAGES; c < P::CHUNKS; c++) {
            asm volatile("cp.async.wait_group %0;" :: "n"(STAGES - 2) : "memory");
            __syncthreads();   // the copies of all threads are there, and everyone has read the chunk that is overwritten now
            if (c + STAGES - 1 < P::CHUNKS) fetch(w, block * N, row_of, c + STAGES - 1, s);
            asm volatile("cp.async.commit_group;" ::: "memory");
            s += STAGE;
            if (c < 0) continue;   // not once around yet
            if (s == s_end) s = ring();
            LaneChunk data[MATS * BLOCKS];
#pragma unroll
            for (int b = 0; b < MATS * BLOCKS; b++) {
                const int r = b % MATS * N + at + 16 * (b / MATS);
#pragma unroll
                for (int i = 0; i < 2; i++) data[b].row[i] = *(const uint4 *)(s + (r + 8 * i) * 64 + q * 16), data[b].scales[i] = 0;
                if constexpr (P::IS_NATIVE) {
                    const uint2 two = *(const uint2 *)(s + W_SCALES + (r + 8 * (lane & 1)) * 8);
                    data[b].scales[0] = two.x, data[b].scales[1] = two.y;
                } else if constexpr (HAS_SCALES) {
#pragma unroll
                    for (int i = 0; i < 2; i++) data[b].scales[i] = *(const u16 *)(s + W_SCALES + (r + 8 * i) * 8 + q * 2);
                }
            }
            chunk_product<P, INPUTS>(g_scales, row, data, Acts{s + X, s + X_SCALES, warp_row() + g}, c, acc);
        }
    }

    // store(n, r, sum) for every weight row n and activation row r of the tile, sum[m] of matrix m; sixteen lanes side by side have sixteen neighbouring n
    // of one r, and all lanes call it; n may lie beyond N. Through the ring, so that a warp writes along rows of the output.
    template <int UNROLL = 2, class Store> static __device__ __forceinline__ void each(const float (&acc)[MATS * BLOCKS][TILES][4], int block, Store store) {
        constexpr int LD = MATS * BLOCKS * 16 + 4, TILE = 8 * LD * 4;   // so the lanes of a fragment meet different banks; bytes of a tile
        constexpr int PART = WARPS * TILES * TILE <= STAGES * STAGE ? TILES : WARPS * TILES / 2 * TILE <= STAGES * STAGE ? TILES / 2 : 1;
        static_assert(WARPS * PART * TILE <= STAGES * STAGE, "a tile of each warp fits the ring");
        const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4;
        float *s_sum = (float *)(ring() + threadIdx.x / 32 * PART * TILE);
        __syncthreads();   // everyone has read the last chunk
#pragma unroll
        for (int first = 0; first < TILES; first += PART) {
            if (first > 0) __syncwarp();   // what lay there has been read
#pragma unroll
            for (int t = 0; t < PART; t++)
#pragma unroll
                for (int b = 0; b < MATS * BLOCKS; b++)
#pragma unroll
                    for (int i = 0; i < 4; i++) s_sum[(8 * t + 2 * q + i % 2) * LD + 16 * b + g + 8 * (i / 2)] = acc[b][first + t][i];
            __syncwarp();
#pragma unroll UNROLL
            for (int j = lane; j < PART * 8 * 16 * BLOCKS; j += 32) {
                const int n = j % (16 * BLOCKS), r = j / (16 * BLOCKS);
                float sum[MATS];
#pragma unroll
                for (int m = 0; m < MATS; m++) sum[m] = s_sum[r * LD + (n / 16 * MATS + m) * 16 + n % 16];
                store(warp_n(block) + n, warp_row() + 8 * first + r, sum);
            }
        }
    }
};

// store(n, row, sum) for every weight row n and row of activations that this block has: by tiles where STAGES > 0, else straight from memory (rows.cuh).
// Block x has weight rows, block y activation rows; ROWS: room for rows; element maps a row to its first element of x.
template <class P, int WARPS, int SPLIT, int TILES, int AHEAD, int ACROSS, int BLOCKS, int STAGES, int ROWS, class Element, class Store>
__device__ __forceinline__ void each_product(const Activations<P::IS_CODED> &x, const PackedRows (&w)[1], int rows, Element element, Store store) {
    if constexpr (STAGES > 0) {
        typedef Tiled<P, 1, 1, WARPS, ACROSS, BLOCKS, TILES, STAGES> T;
        const int row0 = blockIdx.y * T::ROWS;
        if (ROWS > T::ROWS && row0 >= rows) return;   // else row0 is 0
        float acc[BLOCKS][TILES][4] = {};
        T::product(w, blockIdx.x, [&](int, int r) { return x.row(row0 + r < rows ? element(row0 + r) : 0, row0 + r < rows); }, acc);
        T::each(acc, blockIdx.x, [&](int n, int r, const float (&sum)[1]) {
            if (n < P::N && row0 + r < rows) store(n, row0 + r, sum[0]);
        });
    } else {
        const int row0 = blockIdx.y * 8 * TILES;
        if (ROWS > 8 * TILES && row0 >= rows) return;
        ActRow<P::IS_CODED> row[1][TILES];
        tile_rows(x, row0, rows, row[0], element);
        float acc[1][TILES][4] = {};
        const int n0 = block_rows<P, WARPS, SPLIT, AHEAD>(w, blockIdx.x, row, acc);
        if (n0 >= 0) each_sum(acc[0], n0, P::N, row0, rows, store);
    }
}
