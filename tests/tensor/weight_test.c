#include "tests/test.h"

#include "core/num/bf16.h"
#include "core/tensor/weight.h"
#include "tests/num/definition.h"

enum { N = 5, K = 320 };

static uint8_t bytes[4 * N * K + 1], scale_bytes[4 * N * K];

static void fill(uint64_t seed)
{
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)next_random(&seed);
    for (size_t i = 0; i < sizeof scale_bytes; i++)
        scale_bytes[i] = (uint8_t)(next_random(&seed) % 0x7F);
}

/* Calls value(n, k) for what each element must be, against weight_row into a poisoned row with a guard behind it. */
static void check_rows(const Weight *w, float (*value)(const Weight *w, size_t n, size_t k))
{
    for (size_t n = 0; n < w->n; n++) {
        float y[K + 1];
        memset(y, 0xAB, sizeof y);
        weight_row(w, n, y);
        for (size_t k = 0; k < w->k; k++) {
            float want = value(w, n, k);
            if (isnan(want) ? !isnan(y[k]) : bits_of(y[k]) != bits_of(want))
                fail_msg("%s row %zu column %zu: %a, not %a", weight_format_name(w), n, k, y[k], want);
        }
        assert_int_equal(bits_of(y[w->k]), 0xABABABAB);
    }
}

static double small_value(FloatDefinition f, unsigned code)
{
    unsigned sign = 1u << (f.exponent_bits + f.mantissa_bits), magnitude = code & (sign - 1);
    double v = magnitude <= f.largest ? definition_value(f, magnitude) : (double)NAN;
    return code & sign ? -v : v;
}

static unsigned word(const uint8_t *p, size_t i)
{
    return p[2 * i] | (unsigned)p[2 * i + 1] << 8;
}

static float plain_value(const Weight *w, size_t n, size_t k)
{
    size_t i = n * w->k + k;
    float x;
    if (w->dtype == DTYPE_F32)
        return memcpy(&x, w->data + 4 * i, sizeof x), x;
    if (w->dtype == DTYPE_BF16)
        return float_of(word(w->data, i) << 16);
    unsigned magnitude = word(w->data, i) & 0x7FFF;
    return magnitude == 0x7C00 ? copysignf(INFINITY, word(w->data, i) & 0x8000 ? -1.0f : 1.0f) : (float)small_value(FP16, word(w->data, i));
}

static void plain_rows_are_widened(void **unused)
{
    (void)unused;
    static const DType types[] = {DTYPE_F32, DTYPE_BF16, DTYPE_F16};
    fill(1);
    for (int i = 0; i < 3; i++)
        for (size_t k = K - 9; k <= K; k++) { /* ragged tails; data at an odd address, as a mapped file may have it */
            Weight w = {.format = WEIGHT_PLAIN, .dtype = types[i], .n = N, .k = k, .data = bytes + 1};
            check_rows(&w, plain_value);
        }
}

static float nvfp4_value(const Weight *w, size_t n, size_t k)
{
    unsigned code = w->data[(n * w->k + k) / 2] >> 4 * (k % 2) & 15, scale = w->scales[n * (w->k / 16) + k / 16];
    double v = small_value(E4M3, scale), g = (double)w->tensor_scale;
    double block = (double)(float)(w->is_divisor ? v / g : v * g);
    return (float)((double)(float)small_value(E2M1, code) * block);
}

static void nvfp4_rows_are_the_exact_products(void **unused)
{
    (void)unused;
    fill(2);
    for (int is_divisor = 0; is_divisor < 2; is_divisor++)
        for (size_t k = 16; k <= K; k += 16) {
            Weight w = {.format = WEIGHT_NVFP4, .dtype = DTYPE_U8, .scale_dtype = DTYPE_F8_E4M3, .n = N, .k = k, .data = bytes,
                        .scales = scale_bytes, .tensor_scale = is_divisor ? 1368.0f : 3.7123e-4f, .is_divisor = is_divisor};
            check_rows(&w, nvfp4_value);
        }
}

static float fp8_value(const Weight *w, size_t n, size_t k)
{
    return (float)(small_value(E4M3, w->data[n * w->k + k]) * (double)w->tensor_scale);
}

static void fp8_rows_are_the_exact_products(void **unused)
{
    (void)unused;
    fill(3);
    for (size_t k = K - 9; k <= K; k++) {
        Weight w = {.format = WEIGHT_FP8, .dtype = DTYPE_F8_E4M3, .n = N, .k = k, .data = bytes + 1, .tensor_scale = 1.2345e-3f};
        check_rows(&w, fp8_value);
    }
}

