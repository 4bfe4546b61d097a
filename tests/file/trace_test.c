/* Traces against two readers that are not ours: a writer is killed at 100 random moments, and each file it leaves must open
 * with plain h5py (tests/file/trace_check.py) and h5dump and hold every row that is marked done. */
#include "tests/test.h"

#include "core/file/trace.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CAPACITY = 240, KILLS = 100, EXPERTS = 6, MIXER = 8, HALF = 5, LOGITS = 40 };

static char folder[] = "/tmp/nibble-trace-XXXXXX";

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

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

/* ---- a trace whose content is a function of row and tap; trace_check.py knows the same functions ---- */

static const TraceTap taps[] = {
    {.name = "layer00/mixer", .dtype = DTYPE_F32, .rank = 1, .shape = {MIXER}, .labels = {"hidden"}},
    {.name = "layer00/router_experts", .dtype = DTYPE_I32, .rank = 2, .shape = {2, 3}, .labels = {NULL, "top_k"}},
    {.name = "half", .dtype = DTYPE_BF16, .rank = 1, .shape = {HALF}},
    {.name = "logits", .dtype = DTYPE_F32, .rank = 1, .shape = {LOGITS}, .labels = {"vocab"}, .unit = "nat", .is_partial = true},
};
enum { TAPS = sizeof taps / sizeof taps[0] };

static TraceWriter *create(const char *path, size_t capacity, Err *err)
{
    char *text = (char *)(uintptr_t)"test";
    TraceMeta meta = {"run", {.kind = H5_ATTR_STRING, .n = 1, .strings = &text}};
    return trace_create(&(TraceDesc){.path = path, .capacity = capacity, .taps_n = TAPS, .taps = taps, .meta_n = 1,
                                     .meta = &meta, .deflate = 1}, err);
}

static void fill_row(size_t row, float *mixer, int32_t *experts, uint16_t *half, float *logits)
{
    for (size_t i = 0; i < MIXER; i++)
        mixer[i] = (float)(row * MIXER + i) + 0.5f;
    for (size_t i = 0; i < EXPERTS; i++)
        experts[i] = (int32_t)(row * EXPERTS + i);
    for (size_t i = 0; i < HALF; i++)
        half[i] = (uint16_t)(row + i);
    for (size_t i = 0; i < LOGITS; i++)
        logits[i] = (float)row - (float)i;
}

static TraceRow place_of(size_t row)
{
    return (TraceRow){(int32_t)(row % 3), (int32_t)(row / 3), (int32_t)(row / 2), 1000 - (int32_t)row};
}

/* Writes rows_n rows from first on, as one step of a run would; logits only for every fourth row. */
static bool write_step(TraceWriter *w, size_t first, size_t rows_n, Err *err)
{
    float mixer[4][MIXER], logits[4][LOGITS];
    int32_t experts[4][EXPERTS];
    uint16_t half[4][HALF];
    TraceRow rows[4];
    assert_true(rows_n <= 4);
    for (size_t i = 0; i < rows_n; i++) {
        fill_row(first + i, mixer[i], experts[i], half[i], logits[i]);
        rows[i] = place_of(first + i);
    }
    for (size_t i = 0; i < rows_n; i++)
        if ((first + i) % 4 == 3 && !trace_put(w, 3, first + i, 1, logits[i], err))
            return false;
    return trace_put(w, 2, first, rows_n, half, err) && trace_put(w, 0, first, rows_n, mixer, err) &&
           trace_put(w, 1, first, rows_n, experts, err) && trace_finish(w, first, rows_n, rows, err);
}

/* Rows that trace_finish has returned for, in memory that outlives a killed writer. */
static volatile size_t *told_done;

static bool write_rows(TraceWriter *w, size_t rows_n, Err *err)
{
    for (size_t row = 0, n; row < rows_n; row += n) {
        n = 1 + row % 4;
        n = n < rows_n - row ? n : rows_n - row;
        if (!write_step(w, row, n, err))
            return false;
        *told_done = row + n;
    }
    return true;
}

