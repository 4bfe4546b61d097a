/* Changed kernels executed: prog N [SEED]. Statements of the opcode cases with instructions, operands, modifiers, addresses, guards
 * and branches changed, launched with a few threads, little fuel, on every instruction set, fast or checked, in order or not.
 * Whatever the PTX says: no crash, no failed assertion, no byte outside of the emulator's own memory. What lies around each
 * allocation belongs to nobody and keeps its value; built with the address sanitizer it may not even be read (emu_state.h). */
#include "core/emu/emu.h"
#include "tests/ptx/ptx_mutate.h"

enum { LENT_BYTES = 512, AROUND = 512 };

static const size_t sizes[MUTATE_PARAMS] = {4096, 1024, 256, 100, 16, LENT_BYTES};

/* One for each instruction set and mode: a launch in fast mode ends the book that checked mode keeps about memory. */
typedef struct Device {
    Emu *emu;
    EmuMode mode;
    EmuPtr buffers[MUTATE_PARAMS];
} Device;

typedef struct Tally {
    long loaded, clean, faulted, by_kind[EMU_FINDING_KINDS];
} Tally;

static _Alignas(16) uint8_t lent[LENT_BYTES];

static bool open_device(Device *d, EmuIsa isa, EmuMode mode, unsigned workers)
{
    Err err;
    d->mode = mode;
    d->emu = emu_new(&(EmuDesc){NULL, workers, isa}, &err);
    if (!d->emu)
        return false;
    for (int i = 0; i < MUTATE_PARAMS - 1; i++)
        if (!emu_alloc(d->emu, sizes[i], "buffer", d->buffers + i, &err))
            abort();
    if (!emu_map(d->emu, lent, sizeof lent, "lent", d->buffers + MUTATE_PARAMS - 1, &err))
        abort();
    return true;
}

/* New contents; some bytes as if never written. */
static void fill(Device *d, Prng *p)
{
    Err err;
    uint64_t words[4096 / 8];
    for (int i = 0; i < MUTATE_PARAMS - 1; i++) {
        for (size_t k = 0; k < (sizes[i] + 7) / 8; k++)
            words[k] = k % 4 ? prng_next(p) : mutate_bits(p);
        bool is_written = emu_write(d->emu, d->buffers[i], words, sizes[i], &err);
        if (!mutate_below(p, 4))
            is_written &= emu_poison(d->emu, d->buffers[i], 0x5A, sizes[i] / 2, &err);
        assert(is_written);
    }
    memset(lent, (int)mutate_below(p, 256), sizeof lent);
}

/* The bytes before and behind each allocation are as the emulator left them. The sanitizer's builds stop at the access itself. */
static void check_around(const Device *d)
{
#ifdef __SANITIZE_ADDRESS__
    (void)d;
#else
    for (int i = 0; i < MUTATE_PARAMS - 1; i++) {
        const uint8_t *start = (const uint8_t *)d->buffers[i];
        for (size_t k = 0; k < AROUND; k++)
            assert(start[-1 - (ptrdiff_t)k] == 0xA5 && start[sizes[i] + k] == 0xA5);
    }
#endif
    for (size_t i = 1; i < sizeof lent; i++)
        assert(lent[i] == lent[0]);
}

static void check_report(const EmuLaunch *l, bool ok, const EmuReport *report, const Err *err, Tally *tally)
{
    assert(report->findings_n <= EMU_FINDINGS_MAX);
    for (unsigned i = 0; i < report->findings_n; i++) {
        assert(report->findings[i].kind < EMU_FINDING_KINDS && memchr(report->findings[i].text, 0, sizeof report->findings[i].text));
        tally->by_kind[report->findings[i].kind]++;
    }
    assert(ok ? l->mode == EMU_CHECKED || !report->findings_n : err->kind == E_KERNEL || err->kind == E_VALUE);
    tally->clean += ok && !report->findings_n;
    tally->faulted += !ok || report->findings_n;
}

static void launch(Device *d, const EmuFunc *f, Prng *p, Tally *tally)
{
    static const uint32_t threads[] = {32, 32, 32, 1, 7, 31, 33, 64, 64, 100};
    static EmuReport report;
    EmuArg args[MUTATE_PARAMS];
    Err err = {0};
    for (int i = 0; i < MUTATE_PARAMS; i++)
        args[i] = (EmuArg){d->buffers + i, sizeof d->buffers[i]};
    EmuLaunch l = {.func = f, .args = args, .args_n = MUTATE_PARAMS, .fuel = 500, .mode = d->mode};
    l.block[0] = threads[mutate_below(p, sizeof threads / sizeof *threads)];
    l.block[1] = mutate_below(p, 8) ? 1 : 2;
    l.grid[0] = mutate_below(p, 4) ? 1 : 2;
    l.smem_bytes = mutate_below(p, 2) ? 0 : mutate_below(p, 600);
    l.accumulate = (EmuAccumulate)mutate_below(p, EMU_ACCUMULATES);
    l.seed = mutate_below(p, 2) ? 0 : prng_next(p);
    memset(&report, 0x77, sizeof report);
    report.findings_n = 0;
    fill(d, p);
    bool ok = emu_launch(d->emu, &l, &report, &err);
    check_report(&l, ok, &report, &err, tally);
    check_around(d);
}

int main(int argc, char **argv)
{
    static const EmuIsa isas[] = {EMU_ISA_PLAIN, EMU_ISA_AVX2, EMU_ISA_AVX512};
    long executions = argc > 1 ? strtol(argv[1], NULL, 10) : 20000;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    Prng p = {seed};
    Tally tally = {0};
    Device devices[6];
    uint32_t devices_n = 0;
    for (int i = 0; i < 6; i++)
        devices_n += open_device(devices + devices_n, isas[i / 2], i % 2 ? EMU_CHECKED : EMU_FAST, i == 2 ? 2 : 1);
    MutateCorpus *corpus = mutate_open();
    MutateKernel *kernel = malloc(sizeof *kernel);
    char *text = malloc(MUTATE_TEXT);
    assert(devices_n && kernel && text);
    for (long i = 0; i < executions; i++) {
        Device *d = devices + mutate_below(&p, devices_n);
        Err err = {0};
        kernel->n = 0;
        mutate_add(kernel, corpus, &p);
        for (uint32_t k = mutate_below(&p, 5); k; k--)
            mutate_once(kernel, corpus, &p);
        size_t n = mutate_print(kernel, mutate_below(&p, 2), text);
        EmuModule *m = emu_module_load(d->emu, text, n, &err);
        const EmuFunc *f = m ? emu_func(m, "k", &err) : NULL;
        if (f)
            launch(d, f, &p, &tally);
        else
            assert(err.kind == E_FORMAT || err.kind == E_UNSUPPORTED || err.kind == E_VALUE);
        tally.loaded += f != NULL;
        emu_module_unload(m);
    }
    printf("# %ld executed, %ld without a finding", tally.loaded, tally.clean);
    for (int i = 0; i < EMU_FINDING_KINDS; i++)
        printf(", %ld %s", tally.by_kind[i], emu_finding_name((EmuFindingKind)i));
    printf("\n");
    for (uint32_t i = 0; i < devices_n; i++)
        emu_free(devices[i].emu);
    mutate_close(corpus);
    free(kernel);
    free(text);
    assert(executions < 5000 || (tally.clean > executions / 10 && tally.faulted > executions / 20));
    printf("ok 1 - emu exec: %ld executions, seed %llu\n", executions, (unsigned long long)seed);
    return 0;
}
