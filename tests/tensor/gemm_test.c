#include "tests/test.h"

#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/tensor/gemm.h"

static uint32_t state;

static uint32_t next(void)
{
    state = state * 1664525u + 1013904223u;
    return state >> 8;
}

/* Values over many binades, so that another order of additions would show in the last bits. */
static float next_value(void) { return ldexpf((float)next() / 8388608.0f - 1.0f, (int)(next() % 24) - 12); }

/* The order that the header promises, written plainly. */
static double define(const double *x, const float *w, size_t k)
{
    double sum[4] = {0, 0, 0, 0};
    for (size_t i = 0; i < k; i++) {
        double product = x[i] * (double)w[i];
        sum[i % 4] = sum[i % 4] + product;
    }
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

typedef struct Case {
    size_t m, n, k;
    double *x, *y;
    float *w;
} Case;

static Case make_case(size_t m, size_t n, size_t k)
{
    Case c = {m, n, k, calloc(m * gemm_ld(k) + 1, sizeof(double)), malloc((m * n + 1) * sizeof(double)),
              malloc((n * k + 1) * sizeof(float))};
    state = (uint32_t)(m * 7919 + n * 104729 + k);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < k; j++)
            c.x[i * gemm_ld(k) + j] = (double)next_value() * (1.0 + 1e-9 * next()); /* more bits than f32 has */
    for (size_t i = 0; i < n * k; i++)
        c.w[i] = next_value();
    memset(c.y, 0xFF, m * n * sizeof(double));
    return c;
}

static void free_case(Case *c)
{
    free(c->x);
    free(c->y);
    free(c->w);
}

static void run_case(const Case *c)
{
    Weight w = {.format = WEIGHT_PLAIN, .dtype = DTYPE_F32, .n = c->n, .k = c->k, .data = (const uint8_t *)c->w};
    Err err;
    assert_true(gemm_ref(c->x, c->m, &w, c->y, c->n, &err));
}

static void check_case(const Case *c)
{
    for (size_t i = 0; i < c->m; i++)
        for (size_t j = 0; j < c->n; j++) {
            double want = define(c->x + i * gemm_ld(c->k), c->w + j * c->k, c->k), got = c->y[i * c->n + j];
            if (memcmp(&want, &got, sizeof want) != 0)
                fail_msg("%zux%zux%zu at %zu,%zu: expected %a, found %a", c->m, c->n, c->k, i, j, want, got);
        }
}

/* Every remainder of the block sizes in each direction, on whatever instructions this processor has. */
static void the_bits_are_those_of_the_promised_order(void **unused)
{
    (void)unused;
    for (size_t m = 0; m <= 9; m++)
        for (size_t n = 1; n <= 9; n += m % 2 + 1)
            for (size_t k = 1; k <= 40; k += 1 + k / 6) {
                Case c = make_case(m, n, k);
                run_case(&c);
                check_case(&c);
                free_case(&c);
            }
}

static void the_bits_do_not_depend_on_threads(void **unused)
{
    (void)unused;
    int before = omp_get_max_threads();
    for (int threads = 1; threads <= 5; threads++) {
        omp_set_num_threads(threads);
        Case c = make_case(6, 203, 300);
        run_case(&c);
        check_case(&c);
        free_case(&c);
    }
    omp_set_num_threads(before);
}

static void inside_a_parallel_region_it_is_the_same_product(void **unused)
{
    (void)unused;
    Case c[4];
    for (size_t i = 0; i < 4; i++)
        c[i] = make_case(5 + i, 100, 500);
#pragma omp parallel for num_threads(4)
    for (size_t i = 0; i < 4; i++)
        run_case(&c[i]);
    for (size_t i = 0; i < 4; i++) {
        check_case(&c[i]);
        free_case(&c[i]);
    }
}

static void y_may_be_part_of_wider_rows(void **unused)
{
    (void)unused;
    Case c = make_case(3, 5, 17);
    Weight w = {.format = WEIGHT_PLAIN, .dtype = DTYPE_F32, .n = 5, .k = 17, .data = (const uint8_t *)c.w};
    double y[3 * 8];
    for (size_t i = 0; i < 24; i++)
        y[i] = -1;
    Err err;
    assert_true(gemm_ref(c.x, 3, &w, y, 8, &err));
    run_case(&c);
    for (size_t i = 0; i < 3; i++)
        for (size_t j = 0; j < 8; j++)
            assert_true(y[i * 8 + j] == (j < 5 ? c.y[i * 5 + j] : -1));
    free_case(&c);
}

static void a_dot_has_the_bits_of_the_product(void **unused)
{
    (void)unused;
    for (size_t k = 0; k <= 70; k++) {
        Case c = make_case(1, 1, k ? k : 1);
        double got = gemm_dot(c.x, c.w, k), want = define(c.x, c.w, k);
        assert_memory_equal(&got, &want, sizeof got);
        free_case(&c);
    }
}

static void bf16_rows_are_widened_exactly(void **unused)
{
    (void)unused;
    Case c = make_case(2, 6, 50);
    uint16_t half[6 * 50];
    for (size_t i = 0; i < 300; i++) {
        half[i] = bf16_from_f32(c.w[i]);
        c.w[i] = bf16_to_f32(half[i]);
    }
    Weight w = {.format = WEIGHT_PLAIN, .dtype = DTYPE_BF16, .n = 6, .k = 50, .data = (const uint8_t *)half};
    Err err;
    assert_true(gemm_ref(c.x, 2, &w, c.y, 6, &err));
    check_case(&c);
    free_case(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bits_are_those_of_the_promised_order),
        cmocka_unit_test(the_bits_do_not_depend_on_threads),
        cmocka_unit_test(inside_a_parallel_region_it_is_the_same_product),
        cmocka_unit_test(y_may_be_part_of_wider_rows),
        cmocka_unit_test(a_dot_has_the_bits_of_the_product),
        cmocka_unit_test(bf16_rows_are_widened_exactly),
    };
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
