#include "tests/test.h"

#include <errno.h>
#include <string.h>

#include "core/base/err.h"

static void every_kind_has_a_name_and_a_status_of_its_own(void **unused)
{
    (void)unused;
    enum { FINDINGS = 1, SCRIPT_FAULT = 70 };
    for (int k = E_NONE + 1; k < ERR_KINDS; k++) {
        assert_int_equal(err_kind(err_name((ErrKind)k)), k);
        assert_in_range(err_status((ErrKind)k), 2, 63);
        assert_int_not_equal(err_status((ErrKind)k), FINDINGS);
        assert_int_not_equal(err_status((ErrKind)k), SCRIPT_FAULT);
        for (int other = E_NONE; other < k; other++)
            assert_int_not_equal(err_status((ErrKind)k), err_status((ErrKind)other));
    }
    assert_int_equal(err_status(E_NONE), 0);
}

static void kinds_and_statuses_are_those_documented(void **unused)
{
    (void)unused;
    static const struct {
        const char *name;
        int status;
    } rows[] = {{"E_USAGE", 2}, {"E_IO", 3}, {"E_FORMAT", 4}, {"E_SHAPE", 5}, {"E_MISSING", 6}, {"E_UNSUPPORTED", 7}, {"E_VALUE", 8},
                {"E_MEMORY", 9}, {"E_SPACE", 10}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        assert_int_equal(err_status(err_kind(rows[i].name)), rows[i].status);
    assert_int_equal(err_kind("NOTHING"), E_NONE);
    assert_int_equal(err_kind(""), E_NONE);
}

static void fail_fills_and_is_false(void **unused)
{
    (void)unused;
    Err err;
    assert_false(fail(&err, E_VALUE, "expected %d, found %s", 3, "4"));
    assert_int_equal(err.kind, E_VALUE);
    assert_string_equal(err.text, "expected 3, found 4");
}

static void errno_decides_the_kind(void **unused)
{
    (void)unused;
    static const struct {
        int code;
        ErrKind want;
    } rows[] = {{ENOSPC, E_SPACE}, {EDQUOT, E_SPACE}, {ENOMEM, E_MEMORY}, {ENOENT, E_IO}, {EACCES, E_IO}, {EROFS, E_IO}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Err err;
        char want[200];
        errno = rows[i].code;
        assert_false(fail_errno(&err, "opening %s", "x"));
        assert_int_equal(err.kind, rows[i].want);
        strcpy(want, "opening x: ");
        strcat(want, strerror(rows[i].code));
        assert_string_equal(err.text, want);
    }
}

static void context_goes_in_front_and_the_kind_stays(void **unused)
{
    (void)unused;
    Err err;
    fail(&err, E_SHAPE, "two rows");
    assert_false(err_in(&err, "tensor %s", "a"));
    assert_false(err_in(&err, "file b"));
    assert_string_equal(err.text, "file b: tensor a: two rows");
    assert_int_equal(err.kind, E_SHAPE);
}

static void long_texts_are_cut_and_end(void **unused)
{
    (void)unused;
    enum { SIZE = sizeof((Err *)0)->text };
    static char text[3 * SIZE];
    struct {
        Err err;
        char guard[8];
    } box;
    memset(text, 'x', sizeof text - 1);
    memset(box.guard, 'G', sizeof box.guard);
    fail(&box.err, E_IO, "%s", text);
    assert_int_equal(strlen(box.err.text), SIZE - 1);
    err_in(&box.err, "front");
    assert_int_equal(strlen(box.err.text), SIZE - 1);
    assert_memory_equal(box.err.text, "front: xxx", 10);
    err_in(&box.err, "%s", text);
    assert_int_equal(strlen(box.err.text), SIZE - 1);
    errno = ENOENT;
    fail_errno(&box.err, "%s", text);
    assert_int_equal(strlen(box.err.text), SIZE - 1);
    assert_memory_equal(box.guard, "GGGGGGGG", 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_has_a_name_and_a_status_of_its_own),
        cmocka_unit_test(kinds_and_statuses_are_those_documented),
        cmocka_unit_test(fail_fills_and_is_false),
        cmocka_unit_test(errno_decides_the_kind),
        cmocka_unit_test(context_goes_in_front_and_the_kind_stays),
        cmocka_unit_test(long_texts_are_cut_and_end),
    };
    return cmocka_run_group_tests_name("err", tests, NULL, NULL);
}
