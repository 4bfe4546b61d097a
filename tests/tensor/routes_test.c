#include "tests/test.h"

#include <string.h>

#include "core/tensor/routes.h"

static const OpArgSpec spec = {.name = "experts", .rank = 2, .extents = {"rows", "top_k"}};

static OpArg experts_arg(int32_t *ids, size_t rows, size_t top_k, size_t ld)
{
    return (OpArg){.spec = &spec, .type = OP_I32, .extent = {rows, top_k}, .ld = ld, .data = ids};
}

static void every_pair_stands_once_under_its_expert_in_order(void **unused)
{
    (void)unused;
    enum { ROWS = 37, TOP_K = 3, EXPERTS = 11, LD = 5 };
    int32_t ids[ROWS * LD];
    for (int i = 0; i < ROWS * LD; i++)
        ids[i] = i % LD < TOP_K ? (i * 7 + i / 13) % (EXPERTS - 1) : -1; /* the last expert stays empty */
    OpArg arg = experts_arg(ids, ROWS, TOP_K, LD);
    Routes r;
    Err err;
    assert_true(routes_init(&r, &arg, ROWS, EXPERTS, &err));
    bool is_seen[ROWS * TOP_K] = {false};
    assert_int_equal(r.start[0], 0);
    assert_int_equal(r.start[EXPERTS], ROWS * TOP_K);
    assert_int_equal(r.start[EXPERTS - 1], ROWS * TOP_K);
    for (size_t e = 0; e < EXPERTS; e++)
        for (size_t p = r.start[e]; p < r.start[e + 1]; p++) {
            size_t pair = r.pair[p];
            assert_int_equal(ids[pair / TOP_K * LD + pair % TOP_K], (int)e);
            assert_false(is_seen[pair]);
            assert_true(p == r.start[e] || r.pair[p - 1] < pair);
            is_seen[pair] = true;
        }
    for (size_t pair = 0; pair < ROWS * TOP_K; pair++)
        assert_true(is_seen[pair]);
    routes_deinit(&r);
}

static void only_the_live_rows_are_read(void **unused)
{
    (void)unused;
    int32_t ids[] = {1, 0, 99, -5};
    OpArg arg = experts_arg(ids, 2, 2, 2);
    Routes r;
    Err err;
    assert_true(routes_init(&r, &arg, 1, 2, &err));
    assert_int_equal(r.start[1], 1);
    assert_int_equal(r.start[2], 2);
    routes_deinit(&r);
    assert_true(routes_init(&r, &arg, 0, 2, &err));
    assert_int_equal(r.start[2], 0);
    routes_deinit(&r);
}

static void an_unknown_expert_is_named(void **unused)
{
    (void)unused;
    static const int32_t wrong[] = {-1, 4, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < 4; i++) {
        int32_t ids[] = {0, 3, 1, wrong[i]};
        OpArg arg = experts_arg(ids, 2, 2, 2);
        Routes r;
        Err err;
        assert_false(routes_init(&r, &arg, 2, 4, &err));
        assert_int_equal(err.kind, E_VALUE);
        assert_non_null(strstr(err.text, "row 1, slot 1"));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_stands_once_under_its_expert_in_order),
        cmocka_unit_test(only_the_live_rows_are_read),
        cmocka_unit_test(an_unknown_expert_is_named),
    };
    return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
