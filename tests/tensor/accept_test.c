/* Bounds of single elements against their definition; NVFP4 codes around ties; made-up data. */
#include "tests/test.h"

#include <math.h>
#include <omp.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp8.h"
#include "core/num/nvfp4.h"
#include "core/tensor/accept.h"
#include "core/tensor/synth.h"

/* One element as tensors. */
static Accept judge_one(double got, double want, double magnitude, const AcceptRule *rule)
{
    Err err;
    size_t shape[1] = {1};
    Tensor *t[3] = {tensor_new(DTYPE_F64, 1, shape, &err), tensor_new(DTYPE_F32, 1, shape, &err),
        tensor_new(DTYPE_F32, 1, shape, &err)};
    tensor_set(t[0], 0, got);
    tensor_set(t[1], 0, want);
    tensor_set(t[2], 0, magnitude);
    Accept a;
    assert_true(accept_compare(t[0], t[1], t[2], 1, rule, &a, &err));
    for (int i = 0; i < 3; i++)
        tensor_free(t[i]);
    return a;
}

static void an_ulp_is_the_distance_to_the_next_number(void **unused)
{
    (void)unused;
    for (uint32_t bits = 1; bits < 0x7F7F; bits++) {
        double x = (double)bf16_to_f32((uint16_t)bits), next = (double)bf16_to_f32((uint16_t)(bits + 1));
        assert_true(accept_ulp(ACCEPT_BF16, 1, x) == next - x);
        assert_true(accept_ulp(ACCEPT_BF16, 1, -x) == next - x);
    }
    for (uint8_t code = 0; code < 0x7E; code++) {
        double x = (double)fp8_e4m3_to_f32(code), next = (double)fp8_e4m3_to_f32((uint8_t)(code + 1));
        assert_true(accept_ulp(ACCEPT_E4M3, 0.25f, x * 0.25) == (next - x) * 0.25);
    }
    static const float some[] = {0x1p-149f, 0x1p-126f, 1.0f, 1.5f, 3.25e20f};
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        assert_true(accept_ulp(ACCEPT_F32, 1, (double)some[i]) == (double)nextafterf(some[i],
            INFINITY) - (double)some[i]);
    assert_true(accept_ulp(ACCEPT_BF16, 1, 0) == 0x1p-133);
}

static void rounding_once_is_right_and_a_neighbour_is_not(void **unused)
{
    (void)unused;
    AcceptRule rule = {.ulp = 0.5, .sums = 4};
    for (int i = 0; i < 4000; i++) {
        float want = ldexpf(1.0f + (float)i / 4001.0f, i % 40 - 20);
        uint16_t bits = bf16_from_f32(want);
        double tiny = (double)want * 0x1p-30;
        assert_int_equal(judge_one((double)bf16_to_f32(bits), (double)want, tiny, &rule).outside, 0);
        assert_int_equal(judge_one((double)bf16_to_f32((uint16_t)(bits + 2)), (double)want, tiny, &rule).outside, 1);
        assert_int_equal(judge_one((double)bf16_to_f32((uint16_t)(bits - 2)), (double)want, tiny, &rule).outside, 1);
        assert_int_equal(judge_one(-(double)bf16_to_f32(bits), (double)want, tiny, &rule).outside, 1);
    }
}

/* Errors in front of the rounding widen the bound by sums units of the magnitude, no more. */
static void sums_widen_the_bound(void **unused)
{
    (void)unused;
    AcceptRule rule = {.ulp = 0, .sums = 3, .store = ACCEPT_F32};
    double unit = 0x1p-23;
    assert_int_equal(judge_one(1.0 + 3 * unit * 64, 1.0, 64, &rule).outside, 0);
    assert_int_equal(judge_one(1.0 + 3.1 * unit * 64, 1.0, 64, &rule).outside, 1);
    Accept a = judge_one(1.0 - 1.5 * unit * 64, 1.0, 64, &rule);
    assert_true(fabs(a.ratio - 0.5) < 0.01);
    /* Across a power of two, the larger spacing counts. */
    AcceptRule stored = {.ulp = 0.5, .sums = 1};
    assert_int_equal(judge_one(1.0 + 0x1p-7, 1.0 - 0x1p-9, 0x1p15 * 1.6, &stored).outside, 0);
}

