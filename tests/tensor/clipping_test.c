/* What a quantizer cannot hold, on blocks whose answer is known from the format: largest value 6 · 448 input scales, smallest
 * scale 2^-9, a scale that rounds to 0 below half of it. */
#include "tests/test.h"

#include <math.h>

#include "core/tensor/clipping.h"

static void test_nothing_is_lost_in_a_block_that_fits(void **state)
{
    (void)state;
    float x[32] = {0};
    for (int i = 0; i < 16; i++)
        x[i] = (float)(i % 2 ? -6 : 6);
    Clipping c = {0};
    clipping_add(x, 32, 1, &c);
    assert_int_equal(c.n, 32);
    assert_int_equal(c.nonzero, 16);
    assert_int_equal(c.clipped + c.underflowed + c.zeroed, 0);
    assert_true(c.amax == 6);
}

static void test_beyond_the_largest_value(void **state)
{
    (void)state;
    float x[16] = {2688, -2688, 2689, -2700, 1e30f, 448};
    Clipping c = {0};
    clipping_add(x, 16, 1, &c);
    assert_int_equal(c.clipped, 3);
    Clipping half = {0};
    clipping_add(x, 16, 0.5f, &half); /* twice the input scale holds twice as much */
    assert_int_equal(half.clipped, 1);
    assert_true(half.amax == 1e30f);
}

static void test_a_scale_that_rounds_to_nothing(void **state)
{
    (void)state;
    float x[32] = {6 * 0x1p-11f, -0x1p-14f}; /* scale 2^-11: below half of 2^-9 */
    x[16] = 6 * 0x1p-9f;                     /* scale 2^-9: the smallest there is */
    x[17] = 0x1p-11f;                        /* 0.25: a tie, to the even code 0 */
    x[18] = 0x1.1p-11f;
    Clipping c = {0};
    clipping_add(x, 32, 1, &c);
    assert_int_equal(c.nonzero, 5);
    assert_int_equal(c.underflowed, 2);
    assert_int_equal(c.zeroed, 3);
    assert_int_equal(c.clipped, 0);
}

static void test_nan_is_the_largest(void **state)
{
    (void)state;
    float x[32] = {1, NAN, 2};
    x[20] = 7;
    Clipping c = {0};
    clipping_add(x, 32, 1, &c);
    assert_true(isnan(c.amax));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nothing_is_lost_in_a_block_that_fits),
        cmocka_unit_test(test_beyond_the_largest_value),
        cmocka_unit_test(test_a_scale_that_rounds_to_nothing),
        cmocka_unit_test(test_nan_is_the_largest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
