/* Against plain loops over long double with the C library's expl and logl; the vector code is never used for what is expected. */
#include "tests/test.h"

#include <omp.h>
#include <stdlib.h>

#include "core/tensor/compare.h"
#include "tests/num/definition.h"

static Tensor *new_tensor(DType dtype, size_t rows, size_t columns)
{
    Err err;
    Tensor *t = tensor_new(dtype, 2, (const size_t[]){rows, columns}, &err);
    assert_non_null(t);
    return t;
}

/* Normal-like numbers (a sum of uniform ones) of the given spread. */
static void fill(Tensor *t, double spread, uint64_t seed)
{
    for (size_t i = 0; i < tensor_count(t); i++) {
        double sum = 0;
        for (int j = 0; j < 6; j++)
            sum += (double)next_random(&seed) / 4294967296.0 - 0.5;
        tensor_set(t, i, spread * sum);
    }
}

static void assert_near(double got, long double want, double tolerance, const char *what)
{
    if (!(fabsl(got - want) <= tolerance * fabsl(want)))
        fail_msg("%s: %.17g, not %.17Lg", what, got, want);
}

static void check_against_loops(const Tensor *a, const Tensor *b)
{
    long double difference = 0, want = 0, got = 0, product = 0, largest = -1;
    size_t at = 0, ulps[COMPARE_ULP_BINS] = {0};
    for (size_t i = 0; i < tensor_count(a); i++) {
        long double x = tensor_get(a, i), y = tensor_get(b, i);
        difference += (x - y) * (x - y);
        want += y * y;
        got += x * x;
        product += x * y;
        if (fabsl(x - y) > largest) {
            largest = fabsl(x - y);
            at = i;
        }
        long d = labs((long)definition_nearest(BF16, fabs((double)(float)x)) * (x < 0 ? -1 : 1) -
                      (long)definition_nearest(BF16, fabs((double)(float)y)) * (y < 0 ? -1 : 1));
        int bin = 0;
        for (long bound = 0; bin < COMPARE_ULP_BINS - 1 && d > bound; bin++)
            bound = bound == 0 ? 1 : 2 * bound;
        ulps[bin]++;
    }
    Compare c;
    Err err;
    assert_true(compare_tensors(a, b, &c, &err));
    assert_int_equal(c.n, tensor_count(a));
    assert_near(c.nmse, difference / want, 1e-13, "nmse");
    assert_near(c.sqnr_db, -10.0L * log10l(difference / want), 1e-12, "sqnr");
    assert_near(c.cosine, product / sqrtl(got) / sqrtl(want), 1e-13, "cosine");
    assert_near(c.max_abs, largest, 0, "max_abs");
    assert_int_equal(c.at, at);
    assert_true(c.got == tensor_get(a, at) && c.want == tensor_get(b, at));
    for (int bin = 0; bin < COMPARE_ULP_BINS; bin++)
        assert_int_equal(c.ulps[bin], ulps[bin]);
}

static void figures_equal_those_of_plain_loops(void **unused)
{
    (void)unused;
    static const DType types[] = {DTYPE_F32, DTYPE_F64, DTYPE_BF16, DTYPE_F16};
    static const size_t columns[] = {1, 7, 4095, 4096, 4097, 30001};
    static const double noise[] = {1e-6, 1e-3, 0.3, 5};
    for (size_t t = 0; t < 4; t++)
        for (size_t c = 0; c < 6; c++)
            for (size_t n = 0; n < 4; n++) {
                Tensor *a = new_tensor(DTYPE_F64, 3, columns[c]), *b = new_tensor(types[t], 3, columns[c]);
                fill(b, 1.0, c + 1);
                fill(a, noise[n], 100 + c);
                for (size_t i = 0; i < tensor_count(a); i++)
                    tensor_set(a, i, tensor_get(a, i) + tensor_get(b, i));
                check_against_loops(a, b);
                tensor_free(a);
                tensor_free(b);
            }
}