static void exact_values_are_exactly_rounded(void **unused)
{
    (void)unused;
    AcceptRule bf16 = {.ulp = 0.5}, fp8 = {.ulp = 0.5, .store = ACCEPT_E4M3, .scale = 0.5f};
    assert_int_equal(judge_one(1.0, 1.0 + 0x1p-9, 0, &bf16).outside, 0);
    assert_int_equal(judge_one(1.0, 1.0 + 0x1p-8, 0, &bf16).outside, 0);               /* tie to even */
    assert_int_equal(judge_one(1.0 + 0x1p-7, 1.0 + 0x1p-8, 0, &bf16).outside, 1);
    assert_int_equal(judge_one(1.0 - 0x1p-8, 1.0, 0, &bf16).outside, 1);
    assert_int_equal(judge_one(0.0, -0.0, 0, &bf16).outside, 0);
    for (uint8_t code = 0; code < 0x7F; code++) {
        /* a tensor of another type holds what the code stands for, without scale */
        double value = (double)fp8_e4m3_to_f32(code);
        assert_int_equal(judge_one(value, value * 0.5, 0, &fp8).outside, 0);
        if (code)
            assert_int_equal(judge_one(value, (double)fp8_e4m3_to_f32((uint8_t)(code - 1)) * 0.5, 0, &fp8).outside, 1);
    }
    assert_int_equal(judge_one(448, 1e6, 0, &fp8).outside, 0); /* saturated */
    assert_int_equal(judge_one(448, 1e6, 1, &fp8).outside, 0);
    assert_int_equal(judge_one(416, 1e6, 1, &fp8).outside, 1);
}

static void nothing_that_is_not_a_number_passes(void **unused)
{
    (void)unused;
    AcceptRule rule = {.ulp = 1e30, .sums = 1e30};
    static const double bad[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        assert_int_equal(judge_one(bad[i], 1, 1, &rule).not_finite, 1);
        assert_int_equal(judge_one(1, bad[i], 1, &rule).outside, 1);
        assert_int_equal(judge_one(1, 1, bad[i], &rule).outside, 1);
        assert_int_equal(judge_one(bad[i], bad[i], 0, &rule).outside, 1);
    }
}

