/* T1 to T17 are the vectors of the formats specification, §9; T16 (block FP8) is in tests/tensor/weight_test.c. */
#include "tests/test.h"

#include <stdio.h>

#include "core/num/bf16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"
#include "core/num/nvfp4.h"
#include "tests/num/definition.h"

enum { MO = NVFP4_MODELOPT, OLD = NVFP4_MODELOPT_043, CPU = NVFP4_MODELOPT_CPU, CT = NVFP4_CT_BF16, CT32 = NVFP4_CT_F32 };

/* "20 42 6…": the bytes of hex, the rest 0. */
static void read_hex(const char *hex, uint8_t *bytes, size_t n)
{
    memset(bytes, 0, n);
    for (size_t i = 0; i < n; i++) {
        unsigned byte;
        if (sscanf(hex + 3 * i, "%2x", &byte) != 1)
            return;
        bytes[i] = (uint8_t)byte;
        if (strlen(hex) < 3 * (i + 1))
            return;
    }
}

static void check_bytes(const char *name, const uint8_t *got, const char *want_hex)
{
    uint8_t want[8];
    char text[32] = "";
    read_hex(want_hex, want, 8);
    for (int i = 0; i < 8; i++)
        snprintf(text + 3 * i, 4, "%02X ", got[i]);
    if (memcmp(got, want, 8) != 0)
        fail_msg("%s: codes %s, not %s", name, text, want_hex);
}

typedef struct BlockCase {
    const char *name;
    unsigned writers; /* set of 1u << writer */
    float g;
    float x[16];
    uint8_t scale;
    const char *codes;
} BlockCase;

#define ALL (1u << MO | 1u << OLD | 1u << CPU | 1u << CT | 1u << CT32)
#define MODELOPT (1u << MO | 1u << OLD | 1u << CPU)
#define CLAMPED (1u << MO | 1u << CPU)
#define COMPRESSED (1u << CT | 1u << CT32)
#define UNDERFLOW(t) {6 * (t), -6 * (t), 3 * (t)}
#define SMALL(t) {6 * (t), -6 * (t), 3 * (t), 2 * (t)}

