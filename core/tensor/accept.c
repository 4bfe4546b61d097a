#include "core/tensor/accept.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"
#include "core/num/nvfp4.h"

static const double unit = 0x1p-23; /* what an operation in f32 that may truncate loses at most, relative */

/* 2^(exponent of x - bits), not below `least`. */
static double spacing(double x, int bits, double least)
{
    int exponent;
    if (x == 0 || !isfinite(x))
        return least;
    frexp(x, &exponent);
    return fmax(ldexp(1.0, exponent - 1 - bits), least);
}

double accept_ulp(AcceptStore store, float scale, double x)
{
    switch (store) {
    case ACCEPT_BF16: return spacing(x, 7, 0x1p-133);
    case ACCEPT_F32: return spacing(x, 23, 0x1p-149);
    case ACCEPT_E4M3: return spacing(x / (double)scale, 3, 0x1p-9) * fabs((double)scale);
    }
    return 0;
}

static double store_value(const AcceptRule *rule, float x)
{
    switch (rule->store) {
    case ACCEPT_BF16: return (double)bf16_round(x);
    case ACCEPT_F32: return (double)x;
    case ACCEPT_E4M3: return (double)fp8_e4m3_to_f32(fp8_e4m3_from_f32_sat(bf16_round(x) / rule->scale)) * (double)rule->scale;
    }
    return 0;
}

static double bound_of(const AcceptRule *rule, double want, double magnitude)
{
    double before = rule->sums * unit * magnitude + unit / 2 * fabs(want);
    double bound = rule->ulp * accept_ulp(rule->store, rule->scale, fabs(want) + before) + before;
    if (rule->store != ACCEPT_E4M3)
        return bound;
    /* The rounding to bf16 in front, the division. */
    return bound + 0.5 * accept_ulp(ACCEPT_BF16, 1, fabs(want) + before) + unit * fabs(want);
}

static void judge(const AcceptRule *rule, size_t at, double got, double want, double magnitude, Accept *out)
{
    if (rule->store == ACCEPT_E4M3 && fabs(want) > 448.0 * (double)rule->scale)
        want = copysign(448.0 * (double)rule->scale, want); /* saturation brings errors no further apart */
    double difference = fabs(got - want), bound = bound_of(rule, want, magnitude), ratio;
    bool is_finite = isfinite(got) && isfinite(want) && isfinite(magnitude) && magnitude >= 0;
    if (!is_finite) {
        ratio = INFINITY;
        out->not_finite++;
    } else if (magnitude == 0) {
        bound = fabs(store_value(rule, (float)want) - want);
        ratio = got == store_value(rule, (float)want) ? 0 : bound > 0 ? fmax(difference / bound,
            nextafter(1, 2)) : INFINITY;
    } else {
        ratio = difference / bound;
    }
    if (!(ratio <= 1))
        out->outside++;
    if (out->n == 0 || ratio > out->ratio) {
        out->ratio = ratio;
        out->at = at;
        out->got = got;
        out->want = want;
        out->bound = bound;
    }
    out->error_squares += difference * difference;
    out->squares += want * want;
    out->n++;
}

static bool same_shape(const Tensor *a, const Tensor *b)
{
    return a->rank == b->rank && memcmp(a->shape, b->shape, (size_t)a->rank * sizeof *a->shape) == 0;
}