static void the_worst_element_is_named_and_rows_are_cut(void **unused)
{
    (void)unused;
    Err err;
    size_t shape[2] = {3, 700}, other[2] = {3, 701};
    Tensor *got = tensor_new(DTYPE_F32, 2, shape, &err), *want = tensor_new(DTYPE_F32, 2, shape, &err);
    Tensor *wrong = tensor_new(DTYPE_F32, 2, other, &err);
    AcceptRule rule = {.ulp = 0.5};
    Accept a;
    tensor_set(got, 1000, 1);
    tensor_set(got, 1500, NAN);
    assert_true(accept_compare(got, want, NULL, 2, &rule, &a, &err));
    assert_int_equal(a.n, 1400);
    assert_int_equal(a.outside, 1);
    assert_int_equal(a.at, 1000);
    assert_true(accept_compare(got, want, NULL, 99, &rule, &a, &err));
    assert_int_equal(a.outside, 2);
    assert_false(accept_compare(got, wrong, NULL, 3, &rule, &a, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_non_null(strstr(err.text, "[3,701]"));
    assert_false(accept_compare(got, want, wrong, 3, &rule, &a, &err));
    tensor_free(wrong);
    tensor_free(want);
    tensor_free(got);
}

/* What the exact build makes is right; one code or scale further it is not, unless the value lies on the tie. */
static void codes_differ_only_at_ties(void **unused)
{
    (void)unused;
    enum { N = 16 * 200 };
    Err err;
    size_t shape[1] = {N};
    Tensor *x = tensor_new(DTYPE_F32, 1, shape, &err);
    uint8_t codes[N / 2], scales[N / 16];
    AcceptCodes a;
    /* 97 is prime: no product with a bf16 number lies on a tie of e4m3 scales. */
    assert_true(synth_normal(x, &(SynthDesc){.scale = 1, .outliers = 0.01, .seed = 5}, &err));
    nvfp4_quantize_activation(x->data, N, 97, codes, scales);
    accept_nvfp4(x->data, N, 97, codes, scales, 0x1p-21, &a);
    assert_int_equal(a.blocks_outside + a.codes_differ, 0);
    assert_int_equal(a.blocks, N / 16);
    int missed = 0;
    for (size_t i = 0; i < N / 2; i++) {
        uint8_t kept = codes[i];
        codes[i] = (uint8_t)((kept & 0xF0) | (kept & 8) | ((kept & 7) == 7 ? 6 : (kept & 7) + 1));
        accept_nvfp4(x->data, N, 97, codes, scales, 0x1p-21, &a);
        missed += a.blocks_outside != 1 || a.at != i / 8;
        codes[i] = kept;
    }
    for (size_t block = 0; block < N / 16; block++)
        for (int step = -1; step <= 1; step += 2) {
            scales[block] = (uint8_t)(scales[block] + step);
            accept_nvfp4(x->data, N, 97, codes, scales, 0x1p-21, &a);
            missed += a.blocks_outside != 1;
            scales[block] = (uint8_t)(scales[block] - step);
        }
    assert_int_equal(missed, 0);
    /* amax 6 and s 1 give scale 1: 0.25 is the tie of codes 0 and 1. */
    float tie[16] = {6, 0.25f};
    uint8_t mine[8] = {0x07}, one = 0x38;
    for (int code = 0; code < 3; code++) {
        mine[0] = (uint8_t)(7 | code << 4);
        accept_nvfp4(tie, 16, 1, mine, &one, 0x1p-21, &a);
        assert_int_equal(a.blocks_outside, code == 2);
    }
    tensor_free(x);
}

static void made_up_data_depends_on_the_seed_alone(void **unused)
{
    (void)unused;
    static const DType types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16, DTYPE_F8_E4M3, DTYPE_U8};
    size_t shape[2] = {700, 1000};
    Err err;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        Tensor *t[3];
        for (int k = 0; k < 3; k++) {
            t[k] = tensor_new(types[i], 2, shape, &err);
            omp_set_num_threads(k == 1 ? 3 : 1);
            assert_true(synth_normal(t[k], &(SynthDesc){.scale = 2, .outliers = 0.005, .seed = k == 2 ? 8 : 7}, &err));
        }
        assert_memory_equal(t[0]->data, t[1]->data, tensor_bytes(t[0]));
        assert_int_not_equal(memcmp(t[0]->data, t[2]->data, tensor_bytes(t[0])), 0);
        double sum = 0, squares = 0;
        for (size_t j = 0; types[i] != DTYPE_U8 && j < tensor_count(t[0]); j++) {
            double x = tensor_get(t[0], j);
            assert_true((x != 0 || types[i] == DTYPE_F8_E4M3) && isfinite(x));
            sum += x;
            squares += x * x;
        }
        double n = (double)tensor_count(t[0]), want = 4 * (0.995 + 0.005 * 64);
        assert_true(types[i] == DTYPE_U8 || (fabs(sum / n) < 0.02 && fabs(squares / n - want) < 0.2));
        for (int k = 0; k < 3; k++)
            tensor_free(t[k]);
    }
    Tensor *ids = tensor_new(DTYPE_I64, 1, shape, &err);
    assert_false(synth_normal(ids, &(SynthDesc){.scale = 1}, &err));
    assert_int_equal(err.kind, E_UNSUPPORTED);
    assert_false(synth_uniform(ids, 2, 1, 0, &err));
    assert_int_equal(err.kind, E_VALUE);
    tensor_free(ids);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_ulp_is_the_distance_to_the_next_number),
        cmocka_unit_test(rounding_once_is_right_and_a_neighbour_is_not),
        cmocka_unit_test(sums_widen_the_bound),
        cmocka_unit_test(exact_values_are_exactly_rounded),
        cmocka_unit_test(nothing_that_is_not_a_number_passes),
        cmocka_unit_test(the_worst_element_is_named_and_rows_are_cut),
        cmocka_unit_test(codes_differ_only_at_ties),
        cmocka_unit_test(made_up_data_depends_on_the_seed_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
