/* Speed of the emulator on the four recorded kernels, beside figures that another machine gave, brought to this one.
 *   emu_bench [--json] [--isa plain|avx2|avx512] [--rounds N] [--kernel gemm|gemv|rms|gdr] [--arch A] [--fast]
 * --fast leaves checked mode out. One thread, CPU time of that thread, best of N (default 9).
 *
 * How the two machines compare: a fixed little interpreter, written here and not changed when the emulator is, runs streams of one
 * instruction over 32 lanes; for each stream the reference has a figure in ns (a Zen 4 EPYC at 2.6 GHz with AVX-512). The median of
 * the ratios here / there is the calibration; a kernel's bar is its figure there times the calibration.
 * The emulator's own streams of the same instructions are printed beside them.
 * Each kernel's output is checked against its C reference before it is timed. Exit status: 0, 1 when a bar is missed. */
#include <time.h>

#include "tests/emu/emu_kernels.h"

static double cpu_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec * 1e-6;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* the calibration's interpreter: 64 registers of 32 lanes of 8 bytes */

enum { RECS = 512, REGS = 64, LOOPS = 40, STREAMS = 7 };

typedef struct Rec Rec;
typedef const Rec *(*Exec)(uint8_t *regs, const Rec *r);
struct Rec {
    Exec fn;
    uint32_t d, a, b, c;
};

#define STREAM(name, T, A, expr)                                                                        \
    __attribute__((target("avx2,fma"), optimize("O3"), aligned(64))) static const Rec *name(uint8_t *regs, const Rec *r)    \
    {                                                                                                   \
        T *d = __builtin_assume_aligned(regs + r->d, 64);                                               \
        const A *a = __builtin_assume_aligned(regs + r->a, 64), *b = __builtin_assume_aligned(regs + r->b, 64);   \
        const A *c = __builtin_assume_aligned(regs + r->c, 64);                                         \
        _Pragma("GCC ivdep") for (int l = 0; l < 32; l++) d[l] = (T)(expr);                             \
        (void)b;                                                                                        \
        (void)c;                                                                                        \
        return r + 1;                                                                                   \
    }
STREAM(run_mov, uint32_t, uint32_t, a[l])
STREAM(run_add32, uint32_t, uint32_t, a[l] + b[l])
STREAM(run_cvt64, uint64_t, uint32_t, a[l])
STREAM(run_fma, float, float, __builtin_fmaf(a[l], b[l], c[l]))
STREAM(run_mul_wide, uint64_t, uint32_t, (uint64_t)a[l] * b[l])
STREAM(run_add64, uint64_t, uint64_t, a[l] + b[l])
STREAM(run_shl, uint32_t, uint32_t, b[l] < 32 ? a[l] << (b[l] & 31) : 0)

static const Rec *run_end(uint8_t *regs, const Rec *r)
{
    (void)regs;
    (void)r;
    return NULL;
}

typedef struct Stream {
    const char *name;
    double reference_ns;
    Exec fn;
    const char *ptx; /* the same in PTX: D, A, B, C stand for registers of a size each */
} Stream;

static const Stream streams[STREAMS] = {
    {"mov", 1.5, run_mov, "mov.b32 %r#0, %r#1;"},
    {"add32", 2.4, run_add32, "add.u32 %r#0, %r#1, %r#2;"},
    {"cvt64", 2.9, run_cvt64, "cvt.u64.u32 %d#0, %r#1;"},
    {"fma", 3.1, run_fma, "fma.rn.f32 %f#0, %f#1, %f#2, %f#3;"},
    {"mul.wide", 3.9, run_mul_wide, "mul.wide.u32 %d#0, %r#1, %r#2;"},
    {"add64", 4.0, run_add64, "add.u64 %d#0, %d#1, %d#2;"},
    {"shl", 4.2, run_shl, "shl.b32 %r#0, %r#1, %r#2;"},
};

/* A round of the fixed interpreter: lowers best[] (ns an instruction, by stream) where it was faster. */
static __attribute__((noinline, aligned(64))) void calibrate(double best[STREAMS])
{
    static Rec recs[RECS + 1];
    static uint8_t regs[REGS * 256] __attribute__((aligned(64)));
    memset(regs, 1, sizeof regs);
    for (int s = 0; s < STREAMS; s++) {
        for (uint32_t i = 0; i < RECS; i++)
            recs[i] = (Rec){streams[s].fn, i % 16 * 256, (i + 5) % 16 * 256, (i + 11) % 16 * 256, (i + 14) % 16 * 256};
        recs[RECS].fn = run_end;
        double start = cpu_ms();
        for (int i = 0; i < LOOPS; i++)
            for (const Rec *r = recs; r; r = r->fn(regs, r))
                ;
        best[s] = fmin(best[s], (cpu_ms() - start) * 1e6 / (LOOPS * RECS));
    }
}

static double calibration_of(const double best[STREAMS])
{
    double ratio[STREAMS];
    for (int s = 0; s < STREAMS; s++)
        ratio[s] = best[s] / streams[s].reference_ns;
    qsort(ratio, STREAMS, sizeof *ratio, by_size);
    return ratio[STREAMS / 2];
}

