#include "tests/test.h"

#include "core/num/bf16.h"
#include "tests/num/definition.h"

static void every_code_reads_as_its_definition(void **unused)
{
    (void)unused;
    for (uint32_t code = 0; code < 0x10000; code++) {
        float x = bf16_to_f32((uint16_t)code);
        uint32_t magnitude = code & 0x7FFF;
        double want = magnitude <= BF16.largest ? definition_value(BF16, magnitude) : magnitude == 0x7F80 ? INFINITY : NAN;
        if (isnan(want) ? !isnan(x) : fabsf(x) != want || !signbit(x) != (code < 0x8000))
            fail_msg("code %04x reads as %a, not as %a", code, x, want);
    }
}

static void check_rounding(float x)
{
    uint32_t want = definition_nearest(BF16, fabs((double)x)) | (signbit(x) ? 0x8000u : 0);
    if (bf16_from_f32(x) != want)
        fail_msg("%a gives %04x, not %04x", x, bf16_from_f32(x), want);
    float row[1] = {x};
    bf16_round_row(row, 1);
    if (bits_of(bf16_round(x)) != want << 16 || bits_of(row[0]) != want << 16)
        fail_msg("%a rounds to %a and in a row to %a", x, bf16_round(x), row[0]);
}

static void every_value_and_tie_rounds_to_the_nearest(void **unused)
{
    (void)unused;
    definition_probe(BF16, 1000000, check_rounding);
}

static void infinity_stays_and_nan_stays_nan(void **unused)
{
    (void)unused;
    assert_int_equal(bf16_from_f32(INFINITY), 0x7F80);
    assert_int_equal(bf16_from_f32(-INFINITY), 0xFF80);
    for (int bit = 0; bit < 23; bit++)
        for (uint32_t sign = 0; sign < 2; sign++)
            assert_true(isnan(bf16_round(float_of(0x7F800000 | 1u << bit | sign << 31))));
}

static void a_row_needs_no_alignment(void **unused)
{
    (void)unused;
    uint8_t bytes[2 * 37 + 1];
    float y[37];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    bf16_row_to_f32(bytes + 1, 37, y);
    for (size_t i = 0; i < 37; i++)
        assert_int_equal(bits_of(y[i]), (uint32_t)(bytes[2 * i + 2] << 8 | bytes[2 * i + 1]) << 16);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_reads_as_its_definition),
        cmocka_unit_test(every_value_and_tie_rounds_to_the_nearest),
        cmocka_unit_test(infinity_stays_and_nan_stays_nan),
        cmocka_unit_test(a_row_needs_no_alignment),
    };
    return cmocka_run_group_tests_name("bf16", tests, NULL, NULL);
}