static const BlockCase block_cases[] = {
    {"T1 ties", ALL, 1,
     {.25f, .75f, 1.25f, 1.75f, 2.5f, 3.5f, 5, 6, -.25f, -.75f, -1.25f, -1.75f, -2.5f, -3.5f, -5, -6},
     0x38, "20 42 64 76 A8 CA EC FE"},
    {"T2 beside the ties", ALL, 1,
     {.25f + 0x1p-9f, .25f - 0x1p-9f, .75f + 0x1p-8f, .75f - 0x1p-8f, 1.25f + 0x1p-7f, 1.25f - 0x1p-7f, 1.75f + 0x1p-7f,
      1.75f - 0x1p-7f, 2.5f + 0x1p-6f, 2.5f - 0x1p-6f, 3.5f + 0x1p-6f, 3.5f - 0x1p-6f, 5 + 0x1p-5f, 5 - 0x1p-5f, -6, 6},
     0x38, "01 12 23 34 45 56 67 7F"},
    {"T3 all codes, -0", ALL, 1,
     {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6},
     0x38, "10 32 54 76 90 BA DC FE"},
    {"T4 small negatives", ALL, 1, {-0.0f, 0, -.25f, .25f, -.125f, .125f, -1e-30f, 6}, 0x38, "00 08 08 78"},
    {"T5 2^-10", CLAMPED, 1, UNDERFLOW(0x1p-10f), 0x01, "D5 03"},
    {"T5 2^-10", 1u << OLD, 1, UNDERFLOW(0x1p-10f), 0x00, "F7 77 77 77 77 77 77 77"},
    {"T5 2^-10", COMPRESSED, 1, UNDERFLOW(0x1p-10f), 0x20, "80"},
    {"T5 2^-11", CLAMPED, 1, UNDERFLOW(0x1p-11f), 0x01, "B3 02"},
    {"T5 2^-11", 1u << OLD, 1, UNDERFLOW(0x1p-11f), 0x00, "F7 77 77 77 77 77 77 77"},
    {"T5 2^-11", COMPRESSED, 1, UNDERFLOW(0x1p-11f), 0x20, "80"},
    {"T5 3*2^-10", ALL, 1, SMALL(3 * 0x1p-10f), 0x02, "E6 34"},
    {"T5 5*2^-9", ALL, 1, SMALL(5 * 0x1p-9f), 0x05, "F7 45"},
    {"T6a zero block", MODELOPT, 1, {0}, 0x38, "00"},
    {"T6a zero block", COMPRESSED, 1, {0}, 0x20, "00"},
    {"T6b tie down", ALL, 1, {6.375f, -6.375f, 5, -5, 3.5f, 1.0625f}, 0x38, "F7 E6 26"},
    {"T6c tie up", ALL, 1, {7.125f, -7.125f, 5, -5, 3.5f, 1.0625f}, 0x3A, "F7 E6 25"},
    {"T6d top block", ALL, 1, {2688, -2688, 1344, 1568, 2240, -112, 112.5f, 0}, 0x7E, "F7 65 86 01"},
    {"T11 gate", CLAMPED, 0x1.861862p-11f, {1, .5f, -.25f}, 0x76, "57 0B"},
    {"T11 up", CLAMPED, 0x1.861862p-11f, {2, 1, -.5f}, 0x7E, "57 0B"},
    {"T11 gate", COMPRESSED, 1344, {1, .5f, -.25f}, 0x76, "57 0B"},
    {"T11 up", COMPRESSED, 1344, {2, 1, -.5f}, 0x7E, "57 0B"},
    {"T14 max to 6", MODELOPT, 1, {4, 3, -3, 2, 1, .5f, -1.5f, 0}, 0x33, "67 5E 13 0C"},
    {"T14 max to 4", MODELOPT, 1, {4, 3, -3, 2, 1, .5f, -1.5f, 0, 6}, 0x38, "56 4D 12 0B 07"},
};

static void blocks_give_the_bytes_of_the_specification(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof block_cases / sizeof *block_cases; i++)
        for (int writer = 0; writer <= NVFP4_CT_F32; writer++) {
            const BlockCase *c = &block_cases[i];
            uint8_t codes[8], scale;
            char name[80];
            if (!(c->writers >> writer & 1))
                continue;
            nvfp4_encode_row((Nvfp4Writer)writer, c->x, 16, c->g, codes, &scale);
            snprintf(name, sizeof name, "%s, writer %d", c->name, writer);
            if (scale != c->scale)
                fail_msg("%s: scale %02X, not %02X", name, scale, c->scale);
            check_bytes(name, codes, c->codes);
        }
}

