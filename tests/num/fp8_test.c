#include "tests/test.h"

#include "core/num/fp8.h"
#include "tests/num/definition.h"

static void check_reading(FloatDefinition f, uint32_t infinity, float (*read)(uint8_t))
{
    for (uint32_t code = 0; code < 256; code++) {
        float x = read((uint8_t)code);
        uint32_t magnitude = code & 0x7F;
        double want = magnitude <= f.largest ? definition_value(f, magnitude) : magnitude == infinity ? INFINITY : NAN;
        if (isnan(want) ? !isnan(x) : fabsf(x) != want || !signbit(x) != (code < 0x80))
            fail_msg("code %02x reads as %a, not as %a", code, x, want);
    }
}

static void every_code_reads_as_its_definition(void **unused)
{
    (void)unused;
    enum { NO_INFINITY = 256 };
    check_reading(E4M3, NO_INFINITY, fp8_e4m3_to_f32);
    check_reading(E5M2, 0x7C, fp8_e5m2_to_f32);
}

static void a_row_is_its_values_times_the_scale(void **unused)
{
    (void)unused;
    static const float scales[] = {1.0f, 0.3f, -2.7e-5f, 0x1p-126f, 3e38f, 0.0f};
    uint8_t codes[256];
    float row[256];
    for (int code = 0; code < 256; code++)
        codes[code] = (uint8_t)code;
    for (size_t s = 0; s < sizeof scales / sizeof *scales; s++)
        for (size_t first = 0; first < 9; first++) { /* ragged heads and tails of the vector loop */
            fp8_e4m3_row_to_f32(codes + first, 256 - 2 * first, scales[s], row);
            for (size_t i = 0; i < 256 - 2 * first; i++) {
                float want = (float)((double)fp8_e4m3_to_f32(codes[first + i]) * (double)scales[s]);
                if (isnan(want) ? !isnan(row[i]) : bits_of(row[i]) != bits_of(want))
                    fail_msg("code %02zx times %a gives %a, not %a", first + i, scales[s], row[i], want);
            }
        }
}

static void check_rounding(float x)
{
    uint32_t sign = signbit(x) ? 0x80 : 0, nearest = definition_nearest(E4M3, fabs((double)x));
    uint32_t want = sign | (nearest > 0x7E ? 0x7F : nearest), want_sat = sign | (nearest > 0x7E ? 0x7E : nearest);
    if (fp8_e4m3_from_f32(x) != want)
        fail_msg("%a gives %02x, not %02x", x, fp8_e4m3_from_f32(x), want);
    if (fp8_e4m3_from_f32_sat(x) != want_sat)
        fail_msg("%a gives %02x saturating, not %02x", x, fp8_e4m3_from_f32_sat(x), want_sat);
}

static void every_value_and_tie_rounds_to_the_nearest(void **unused)
{
    (void)unused;
    definition_probe(E4M3, 1000000, check_rounding);
    for (double x = 440; x < 500; x += 0.0625)
        check_rounding((float)x);
}

/* The table of the formats specification, §1.2. */
static void the_table_of_the_specification_holds(void **unused)
{
    (void)unused;
    static const struct {
        float x;
        uint8_t want;
    } rows[] = {
        {448, 0x7E}, {456, 0x7E},    {464, 0x7E},    {464.001f, 0x7F},      {480, 0x7F},       {1e9f, 0x7F},    {INFINITY, 0x7F},
        {-INFINITY, 0xFF}, {0x1p-10f, 0x00}, {0x1.000002p-10f, 0x01}, {3 * 0x1p-10f, 0x02}, {7.5f * 0x1p-9f, 0x08}, {-0.0f, 0x80},
        {NAN, 0x7F}, {1.0f, 0x38},   {0.125f, 0x20},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (fp8_e4m3_from_f32(rows[i].x) != rows[i].want)
            fail_msg("row %zu: %a gives %02x, not %02x", i, rows[i].x, fp8_e4m3_from_f32(rows[i].x), rows[i].want);
}

static void saturating_takes_infinity_to_the_largest_and_nan_to_nan(void **unused)
{
    (void)unused;
    assert_int_equal(fp8_e4m3_from_f32_sat(INFINITY), 0x7E);
    assert_int_equal(fp8_e4m3_from_f32_sat(-INFINITY), 0xFE);
    assert_int_equal(fp8_e4m3_from_f32_sat(NAN), 0x7F);
    assert_int_equal(fp8_e4m3_from_f32_sat(-NAN), 0x7F);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_reads_as_its_definition),
        cmocka_unit_test(a_row_is_its_values_times_the_scale),
        cmocka_unit_test(every_value_and_tie_rounds_to_the_nearest),
        cmocka_unit_test(the_table_of_the_specification_holds),
        cmocka_unit_test(saturating_takes_infinity_to_the_largest_and_nan_to_nan),
    };
    return cmocka_run_group_tests_name("fp8", tests, NULL, NULL);
}
