/* The reader of cubins on one made by hand, on broken ones, and on what the compiler makes (skips without it). */
#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/jit/cubin.h"
#include "core/jit/jit.h"
#include "tests/jit/cubin_make.h"

static const CubinKernel *find(const CubinKernel *kernels, int n, const char *name)
{
    for (int i = 0; i < n; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    fail_msg("there is no kernel %s", name);
    return NULL;
}

static void kernels_are_read(void **unused)
{
    (void)unused;
    unsigned char file[MADE_BYTES];
    CubinKernel k[CUBIN_KERNELS_MAX];
    unsigned counts[CUBIN_OPCODES];
    Err err;
    size_t n = made_cubin(file);
    assert_int_equal(cubin_read(file, n, k, &err), 2);
    const CubinKernel *first = find(k, 2, "first"), *second = find(k, 2, "second");
    assert_int_equal(first->registers, 42);
    assert_int_equal(first->stack, 16);
    assert_int_equal(first->shared, 2048);
    assert_int_equal(first->code_bytes, MADE_CODE);
    assert_int_equal(second->registers, 255);
    assert_int_equal(second->stack, 0);
    assert_int_equal(second->shared, 0);
    made_put(file + 48, 0x7802, 4); /* sm_120: the system has a KiB of it */
    assert_int_equal(cubin_read(file, n, k, &err), 2);
    assert_int_equal(find(k, 2, "first")->shared, 1024);
    cubin_count(first, counts);
    assert_int_equal(counts[0x03C], 1);
    assert_int_equal(counts[0x181], 1);
    assert_int_equal(counts[0x14D], 1);
    unsigned all = 0;
    for (int i = 0; i < CUBIN_OPCODES; i++)
        all += counts[i];
    assert_int_equal(all, 3);
}

static void broken_files_are_refused(void **unused)
{
    (void)unused;
    static const struct {
        size_t at, bytes;
        uint64_t value;
        const char *words;
    } cases[] = {
        {0, 1, 0, "expected a 64-bit ELF file"},
        {18, 2, 62, "for CUDA"},
        {40, 8, 1u << 20, "section table"},
        {40, 8, UINT64_MAX - 10, "section table"},
        {58, 2, 40, "section table"},
        {62, 2, 99, "section table"},
        {MADE_TABLE + 64 + 24, 8, 1u << 20, "names"},
        {MADE_TABLE + 64 * 6 + 24, 8, UINT64_MAX, "section 6"},
        {MADE_TABLE + 64 * 5, 4, 4000, "section 5"},
        {358, 2, 900, ".nv.info"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned char file[MADE_BYTES];
        CubinKernel k[CUBIN_KERNELS_MAX];
        Err err;
        size_t n = made_cubin(file);
        made_put(file + cases[i].at, cases[i].value, cases[i].bytes);
        assert_int_equal(cubin_read(file, n, k, &err), -1);
        assert_int_equal(err.kind, E_FORMAT);
        if (!strstr(err.text, cases[i].words))
            assert_string_equal(err.text, cases[i].words);
    }
}

static void every_shorter_file_is_refused(void **unused)
{
    (void)unused;
    unsigned char file[MADE_BYTES];
    size_t n = made_cubin(file);
    for (size_t cut = 0; cut < n; cut++) {
        CubinKernel k[CUBIN_KERNELS_MAX];
        Err err;
        unsigned char *exact = malloc(cut + 1); /* so that a sanitizer sees what is read behind it */
        memcpy(exact, file, cut);
        assert_int_equal(cubin_read(exact, cut, k, &err), -1);
        free(exact);
    }
}

/* A kernel whose shared memory, stack and products are known, on every architecture. */
static void the_compilers_own(void **unused)
{
    (void)unused;
    static const char source[] =
        "#include \"tune.cuh\"\n"
        "extern \"C\" __global__ void known(float *x, int n) {\n"
        "    __shared__ float s[96];\n"
        "    float local[40];\n"
        "    for (int i = 0; i < 40; i++) local[i] = x[i];\n"
        "    for (int i = 0; i < n; i++) local[(int)x[i] & 31] += x[i];\n"
        "    s[threadIdx.x] = local[n];\n"
        "    __syncthreads();\n"
        "    x[threadIdx.x] = s[95 - threadIdx.x] + local[n + 1];\n"
        "}\n"
        "extern \"C\" __global__ void __launch_bounds__(1024) plain(float *x) { x[threadIdx.x] *= FACTOR; }\n";
    char dir[] = "/tmp/nibble-cubin-XXXXXX", path[64], why[400], command[100];
    Err err;
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/known.cu", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(source, f);
    fclose(f);
    Jit *j = jit_open(dir, "kernels/include", &err);
    bool has_compiler = jit_compiler(j, why) != 0;
    for (int i = 0; has_compiler && arch_at(i); i++) {
        JitDesc desc = {.name = "known", .source = path, .constants = "constexpr float FACTOR = 3;\n",
            .arch = arch_at(i)};
        JitResult r;
        CubinKernel k[CUBIN_KERNELS_MAX];
        unsigned counts[CUBIN_OPCODES];
        assert_true(jit_compile(j, &desc, &r, &err));
        assert_int_equal(cubin_read(r.cubin, r.cubin_bytes, k, &err), 2);
        const CubinKernel *known = find(k, 2, "known"), *plain = find(k, 2, "plain");
        assert_int_equal(known->shared, 96 * 4);
        assert_int_equal(known->stack, 40 * 4);
        assert_int_equal(plain->stack + plain->shared, 0);
        assert_in_range(plain->registers, 2, 64);
        assert_true(known->constants >= 12 && known->code_bytes % 16 == 0);
        cubin_count(known, counts);
        assert_int_equal(counts[0x11D], 1);                        /* BAR */
        assert_true(counts[0x187] >= 2 && counts[0x183] >= 2);    /* STL, LDL */
        cubin_count(plain, counts);
        assert_int_equal(counts[0x181], 1);                        /* LDG, STG */
        assert_int_equal(counts[0x186], 1);
        jit_result_deinit(&r);
    }
    jit_close(j);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    assert_int_equal(system(command), 0);
    if (!has_compiler) {
        print_message("%s\n", why);
        skip();
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_are_read),
        cmocka_unit_test(broken_files_are_refused),
        cmocka_unit_test(every_shorter_file_is_refused),
        cmocka_unit_test(the_compilers_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
