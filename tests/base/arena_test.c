#include "tests/test.h"

#include <string.h>

#include "core/base/arena.h"

static void results_are_zeroed_aligned_and_apart(void **unused)
{
    (void)unused;
    enum { N = 2000 };
    static unsigned char *at[N];
    Arena a = {0};
    for (int turn = 0; turn < 2; turn++) { /* the second time over memory that was used before */
        for (size_t i = 0; i < N; i++) {
            size_t n = i * 37 % 300;
            at[i] = arena_alloc(&a, n);
            assert_non_null(at[i]);
            assert_int_equal((uintptr_t)at[i] % 16, 0);
            for (size_t j = 0; j < n; j++)
                assert_int_equal(at[i][j], 0);
            memset(at[i], (int)(i % 255) + 1, n);
        }
        for (size_t i = 0; i < N; i++)
            for (size_t j = 0; j < i * 37 % 300; j++)
                assert_int_equal(at[i][j], i % 255 + 1);
        arena_deinit(&a);
        assert_null(a.block);
    }
}

static void large_results_have_room(void **unused)
{
    (void)unused;
    Arena a = {0};
    for (size_t n = 1 << 15; n <= 1 << 20; n += (1 << 15) - 7) {
        char *small = arena_alloc(&a, 8), *large = arena_alloc(&a, n);
        assert_true(small && large);
        memset(large, 1, n);
        assert_int_equal(small[0], 0);
    }
    arena_deinit(&a);
}

static void strings_are_copied_and_ended(void **unused)
{
    (void)unused;
    Arena a = {0};
    char text[] = "half of this";
    char *half = arena_strndup(&a, text, 4), *none = arena_strndup(&a, text, 0), *inner = arena_strndup(&a, "a\0b", 3);
    memset(text, 'x', sizeof text);
    assert_string_equal(half, "half");
    assert_string_equal(none, "");
    assert_memory_equal(inner, "a\0b\0", 4);
    arena_deinit(&a);
}

static void impossible_sizes_give_null_and_the_arena_lives_on(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 1, SIZE_MAX - 15, SIZE_MAX / 2 + 1};
    Arena a = {0};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        assert_null(arena_alloc(&a, sizes[i]));
    assert_null(arena_strndup(&a, "", SIZE_MAX));
    assert_non_null(arena_alloc(&a, 100));
    arena_deinit(&a);
    arena_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(results_are_zeroed_aligned_and_apart),
        cmocka_unit_test(large_results_have_room),
        cmocka_unit_test(strings_are_copied_and_ended),
        cmocka_unit_test(impossible_sizes_give_null_and_the_arena_lives_on),
    };
    return cmocka_run_group_tests_name("arena", tests, NULL, NULL);
}
