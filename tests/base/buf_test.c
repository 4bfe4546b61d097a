#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/base/buf.h"

static void appended_bytes_stay_in_order(void **unused)
{
    (void)unused;
    Buf b = {0};
    Err err;
    for (unsigned i = 0; i < 100000; i++)
        assert_true(buf_append(&b, &i, sizeof i, &err));
    assert_int_equal(b.n, 100000 * sizeof(unsigned));
    for (unsigned i = 0; i < 100000; i++)
        assert_memory_equal(b.data + i * sizeof i, &i, sizeof i);
    buf_deinit(&b);
    assert_null(b.data);
    assert_true(buf_append(&b, NULL, 0, &err));
    buf_deinit(&b);
}

static void what_no_memory_can_hold_is_an_error(void **unused)
{
    (void)unused;
    Buf b = {0};
    Err err;
    assert_true(buf_append(&b, "abc", 3, &err));
    assert_false(buf_reserve(&b, SIZE_MAX - 1, &err));
    assert_int_equal(err.kind, E_MEMORY);
    assert_int_equal(b.n, 3);
    buf_deinit(&b);
}

static void files_are_read_whole(void **unused)
{
    (void)unused;
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 200000};
    char path[] = "/tmp/nibble-buf-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    char *bytes = calloc(1, 200000);
    for (size_t i = 0; i < 200000; i++)
        bytes[i] = (char)(i * 2654435761u >> 13);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        Buf b = {0};
        Err err;
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bytes, sizes[i], 0), sizes[i]);
        assert_true(buf_append(&b, "head", 4, &err));
        assert_true(buf_read_file(&b, path, &err));
        assert_int_equal(b.n, sizes[i] + 4);
        assert_memory_equal(b.data, "head", 4);
        assert_memory_equal(b.data + 4, bytes, sizes[i]);
        buf_deinit(&b);
    }
    free(bytes);
    close(fd);
    unlink(path);
}

static void a_file_that_cannot_be_read_is_named(void **unused)
{
    (void)unused;
    static const char *const paths[] = {"/nowhere/at/all", "/proc/self"};
    for (size_t i = 0; i < 2; i++) {
        Buf b = {0};
        Err err;
        assert_false(buf_read_file(&b, paths[i], &err));
        assert_int_equal(err.kind, E_IO);
        assert_non_null(strstr(err.text, paths[i]));
        buf_deinit(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(appended_bytes_stay_in_order),
        cmocka_unit_test(what_no_memory_can_hold_is_an_error),
        cmocka_unit_test(files_are_read_whole),
        cmocka_unit_test(a_file_that_cannot_be_read_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
