/* The progress line: what it says, and that it says nothing to a pipe. */
#include "tests/test.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "core/base/progress.h"

static void lines(void **state)
{
    (void)state;
    static const struct {
        Progress p;
        double elapsed_s;
        const char *want;
    } cases[] = {
        {{.label = "scan", .unit = PROGRESS_BYTES, .total = 24000000000, .done = 3200000000}, 1.6,
         "scan  3.2/24.0 GB  13 %  2.0 GB/s  10 s left"},
        {{.label = "eval", .unit = PROGRESS_ITEMS, .total = 32, .done = 8}, 4, "eval  8/32  25 %  2.0/s  12 s left"},
        {{.label = "eval", .unit = PROGRESS_ITEMS, .total = 32, .done = 0}, 4, "eval  0/32  0 %  0.0/s  0 s left"},
        {{.label = "x", .unit = PROGRESS_ITEMS, .total = 0, .done = 0}, 0, "x  0/0  100 %  0.0/s  0 s left"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char line[160];
        assert_string_equal(progress_format(&cases[i].p, cases[i].elapsed_s, line, sizeof line), cases[i].want);
    }
}

static void a_pipe_sees_nothing(void **state)
{
    (void)state;
    int ends[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    dup2(ends[1], STDERR_FILENO);
    Progress p;
    progress_init(&p, "scan", PROGRESS_ITEMS, 10);
    p.drawn_s -= 10; /* due */
#pragma omp parallel for
    for (int i = 0; i < 10; i++)
        progress_add(&p, 1);
    progress_deinit(&p);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    close(saved);
    close(ends[1]);
    char c;
    assert_int_equal(read(ends[0], &c, 1), 0);
    close(ends[0]);
    assert_int_equal(p.done, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(lines), cmocka_unit_test(a_pipe_sees_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