/* Opens a trace with our own reader and checks every done row; returns how many there are. */
static size_t check(const char *path, bool *is_finished)
{
    Err err = {0};
    TraceReader *r = trace_open(path, &err);
    if (!r)
        print_error("%s\n", err.text);
    assert_non_null(r);
    assert_int_equal(r->taps_n, TAPS);
    size_t *done = calloc(r->rows_n + 1, sizeof *done), n = 0;
    for (size_t i = 0; i < r->rows_n; i++)
        if (r->done[i])
            done[n++] = i;
    Tensor *t[TAPS];
    uint8_t *present[TAPS];
    for (int tap = 0; tap < TAPS; tap++) {
        assert_string_equal(r->taps[tap].name, taps[tap].name);
        assert_int_equal(r->taps[tap].is_partial, taps[tap].is_partial);
        assert_int_equal(r->taps[tap].dtype, taps[tap].dtype);
        assert_non_null(t[tap] = trace_read(r, tap, n, done, &err));
        assert_true(trace_present(r, tap, &present[tap], &err));
    }
    for (size_t i = 0; i < n; i++) {
        float mixer[MIXER], logits[LOGITS];
        int32_t experts[EXPERTS];
        uint16_t half[HALF];
        TraceRow want = place_of(done[i]);
        fill_row(done[i], mixer, experts, half, logits);
        assert_memory_equal(&r->rows[done[i]], &want, sizeof want);
        assert_memory_equal((float *)t[0]->data + i * MIXER, mixer, sizeof mixer);
        assert_memory_equal((int32_t *)t[1]->data + i * EXPERTS, experts, sizeof experts);
        assert_memory_equal((uint16_t *)t[2]->data + i * HALF, half, sizeof half);
        assert_int_equal(present[0][done[i]], 1);
        assert_int_equal(present[3][done[i]], done[i] % 4 == 3);
        if (done[i] % 4 == 3)
            assert_memory_equal((float *)t[3]->data + i * LOGITS, logits, sizeof logits);
    }
    for (int tap = 0; tap < TAPS; tap++) {
        tensor_free(t[tap]);
        free(present[tap]);
    }
    *is_finished = r->is_finished;
    free(done);
    trace_free(r);
    assert_int_equal(h5_open_objects(), 0);
    return n;
}

/* ---- whole runs ---- */

static void rows_come_back(void **state)
{
    (void)state;
    Err err = {0};
    bool is_finished;
    TraceWriter *w = create(at("run.h5"), CAPACITY, &err);
    assert_non_null(w);
    assert_int_equal(check(at("run.h5"), &is_finished), 0);
    assert_true(write_rows(w, 37, &err));
    assert_int_equal(check(at("run.h5"), &is_finished), 37); /* while it is being written */
    assert_false(is_finished);
    double rate = 12.5;
    TraceMeta meta = {"rows_per_s", {.kind = H5_ATTR_REAL, .n = 1, .reals = &rate}};
    assert_true(trace_close(w, 1, &meta, &err));
    assert_int_equal(check(at("run.h5"), &is_finished), 37);
    assert_true(is_finished);
    assert_false(exists(at("run.h5.part")));
    H5File *f = h5_open(at("run.h5"), &err);
    H5Attr attr;
    H5Info info;
    assert_true(h5_attr(f, "meta", "rows_per_s", &attr, &err));
    assert_true(attr.kind == H5_ATTR_REAL && attr.reals[0] == 12.5);
    h5_attr_free(&attr);
    assert_true(h5_info(f, "taps/logits", &info, &err));
    assert_int_equal(info.shape[0], 37); /* cut to the rows used */
    assert_true(h5_close(f, &err));
}

static void long_rows_and_no_compression(void **state)
{
    (void)state;
    Err err = {0};
    enum { WIDTH = 300000 };
    static float wide[WIDTH];
    TraceTap tap = {.name = "wide", .dtype = DTYPE_F32, .rank = 1, .shape = {WIDTH}};
    for (int deflate = 0; deflate < 2; deflate++) {
        TraceWriter *w = trace_create(&(TraceDesc){.path = at("wide.h5"), .capacity = 30, .taps_n = 1, .taps = &tap,
            .deflate = deflate}, &err);
        assert_non_null(w);
        for (size_t row = 0; row < 21; row++) { /* several blocks of the copy at the end */
            for (size_t i = 0; i < WIDTH; i++)
                wide[i] = (float)(row * 3 + i);
            assert_true(trace_put(w, 0, row, 1, wide, &err));
            TraceRow place = {0, (int32_t)row, 0, 0};
            assert_true(trace_finish(w, row, 1, &place, &err));
        }
        assert_true(trace_close(w, 0, NULL, &err));
        TraceReader *r = trace_open(at("wide.h5"), &err);
        assert_non_null(r);
        Tensor *t = trace_read(r, 0, 3, (size_t[]){20, 7, 8}, &err);
        assert_non_null(t);
        for (size_t i = 0; i < WIDTH; i++) {
            assert_true(((float *)t->data)[i] == (float)(60 + i));
            assert_true(((float *)t->data)[2 * WIDTH + i] == (float)(24 + i));
        }
        tensor_free(t);
        trace_free(r);
        struct stat st;
        assert_int_equal(stat(at("wide.h5"), &st), 0);
        assert_true(deflate ? st.st_size < 21 * WIDTH * 4 / 2 : st.st_size > 21 * WIDTH * 4);
    }
    unlink(at("wide.h5"));
}