bool accept_compare(const Tensor *got, const Tensor *want, const Tensor *magnitude, size_t rows, const AcceptRule *rule,
    Accept *out,
                    Err *err)
{
    enum { CHUNK = 1024 };
    char a[160], b[160];
    double g[CHUNK], w[CHUNK], m[CHUNK] = {0};
    *out = (Accept){0};
    if (!same_shape(got, want) || (magnitude && !same_shape(want, magnitude)) || want->dtype != DTYPE_F32)
        return fail(err, E_SHAPE, "accept: expected f32 references and magnitudes of the shape of %s, found %s",
                    tensor_describe(got, a, sizeof a), tensor_describe(magnitude ? magnitude : want, b, sizeof b));
    size_t n = tensor_count(got);
    if (got->rank && got->shape[0] > rows)
        n = n / got->shape[0] * rows;
    double scale = rule->store == ACCEPT_E4M3 ? (double)rule->scale : 1;
    for (size_t at = 0; at < n; at += CHUNK) {
        size_t count = n - at < CHUNK ? n - at : CHUNK;
        tensor_read_f64(got, at, count, g);
        tensor_read_f64(want, at, count, w);
        if (magnitude)
            tensor_read_f64(magnitude, at, count, m);
        for (size_t i = 0; i < count; i++)
            judge(rule, at + i, g[i] * scale, w[i], m[i], out);
    }
    return true;
}

/* The tie between code and code + 1 of a type, by its values. */
static double tie(double lower, double upper)
{
    return (lower + upper) / 2;
}

static bool fits(double x, double low_tie, double high_tie, double delta)
{
    return x >= low_tie * (1 - delta) && x <= high_tie * (1 + delta);
}

/* quotient: amax · s / 6 in real numbers. */
static bool scale_fits(double quotient, uint8_t scale, double delta)
{
    if (scale > 0x7E)
        return false;
    double here = (double)fp8_e4m3_to_f32(scale);
    double low = scale ? tie((double)fp8_e4m3_to_f32((uint8_t)(scale - 1)), here) : 0;
    double high = scale < 0x7E ? tie(here, (double)fp8_e4m3_to_f32((uint8_t)(scale + 1))) : INFINITY;
    return fits(quotient, low, high, delta);
}

static bool code_fits(double x, uint8_t code, double delta)
{
    uint8_t size = code & 7;
    double here = (double)fp4_to_f32(size);
    double low = size ? tie((double)fp4_to_f32((uint8_t)(size - 1)), here) : 0;
    double high = size < 7 ? tie(here, (double)fp4_to_f32((uint8_t)(size + 1))) : INFINITY;
    return (size == 0 || (x < 0) == (code > 7)) && fits(fabs(x), low, high, delta);
}

static bool block_fits(const float *x, float s, const uint8_t *codes, uint8_t scale, double delta)
{
    double amax = 0, factor = scale ? (double)s / (double)fp8_e4m3_to_f32(scale) : 0;
    for (size_t i = 0; i < NVFP4_BLOCK; i++) {
        if (isnan(x[i]))
            return false;
        amax = fmax(amax, fabs((double)x[i]));
    }
    bool ok = scale_fits(amax * (double)s / 6, scale, delta);
    for (size_t i = 0; ok && i < NVFP4_BLOCK; i++)
        ok = code_fits((double)x[i] * factor, codes[i / 2] >> 4 * (i % 2) & 15, delta);
    return ok;
}

void accept_nvfp4(const float *x, size_t n, float s, const uint8_t *codes, const uint8_t *scales, double delta,
    AcceptCodes *out)
{
    *out = (AcceptCodes){.blocks = n / NVFP4_BLOCK};
    for (size_t b = 0; b < out->blocks; b++) {
        uint8_t exact[NVFP4_BLOCK / 2], exact_scale;
        const uint8_t *mine = codes + b * NVFP4_BLOCK / 2;
        nvfp4_quantize_activation(x + b * NVFP4_BLOCK, NVFP4_BLOCK, s, exact, &exact_scale);
        for (size_t i = 0; i < NVFP4_BLOCK; i++)
            out->codes_differ += (mine[i / 2] >> 4 * (i % 2) & 15) != (exact[i / 2] >> 4 * (i % 2) & 15);
        out->scales_differ += scales[b] != exact_scale;
        if (!block_fits(x + b * NVFP4_BLOCK, s, mine, scales[b], delta) && out->blocks_outside++ == 0)
            out->at = b;
    }
}
