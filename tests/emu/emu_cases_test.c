/* Runs tests/ptx/cases (format: tests/ptx/README.md) on every instruction set, fast and checked; every row of the instruction
 * table must be in one of them. */
#include <ctype.h>
#include <dirent.h>

#include "core/ptx/ptx_parse.h"
#include "tests/emu/emu_fixture.h"

enum { BUFFERS_MAX = 600, VALUES_MAX = 1024 };

typedef struct Buffer {
    char kind;                /* i, o, b: in, out, both; s, f, t: sum, fma, truncate of the out before */
    unsigned width, ulp, near;
    size_t n;
    uint64_t *values;
    bool *is_nan;
    EmuPtr ptr;
} Buffer;

typedef struct Case {
    char *text;
    size_t text_n;
    unsigned block;
    Buffer buffers[BUFFERS_MAX];
    unsigned buffers_n;
    EmuAccumulate accumulate;
    bool has_orders;          /* it says what each way to add gives */
} Case;

static bool covered[PTX_FORMS];

static void add_value(Buffer *b, const char *word)
{
    assert_true(b->n < VALUES_MAX);
    b->is_nan[b->n] = strcmp(word, "nan") == 0;
    b->values[b->n] = b->is_nan[b->n] ? 0 : strtoull(word, NULL, 16);
    b->n++;
}

static void read_head(const char *path, Case *c)
{
    c->text = read_text(path, &c->text_n);
    c->block = 32;
    char *copy = strdup(c->text), *rest = copy;
    for (char *line; (line = strsep(&rest, "\n")) && strncmp(line, "//", 2) == 0;) {
        char kind[10], name[40], bound[8] = "";
        unsigned width, by = 0;
        if (sscanf(line, "// launch: block %u", &c->block) == 1)
            continue;
        if (strncmp(line, "//  ", 4) == 0 && c->buffers_n) {
            for (char *word = strtok(line + 4, " "); word; word = strtok(NULL, " "))
                add_value(c->buffers + c->buffers_n - 1, word);
        } else if (sscanf(line, "// %9s %39s b%u %7s %u", kind, name, &width, bound, &by) >= 3) {
            assert_true(c->buffers_n < BUFFERS_MAX && strchr("iosft", *kind) && (width == 8 || width == 16 || width == 32 || width == 64));
            bool is_both = strcmp(kind, "inout") == 0, is_ulp = strcmp(bound, "ulp") == 0;
            c->has_orders |= *kind == 'f';
            c->buffers[c->buffers_n++] = (Buffer){.kind = is_both ? 'b' : *kind, .width = width / 8, .ulp = is_ulp ? by : 0,
                                                  .near = is_ulp ? 0 : by, .values = calloc(VALUES_MAX, 8), .is_nan = calloc(VALUES_MAX, 1)};
        }
    }
    free(copy);
}

static bool is_argument(const Buffer *b)
{
    return strchr("iob", b->kind) != NULL;
}

/* Of an out whose sums round: the list behind it that says what an order gives, or itself for the exact sum. */
static const Buffer *expected(const Case *c, const Buffer *b)
{
    if (!b->near)
        return b;
    for (char kind = c->accumulate == EMU_ACCUMULATE_FAST ? 'f' : 't'; c->accumulate != EMU_ACCUMULATE_EXACT && b->kind != kind; b++)
        assert_true(b + 1 < c->buffers + c->buffers_n);
    return b;
}

static bool matches(const Buffer *b, size_t i, uint64_t got)
{
    uint64_t want = b->values[i];
    if (b->is_nan[i])
        return b->width == 2 ? (got & 0x7FFF) > 0x7F80 : b->width == 4 ? (got & 0x7FFFFFFF) > 0x7F800000 : (got & INT64_MAX) > 0x7FF0000000000000;
    if (got == want)
        return true;
    uint64_t sign = 1ull << (8 * b->width - 1), distance = got > want ? got - want : want - got;
    return (got & sign) == (want & sign) && distance <= b->ulp;
}

static void upload_buffers(Emu *emu, Case *c)
{
    for (unsigned i = 0; i < c->buffers_n; i++) {
        Buffer *b = c->buffers + i;
        if (!is_argument(b))
            continue;
        size_t n = b->kind == 'b' ? b->n / 2 : b->n;
        uint8_t *bytes = calloc(n, b->width);
        for (size_t k = 0; k < n; k++)
            memcpy(bytes + k * b->width, b->values + k, b->width);
        b->ptr = upload(emu, "buffer", b->kind == 'o' ? NULL : bytes, n * b->width);
        if (b->kind == 'o')
            MUST(emu_fill(emu, b->ptr, 0xEE, n * b->width, &err));
        free(bytes);
    }
}