static float block_value(const Weight *w, size_t n, size_t k)
{
    size_t blocks = (w->k + w->block_k - 1) / w->block_k, i = n / w->block_n * blocks + k / w->block_k;
    float scale;
    if (w->scale_dtype == DTYPE_F32)
        memcpy(&scale, w->scales + 4 * i, sizeof scale);
    else
        scale = float_of(word(w->scales, i) << 16);
    return (float)(small_value(E4M3, w->data[n * w->k + k]) * (double)scale);
}

static void block_fp8_rows_use_the_scale_of_their_block(void **unused)
{
    (void)unused;
    static const struct {
        size_t k, block_n, block_k;
    } rows[] = {{320, 2, 128}, {320, 128, 128}, {128, 1, 128}, {127, 3, 128}, {129, 2, 64}, {17, 5, 5}, {16, 1, 1}};
    fill(4);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (int is_f32 = 0; is_f32 < 2; is_f32++) {
            Weight w = {.format = WEIGHT_FP8_BLOCK, .dtype = DTYPE_F8_E4M3, .scale_dtype = is_f32 ? DTYPE_F32 : DTYPE_BF16, .n = N,
                        .k = rows[i].k, .data = bytes, .scales = scale_bytes, .block_n = rows[i].block_n, .block_k = rows[i].block_k};
            check_rows(&w, block_value);
        }
}

/* T16 of the formats specification, §9. */
static void t16_block_fp8_reads_as_the_specification_says(void **unused)
{
    (void)unused;
    static const uint8_t codes[] = {0x3B, 0x40, 0x7E, 0x81, 0xBC}, scale[] = {0xA1, 0x3A};
    static const uint16_t want[] = {0x3ADD, 0x3B21, 0x3F0D, 0xB621, 0xBAF2};
    Weight w = {.format = WEIGHT_FP8_BLOCK, .dtype = DTYPE_F8_E4M3, .scale_dtype = DTYPE_BF16, .n = 1, .k = 5, .data = codes,
                .scales = scale, .block_n = 128, .block_k = 128};
    float y[5];
    weight_row(&w, 0, y);
    for (int i = 0; i < 5; i++)
        assert_int_equal(bf16_from_f32(y[i]), want[i]);
}

static void input_scales_are_multipliers_whatever_is_stored(void **unused)
{
    (void)unused;
    Weight multiplier = {.format = WEIGHT_NVFP4, .has_input_scale = true, .input_scale = float_of(0x3B924925)};
    Weight divisor = {.format = WEIGHT_NVFP4, .has_input_scale = true, .input_scale = 224.5f, .is_divisor = true};
    assert_int_equal(bits_of(weight_input_inverse(&multiplier)), 0x435FFFFF); /* T13 */
    assert_true(weight_input_scale(&multiplier) == (double)float_of(0x3B924925));
    assert_true(weight_input_inverse(&divisor) == 224.5f);
    assert_true(weight_input_scale(&divisor) == 1.0 / 224.5);
}

static void formats_have_their_names(void **unused)
{
    (void)unused;
    static const struct {
        Weight w;
        const char *want;
    } rows[] = {
        {{.format = WEIGHT_PLAIN, .dtype = DTYPE_F32}, "f32"},   {{.format = WEIGHT_PLAIN, .dtype = DTYPE_BF16}, "bf16"},
        {{.format = WEIGHT_PLAIN, .dtype = DTYPE_F16}, "f16"},   {{.format = WEIGHT_NVFP4, .dtype = DTYPE_U8}, "nvfp4"},
        {{.format = WEIGHT_FP8, .dtype = DTYPE_F8_E4M3}, "fp8"}, {{.format = WEIGHT_FP8_BLOCK, .dtype = DTYPE_F8_E4M3}, "fp8_block"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_string_equal(weight_format_name(&rows[i].w), rows[i].want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_rows_are_widened),
        cmocka_unit_test(nvfp4_rows_are_the_exact_products),
        cmocka_unit_test(fp8_rows_are_the_exact_products),
        cmocka_unit_test(block_fp8_rows_use_the_scale_of_their_block),
        cmocka_unit_test(t16_block_fp8_reads_as_the_specification_says),
        cmocka_unit_test(input_scales_are_multipliers_whatever_is_stored),
        cmocka_unit_test(formats_have_their_names),
    };
    return cmocka_run_group_tests_name("weight", tests, NULL, NULL);
}