/* T8 to T10: blocks given as bf16, on which two writers differ. */
static void writers_differ_where_the_specification_says(void **unused)
{
    (void)unused;
    static const char t8[] = "bdd2 3e51 bdb9 be01 bebe bdaf 3ee4 3e2e 3ed4 3dcc 3e22 3d98 bf2b 3eaf 3e4f 3e4c",
                      t9[] = "3e4d be1b be9b 3d9e be5c be8c beab be06 3e92 bde5 bebf 3e31 3c8b 3e5f 3e9f bd32",
                      t10[] = "bcd4 bcbc 3e92 3ee4 3e5d 3e88 bf6a 3ec1 3d67 bcfc bec7 bd89 bda0 be8b 3ebd be8b";
    static const struct {
        const char *name, *block;
        Nvfp4Writer writer;
        float amax;
        uint32_t g;
        uint8_t scale;
        const char *codes;
    } rows[] = {
        {"T8 ModelOpt", t8, NVFP4_MODELOPT, 1.9765625f, 0x3A40C30C, 0x71, "4A AA AE 36 26 13 5F 44"},
        {"T8 compressed-tensors", t8, NVFP4_CT_BF16, 1.9765625f, 0x44AB0000, 0x72, "3A AA 9D 36 26 13 5F 33"},
        {"T9 true division", t9, NVFP4_MODELOPT_CPU, 1.03125f, 0x39C92492, 0x72, "C5 3E EE CF C6 5F 61 97"},
        {"T9 reciprocal", t9, NVFP4_MODELOPT, 1.03125f, 0x39C92493, 0x72, "C5 3E ED CF C6 5F 61 97"},
        {"T10 true division", t10, NVFP4_MODELOPT_CPU, 1.21875f, 0x39EDB6DB, 0x7B, "88 54 33 4F 81 9C B9 B4"},
        {"T10 reciprocal", t10, NVFP4_MODELOPT, 1.21875f, 0x39EDB6DC, 0x7A, "88 54 43 5F 81 9D C9 C5"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        float x[16], g = nvfp4_tensor_scale(rows[i].writer, rows[i].amax);
        uint8_t codes[8], scale;
        for (int j = 0; j < 16; j++) {
            unsigned bits;
            assert_int_equal(sscanf(rows[i].block + 5 * j, "%4x", &bits), 1);
            x[j] = bf16_to_f32((uint16_t)bits);
        }
        if (bits_of(g) != rows[i].g)
            fail_msg("%s: scalar %08X, not %08X", rows[i].name, bits_of(g), rows[i].g);
        nvfp4_encode_row(rows[i].writer, x, 16, g, codes, &scale);
        if (scale != rows[i].scale)
            fail_msg("%s: scale %02X, not %02X", rows[i].name, scale, rows[i].scale);
        check_bytes(rows[i].name, codes, rows[i].codes);
    }
}

/* T7; 0 where the specification gives no figure. */
static void tensor_scalars_have_the_bits_of_the_specification(void **unused)
{
    (void)unused;
    static const struct {
        float amax;
        uint32_t cpu, reciprocal, ct, ct32, inverse;
    } rows[] = {
        {1.0f, 0x39C30C31, 0x39C30C31, 0x45280000, 0x45280000, 0x45280000},
        {1.3125f, 0x3A000000, 0x3A000000, 0x45000000, 0x45000000, 0x45000000},
        {1.75f, 0x3A2AAAAB, 0x3A2AAAAB, 0x44C00000, 0x44C00001, 0x44C00000},
        {3.0f, 0x3A924925, 0x3A924925, 0x44600000, 0x44600000, 0x445FFFFF},
        {6.0f, 0x3B124925, 0x3B124925, 0x43E00000, 0x43E00000, 0x43DFFFFF},
        {1.03125f, 0x39C92492, 0x39C92493, 0, 0, 0},
        {1.09375f, 0x39D55555, 0x39D55556, 0, 0, 0},
        {0.0859375f, 0x38061862, 0x38061862, 0x46F40000, 0x46F45D18, 0x46F45D16},
        {1.9765625f, 0, 0x3A40C30C, 0x44AB0000, 0, 0},
        {2.0f, 0, 0x3A430C31, 0x44A80000, 0x44A80000, 0}, /* T11 */
        {0.0f, 0x39C30C31, 0x39C30C31, 0x3F800000, 0x3F800000, 0}, /* T12: our scalar, ModelOpt's own would be 0 */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct {
            const char *name;
            float got;
            uint32_t want;
        } columns[] = {
            {"true division", nvfp4_tensor_scale(NVFP4_MODELOPT_CPU, rows[i].amax), rows[i].cpu},
            {"reciprocal", nvfp4_tensor_scale(NVFP4_MODELOPT, rows[i].amax), rows[i].reciprocal},
            {"reciprocal, 0.43", nvfp4_tensor_scale(NVFP4_MODELOPT_043, rows[i].amax), rows[i].reciprocal},
            {"bf16 divisor", nvfp4_tensor_scale(NVFP4_CT_BF16, rows[i].amax), rows[i].ct},
            {"f32 divisor", nvfp4_tensor_scale(NVFP4_CT_F32, rows[i].amax), rows[i].ct32},
            {"inverse", 1.0f / nvfp4_tensor_scale(NVFP4_MODELOPT_CPU, rows[i].amax), rows[i].inverse},
        };
        for (size_t j = 0; j < sizeof columns / sizeof *columns; j++)
            if (columns[j].want && bits_of(columns[j].got) != columns[j].want)
                fail_msg("amax %g, %s: %08X, not %08X", rows[i].amax, columns[j].name, bits_of(columns[j].got), columns[j].want);
    }
}

/* The two forms of the ModelOpt scalar: 28 of the 128 bf16 mantissas differ, the reciprocal form one ulp above (§1.4). */
static void division_forms_differ_in_28_mantissas(void **unused)
{
    (void)unused;
    int different = 0;
    for (int m = 0; m < 128; m++) {
        float amax = 1.0f + (float)m / 128.0f;
        uint32_t step = bits_of(nvfp4_tensor_scale(NVFP4_MODELOPT, amax)) - bits_of(nvfp4_tensor_scale(NVFP4_MODELOPT_CPU, amax));
        assert_in_range(step, 0, 1);
        different += step == 1;
    }
    assert_int_equal(different, 28);
}

static void an_overflowing_divisor_is_one(void **unused)
{
    (void)unused;
    assert_true(nvfp4_tensor_scale(NVFP4_CT_BF16, 0x1p-120f) == 1.0f);
    assert_true(nvfp4_tensor_scale(NVFP4_CT_F32, 0x1p-120f) == 1.0f);
    assert_true(isfinite(nvfp4_tensor_scale(NVFP4_CT_F32, 0x1p-100f)) && nvfp4_tensor_scale(NVFP4_CT_F32, 0x1p-100f) > 1.0f);
}

static void an_all_zero_tensor_is_finite_in_every_format(void **unused)
{
    (void)unused;
    static const float x[32] = {0};
    for (int writer = 0; writer <= NVFP4_CT_F32; writer++) {
        uint8_t codes[16], scales[2];
        float g = nvfp4_tensor_scale((Nvfp4Writer)writer, 0);
        assert_true(g > 0);
        nvfp4_encode_row((Nvfp4Writer)writer, x, 32, g, codes, scales);
        for (int i = 0; i < 16; i++)
            assert_int_equal(codes[i], 0);
        for (int i = 0; i < 2; i++)
            assert_int_equal(scales[i], writer >= NVFP4_CT_BF16 ? 0x20 : 0x38);
    }
}

/* Every scale byte with every code, several scalars, both conventions, against exact products in double. */
static void decoding_is_two_rounded_products(void **unused)
{
    (void)unused;
    static const float scalars[] = {1.0f, 3.72e-4f, 1.7e-7f, 2688.0f, 31232.0f, 0x1.fffffep-20f, 1e-40f};
    for (size_t i = 0; i < sizeof scalars / sizeof *scalars; i++)
        for (int is_divisor = 0; is_divisor < 2; is_divisor++)
            for (unsigned scale = 0; scale < 256; scale++) {
                static const uint8_t codes[8] = {0x10, 0x32, 0x54, 0x76, 0x98, 0xBA, 0xDC, 0xFE};
                uint8_t byte = (uint8_t)scale;
                float y[16];
                double v = definition_value(E4M3, scale & 0x7F) * (scale & 0x80 ? -1 : 1), g = (double)scalars[i];
                float factor = scale == 0 ? 0.0f : (scale & 0x7F) == 0x7F ? NAN : (float)(is_divisor ? v / g : v * g);
                nvfp4_decode_row(codes, &byte, scalars[i], is_divisor, 16, y);
                for (unsigned code = 0; code < 16; code++) {
                    float want = (float)(definition_value(E2M1, code & 7) * (code & 8 ? -1 : 1) * (double)factor);
                    if (isnan(want) ? !isnan(y[code]) : y[code] != want || (scale < 0x80 && !signbit(y[code]) != !(code & 8)))
                        fail_msg("code %x, scale %02x, scalar %g: %a, not %a", code, scale, (double)scalars[i], y[code], want);
                }
            }
}

static void t15_decodes(void **unused)
{
    (void)unused;
    static const uint8_t codes[8] = {0x0D}, scale = 0x31;
    float y[16];
    nvfp4_decode_row(codes, &scale, float_of(0x39C30C31), false, 16, y);
    assert_true(y[0] == -0.00062779017f);
    assert_true(bf16_round(y[0]) == bf16_round(-0.000629425f));
    assert_int_equal(bf16_from_f32(y[0]), bf16_from_f32(-0.000629425f));
}

static void t17_scale_bytes_refold(void **unused)
{
    (void)unused;
    static const uint8_t from[] = {0x7E, 0x70, 0x45, 0x01}, to[] = {0x79, 0x6B, 0x41, 0x01};
    float ratio = nvfp4_tensor_scale(NVFP4_MODELOPT, 2.0f) / nvfp4_tensor_scale(NVFP4_MODELOPT, 3.0f);
    assert_true(ratio == 0.666666627f);
    for (int i = 0; i < 4; i++)
        assert_int_equal(fp8_e4m3_from_f32(fp8_e4m3_to_f32(from[i]) * ratio), to[i]);
}

/* What was decoded encodes to itself, whenever its block has an element of 6 (so that the same block scale comes out): all bytes
 * but the sign of zero. A row of many blocks, so that offsets count. */
static void encoding_what_was_decoded_gives_the_same_bytes(void **unused)
{
    (void)unused;
    enum { BLOCKS = 125 };
    static const Nvfp4Writer writers[] = {NVFP4_MODELOPT, NVFP4_MODELOPT_043, NVFP4_MODELOPT_CPU, NVFP4_CT_F32};
    uint64_t state = 7;
    for (size_t w = 0; w < sizeof writers / sizeof *writers; w++) {
        uint8_t codes[8 * BLOCKS], scales[BLOCKS], codes_again[8 * BLOCKS], scales_again[BLOCKS];
        float y[16 * BLOCKS], g = writers[w] == NVFP4_CT_F32 ? 1024.0f : 0x1p-10f;
        for (unsigned b = 0; b < BLOCKS; b++) {
            for (int i = 0; i < 8; i++)
                codes[8 * b + (unsigned)i] = (uint8_t)(next_random(&state) | 0x11); /* odd codes: no zero among them */
            codes[8 * b + next_random(&state) % 8] |= 0x07;
            scales[b] = (uint8_t)(b + 1);
        }
        nvfp4_decode_row(codes, scales, g, writers[w] == NVFP4_CT_F32, 16 * BLOCKS, y);
        nvfp4_encode_row(writers[w], y, 16 * BLOCKS, g, codes_again, scales_again);
        assert_memory_equal(scales, scales_again, sizeof scales);
        assert_memory_equal(codes, codes_again, sizeof codes);
    }
}

static void t13_activations_quantize(void **unused)
{
    (void)unused;
    static const struct {
        float x[16];
        uint8_t scale;
        const char *codes;
    } rows[] = {
        {{3, -1.5f, .6f, .1f}, 0x6E, "D7 02"},
        {{24, -12, 6, 1}, 0x7E, "F7 15"}, /* beyond the calibrated amax of 12: the scale saturates */
        {{0}, 0x00, "00"},
        {{1e-9f, -1e-9f}, 0x00, "80"}, /* the scale underflows: all products are zeros that keep their sign */
        {{1.5f, -0.0f}, 0x66, "87"},
    };
    float s = 1.0f / (12.0f * (1.0f / 2688.0f));
    assert_int_equal(bits_of(s), 0x435FFFFF);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint8_t codes[8], scale;
        char name[16];
        snprintf(name, sizeof name, "row %zu", i);
        nvfp4_quantize_activation(rows[i].x, 16, s, codes, &scale);
        if (scale != rows[i].scale)
            fail_msg("%s: scale %02X, not %02X", name, scale, rows[i].scale);
        check_bytes(name, codes, rows[i].codes);
    }
}