static void equal_tensors_have_no_error(void **unused)
{
    (void)unused;
    Tensor *a = new_tensor(DTYPE_F32, 4, 33);
    Compare c;
    Err err;
    for (int is_zero = 0; is_zero < 2; is_zero++) {
        fill(a, is_zero ? 0.0 : 1.0, 1);
        assert_true(compare_tensors(a, a, &c, &err));
        assert_true(c.nmse == 0 && c.max_abs == 0 && c.sqnr_db == INFINITY && fabs(c.cosine - 1) < 1e-15);
        assert_int_equal(c.ulps[0], 4 * 33);
    }
    tensor_free(a);
}

static void of_equal_differences_the_first_is_named(void **unused)
{
    (void)unused;
    Tensor *a = new_tensor(DTYPE_F32, 2, 9000), *b = new_tensor(DTYPE_F32, 2, 9000);
    Compare c;
    Err err;
    tensor_set(a, 5000, 2); /* in the second part; the others in the same part and in a later one */
    tensor_set(b, 5003, 2);
    tensor_set(b, 17000, -2);
    assert_true(compare_tensors(a, b, &c, &err));
    assert_int_equal(c.at, 5000);
    assert_true(c.got == 2 && c.want == 0 && c.max_abs == 2);
    tensor_free(a);
    tensor_free(b);
}

static void zeros_as_reference_give_an_infinite_error(void **unused)
{
    (void)unused;
    Tensor *a = new_tensor(DTYPE_F32, 1, 2), *zero = new_tensor(DTYPE_F32, 1, 2);
    Compare c;
    Err err;
    tensor_set(a, 1, 1e-30);
    assert_true(compare_tensors(a, zero, &c, &err));
    assert_true(c.nmse == INFINITY && c.sqnr_db == -INFINITY && c.cosine == 0);
    tensor_free(a);
    tensor_free(zero);
}

/* NaN and infinities on either side and on both: never equal, never passed over, and their place is named. */
static void what_is_not_finite_never_passes(void **unused)
{
    (void)unused;
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    enum { WHERE = 70001 };
    for (int i = 0; i < 3; i++)
        for (int side = 1; side <= 3; side++) {
            Tensor *a = new_tensor(DTYPE_F32, 2, 50000), *b = new_tensor(DTYPE_F32, 2, 50000);
            Compare c;
            Err err;
            fill(a, 1, 1);
            fill(b, 1, 2);
            if (side & 1)
                tensor_set(a, WHERE, bad[i]);
            if (side & 2)
                tensor_set(b, WHERE, bad[i]);
            assert_true(compare_tensors(a, b, &c, &err));
            assert_true(c.nmse == INFINITY && c.sqnr_db == -INFINITY && c.cosine == -1 && c.max_abs == INFINITY);
            assert_int_equal(c.at, WHERE);
            assert_int_equal(c.bad_got, side & 1);
            assert_int_equal(c.bad_want, side >> 1);
            assert_true(c.ulps[COMPARE_ULP_BINS - 1] >= 1);
            tensor_free(a);
            tensor_free(b);
        }
}

static void ulps_are_counted_across_zero_and_binades(void **unused)
{
    (void)unused;
    static const struct {
        uint16_t a, b;
        int bin;
    } rows[] = {
        {0x0000, 0x8000, 0}, {0x3F80, 0x3F80, 0}, {0x3F80, 0x3F81, 1}, {0x3F80, 0x3F7F, 1}, {0x0001, 0x8001, 2}, {0x3F80, 0x3F83, 3},
        {0x3F80, 0x3F84, 3}, {0x3F80, 0x3F85, 4}, {0x4000, 0x4000 + 512, 10}, {0x4000, 0x4000 + 513, 11}, {0x3F80, 0xBF80, 11},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Tensor *a = new_tensor(DTYPE_F32, 1, 1), *b = new_tensor(DTYPE_F32, 1, 1);
        Compare c;
        Err err;
        tensor_set(a, 0, (double)float_of((uint32_t)rows[i].a << 16));
        tensor_set(b, 0, (double)float_of((uint32_t)rows[i].b << 16));
        assert_true(compare_tensors(a, b, &c, &err));
        if (c.ulps[rows[i].bin] != 1)
            fail_msg("row %zu: not in bin %d", i, rows[i].bin);
        tensor_free(a);
        tensor_free(b);
    }
}