/* The same stream as PTX: RECS instructions in a loop. The registers' values are the loop counter's. */
static double emulated_stream(const Stream *s, EmuIsa isa, int rounds)
{
    static char text[1 << 16];
    size_t n = (size_t)snprintf(text, sizeof text, ".version 8.7\n.target sm_90\n.address_size 64\n"
                                ".visible .entry stream(.param .u64 out)\n{\n.reg .b32 %%r<16>, %%i, %%sum;\n"
                                ".reg .b64 %%d<16>, %%to;\n.reg .f32 %%f<16>;\n.reg .pred %%p;\n"
                                "ld.param.u64 %%to, [out];\nmov.u32 %%i, %%tid.x;\n");
    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "add.u32 %%r%d, %%i, %d;\ncvt.u64.u32 %%d%d, %%i;\ncvt.rn.f32.u32 %%f%d, %%i;\n",
                              i, i, i, i);
    n += (size_t)snprintf(text + n, sizeof text - n, "mov.u32 %%i, 0;\nagain:\n");
    for (uint32_t i = 0; i < RECS; i++) {
        const uint32_t at[4] = {i % 16, (i + 5) % 16, (i + 11) % 16, (i + 14) % 16};
        for (const char *p = s->ptx; *p; p++)
            if (*p == '#')
                n += (size_t)snprintf(text + n, sizeof text - n, "%u", at[*++p - '0']);
            else
                text[n++] = *p;
        text[n++] = '\n';
    }
    n += (size_t)snprintf(text + n, sizeof text - n, "add.u32 %%i, %%i, 1;\nsetp.lt.u32 %%p, %%i, %d;\n@%%p bra again;\n"
                          "mov.u32 %%sum, 0;\n", LOOPS);
    for (int i = 0; i < 16; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, "mov.b32 %%i, %%f%d;\nadd.u32 %%sum, %%sum, %%i;\ncvt.u32.u64 %%i, %%d%d;\n"
                              "add.u32 %%sum, %%sum, %%i;\nadd.u32 %%sum, %%sum, %%r%d;\n", i, i, i);
    snprintf(text + n, sizeof text - n, "st.global.u32 [%%to], %%sum;\nret;\n}\n");
    Emu *dev = device("sm_90", 1, isa);
    EmuModule *m = load_text(dev, text);
    EmuPtr out = upload(dev, "out", NULL, 4);
    EmuArg args[] = {ARG(out)};
    EmuLaunch l = {.func = kernel(m, "stream"), .grid = {1, 1, 1}, .block = {32, 1, 1}, .args = args, .args_n = 1};
    double best = INFINITY;
    for (int round = 0; round < rounds; round++) {
        double start = cpu_ms();
        MUST(emu_launch(dev, &l, &report, &err));
        best = fmin(best, (cpu_ms() - start) * 1e6 / (double)report.counts.instructions);
    }
    emu_module_unload(m);
    emu_free(dev);
    return best;
}

typedef struct Timing {
    int rounds;
    double ms;
    uint64_t instructions;
    double stream_ns[STREAMS]; /* measured between the rounds: other users of the machine slow down both */
} Timing;

static void time_launch(Emu *dev, const EmuLaunch *l, void *data)
{
    Timing *t = data;
    t->ms = INFINITY;
    t->instructions = report.counts.instructions;
    for (int s = 0; s < STREAMS; s++)
        t->stream_ns[s] = INFINITY;
    for (int i = 0; i < t->rounds; i++) {
        calibrate(t->stream_ns);
        double start = cpu_ms();
        MUST(emu_launch(dev, l, &report, &err));
        t->ms = fmin(t->ms, cpu_ms() - start);
    }
}

static void run_gemm(const Setup *s)
{
    gemm(s, 128, 512, 2048);
}

static void run_gemv(const Setup *s)
{
    gemv(s, 512, 2048, 8, 8);
}

static void run_rms(const Setup *s)
{
    rms(s, 64, 2048);
}

static void run_gdr(const Setup *s)
{
    gdr(s, 32, 2);
}

typedef struct Kernel {
    const char *name;
    double reference_ms; /* sm_120a, one thread */
    double reference_90_ms;
    void (*run)(const Setup *s);
} Kernel;

static const char *const archs[2] = {"sm_120a", "sm_90"};
enum { KERNELS = 4 };
static const Kernel kernels[KERNELS] = {
    {"gemm 128x512x2048", 3.7, 72, run_gemm},
    {"gemv 2048->512, 8 experts", 14.9, 0, run_gemv},
    {"rms 64x2048", 0.52, 0, run_rms},
    {"gdr 32 heads", 2.2, 0, run_gdr},
};

/* checked mode may take this many times as long as fast mode */
static const double checked_bar = 6;

static FILE *json; /* NULL: no JSON; printed at the end, behind what cmocka prints */
static int rounds = 9, missed;
static bool is_fast_only;
static const char *only = "", *only_arch = "";
static EmuIsa isa = EMU_ISA_AUTO;