/* The formula of §2.3 step by step, each step rounded once from an exact double. */
static void activations_follow_the_formula(void **unused)
{
    (void)unused;
    uint64_t state = 3;
    for (int turn = 0; turn < 20000; turn++) {
        float x[16], s = (float)exp2((int)(next_random(&state) % 20)) * (1.0f + (float)(next_random(&state) % 1000) / 1000.0f);
        double amax = 0;
        for (int i = 0; i < 16; i++) {
            x[i] = ((float)(next_random(&state) % 65536) - 32768.0f) / 32768.0f;
            x[i] = x[i] * exp2f((float)(next_random(&state) % 8)) / s * 40;
            amax = fmax(amax, fabs((double)x[i]));
        }
        if (turn % 2) { /* a largest element within a few ulps of where the scale is on a tie: the order of the products shows */
            double tie = (definition_value(E4M3, 32 + (uint32_t)turn % 80) + definition_value(E4M3, 33 + (uint32_t)turn % 80)) / 2;
            x[turn % 16] = float_of(bits_of((float)(tie * 6 / (double)s)) + next_random(&state) % 5 - 2);
            amax = fabs((double)x[turn % 16]);
            for (int i = 0; i < 16; i++)
                x[i] = (double)fabsf(x[i]) > amax ? (float)amax / 3 : x[i];
        }
        float v = (float)((double)s * (double)(float)(amax * (double)(float)(1.0 / 6.0)));
        uint32_t scale_want = definition_nearest(E4M3, (double)v);
        scale_want = scale_want > 0x7E ? 0x7E : scale_want;
        double d = (double)(float)(definition_value(E4M3, scale_want) * (double)(float)(1.0 / (double)s));
        float m = scale_want == 0 ? 0.0f : (float)(1.0 / d);
        uint8_t codes[8], scale;
        nvfp4_quantize_activation(x, 16, s, codes, &scale);
        assert_int_equal(scale, scale_want);
        for (int i = 0; i < 16; i++) {
            uint32_t want = definition_nearest(E2M1, fabs((double)(float)((double)x[i] * (double)m)));
            want = (want > 7 ? 7 : want) | (signbit(x[i]) ? 8u : 0u);
            if ((codes[i / 2] >> 4 * (i % 2) & 15) != want)
                fail_msg("turn %d element %d: %a times %a is not code %x", turn, i, x[i], m, want);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_give_the_bytes_of_the_specification),
        cmocka_unit_test(writers_differ_where_the_specification_says),
        cmocka_unit_test(tensor_scalars_have_the_bits_of_the_specification),
        cmocka_unit_test(division_forms_differ_in_28_mantissas),
        cmocka_unit_test(an_overflowing_divisor_is_one),
        cmocka_unit_test(an_all_zero_tensor_is_finite_in_every_format),
        cmocka_unit_test(decoding_is_two_rounded_products),
        cmocka_unit_test(t15_decodes),
        cmocka_unit_test(t17_scale_bytes_refold),
        cmocka_unit_test(encoding_what_was_decoded_gives_the_same_bytes),
        cmocka_unit_test(t13_activations_quantize),
        cmocka_unit_test(activations_follow_the_formula),
    };
    return cmocka_run_group_tests_name("nvfp4", tests, NULL, NULL);
}