static void misuse_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *name, *other;
    } names[] = {{"", "x"}, {"/a", "x"}, {"a/", "x"}, {"a//b", "x"}, {"../a", "x"}, {"a/./b", "x"}, {"a b", "x"},
                 {"a", "a"}, {"a/b", "a"}, {"a", "a/b"}};
    Err err = {0};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        TraceTap two[] = {{.name = names[i].name, .dtype = DTYPE_F32}, {.name = names[i].other, .dtype = DTYPE_F32}};
        assert_null(trace_create(&(TraceDesc){.path = at("bad.h5"), .capacity = 1, .taps_n = 2, .taps = two}, &err));
        assert_int_equal(err.kind, E_USAGE);
        assert_false(exists(at("bad.h5")) || exists(at("bad.h5.part")));
    }
    assert_null(create(at("bad.h5"), 0, &err));
    assert_int_equal(err.kind, E_USAGE);
    assert_null(create(at("bad.h5"), SIZE_MAX / 8, &err));
    assert_int_equal(err.kind, E_SHAPE);
    TraceWriter *w = create(at("misuse.h5"), 8, &err);
    assert_non_null(w);
    TraceRow rows[8] = {{0, 0, 0, 0}};
    float mixer[8 * MIXER] = {0};
    assert_false(trace_finish(w, 0, 1, rows, &err));
    assert_non_null(strstr(err.text, "tap layer00/mixer was not written"));
    assert_false(trace_put(w, 0, 7, 2, mixer, &err));
    assert_non_null(strstr(err.text, "room for 8 rows"));
    assert_false(trace_put(w, 0, SIZE_MAX, 2, mixer, &err));
    assert_true(write_rows(w, 4, &err));
    assert_false(trace_put(w, 0, 2, 4, mixer, &err));
    assert_non_null(strstr(err.text, "row 2 is done"));
    assert_false(trace_finish(w, 3, 1, rows, &err));
    assert_int_equal(trace_tap(w, "half"), 2);
    assert_int_equal(trace_tap(w, "nothing"), -1);
    trace_discard(w);
    bool is_finished;
    assert_int_equal(check(at("misuse.h5"), &is_finished), 4); /* the finished rows stay */
    trace_discard(create(at("misuse2.h5"), 8, &err));
    assert_false(exists(at("misuse2.h5")));
}

static void another_run_under_the_name_is_noticed(void **state)
{
    (void)state;
    Err err = {0};
    bool is_finished;
    TraceWriter *first = create(at("same.h5"), 20, &err), *second = create(at("same.h5"), 20, &err);
    assert_true(first && second);
    assert_true(write_rows(first, 20, &err) && write_rows(second, 9, &err));
    assert_false(trace_close(first, 0, NULL, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "replaced by another"));
    assert_true(trace_close(second, 0, NULL, &err));
    assert_int_equal(check(at("same.h5"), &is_finished), 9);
}

/* ---- killed ---- */

/* Runs one trace after the other under the same name until it is killed. */
_Noreturn static void write_forever(const char *path)
{
    Err err;
    for (;;) {
        *told_done = 0;
        TraceWriter *w = create(path, CAPACITY, &err);
        if (!w || !write_rows(w, CAPACITY, &err) || !trace_close(w, 0, NULL, &err))
            _exit(1);
    }
}

