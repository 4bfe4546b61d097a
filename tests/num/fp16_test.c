#include "tests/test.h"

#include "core/num/fp16.h"
#include "tests/num/definition.h"

static void every_code_reads_as_its_definition(void **unused)
{
    (void)unused;
    static uint8_t bytes[2 * 0x10000 + 1];
    static float row[0x10000];
    for (uint32_t code = 0; code < 0x10000; code++) {
        bytes[1 + 2 * code] = (uint8_t)code;
        bytes[2 + 2 * code] = (uint8_t)(code >> 8);
    }
    fp16_row_to_f32(bytes + 1, 0x10000, row);
    for (uint32_t code = 0; code < 0x10000; code++) {
        float x = fp16_to_f32((uint16_t)code);
        uint32_t magnitude = code & 0x7FFF;
        double want = magnitude <= FP16.largest ? definition_value(FP16, magnitude) : magnitude == 0x7C00 ? INFINITY : NAN;
        if (isnan(want) ? !isnan(x) : fabsf(x) != want || !signbit(x) != (code < 0x8000))
            fail_msg("code %04x reads as %a, not as %a", code, x, want);
        if (bits_of(x) != bits_of(row[code]))
            fail_msg("code %04x reads as %a in a row, as %a alone", code, row[code], x);
    }
}

static void check_rounding(float x)
{
    uint32_t want = definition_nearest(FP16, fabs((double)x)) | (signbit(x) ? 0x8000u : 0);
    if (fp16_from_f32(x) != want)
        fail_msg("%a gives %04x, not %04x", x, fp16_from_f32(x), want);
    if (bits_of(fp16_round(x)) != bits_of(fp16_to_f32((uint16_t)want)))
        fail_msg("%a rounds to %a", x, fp16_round(x));
}

static void every_value_and_tie_rounds_to_the_nearest(void **unused)
{
    (void)unused;
    definition_probe(FP16, 1000000, check_rounding);
}

static void infinity_stays_and_nan_stays_nan(void **unused)
{
    (void)unused;
    assert_int_equal(fp16_from_f32(INFINITY), 0x7C00);
    assert_int_equal(fp16_from_f32(-INFINITY), 0xFC00);
    for (int bit = 0; bit < 23; bit++)
        for (uint32_t sign = 0; sign < 2; sign++)
            assert_true(isnan(fp16_round(float_of(0x7F800000 | 1u << bit | sign << 31))));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_reads_as_its_definition),
        cmocka_unit_test(every_value_and_tie_rounds_to_the_nearest),
        cmocka_unit_test(infinity_stays_and_nan_stays_nan),
    };
    return cmocka_run_group_tests_name("fp16", tests, NULL, NULL);
}
