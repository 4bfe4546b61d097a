/* The compiler and its cache. Cases that need NVRTC skip without it. */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/jit/jit.h"
#include "core/jit/jit_include.h"

typedef struct Place {
    char dir[64], cache[96], source[96];
    Jit *jit;
} Place;

static void write_text(const char *dir, const char *name, const char *text)
{
    char path[200];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static const char kernel[] =
    "#include \"tune.cuh\"\n#include \"twice.cuh\"\n"
    "extern \"C\" __global__ void scale(float *x) { x[threadIdx.x] = twice(x[threadIdx.x]) * FACTOR; }\n";

static int setup(void **state)
{
    Err err;
    Place *p = calloc(1, sizeof *p);
    strcpy(p->dir, "/tmp/nibble-jit-XXXXXX");
    assert_non_null(mkdtemp(p->dir));
    snprintf(p->cache, sizeof p->cache, "%s/cache/deep", p->dir);
    snprintf(p->source, sizeof p->source, "%s/scale.cu", p->dir);
    write_text(p->dir, "scale.cu", kernel);
    write_text(p->dir, "twice.cuh", "__device__ inline float twice(float x) { return 2 * x; }\n");
    p->jit = jit_open(p->cache, "kernels/include", &err);
    assert_non_null(p->jit);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    Place *p = *state;
    char command[200];
    jit_close(p->jit);
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    int status = system(command);
    free(p);
    return status;
}

static JitDesc desc_of(const Place *p, const char *constants, const char *arch)
{
    return (JitDesc){.name = "scale/test", .source = p->source, .constants = constants, .arch = arch_find(arch)};
}

static void need_compiler(const Place *p)
{
    char why[400];
    if (jit_compiler(p->jit, why) == 0) {
        print_message("%s\n", why);
        skip();
    }
}

static void every_architecture_compiles_and_is_kept(void **state)
{
    Place *p = *state;
    need_compiler(p);
    for (int i = 0; arch_at(i); i++) {
        Err err;
        JitResult first, again;
        JitDesc d = desc_of(p, "constexpr float FACTOR = 3;\n", arch_at(i)->name);
        bool is_ok = jit_compile(p->jit, &d, &first, &err);
        assert_string_equal(is_ok ? "" : err.text, "");
        char target[32];
        snprintf(target, sizeof target, ".target %s", arch_at(i)->name);
        assert_non_null(strstr(first.ptx, target));
        assert_non_null(strstr(first.ptx, ".entry scale"));
        assert_memory_equal(first.cubin, "\177ELF", 4);
        assert_false(first.is_cached);
        assert_true(jit_compile(p->jit, &d, &again, &err));
        assert_true(again.is_cached);
        assert_string_equal(again.ptx, first.ptx);
        assert_int_equal(again.cubin_bytes, first.cubin_bytes);
        assert_memory_equal(again.cubin, first.cubin, first.cubin_bytes);
        jit_result_deinit(&first);
        jit_result_deinit(&again);
    }
}

/* The key changes when, and only when, an ingredient does. */
static void key_covers_every_ingredient(void **state)
{
    Place *p = *state;
    need_compiler(p);
    Err err;
    JitResult base, other;
    JitDesc d = desc_of(p, "constexpr float FACTOR = 3;\n", "sm_90");
    assert_true(jit_compile(p->jit, &d, &base, &err));
    JitDesc constants = desc_of(p, "constexpr float FACTOR = 4;\n", "sm_90"), arch = desc_of(p, d.constants, "sm_80");
    const JitDesc *changed[] = {&constants, &arch};
    for (int i = 0; i < 2; i++) {
        assert_true(jit_compile(p->jit, changed[i], &other, &err));
        assert_string_not_equal(other.key, base.key);
        assert_false(other.is_cached);
        jit_result_deinit(&other);
    }
    write_text(p->dir, "twice.cuh", "__device__ inline float twice(float x) { return x + x; }\n");
    assert_true(jit_compile(p->jit, &d, &other, &err));
    assert_string_not_equal(other.key, base.key);
    jit_result_deinit(&other);
    write_text(p->dir, "unrelated.cuh", "nonsense\n");
    write_text(p->dir, "twice.cuh", "__device__ inline float twice(float x) { return 2 * x; }\n");
    assert_true(jit_compile(p->jit, &d, &other, &err));
    assert_string_equal(other.key, base.key);
    assert_true(other.is_cached);
    jit_result_deinit(&other);
    jit_result_deinit(&base);
}

static void compiler_messages_reach_the_error(void **state)
{
    Place *p = *state;
    need_compiler(p);
    Err err;
    JitResult r;
    JitDesc d = desc_of(p, "/* no FACTOR */\n", "sm_120a");
    assert_false(jit_compile(p->jit, &d, &r, &err));
    assert_int_equal(err.kind, E_COMPILE);
    assert_non_null(strstr(err.text, "FACTOR"));
    assert_non_null(strstr(err.text, "scale/test"));
}

static void includes_are_followed_or_refused(void **state)
{
    Place *p = *state;
    static const struct {
        const char *text, *words;
        ErrKind kind;
    } cases[] = {
        {"#include <cuda_bf16.h>\n", "scale.cu:1: expected #include \"name.cuh\"", E_FORMAT},
        {"\n# include \"other.h\"\n", "scale.cu:2", E_FORMAT},
        {"#include \"../escape.cuh\"\n", "expected #include", E_FORMAT},
        {"#include \"absent.cuh\"\n", "absent.cuh", E_MISSING},
        {"#include MACRO\n", "expected #include", E_FORMAT},
        {"#include \"half.cuh\n", "expected #include", E_FORMAT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Err err;
        Arena arena = {0};
        JitText text;
        write_text(p->dir, "scale.cu", cases[i].text);
        assert_false(jit_include_collect(&arena, p->source, "kernels/include", "", &text, &err));
        assert_int_equal(err.kind, cases[i].kind);
        if (!strstr(err.text, cases[i].words))
            assert_string_equal(err.text, cases[i].words);
        arena_deinit(&arena);
    }
}

static void a_half_entry_names_the_cure(void **state)
{
    Place *p = *state;
    need_compiler(p);
    Err err;
    JitResult r;
    JitDesc d = desc_of(p, "constexpr float FACTOR = 3;\n", "sm_90");
    assert_true(jit_compile(p->jit, &d, &r, &err));
    char path[300];
    snprintf(path, sizeof path, "%s/kernel.cubin", r.folder);
    assert_int_equal(unlink(path), 0);
    jit_result_deinit(&r);
    assert_false(jit_compile(p->jit, &d, &r, &err));
    assert_int_equal(err.kind, E_FORMAT);
    assert_non_null(strstr(err.text, "remove that folder"));
}

static void a_cache_that_cannot_be_written_is_no_error(void **state)
{
    Place *p = *state;
    need_compiler(p);
    Err err;
    JitResult r;
    write_text(p->dir, "file", "");
    char inside[100];
    snprintf(inside, sizeof inside, "%s/file/cache", p->dir);
    Jit *j = jit_open(inside, "kernels/include", &err);
    assert_non_null(j);
    assert_non_null(strstr(jit_cache_note(j), "not kept"));
    JitDesc d = desc_of(p, "constexpr float FACTOR = 3;\n", "sm_90");
    assert_true(jit_compile(j, &d, &r, &err));
    assert_null(r.folder);
    jit_result_deinit(&r);
    jit_close(j);
}

static void without_the_compiler_a_sentence(void **state)
{
    Place *p = *state;
    Err err;
    JitResult r;
    setenv("NIBBLE_NVRTC", "/nonexistent/libnvrtc.so", 1);
    Jit *j = jit_open(p->cache, "kernels/include", &err);
    JitDesc d = desc_of(p, "constexpr float FACTOR = 3;\n", "sm_90");
    bool is_ok = jit_compile(j, &d, &r, &err);
    unsetenv("NIBBLE_NVRTC");
    assert_false(is_ok);
    assert_int_equal(err.kind, E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "libnvrtc"));
    jit_close(j);
}

static void occupancy_follows_the_scarcest_resource(void **state)
{
    (void)state;
    const Arch *a = arch_find("sm_120a");
    assert_int_equal(arch_occupancy(a, 256, 128, 0), 2);        /* registers: half an SM each */
    assert_int_equal(arch_occupancy(a, 256, 32, 49152), 2);     /* shared memory: two of 48 KiB + 1 KiB */
    assert_int_equal(arch_occupancy(a, 32, 16, 0), 24);         /* blocks */
    assert_int_equal(arch_occupancy(a, 1024, 32, 0), 1);        /* threads: 1536 */
    assert_int_equal(arch_occupancy(a, 256, 32, 101376), 1);
    assert_int_equal(arch_occupancy(a, 256, 32, 101377), 0);
    assert_ptr_equal(arch_of_cc(121), arch_find("sm_121a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(every_architecture_compiles_and_is_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(key_covers_every_ingredient, setup, teardown),
        cmocka_unit_test_setup_teardown(compiler_messages_reach_the_error, setup, teardown),
        cmocka_unit_test_setup_teardown(includes_are_followed_or_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_half_entry_names_the_cure, setup, teardown),
        cmocka_unit_test_setup_teardown(a_cache_that_cannot_be_written_is_no_error, setup, teardown),
        cmocka_unit_test_setup_teardown(without_the_compiler_a_sentence, setup, teardown),
        cmocka_unit_test(occupancy_follows_the_scarcest_resource),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