static void kill_writer(const char *path, uint64_t delay_us)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        write_forever(path);
    struct timespec delay = {(time_t)(delay_us / 1000000), (long)(delay_us % 1000000) * 1000};
    nanosleep(&delay, NULL);
    int status;
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Microseconds that one whole run takes here, so that the moments spread over all of it. */
static uint64_t run_us(void)
{
    struct timespec a, b;
    Err err;
    clock_gettime(CLOCK_MONOTONIC, &a);
    TraceWriter *w = create(at("timed.h5"), CAPACITY, &err);
    assert_true(w && write_rows(w, CAPACITY, &err) && trace_close(w, 0, NULL, &err));
    clock_gettime(CLOCK_MONOTONIC, &b);
    return (uint64_t)((b.tv_sec - a.tv_sec) * 1000000 + (b.tv_nsec - a.tv_nsec) / 1000);
}

static void killed_at_random_moments(void **state)
{
    (void)state;
    const char *given = getenv("NIBBLE_SEED");
    uint64_t seed = given ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 2654435761u + 1, span = 3 * run_us();
    size_t broken_off = 0, finished = 0, absent = 0, rows = 0;
    static char command[KILLS * 80 + 200];
    print_message("# seed %llu (NIBBLE_SEED repeats it), kills within %llu us\n", (unsigned long long)seed,
                  (unsigned long long)span);
    size_t used = (size_t)snprintf(command, sizeof command, "/usr/bin/python3 tests/file/trace_check.py >'%s'", at("check.txt"));
    for (int i = 0; i < KILLS; i++) {
        char name[40];
        snprintf(name, sizeof name, "killed%03d.h5", i);
        for (kill_writer(at(name), 1 + next_random(&seed) % span); !exists(at(name)); absent++)
            kill_writer(at(name), 1 + next_random(&seed) % span);
        bool is_finished;
        size_t told = *told_done, n = check(at(name), &is_finished);
        assert_true(n >= told); /* at most the step under way is lost */
        rows += n;
        finished += is_finished;
        broken_off += !is_finished;
        char dump[600];
        snprintf(dump, sizeof dump, "h5dump '%s' >'%s' 2>&1 && grep -q 'DATASET \"done\"' '%s'", at(name), at("dump.txt"),
                 at("dump.txt"));
        assert_int_equal(system(dump), 0);
        used += (size_t)snprintf(command + used, sizeof command - used, " '%s'", at(name));
        /* What the killed run left beside the file must not disturb the next one. */
        if (i % 10 == 0) {
            Err err = {0};
            TraceWriter *w = create(at(name), 5, &err);
            assert_true(w && write_rows(w, 5, &err) && trace_close(w, 0, NULL, &err));
            assert_int_equal(check(at(name), &is_finished), 5);
            char part[60];
            snprintf(part, sizeof part, "%s.part", name);
            assert_false(exists(at(part)));
        }
    }
    print_message("# %zu broken off, %zu finished, %zu more killed before the file appeared; %zu rows checked\n", broken_off,
                  finished,
                  absent, rows);
    assert_int_equal(system(command), 0);
    char lines[300];
    snprintf(lines, sizeof lines, "test $(wc -l <'%s') = %zu", at("check.txt"), broken_off + finished);
    assert_int_equal(system(lines), 0);
    assert_true(broken_off >= 20 && rows > 1000);
}

/* ---- disks that are full, folders that cannot be written ---- */

static void no_room_for_the_run(void **state)
{
    (void)state;
    Err err = {0};
    bool is_finished;
    char disk[200];
    snprintf(disk, sizeof disk, "%s", at("disk"));
    assert_int_equal(mkdir(disk, 0755), 0);
    if (mount("none", disk, "tmpfs", 0, "size=1m") != 0) {
        print_message("# a small disk cannot be mounted here: %s\n", strerror(errno));
        skip();
    }
    TraceWriter *w = create(at("disk/a.h5"), 100, &err);
    assert_true(w && write_rows(w, 100, &err) && trace_close(w, 0, NULL, &err));
    TraceWriter *large = create(at("disk/a.h5"), 100000, &err);
    assert_null(large);
    assert_int_equal(err.kind, E_SPACE);
    assert_non_null(strstr(err.text, "disk/a.h5.part"));
    assert_false(exists(at("disk/a.h5.part")));
    assert_int_equal(check(at("disk/a.h5"), &is_finished), 100); /* the older trace is as it was */
    assert_int_equal(h5_open_objects(), 0);
    umount(disk);
}