static void print_streams(void)
{
    double best[STREAMS];
    for (int s = 0; s < STREAMS; s++)
        best[s] = INFINITY;
    for (int i = 0; i < 5 * rounds; i++)
        calibrate(best);
    if (!json)
        printf("%-10s %14s %14s %8s %14s\n", "stream", "reference ns", "here ns", "ratio", "emulator ns");
    for (int i = 0; i < STREAMS; i++) {
        double emulated = emulated_stream(streams + i, isa, rounds < 9 ? rounds : 9);
        if (json)
            fprintf(json, "%s{\"stream\":\"%s\",\"reference_ns\":%.2f,\"here_ns\":%.3f,\"emulator_ns\":%.3f}", i ? "," : "{\"streams\":[",
                   streams[i].name, streams[i].reference_ns, best[i], emulated);
        else
            printf("%-10s %14.1f %14.2f %8.2f %14.2f\n", streams[i].name, streams[i].reference_ns, best[i],
                   best[i] / streams[i].reference_ns, emulated);
    }
    if (json)
        fprintf(json, "],\"calibration\":%.3f,\"kernels\":[", calibration_of(best));
    else
        printf("calibration %.2f: the median ratio; measured again beside each kernel\n\n%-26s %-8s %9s %8s %8s %9s %7s %11s %8s\n",
               calibration_of(best), "kernel", "arch", "fast ms", "M wi/s", "calib.", "bar ms", "", "checked ms", "/ fast");
}

static void print_kernel(const Kernel *k, const char *arch, bool is_first)
{
    Timing fast = {.rounds = rounds}, checked = {.rounds = rounds < 5 ? rounds : 5};
    const bool is_120 = arch == archs[0];
    Setup s = {arch, is_120 ? "120" : "90", isa, 1, EMU_FAST, 0, time_launch, &fast};
    k->run(&s);
    s.mode = EMU_CHECKED;
    s.data = &checked;
    if (!is_fast_only)
        k->run(&s);
    double calibration = calibration_of(fast.stream_ns), bar = (is_120 ? k->reference_ms : k->reference_90_ms) * calibration;
    double times = checked.ms / fast.ms;
    missed += (bar > 0 && fast.ms > bar) + (times > checked_bar);
    if (json)
        fprintf(json, "%s{\"kernel\":\"%s\",\"arch\":\"%s\",\"fast_ms\":%.3f,\"instructions\":%llu,\"calibration\":%.3f,\"bar_ms\":%.3f,"
               "\"checked_ms\":%.3f,\"checked_times\":%.2f}",
               is_first ? "" : ",", k->name, arch, fast.ms, (unsigned long long)fast.instructions, calibration,
               bar, checked.ms, times);
    else
        printf("%-26s %-8s %9.2f %8.0f %8.2f %9.2f %7s %11.2f %8.1f%s\n", k->name, arch, fast.ms,
               (double)fast.instructions / fast.ms * 1e-3, calibration, bar, bar <= 0 ? "" : fast.ms <= bar ? "met" : "MISSED",
               checked.ms, times, times > checked_bar ? " MISSED" : "");
    fflush(stdout);
}

static void bench(void **state)
{
    (void)state;
    print_streams();
    for (int i = 0, printed = 0; i < 2 * KERNELS; i++)
        if (strncmp(kernels[i % KERNELS].name, only, strlen(only)) == 0 && strncmp(archs[i / KERNELS], only_arch, strlen(only_arch)) == 0)
            print_kernel(kernels + i % KERNELS, archs[i / KERNELS], printed++ == 0);
    if (json)
        fprintf(json, "],\"missed\":%d}\n", missed);
}

int main(int argc, char **argv)
{
    char *text = NULL;
    size_t text_bytes = 0;
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--json"))
            json = open_memstream(&text, &text_bytes);
        else if (!strcmp(argv[i], "--rounds") && i + 1 < argc && atoi(argv[i + 1]) > 0)
            rounds = atoi(argv[++i]);
        else if (!strcmp(argv[i], "--fast"))
            is_fast_only = true;
        else if (!strcmp(argv[i], "--arch") && i + 1 < argc)
            only_arch = argv[++i];
        else if (!strcmp(argv[i], "--kernel") && i + 1 < argc)
            only = argv[++i];
        else if (!strcmp(argv[i], "--isa") && i + 1 < argc) {
            i++;
            for (int k = 0; k < EMU_ISAS; k++)
                isa = strcmp(argv[i], emu_isa_name((EmuIsa)k)) == 0 ? (EmuIsa)k : isa;
        } else {
            fprintf(stderr, "usage: emu_bench [--json] [--isa plain|avx2|avx512] [--rounds N] [--kernel NAME] [--arch A] [--fast]\n");
            return 2;
        }
    const struct CMUnitTest all[] = {cmocka_unit_test(bench)};
    const int failed = cmocka_run_group_tests(all, NULL, NULL);
    if (json) {
        fclose(json);
        fputs(text, stdout);
        free(text);
    }
    return failed ? 2 : missed ? 1 : 0;
}
