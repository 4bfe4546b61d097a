#include "core/tensor/compare.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"

/* Elements read and summed at a time: sums of one part stay in order, parts are added in order whoever computed them. */
enum { PART = 1 << 12, LANES = 4, PARALLEL_FROM = 1 << 16 };

/* ---- two tensors ---- */

typedef struct PartSums {
    double difference, want, got, product; /* sums of squares, and of got · want */
    size_t bad_got, bad_want, at, ulps[COMPARE_ULP_BINS];
    double max_abs;
} PartSums;

/* Distance of two f32 that bf16 holds, as a number of bf16 codes. */
static inline uint32_t bf16_distance(float a, float b)
{
    int32_t i, j;
    memcpy(&i, &a, sizeof i);
    memcpy(&j, &b, sizeof j);
    i = i < 0 ? -((i & 0x7FFFFFFF) >> 16) : i >> 16;
    j = j < 0 ? -((j & 0x7FFFFFFF) >> 16) : j >> 16;
    return (uint32_t)(i > j ? i - j : j - i);
}

static int ulp_bin(uint32_t distance)
{
    int bin = distance <= 1 ? (int)distance : 33 - __builtin_clz(distance - 1);
    return bin < COMPARE_ULP_BINS ? bin : COMPARE_ULP_BINS - 1;
}

static void count_ulps(const double *a, const double *b, size_t n, size_t ulps[COMPARE_ULP_BINS])
{
    float x[PART], y[PART];
    uint32_t distance[PART];
    for (size_t i = 0; i < n; i++) {
        x[i] = (float)a[i];
        y[i] = (float)b[i];
    }
    bf16_round_row(x, n);
    bf16_round_row(y, n);
    for (size_t i = 0; i < n; i++)
        distance[i] = bf16_distance(x[i], y[i]);
    for (size_t i = 0; i < n; i++)
        ulps[isfinite(a[i]) && isfinite(b[i]) ? ulp_bin(distance[i]) : COMPARE_ULP_BINS - 1]++;
}

static void add_part(const Tensor *got, const Tensor *want, size_t first, size_t n, PartSums *out)
{
    double a[PART], b[PART];
    PartSums s = {.max_abs = -1};
    tensor_read_f64(got, first, n, a);
    tensor_read_f64(want, first, n, b);
    for (size_t i = 0; i < n; i++) {
        double difference = a[i] - b[i];
        s.difference += difference * difference;
        s.want += b[i] * b[i];
        s.got += a[i] * a[i];
        s.product += a[i] * b[i];
    }
    for (size_t i = 0; i < n; i++) {
        bool is_bad_got = !isfinite(a[i]), is_bad_want = !isfinite(b[i]);
        double distance = is_bad_got || is_bad_want ? INFINITY : fabs(a[i] - b[i]);
        s.bad_got += is_bad_got;
        s.bad_want += is_bad_want;
        if (distance > s.max_abs) {
            s.max_abs = distance;
            s.at = first + i;
        }
    }
    count_ulps(a, b, n, s.ulps);
    *out = s;
}

static void finish(Compare *out, const PartSums *total)
{
    bool is_finite = !out->bad_got && !out->bad_want;
    out->nmse = !is_finite ? INFINITY : total->difference == 0 ? 0.0 : total->difference / total->want;
    out->sqnr_db = -10.0 * log10(out->nmse);
    if (!is_finite)
        out->cosine = -1.0;
    else if (total->got == 0 || total->want == 0)
        out->cosine = total->got == total->want ? 1.0 : 0.0;
    else
        out->cosine = total->product / (sqrt(total->got) * sqrt(total->want));
}

static bool check_same_shape(const Tensor *a, const Tensor *b, Err *err)
{
    char x[160], y[160];
    bool is_same = a->rank == b->rank;
    for (int i = 0; is_same && i < a->rank; i++)
        is_same = a->shape[i] == b->shape[i];
    return is_same || fail(err, E_SHAPE, "only tensors of one shape can be compared, not %s with %s",
                           tensor_describe(a, x, sizeof x), tensor_describe(b, y, sizeof y));
}