/* The compressed copy does not fit: the trace stays as it is, with all its rows. */
static void no_room_for_the_end(void **state)
{
    (void)state;
    Err err = {0};
    enum { ROWS = 400, WIDTH = 400 };
    static float noise[WIDTH];
    uint64_t seed = 88172645463325252u;
    char disk[200];
    snprintf(disk, sizeof disk, "%s", at("disk"));
    if (mount("none", disk, "tmpfs", 0, "size=1m") != 0)
        skip();
    TraceTap tap = {.name = "noise", .dtype = DTYPE_F32, .rank = 1, .shape = {WIDTH}};
    TraceWriter *w = trace_create(&(TraceDesc){.path = at("disk/b.h5"), .capacity = ROWS, .taps_n = 1, .taps = &tap,
        .deflate = 1}, &err);
    assert_non_null(w);
    for (size_t row = 0; row < ROWS; row++) {
        for (size_t i = 0; i < WIDTH; i++)
            noise[i] = (float)(next_random(&seed) >> 40) / 3.0f;
        TraceRow place = {0, (int32_t)row, 0, 0};
        assert_true(trace_put(w, 0, row, 1, noise, &err) && trace_finish(w, row, 1, &place, &err));
    }
    assert_false(trace_close(w, 0, NULL, &err));
    assert_int_equal(err.kind, E_SPACE);
    assert_non_null(strstr(err.text, "keeps its finished rows"));
    assert_false(exists(at("disk/b.h5.part")));
    TraceReader *r = trace_open(at("disk/b.h5"), &err);
    assert_non_null(r);
    assert_false(r->is_finished);
    Tensor *t = trace_read(r, 0, 1, (size_t[]){ROWS - 1}, &err);
    assert_memory_equal(t->data, noise, sizeof noise);
    tensor_free(t);
    trace_free(r);
    assert_int_equal(h5_open_objects(), 0);
    umount(disk);
}

static void files_larger_than_allowed(void **state)
{
    (void)state;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        signal(SIGXFSZ, SIG_IGN);
        setrlimit(RLIMIT_FSIZE, &(struct rlimit){40000, 40000});
        Err err = {0};
        bool is_refused = !create(at("limit.h5"), 100000, &err) && err.kind == E_IO && strstr(err.text, "File too large");
        exit(is_refused && !exists(at("limit.h5")) && !exists(at("limit.h5.part")) && h5_open_objects() == 0 ? 33 : 1);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 33);
}

static void folders_that_cannot_be_written(void **state)
{
    (void)state;
    Err err = {0};
    assert_null(create(at("nowhere/x.h5"), 5, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "nowhere/x.h5.part"));
    char disk[200];
    snprintf(disk, sizeof disk, "%s", at("disk"));
    if (mount("none", disk, "tmpfs", MS_RDONLY, "size=1m") != 0)
        skip();
    assert_null(create(at("disk/x.h5"), 5, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "Read-only file system"));
    umount(disk);
}

/* ---- reading what is none, or broken ---- */

static void set_int(H5File *f, const char *p, const char *name, int64_t value)
{
    Err err;
    assert_true(h5_set_attr(f, p, name, &(H5Attr){.kind = H5_ATTR_INT, .n = 1, .ints = &value}, &err));
}

static void set_text(H5File *f, const char *p, const char *name, const char *text, bool is_list)
{
    Err err;
    char *s = (char *)(uintptr_t)text;
    assert_true(h5_set_attr(f, p, name, &(H5Attr){.kind = H5_ATTR_STRING, .is_list = is_list, .n = 1, .strings = &s}, &err));
}

static void put(H5File *f, const char *p, DType dtype, int rank, size_t rows)
{
    Err err;
    Tensor *t = tensor_new(dtype, rank, (size_t[]){rows, 2, 2, 2, 2}, &err);
    assert_true(h5_write(f, p, t, &err));
    tensor_free(t);
}