static void shapes_must_agree_and_empty_is_equal(void **unused)
{
    (void)unused;
    Tensor *a = new_tensor(DTYPE_F32, 2, 3), *b = new_tensor(DTYPE_F32, 3, 2), *none = new_tensor(DTYPE_F32, 0, 3);
    Compare c;
    CompareSets sets;
    Err err;
    assert_false(compare_tensors(a, b, &c, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_string_equal(err.text, "only tensors of one shape can be compared, not f32[2,3] with f32[3,2]");
    assert_false(compare_sets(a, b, &sets, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_true(compare_tensors(none, none, &c, &err));
    assert_true(c.n == 0 && c.nmse == 0);
    tensor_free(a);
    tensor_free(b);
    tensor_free(none);
}

/* Log probabilities of a row, logp[v]. */
static void reference_log_softmax(const Tensor *t, size_t row, size_t v, long double *logp)
{
    long double most = -INFINITY, sum = 0;
    for (size_t i = 0; i < v; i++)
        most = fmaxl(most, tensor_get(t, row * v + i));
    for (size_t i = 0; i < v; i++)
        sum += expl(tensor_get(t, row * v + i) - most);
    for (size_t i = 0; i < v; i++)
        logp[i] = tensor_get(t, row * v + i) - most - logl(sum);
}

/* How many elements of the row are in front of element i: larger, or equal with a smaller index. */
static size_t rank_in_row(const Tensor *t, size_t row, size_t v, size_t i)
{
    size_t n = 0;
    double x = tensor_get(t, row * v + i);
    for (size_t j = 0; j < v; j++) {
        double y = tensor_get(t, row * v + j);
        n += y > x || (y == x && j < i);
    }
    return n;
}

/* spread: size of the logits' differences, whose last places the f64 sums lose. */
static void check_logits(const Tensor *other, const Tensor *base, size_t k, double spread)
{
    size_t rows = base->shape[0], v = base->shape[1], top1 = 0, topk = 0;
    double *kl = malloc(rows * sizeof *kl), *nll = malloc(rows * sizeof *nll), share1, sharek;
    int32_t *targets = malloc(rows * sizeof *targets);
    Err err;
    assert_true(compare_logits(other, base, k, kl, &share1, &sharek, &err));
    for (size_t r = 0; r < rows; r++)
        targets[r] = (int32_t)(r * 31 % v);
    assert_true(compare_nll(other, targets, nll, &err));
    for (size_t r = 0; r < rows; r++) {
        long double log_p[257], log_q[257], want = 0;
        reference_log_softmax(base, r, v, log_p);
        reference_log_softmax(other, r, v, log_q);
        for (size_t i = 0; i < v; i++) {
            want += expl(log_p[i]) * (log_p[i] - log_q[i]);
            size_t rank_x = rank_in_row(other, r, v, i), rank_y = rank_in_row(base, r, v, i);
            top1 += rank_x == 0 && rank_y == 0;
            topk += rank_x < k && rank_y < k;
        }
        if (!(fabsl(kl[r] - want) <= 1e-15L * (2 + spread)))
            fail_msg("row %zu of %zu: KL %.17g, not %.17Lg", r, v, kl[r], want);
        long double want_nll = -log_q[targets[r]];
        if (!(fabsl(nll[r] - want_nll) <= 1e-14L * (1 + fabsl(want_nll))))
            fail_msg("row %zu of %zu: NLL %.17g, not %.17Lg", r, v, nll[r], want_nll);
    }
    assert_near(share1, (long double)top1 / (long double)rows, 1e-15, "top1");
    assert_near(sharek, (long double)topk / (long double)(rows * k), 1e-15, "topk");
    free(kl);
    free(nll);
    free(targets);
}

static void logits_equal_those_of_plain_loops(void **unused)
{
    (void)unused;
    static const size_t vocab[] = {1, 2, 3, 4, 5, 8, 63, 64, 257};
    static const double spreads[] = {0.01, 2, 30, 500};
    static const double shifts[] = {0, -1e4, 3e5};
    for (size_t i = 0; i < 9; i++)
        for (size_t s = 0; s < 4; s++)
            for (size_t h = 0; h < 3; h++) {
                size_t v = vocab[i];
                Tensor *x = new_tensor(DTYPE_F64, 5, v), *y = new_tensor(DTYPE_F64, 5, v);
                fill(y, spreads[s], i);
                fill(x, spreads[s] / 10, 50 + i);
                for (size_t j = 0; j < 5 * v; j++)
                    tensor_set(x, j, tensor_get(x, j) + tensor_get(y, j));
                if (shifts[h] != 0) /* whole numbers: logits keep their differences, and many become equal */
                    for (size_t j = 0; j < 5 * v; j++) {
                        tensor_set(x, j, rint(tensor_get(x, j)) + shifts[h]);
                        tensor_set(y, j, rint(tensor_get(y, j)) - shifts[h]);
                    }
                check_logits(x, y, v < 10 ? v : 10, spreads[s]);
                check_logits(x, y, 1, spreads[s]);
                tensor_free(x);
                tensor_free(y);
            }
}

static void the_same_logits_have_no_divergence_whatever_is_added(void **unused)
{
    (void)unused;
    Tensor *x = new_tensor(DTYPE_F32, 3, 1000), *y = new_tensor(DTYPE_F64, 3, 1000);
    double kl[3], top1, topk;
    Err err;
    fill(x, 10, 4);
    for (size_t i = 0; i < 3000; i++)
        tensor_set(y, i, tensor_get(x, i) + 64.0);
    assert_true(compare_logits(x, x, 50, kl, &top1, &topk, &err));
    assert_true(kl[0] == 0 && kl[1] == 0 && kl[2] == 0 && top1 == 1 && topk == 1);
    assert_true(compare_logits(y, x, 50, kl, &top1, &topk, &err));
    assert_true(kl[0] >= 0 && kl[1] >= 0 && kl[2] >= 0 && kl[0] < 1e-14 && kl[1] < 1e-14 && kl[2] < 1e-14);
    assert_true(top1 == 1 && topk == 1);
    tensor_free(x);
    tensor_free(y);
}

static void masked_logits_count_for_nothing_where_the_base_masks_them(void **unused)
{
    (void)unused;
    Tensor *x = new_tensor(DTYPE_F32, 1, 4), *y = new_tensor(DTYPE_F32, 1, 4);
    double kl, top1, topk, nll;
    Err err;
    tensor_set(x, 0, -INFINITY);
    tensor_set(y, 0, -INFINITY);
    assert_true(compare_logits(x, y, 2, &kl, &top1, &topk, &err));
    assert_true(kl == 0 && top1 == 1 && topk == 1);
    tensor_set(x, 0, 0.0); /* only the base masks: log 4 - log 3 */
    assert_true(compare_logits(x, y, 2, &kl, &top1, &topk, &err));
    assert_near(kl, logl(4.0L / 3.0L), 1e-14, "kl");
    assert_true(compare_logits(y, x, 2, &kl, &top1, &topk, &err)); /* only the other does: what base expects is impossible */
    assert_true(kl == INFINITY);
    assert_true(compare_nll(y, (const int32_t[]){0}, &nll, &err));
    assert_true(nll == INFINITY);
    assert_true(compare_nll(y, (const int32_t[]){3}, &nll, &err));
    assert_near(nll, logl(3.0L), 1e-14, "nll");
    tensor_free(x);
    tensor_free(y);
}

static void nan_in_a_row_spoils_that_row_only(void **unused)
{
    (void)unused;
    for (size_t at = 0; at < 9; at++)
        for (int side = 1; side <= 3; side++) {
            Tensor *x = new_tensor(DTYPE_F32, 3, 9), *y = new_tensor(DTYPE_F32, 3, 9);
            double kl[3], nll[3], top1, topk;
            Err err;
            fill(y, 3, 1);
            fill(x, 0, 1);
            for (size_t i = 0; i < 27; i++)
                tensor_set(x, i, tensor_get(y, i));
            if (side & 1)
                tensor_set(x, 9 + at, NAN);
            if (side & 2)
                tensor_set(y, 9 + at, NAN);
            assert_true(compare_logits(x, y, 3, kl, &top1, &topk, &err));
            assert_true(kl[0] == 0 && kl[1] == INFINITY && kl[2] == 0);
            assert_true(fabs(top1 - 2.0 / 3) < 1e-15 && fabs(topk - 2.0 / 3) < 1e-15);
            assert_true(compare_nll(side & 1 ? x : y, (const int32_t[]){1, 1, 1}, nll, &err));
            assert_true(isfinite(nll[0]) && nll[1] == INFINITY && isfinite(nll[2]));
            tensor_free(x);
            tensor_free(y);
        }
}

static void wrong_k_targets_and_shapes_are_refused(void **unused)
{
    (void)unused;
    Tensor *x = new_tensor(DTYPE_F32, 2, 4), *wide = new_tensor(DTYPE_F32, 2, 5), *none = new_tensor(DTYPE_F32, 0, 4);
    double out[2], top1, topk;
    Err err;
    assert_false(compare_logits(x, x, 0, out, &top1, &topk, &err));
    assert_int_equal(err.kind, E_VALUE);
    assert_false(compare_logits(x, x, 5, out, &top1, &topk, &err));
    assert_int_equal(err.kind, E_VALUE);
    assert_false(compare_logits(x, wide, 1, out, &top1, &topk, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_false(compare_logits(none, none, 1, out, &top1, &topk, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_false(compare_nll(x, (const int32_t[]){0, 4}, out, &err));
    assert_int_equal(err.kind, E_VALUE);
    assert_string_equal(err.text, "target 4 of row 1 is not one of the 4 logits");
    assert_false(compare_nll(x, (const int32_t[]){-1, 0}, out, &err));
    assert_int_equal(err.kind, E_VALUE);
    tensor_free(x);
    tensor_free(wide);
    tensor_free(none);
}

static void results_have_the_same_bits_with_any_number_of_threads(void **unused)
{
    (void)unused;
    enum { ROWS = 7, V = 20011 };
    Tensor *x = new_tensor(DTYPE_F32, ROWS, V), *y = new_tensor(DTYPE_F32, ROWS, V);
    double kl[2][ROWS], top1[2], topk[2];
    Compare c[2];
    Err err;
    int threads = omp_get_max_threads();
    fill(x, 3, 1);
    fill(y, 3, 2);
    for (int i = 0; i < 2; i++) {
        omp_set_num_threads(i ? 3 : 1);
        memset(&c[i], 0, sizeof c[i]);
        assert_true(compare_logits(x, y, 20, kl[i], &top1[i], &topk[i], &err));
        assert_true(compare_tensors(x, y, &c[i], &err));
    }
    omp_set_num_threads(threads);
    assert_memory_equal(kl[0], kl[1], sizeof kl[0]);
    assert_true(top1[0] == top1[1] && topk[0] == topk[1]);
    assert_true(c[0].nmse == c[1].nmse && c[0].cosine == c[1].cosine && c[0].at == c[1].at);
    tensor_free(x);
    tensor_free(y);
}

static void sets_are_equal_in_any_order(void **unused)
{
    (void)unused;
    static const int32_t a[] = {1, 2, 3, 9, 8, 7, 4, 4, 5, 0, 1, 2}, b[] = {3, 1, 2, 7, 8, 9, 4, 5, 5, 2, 1, 0};
    Tensor *x = new_tensor(DTYPE_I32, 4, 3), *y = new_tensor(DTYPE_I64, 4, 3);
    CompareSets sets;
    Err err;
    for (size_t i = 0; i < 12; i++) {
        tensor_set(x, i, a[i]);
        tensor_set(y, i, b[i]);
    }
    assert_true(compare_sets(x, y, &sets, &err));
    assert_int_equal(sets.rows, 4);
    assert_int_equal(sets.equal_rows, 3);
    assert_int_equal(sets.first_bad_row, 2); /* 4 4 5 is not 4 5 5 */
    assert_true(compare_sets(x, x, &sets, &err));
    assert_int_equal(sets.equal_rows, 4);
    assert_int_equal(sets.first_bad_row, 4);
    tensor_free(x);
    tensor_free(y);
}

static void summaries_follow_their_definition(void **unused)
{
    (void)unused;
    static const struct {
        size_t n;
        double mean, median, p99, min, max;
    } rows[] = { /* of 1, 2, … n in another order */
        {1, 1, 1, 1, 1, 1}, {2, 1.5, 1.5, 2, 1, 2}, {3, 2, 2, 3, 1, 3}, {99, 50, 50, 99, 1, 99}, {100, 50.5, 50.5, 99, 1, 100},
        {101, 51, 51, 100, 1, 101}, {200, 100.5, 100.5, 198, 1, 200}, {1000, 500.5, 500.5, 990, 1, 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Tensor *t = new_tensor(DTYPE_F64, 1, rows[i].n);
        Summary s;
        Err err;
        for (size_t j = 0; j < rows[i].n; j++)
            tensor_set(t, j * 997 % rows[i].n, (double)j + 1); /* 997 is prime and divides none of the lengths */
        assert_true(compare_summary(t, &s, &err));
        if (s.mean != rows[i].mean || s.median != rows[i].median || s.p99 != rows[i].p99 || s.min != rows[i].min || s.max != rows[i].max)
            fail_msg("%zu numbers: %g %g %g %g %g", rows[i].n, s.mean, s.median, s.p99, s.min, s.max);
        tensor_set(t, 0, NAN);
        assert_true(compare_summary(t, &s, &err));
        assert_int_equal(s.bad, 1);
        assert_true(s.max == INFINITY && s.mean == INFINITY);
        tensor_free(t);
    }
    Tensor *none = new_tensor(DTYPE_F64, 0, 1);
    Summary s;
    Err err;
    assert_false(compare_summary(none, &s, &err));
    assert_int_equal(err.kind, E_VALUE);
    tensor_free(none);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_equal_those_of_plain_loops),
        cmocka_unit_test(equal_tensors_have_no_error),
        cmocka_unit_test(of_equal_differences_the_first_is_named),
        cmocka_unit_test(zeros_as_reference_give_an_infinite_error),
        cmocka_unit_test(what_is_not_finite_never_passes),
        cmocka_unit_test(ulps_are_counted_across_zero_and_binades),
        cmocka_unit_test(shapes_must_agree_and_empty_is_equal),
        cmocka_unit_test(logits_equal_those_of_plain_loops),
        cmocka_unit_test(the_same_logits_have_no_divergence_whatever_is_added),
        cmocka_unit_test(masked_logits_count_for_nothing_where_the_base_masks_them),
        cmocka_unit_test(nan_in_a_row_spoils_that_row_only),
        cmocka_unit_test(wrong_k_targets_and_shapes_are_refused),
        cmocka_unit_test(results_have_the_same_bits_with_any_number_of_threads),
        cmocka_unit_test(sets_are_equal_in_any_order),
        cmocka_unit_test(summaries_follow_their_definition),
    };
    return cmocka_run_group_tests_name("compare", tests, NULL, NULL);
}