static void check_buffers(Emu *emu, const Case *c, const char *path, const char *how)
{
    for (unsigned i = 0; i < c->buffers_n; i++) {
        const Buffer *b = c->buffers + i, *want = expected(c, b);
        if (!is_argument(b))
            continue;
        size_t first = b->kind == 'b' ? b->n / 2 : 0, n = b->n - first;
        uint8_t *bytes = malloc(n * b->width);
        MUST(emu_read(emu, bytes, b->ptr, n * b->width, &err));
        for (size_t k = 0; k < n; k++) {
            uint64_t got = 0;
            memcpy(&got, bytes + k * b->width, b->width);
            if (!matches(want, first + k, got))
                fail_msg("%s (%s, sums %d): buffer %u, element %zu is 0x%llx, expected %s0x%llx", path, how, (int)c->accumulate, i, k,
                         (unsigned long long)got, want->is_nan[first + k] ? "nan " : "", (unsigned long long)want->values[first + k]);
        }
        free(bytes);
    }
}

static void run_once(Emu *emu, const EmuFunc *f, Case *c, const char *path, EmuMode mode)
{
    static EmuReport report;
    EmuArg args[BUFFERS_MAX];
    unsigned args_n = 0;
    upload_buffers(emu, c);
    for (unsigned i = 0; i < c->buffers_n; i++)
        if (is_argument(c->buffers + i))
            args[args_n++] = (EmuArg){&c->buffers[i].ptr, 8};
    EmuLaunch launch = {.func = f, .block = {c->block, 1, 1}, .args = args, .args_n = args_n, .mode = mode, .accumulate = c->accumulate};
    if (!emu_launch(emu, &launch, &report, &err))
        fail_msg("%s: %s", path, err.text);
    if (report.findings_n)
        fail_msg("%s: %s", path, report.findings[0].text);
    check_buffers(emu, c, path, emu_isa_name(emu_isa(emu)));
}

static void run_case(const char *path, EmuIsa isa, EmuMode mode)
{
    Case *c = calloc(1, sizeof *c);
    read_head(path, c);
    Emu *emu = device(NULL, 1, isa);
    EmuModule *m = emu_module_load(emu, c->text, c->text_n, &err);
    if (!m)
        fail_msg("%s: %s", path, err.text);
    const EmuFunc *f = emu_func(m, "k", &err);
    if (!f)
        fail_msg("%s: %s", path, err.text);
    for (int how = 0; how < (c->has_orders ? EMU_ACCUMULATES : 1); how++) {
        c->accumulate = (EmuAccumulate)how;
        run_once(emu, f, c, path, mode);
    }
    for (unsigned i = 0; i < c->buffers_n; i++) {
        free(c->buffers[i].values);
        free(c->buffers[i].is_nan);
    }
    emu_module_unload(m);
    emu_free(emu);
    free(c->text);
    free(c);
}

static void note_coverage(const char *path)
{
    size_t n;
    char *text = read_text(path, &n);
    PtxModule *m = ptx_parse_module(text, n, &err);
    if (!m)
        fail_msg("%s: %s", path, err.text);
    for (uint32_t i = 0; i < m->funcs_n; i++)
        for (uint32_t k = 0; k < m->funcs[i]->insns_n; k++)
            covered[m->funcs[i]->insns[k].form] = true;
    ptx_free(m);
    free(text);
}

static unsigned each_case(void (*visit)(const char *path))
{
    unsigned n = 0;
    struct dirent **names;
    int count = scandir("tests/ptx/cases", &names, NULL, alphasort);
    assert_true(count > 0);
    for (int i = 0; i < count; i++) {
        char path[300];
        snprintf(path, sizeof path, "tests/ptx/cases/%s", names[i]->d_name);
        if (strstr(names[i]->d_name, ".ptx")) {
            visit(path);
            n++;
        }
        free(names[i]);
    }
    free(names);
    return n;
}

static EmuIsa running_isa;
static EmuMode running_mode;

static void run_one(const char *path)
{
    run_case(path, running_isa, running_mode);
}

static void cases_on(EmuIsa isa, EmuMode mode)
{
    if (!has_isa(isa))
        skip();
    running_isa = isa;
    running_mode = mode;
    assert_true(each_case(run_one) >= 400);
}

static void cases_plain(void **state)
{
    (void)state;
    cases_on(EMU_ISA_PLAIN, EMU_FAST);
}

static void cases_avx2(void **state)
{
    (void)state;
    cases_on(EMU_ISA_AVX2, EMU_FAST);
}

static void cases_avx512(void **state)
{
    (void)state;
    cases_on(EMU_ISA_AVX512, EMU_FAST);
}

static void cases_checked(void **state)
{
    (void)state;
    cases_on(EMU_ISA_AUTO, EMU_CHECKED);
}

/* trap and brkpt end a kernel, which is a finding: they have no case. */
static void every_row_of_the_table_has_a_case(void **state)
{
    (void)state;
    each_case(note_coverage);
    for (int i = 0; i < PTX_FORMS; i++) {
        if (i == PTX_OP_TRAP || i == PTX_OP_BRKPT)
            continue;
        if (!covered[i])
            fail_msg("no case has a %s", ptx_op[i].form);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_plain),   cmocka_unit_test(cases_avx2),
        cmocka_unit_test(cases_avx512),  cmocka_unit_test(cases_checked),
        cmocka_unit_test(every_row_of_the_table_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