/* One thing of a small trace is other than it should be; the reader names it. */
static void broken_traces_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *fault;
        ErrKind kind;
        const char *words;
    } cases[] = {
        {"none", E_NONE, ""},
        {"no meta", E_FORMAT, "is not a trace"},
        {"format", E_FORMAT, "format is not"},
        {"version", E_UNSUPPORTED, "version 2"},
        {"no done", E_MISSING, "rows/done"},
        {"done of 2", E_FORMAT, "row 0 is 2"},
        {"done i32", E_FORMAT, "/rows/done: expected one U8 a row, found i32[4]"},
        {"seq short", E_FORMAT, "/rows/seq: expected one I32 a row, found i32[3]"},
        {"pos 2-d", E_FORMAT, "/rows/pos"},
        {"no tap", E_MISSING, "taps/t"},
        {"tap rows", E_FORMAT, "/taps/t: expected numbers for 4 rows"},
        {"tap name", E_FORMAT, "no name for a tap"},
        {"taps one", E_FORMAT, "expected a list"},
        {"present", E_FORMAT, "/present/t"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const char *fault = cases[i].fault;
#define IS(name) (strcmp(fault, name) == 0)
        Err err = {0};
        H5File *f = h5_create(at("broken.h5"), &err);
        assert_non_null(f);
        if (!IS("no meta")) {
            assert_true(h5_make_group(f, "meta", &err));
            set_text(f, "meta", "format", IS("format") ? "other" : "nibble trace", false);
            set_int(f, "meta", "version", IS("version") ? 2 : 1);
            int64_t no = 0;
            assert_true(h5_set_attr(f, "meta", "finished", &(H5Attr){.kind = H5_ATTR_BOOL, .n = 1, .ints = &no}, &err));
            set_text(f, "meta", "taps", IS("tap name") ? "../t" : "t", !IS("taps one"));
        }
        put(f, "rows/seq", DTYPE_I32, 1, IS("seq short") ? 3 : 4);
        put(f, "rows/pos", DTYPE_I32, IS("pos 2-d") ? 2 : 1, 4);
        put(f, "rows/step", DTYPE_I32, 1, 4);
        put(f, "rows/token", DTYPE_I32, 1, 4);
        if (!IS("no done"))
            put(f, "rows/done", IS("done i32") ? DTYPE_I32 : DTYPE_U8, 1, 4);
        if (IS("done of 2")) {
            Tensor *t = tensor_new(DTYPE_U8, 1, (size_t[]){1}, &err);
            *(uint8_t *)t->data = 2;
            assert_true(h5_write_rows(f, "rows/done", 0, t, &err));
            tensor_free(t);
        }
        if (!IS("no tap"))
            put(f, "taps/t", DTYPE_F32, 2, IS("tap rows") ? 5 : 4);
        if (IS("present"))
            put(f, "present/t", DTYPE_U8, 1, 3);
#undef IS
        assert_true(h5_close(f, &err));
        TraceReader *r = trace_open(at("broken.h5"), &err);
        uint8_t *present = NULL;
        bool ok = r && trace_present(r, 0, &present, &err);
        if (ok != (cases[i].kind == E_NONE) || (!ok && (err.kind != cases[i].kind || !strstr(err.text, cases[i].words))))
            print_error("%s: %s\n", fault, err.text);
        assert_int_equal(ok, cases[i].kind == E_NONE);
        if (!ok) {
            assert_int_equal(err.kind, cases[i].kind);
            assert_non_null(strstr(err.text, cases[i].words));
        }
        free(present);
        trace_free(r);
        assert_int_equal(h5_open_objects(), 0);
    }
}

static int make_folder(void **state)
{
    (void)state;
    told_done = mmap(NULL, sizeof *told_done, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return told_done != MAP_FAILED && mkdtemp(folder) ? 0 : -1;
}

static int drop_folder(void **state)
{
    (void)state;
    char command[100];
    umount2(at("disk"), MNT_DETACH); /* left by a test that failed */
    snprintf(command, sizeof command, "rm -rf '%s'", folder);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_back),
        cmocka_unit_test(long_rows_and_no_compression),
        cmocka_unit_test(misuse_is_refused),
        cmocka_unit_test(another_run_under_the_name_is_noticed),
        cmocka_unit_test(killed_at_random_moments),
        cmocka_unit_test(no_room_for_the_run),
        cmocka_unit_test(no_room_for_the_end),
        cmocka_unit_test(files_larger_than_allowed),
        cmocka_unit_test(folders_that_cannot_be_written),
        cmocka_unit_test(broken_traces_are_refused),
    };
    return cmocka_run_group_tests_name("trace", tests, make_folder, drop_folder);
}