bool compare_tensors(const Tensor *got, const Tensor *want, Compare *out, Err *err)
{
    *out = (Compare){.n = tensor_count(got)};
    if (!check_same_shape(got, want, err))
        return false;
    size_t parts = (out->n + PART - 1) / PART;
    PartSums *sums = calloc(parts ? parts : 1, sizeof *sums), total = {0};
    if (!sums)
        return fail(err, E_MEMORY, "no memory to compare %zu elements", out->n);
#pragma omp parallel for schedule(static) if (out->n >= PARALLEL_FROM)
    for (size_t p = 0; p < parts; p++)
        add_part(got, want, p * PART, p + 1 < parts ? PART : out->n - p * PART, &sums[p]);
    total.max_abs = -1;
    for (size_t p = 0; p < parts; p++) {
        total.difference += sums[p].difference;
        total.want += sums[p].want;
        total.got += sums[p].got;
        total.product += sums[p].product;
        out->bad_got += sums[p].bad_got;
        out->bad_want += sums[p].bad_want;
        for (int bin = 0; bin < COMPARE_ULP_BINS; bin++)
            out->ulps[bin] += sums[p].ulps[bin];
        if (sums[p].max_abs > total.max_abs) {
            total.max_abs = sums[p].max_abs;
            total.at = sums[p].at;
        }
    }
    free(sums);
    finish(out, &total);
    if (out->n) {
        out->max_abs = total.max_abs;
        out->at = total.at;
        out->got = tensor_get(got, total.at);
        out->want = tensor_get(want, total.at);
    }
    return true;
}

/* ---- logits ---- */

/* Four elements at a time, whatever registers the machine has: so the sums are the same everywhere. */
typedef double Lanes __attribute__((vector_size(8 * LANES)));
typedef int64_t LaneBits __attribute__((vector_size(8 * LANES)));
#define EVERY_MACHINE __attribute__((target_clones("avx2", "default")))

/* Rows are filled up to whole lanes with what counts for nothing. */
static size_t padded(size_t v)
{
    return (v + LANES - 1) / LANES * LANES;
}

static void read_row(const Tensor *t, size_t row, size_t v, double *x)
{
    tensor_read_f64(t, row * v, v, x);
    for (size_t i = v; i < padded(v); i++)
        x[i] = -INFINITY;
}

static inline void load_shifted(Lanes *x, const double *from, double shift)
{
    memcpy(x, from, sizeof *x);
    *x -= shift;
}

/* e^x for x <= 0, to about an ulp; NaN stays NaN, below -708 it is e^-708. The C library's is a call per element and the largest
 * part of a comparison of logits. x = n ln 2 + r, |r| <= ln 2 / 2; e^r by its series, whose next term is below 2^-57. */
static inline void exp_of_negative(Lanes *x)
{
    /* round leaves the nearest integer in the lowest bits */
    const Lanes round = (Lanes){0} + 0x1.8p52, lowest = (Lanes){0} - 708.0;
    LaneBits is_low = *x < lowest;
    Lanes y = (Lanes)((is_low & (LaneBits)lowest) | (~is_low & (LaneBits)*x));
    Lanes shifted = y * 0x1.71547652b82fep0 + round, n = shifted - round;
    Lanes r = y - n * 0x1.62e42fefa0000p-1 - n * 0x1.cf79abc9e3b3ap-40;
    Lanes sum = (Lanes){0} + 1.0 / 6227020800.0;
    sum = sum * r + 1.0 / 479001600.0;
    sum = sum * r + 1.0 / 39916800.0;
    sum = sum * r + 1.0 / 3628800.0;
    sum = sum * r + 1.0 / 362880.0;
    sum = sum * r + 1.0 / 40320.0;
    sum = sum * r + 1.0 / 5040.0;
    sum = sum * r + 1.0 / 720.0;
    sum = sum * r + 1.0 / 120.0;
    sum = sum * r + 1.0 / 24.0;
    sum = sum * r + 1.0 / 6.0;
    sum = sum * r + 0.5;
    sum = sum * r + 1.0;
    sum = sum * r + 1.0;
    *x = sum * (Lanes)(((LaneBits)shifted + 1023) << 52);
}

static double tree(const Lanes *s)
{
    const Lanes x = *s;
    return (x[0] + x[2]) + (x[1] + x[3]);
}

/* Index of the largest, the first of equals; v when there is a NaN. */
EVERY_MACHINE static size_t largest(const double *x, size_t v)
{
    Lanes top = (Lanes){0} - INFINITY;
    LaneBits is_nan = {0};
    for (size_t i = 0; i < v; i += LANES) {
        Lanes y;
        memcpy(&y, x + i, sizeof y);
        LaneBits is_more = y > top;
        is_nan |= y != y;
        top = (Lanes)((is_more & (LaneBits)y) | (~is_more & (LaneBits)top));
    }
    double most = top[0];
    for (int l = 0; l < LANES; l++) {
        most = top[l] > most ? top[l] : most;
        if (is_nan[l])
            return v;
    }
    size_t at = 0;
    while (x[at] != most)
        at++;
    return at;
}

