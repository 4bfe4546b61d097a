#include "core/tensor/synth.h"

#include <string.h>

#include "core/base/prng.h"
#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"

/* Elements that share a generator: threads take whole blocks. */
enum { BLOCK = 1 << 17 };

static Prng block_generator(uint64_t seed, size_t block)
{
    Prng p = {seed ^ 0x5851F42D4C957F2DULL * (block + 1)};
    prng_next(&p);
    return p;
}

/* Nearly normal with deviation 1: the sum of four uniform numbers of 16 bits, from one draw. Never 0. */
static float normal(Prng *p)
{
    uint64_t r = prng_next(p);
    int sum = (int)(r & 0xFFFF) + (int)(r >> 16 & 0xFFFF) + (int)(r >> 32 & 0xFFFF) + (int)(r >> 48);
    float x = ((float)sum - 131070.0f) * (1.7320508f / 65536.0f);
    return x == 0.0f ? 1e-3f : x;
}

static float draw(Prng *p, const SynthDesc *desc, bool has_outliers)
{
    float x = normal(p) * (float)desc->scale;
    return has_outliers && prng_uniform(p) < desc->outliers ? 8.0f * x : x;
}

/* Pairs of codes, drawn from a list of pairs: models have billions of them. */
static void fill_codes(const Tensor *t, size_t from, size_t to, const SynthDesc *desc, Prng *p)
{
    enum { PAIRS = 1 << 12, A_DRAW = 5 };
    uint8_t pairs[PAIRS];
    for (int i = 0; i < PAIRS; i++)
        pairs[i] = (uint8_t)(fp4_from_f32(draw(p, desc, false)) | fp4_from_f32(draw(p, desc, false)) << 4);
    for (size_t i = from; i < to; i += A_DRAW) {
        uint64_t r = prng_next(p);
        for (size_t j = i; j < to && j < i + A_DRAW; j++, r >>= 12)
            ((uint8_t *)t->data)[j] = pairs[r & (PAIRS - 1)];
    }
}

static void fill(const Tensor *t, size_t from, size_t to, const SynthDesc *desc)
{
    Prng p = block_generator(desc->seed, from / BLOCK);
    bool has_outliers = desc->outliers > 0;
    switch (t->dtype) {
    case DTYPE_F32:
        for (size_t i = from; i < to; i++)
            ((float *)t->data)[i] = bf16_round(draw(&p, desc, has_outliers));
        return;
    case DTYPE_BF16:
        for (size_t i = from; i < to; i++)
            ((uint16_t *)t->data)[i] = bf16_from_f32(draw(&p, desc, has_outliers));
        return;
    case DTYPE_F16:
        for (size_t i = from; i < to; i++)
            ((uint16_t *)t->data)[i] = fp16_from_f32(draw(&p, desc, has_outliers));
        return;
    case DTYPE_F8_E4M3:
        for (size_t i = from; i < to; i++)
            ((uint8_t *)t->data)[i] = fp8_e4m3_from_f32_sat(draw(&p, desc, has_outliers));
        return;
    default: fill_codes(t, from, to, desc, &p);
    }
}

bool synth_normal(Tensor *t, const SynthDesc *desc, Err *err)
{
    if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_BF16 && t->dtype != DTYPE_F16 && t->dtype != DTYPE_F8_E4M3 &&
        t->dtype != DTYPE_U8)
        return fail(err, E_UNSUPPORTED,
            "synth: normal numbers are made as F32, BF16, F16, F8_E4M3 or codes in U8, found %s",
                    dtype_name(t->dtype));
    size_t n = tensor_count(t);
    long blocks = (long)((n + BLOCK - 1) / BLOCK);
#pragma omp parallel for schedule(static) if (blocks > 4)
    for (long b = 0; b < blocks; b++) {
        size_t from = (size_t)b * BLOCK;
        fill(t, from, n - from < BLOCK ? n : from + BLOCK, desc);
    }
    return true;
}

bool synth_uniform(Tensor *t, double low, double high, uint64_t seed, Err *err)
{
    if (t->dtype == DTYPE_NONE || !(low <= high))
        return fail(err, E_VALUE, "synth: expected low <= high, found %g and %g", low, high);
    Prng p = block_generator(seed, 0);
    for (size_t i = 0; i < tensor_count(t); i++)
        tensor_set(t, i, low + (high - low) * prng_uniform(&p));
    return true;
}
