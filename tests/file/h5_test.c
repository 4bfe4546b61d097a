/* What Lua cannot show of core/file/h5: a disk that fills at any byte, images in memory, parts of datasets. Reading and
 * refusing foreign files is in h5_test.lua. */
#include "tests/test.h"

#include "core/file/h5.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static char folder[] = "/tmp/nibble-h5-XXXXXX";

static const char *at(const char *name)
{
    static char path[4][200];
    static int turn;
    turn = (turn + 1) % 4;
    snprintf(path[turn], sizeof path[turn], "%s/%s", folder, name);
    return path[turn];
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static Tensor *counting(size_t rows, size_t columns)
{
    Err err;
    Tensor *t = tensor_new(DTYPE_F32, 2, (size_t[]){rows, columns}, &err);
    assert_non_null(t);
    for (size_t i = 0; i < rows * columns; i++)
        ((float *)t->data)[i] = (float)i;
    return t;
}

/* A file of two contiguous datasets, a compressed one, groups and attributes; false at the first refusal. */
static bool write_file(const char *path, Err *err)
{
    H5File *f = h5_create(path, err);
    if (!f)
        return false;
    Tensor *t = counting(400, 25);
    char *text = (char *)(uintptr_t)"a text that takes its room in a heap of the file";
    H5Attr attr = {.kind = H5_ATTR_STRING, .n = 1, .strings = &text};
    bool ok = h5_write(f, "a/b/one", t, err) && h5_make_group(f, "c/d", err) && h5_set_attr(f, "c/d", "text", &attr, err) &&
              h5_make(f, "two", DTYPE_F32, 2, t->shape, (H5Layout){40, 6}, err) && h5_write_rows(f, "two", 0, t, err) &&
              h5_make(f, "three", DTYPE_F32, 2, t->shape, (H5Layout){0}, err) && h5_reserve(f, err) &&
              h5_write_rows(f, "three", 0, t, err);
    tensor_free(t);
    if (!ok) {
        Err again; /* after a failure nothing is written any more, and nothing breaks */
        assert_false(h5_make_group(f, "late", &again));
        assert_false(h5_close(f, &again));
        return false;
    }
    return h5_close(f, err);
}

/* Exit status of f run in a process of its own that may write files of at most `bytes`; its exit() runs HDF5's own end. */
static int limited(rlim_t bytes, int (*f)(void))
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){bytes, bytes});
        exit(f());
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

enum { WROTE = 10, REFUSED = 20 };

static int write_limited(void)
{
    Err err = {0};
    bool ok = write_file(at("limited.h5"), &err);
    if (h5_open_objects() != 0 || exists(at("limited.h5.part")) || exists(at("limited.h5")) != ok)
        return 1;
    return ok ? WROTE : err.kind == E_IO && strstr(err.text, "File too large") ? REFUSED : 2;
}

static void disk_full_at_any_size(void **state)
{
    (void)state;
    int wrote = 0, refused = 0;
    for (rlim_t bytes = 0; bytes < 130000; bytes += 977) {
        unlink(at("limited.h5"));
        int status = limited(bytes, write_limited);
        if (status != WROTE && status != REFUSED)
            print_error("a limit of %zu bytes ended with status %d\n", (size_t)bytes, status);
        assert_true(status == WROTE || status == REFUSED);
        wrote += status == WROTE;
        refused += status == REFUSED;
    }
    assert_true(wrote > 5);
    assert_true(refused > 50);
    unlink(at("limited.h5"));
}

static void disk_full_keeps_the_older_file(void **state)
{
    (void)state;
    Err err = {0};
    assert_true(write_file(at("limited.h5"), &err));
    int status = limited(60000, write_limited);
    assert_int_equal(status, 1); /* refused, and the older file is there */
    H5File *f = h5_open(at("limited.h5"), &err);
    assert_non_null(f);
    Tensor *t = h5_read(f, "three", &err);
    assert_non_null(t);
    assert_true(((float *)t->data)[9999] == 9999);
    tensor_free(t);
    assert_true(h5_close(f, &err));
}

static void image_reads_like_the_file(void **state)
{
    (void)state;
    Err err = {0};
    assert_true(write_file(at("image.h5"), &err));
    FILE *file = fopen(at("image.h5"), "rb");
    assert_non_null(file);
    static char bytes[1 << 18];
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    H5File *f = h5_open_image(bytes, n, &err);
    assert_non_null(f);
    assert_true(h5_open_objects() > 0);
    Tensor *t = h5_read_part(f, "/two", (H5Part){39, 3, DTYPE_NONE}, &err);
    assert_non_null(t);
    assert_int_equal(t->shape[0], 3);
    for (size_t i = 0; i < 75; i++)
        assert_true(((float *)t->data)[i] == (float)(39 * 25 + i));
    tensor_free(t);
    assert_null(h5_read_part(f, "two", (H5Part){401, SIZE_MAX, DTYPE_NONE}, &err));
    assert_int_equal(err.kind, E_SHAPE);
    H5Attr attr;
    assert_true(h5_attr(f, "c/d", "text", &attr, &err));
    assert_string_equal(attr.strings[0], "a text that takes its room in a heap of the file");
    h5_attr_free(&attr);
    assert_true(h5_close(f, &err));
    assert_null(h5_open_image(bytes, 100, &err));
    assert_int_equal(err.kind, E_FORMAT);
    assert_int_equal(h5_open_objects(), 0);
}

static void rows_are_written_in_place(void **state)
{
    (void)state;
    Err err = {0};
    H5File *f = h5_create(at("rows.h5"), &err);
    assert_non_null(f);
    uint64_t offset = 0;
    assert_true(h5_make(f, "x", DTYPE_F32, 2, (size_t[]){10, 3}, (H5Layout){0}, &err));
    assert_true(h5_offset(f, "x", &offset, &err));
    Tensor *t = counting(2, 3), *wide = counting(2, 4);
    for (size_t first = 0; first < 10; first += 2)
        assert_true(h5_write_rows(f, "x", first, t, &err));
    assert_false(h5_write_rows(f, "x", 9, t, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_non_null(strstr(err.text, "f32[10,3]"));
    assert_non_null(strstr(err.text, "f32[2,3]"));
    assert_false(h5_write_rows(f, "x", 0, wide, &err));
    assert_int_equal(err.kind, E_SHAPE);
    assert_false(h5_write_rows(f, "y", 0, t, &err));
    assert_int_equal(err.kind, E_MISSING);
    assert_true(h5_close(f, &err));
    FILE *file = fopen(at("rows.h5"), "rb");
    float raw[30];
    assert_int_equal(fseek(file, (long)offset, SEEK_SET), 0);
    assert_int_equal(fread(raw, sizeof *raw, 30, file), 30);
    fclose(file);
    for (int i = 0; i < 30; i++)
        assert_true(raw[i] == (float)(i % 6));
    tensor_free(t);
    tensor_free(wide);
}

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[100];
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disk_full_at_any_size),
        cmocka_unit_test(disk_full_keeps_the_older_file),
        cmocka_unit_test(image_reads_like_the_file),
        cmocka_unit_test(rows_are_written_in_place),
    };
    return cmocka_run_group_tests_name("h5", tests, make_folder, drop_folder);
}