/* sum e^(x - shift) */
EVERY_MACHINE static double sum_exp(const double *x, size_t v, double shift)
{
    Lanes sum = {0}, e;
    for (size_t i = 0; i < v; i += LANES) {
        load_shifted(&e, x + i, shift);
        exp_of_negative(&e);
        sum += e;
    }
    return tree(&sum);
}

/* sum p ((y - shift_y) - (x - shift_x)) with p = e^(y - shift_y), and sum p. Where p is nothing so is the product, even if y or x
 * is -infinity. */
EVERY_MACHINE static double sum_weighted(const double *y, const double *x, size_t v, double shift_y, double shift_x,
                                         double *sum_p)
{
    Lanes sum = {0}, all = {0};
    for (size_t i = 0; i < v; i += LANES) {
        Lanes a, b, p;
        load_shifted(&a, y + i, shift_y);
        load_shifted(&b, x + i, shift_x);
        p = a;
        exp_of_negative(&p);
        all += p;
        LaneBits counts = p > 1e-300;
        sum += (Lanes)(counts & (LaneBits)(p * (a - b)));
    }
    *sum_p = tree(&all);
    return tree(&sum);
}

/* Indices of the k largest, in falling order, equals by index; value f64[k] is scratch. No NaN. */
static void top_k(const double *x, size_t v, size_t k, size_t *index, double *value)
{
    size_t n = 0;
    for (size_t i = 0; i < v; i++) {
        if (n == k && x[i] <= value[k - 1])
            continue;
        size_t at = n < k ? n++ : k - 1;
        for (; at > 0 && value[at - 1] < x[i]; at--) {
            value[at] = value[at - 1];
            index[at] = index[at - 1];
        }
        value[at] = x[i];
        index[at] = i;
    }
}

static size_t common(const size_t *a, const size_t *b, size_t k)
{
    size_t n = 0;
    for (size_t i = 0; i < k; i++)
        for (size_t j = 0; j < k; j++)
            n += a[i] == b[j];
    return n;
}

/* What one thread needs for a row: two rows of logits, two lists of indices, the values of one. */
typedef struct RowScratch {
    double *x, *y, *value;
    size_t *index_x, *index_y;
} RowScratch;

/* For every thread, in one allocation that the caller frees. */
static RowScratch *new_scratch(size_t threads, size_t v, size_t k, Err *err)
{
    size_t n = padded(v), bytes, each = sizeof(RowScratch) + (2 * n + k) * sizeof(double) + 2 * k * sizeof(size_t);
    char *memory = __builtin_mul_overflow(threads, each, &bytes) ? NULL : malloc(bytes);
    if (!memory)
        return fail(err, E_MEMORY, "no memory for rows of %zu logits", v), NULL;
    RowScratch *scratch = (RowScratch *)memory;
    double *numbers = (double *)(scratch + threads);
    size_t *indices = (size_t *)(numbers + threads * (2 * n + k));
    for (size_t t = 0; t < threads; t++, numbers += 2 * n + k, indices += 2 * k)
        scratch[t] = (RowScratch){numbers, numbers + n, numbers + 2 * n, indices, indices + k};
    return scratch;
}

static bool check_logits(const Tensor *t, size_t *rows, size_t *v, Err *err)
{
    char text[160];
    *v = t->rank ? t->shape[t->rank - 1] : 0;
    *rows = *v ? tensor_count(t) / *v : 0;
    return *rows || fail(err, E_SHAPE, "logits are [rows,v] with at least one of each, not %s",
                         tensor_describe(t, text, sizeof text));
}

/* kl, and whether the largest agrees and how many of the k largest do. x other, y base, both read into the scratch. */
static double compare_row(const RowScratch *s, size_t v, size_t k, size_t *hit, size_t *hits)
{
    size_t top_x = largest(s->x, v), top_y = largest(s->y, v);
    *hit = *hits = 0;
    if (top_x == v || top_y == v)
        return INFINITY;
    double sum_y, weighted_sum = sum_weighted(s->y, s->x, v, s->y[top_y], s->x[top_x], &sum_y);
    double kl = weighted_sum / sum_y - log(sum_y) + log(sum_exp(s->x, v, s->x[top_x]));
    top_k(s->x, v, k, s->index_x, s->value);
    top_k(s->y, v, k, s->index_y, s->value);
    *hit = top_x == top_y;
    *hits = common(s->index_x, s->index_y, k);
    return isnan(kl) ? INFINITY : fmax(kl, 0.0); /* rounding may leave -1e-17 */
}

