#include "tests/test.h"

#include "core/num/fp4.h"
#include "tests/num/definition.h"

static void every_code_reads_as_its_definition(void **unused)
{
    (void)unused;
    for (uint32_t code = 0; code < 256; code++) {
        float x = fp4_to_f32((uint8_t)code), want = (float)definition_value(E2M1, code & 7);
        if (fabsf(x) != want || !signbit(x) != !(code & 8))
            fail_msg("code %x reads as %a", code, x);
    }
}

static void check_rounding(float x)
{
    uint32_t nearest = definition_nearest(E2M1, fabs((double)x));
    nearest = nearest > 7 ? 7 : nearest;
    uint32_t want = nearest | (x < 0 ? 8 : 0), want_hw = nearest | (signbit(x) ? 8 : 0);
    if (fp4_from_f32(x) != want)
        fail_msg("%a gives %x, not %x", x, fp4_from_f32(x), want);
    if (fp4_from_f32_hw(x) != want_hw)
        fail_msg("%a gives %x as the instruction does, not %x", x, fp4_from_f32_hw(x), want_hw);
}

static void every_value_and_tie_rounds_to_the_nearest(void **unused)
{
    (void)unused;
    definition_probe(E2M1, 1000000, check_rounding);
    for (int i = -8000; i <= 8000; i++)
        check_rounding((float)i / 1000.0f);
}

static void ties_go_to_the_even_index(void **unused)
{
    (void)unused;
    static const float ties[] = {0.25f, 0.75f, 1.25f, 1.75f, 2.5f, 3.5f, 5.0f};
    static const uint8_t want[] = {0, 2, 2, 4, 4, 6, 6};
    for (int i = 0; i < 7; i++)
        assert_int_equal(fp4_from_f32(ties[i]), want[i]);
}

static void zeros_and_what_is_not_finite(void **unused)
{
    (void)unused;
    static const struct {
        float x;
        uint8_t tools, hw;
    } rows[] = {
        {0.0f, 0, 0}, {-0.0f, 0, 8}, {-0x1p-149f, 8, 8}, {INFINITY, 7, 7}, {-INFINITY, 15, 15}, {NAN, 7, 7}, {-NAN, 7, 7},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        assert_int_equal(fp4_from_f32(rows[i].x), rows[i].tools);
        assert_int_equal(fp4_from_f32_hw(rows[i].x), rows[i].hw);
    }
}

static void packing_puts_the_even_element_low(void **unused)
{
    (void)unused;
    static const float x[3][16] = {
        {0, .5f, 1, 1.5f, 2, 3, 4, 6, -0.0f, -.5f, -1, -1.5f, -2, -3, -4, -6},
        {NAN, -NAN, INFINITY, -INFINITY, -0x1p-149f, 0x1p-149f, 7, -7, 5, -5, .25f, -.25f, 2.5f, -2.5f, 1e30f, -0.0f},
        {.75f, -.75f, 1.25f, -1.25f, 1.75f, -1.75f, 3.5f, -3.5f, .2f, .3f, .7f, .8f, 1.2f, 1.3f, 5.1f, 4.9f},
    };
    for (int row = 0; row < 3; row++) {
        uint8_t tools[8], hw[8];
        fp4_pack(x[row], tools);
        fp4_pack_hw(x[row], hw);
        for (int i = 0; i < 8; i++) {
            assert_int_equal(tools[i], fp4_from_f32(x[row][2 * i]) | fp4_from_f32(x[row][2 * i + 1]) << 4);
            assert_int_equal(hw[i], fp4_from_f32_hw(x[row][2 * i]) | fp4_from_f32_hw(x[row][2 * i + 1]) << 4);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_code_reads_as_its_definition),
        cmocka_unit_test(every_value_and_tie_rounds_to_the_nearest),
        cmocka_unit_test(ties_go_to_the_even_index),
        cmocka_unit_test(zeros_and_what_is_not_finite),
        cmocka_unit_test(packing_puts_the_even_element_low),
    };
    return cmocka_run_group_tests_name("fp4", tests, NULL, NULL);
}