bool compare_logits(const Tensor *other, const Tensor *base, size_t k, double *kl, double *top1, double *topk, Err *err)
{
    size_t rows, v, same_top = 0, same_k = 0;
    if (!check_same_shape(other, base, err) || !check_logits(base, &rows, &v, err))
        return false;
    if (k < 1 || k > v)
        return fail(err, E_VALUE, "k of the k largest is 1 to %zu, not %zu", v, k);
    RowScratch *scratch = new_scratch((size_t)omp_get_max_threads(), v, k, err);
    if (!scratch)
        return false;
#pragma omp parallel for schedule(static) reduction(+ : same_top, same_k) if (rows * v >= PARALLEL_FROM)
    for (size_t r = 0; r < rows; r++) {
        const RowScratch *s = &scratch[omp_get_thread_num()];
        size_t hit, hits;
        read_row(other, r, v, s->x);
        read_row(base, r, v, s->y);
        kl[r] = compare_row(s, v, k, &hit, &hits);
        same_top += hit;
        same_k += hits;
    }
    free(scratch);
    *top1 = (double)same_top / (double)rows;
    *topk = (double)same_k / (double)rows / (double)k;
    return true;
}

static double nll_of_row(const double *x, size_t v, size_t target)
{
    size_t top = largest(x, v);
    if (top == v)
        return INFINITY;
    double nll = log(sum_exp(x, v, x[top])) - (x[target] - x[top]);
    return isnan(nll) ? INFINITY : nll;
}

bool compare_nll(const Tensor *logits, const int32_t *targets, double *nll, Err *err)
{
    size_t rows, v;
    if (!check_logits(logits, &rows, &v, err))
        return false;
    for (size_t r = 0; r < rows; r++)
        if (targets[r] < 0 || (size_t)targets[r] >= v)
            return fail(err, E_VALUE, "target %d of row %zu is not one of the %zu logits", (int)targets[r], r, v);
    RowScratch *scratch = new_scratch((size_t)omp_get_max_threads(), v, 0, err);
    if (!scratch)
        return false;
#pragma omp parallel for schedule(static) if (rows * v >= PARALLEL_FROM)
    for (size_t r = 0; r < rows; r++) {
        const RowScratch *s = &scratch[omp_get_thread_num()];
        read_row(logits, r, v, s->x);
        nll[r] = nll_of_row(s->x, v, (size_t)targets[r]);
    }
    free(scratch);
    return true;
}

/* ---- sets and summaries ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

bool compare_sets(const Tensor *a, const Tensor *b, CompareSets *out, Err *err)
{
    if (!check_same_shape(a, b, err))
        return false;
    if (a->rank < 1)
        return fail(err, E_SHAPE, "sets are rows of numbers [rows,k], not one number");
    size_t rows = a->shape[0], k = rows ? tensor_count(a) / rows : 0;
    double *x = malloc((2 * k + 1) * sizeof *x), *y = x + k;
    if (!x)
        return fail(err, E_MEMORY, "no memory for two sets of %zu", k);
    *out = (CompareSets){.rows = rows, .first_bad_row = rows};
    for (size_t r = 0; r < rows; r++) {
        tensor_read_f64(a, r * k, k, x);
        tensor_read_f64(b, r * k, k, y);
        qsort(x, k, sizeof *x, by_value);
        qsort(y, k, sizeof *y, by_value);
        bool is_equal = true;
        for (size_t i = 0; i < k; i++)
            is_equal = is_equal && x[i] == y[i];
        out->equal_rows += is_equal;
        if (!is_equal && out->first_bad_row == rows)
            out->first_bad_row = r;
    }
    free(x);
    return true;
}

bool compare_summary(const Tensor *t, Summary *out, Err *err)
{
    size_t n = tensor_count(t);
    *out = (Summary){.n = n};
    if (n == 0)
        return fail(err, E_VALUE, "an empty tensor has no mean and no median");
    double *x = malloc(n * sizeof *x), sum = 0;
    if (!x)
        return fail(err, E_MEMORY, "no memory to sort %zu numbers", n);
    tensor_read_f64(t, 0, n, x);
    for (size_t i = 0; i < n; i++) {
        out->bad += isnan(x[i]) != 0;
        x[i] = isnan(x[i]) ? INFINITY : x[i];
        sum += x[i];
    }
    qsort(x, n, sizeof *x, by_value);
    size_t rank = n - n / 100; /* ceil(0.99 n) */
    out->mean = sum / (double)n;
    out->median = n % 2 ? x[n / 2] : (x[n / 2 - 1] + x[n / 2]) / 2;
    out->p99 = x[rank - 1];
    out->min = x[0];
    out->max = x[n - 1];
    free(x);
    return true;
}
