/* The four recorded kernels of emu_kernels.h: ragged shapes, every instruction set, several workers, checked mode. */
#include "tests/emu/emu_kernels.h"

static void all(const Setup *s, bool small)
{
    gemm(s, small ? 70 : 128, small ? 72 : 192, small ? 384 : 768);
    gemm(s, 100, 200, 256);
    gemv(s, small ? 10 : 64, small ? 96 : 2048, 3, small ? 2 : 5);
    gemv(s, 6, 1056, 2, 3);
    rms(s, small ? 2 : 8, small ? 272 : 2048);
    rms(s, 3, 4112);
    gdr(s, small ? 2 : 8, 2);
}

static void on_every_instruction_set(void **state)
{
    (void)state;
    for (int isa = EMU_ISA_PLAIN; isa < EMU_ISAS; isa++) {
        if (!has_isa((EmuIsa)isa))
            continue;
        all(&(Setup){"sm_120a", "120", (EmuIsa)isa, 1, EMU_FAST, 0, NULL, NULL}, isa != EMU_ISA_AVX512);
        all(&(Setup){"sm_90", "90", (EmuIsa)isa, 1, EMU_FAST, 0, NULL, NULL}, true);
    }
}

static void with_two_workers(void **state)
{
    (void)state;
    all(&(Setup){"sm_120a", "120", EMU_ISA_AUTO, 2, EMU_FAST, 0, NULL, NULL}, false);
}

static void sm_90_on_a_newer_device(void **state)
{
    (void)state;
    all(&(Setup){"sm_121a", "90", EMU_ISA_AUTO, 1, EMU_FAST, 0, NULL, NULL}, true);
}

static void checked_without_findings(void **state)
{
    (void)state;
    all(&(Setup){"sm_120a", "120", EMU_ISA_AUTO, 1, EMU_CHECKED, 0, NULL, NULL}, true);
    all(&(Setup){"sm_90", "90", EMU_ISA_AUTO, 2, EMU_CHECKED, 0, NULL, NULL}, true);
}

static void in_any_order_of_warps(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 3; seed++) {
        const Setup s = {"sm_120a", "120", EMU_ISA_AUTO, 1, EMU_CHECKED, seed, NULL, NULL};
        gemm(&s, 70, 72, 384);
        gemm(&s, 100, 200, 256);
        gemv(&s, 10, 96, 3, 2);
        gemv(&s, 6, 1056, 2, 3);
        gdr(&s, 2, 2);
    }
}

/* rms shuffles under the mask that activemask gives, which need not hold both lanes of a pair: no launch without a seed shows it. */
static void find_lone_lanes(Emu *dev, const EmuLaunch *l, void *data)
{
    EmuLaunch mixed = *l;
    unsigned found = 0;
    for (mixed.seed = 1; mixed.seed <= 4; mixed.seed++) {
        MUST(emu_launch(dev, &mixed, &report, &err));
        for (unsigned i = 0; i < report.findings_n; i++)
            found += report.findings[i].kind == EMU_SYNC_MASK && strstr(report.findings[i].text, "a lane that takes no part") != NULL;
    }
    *(unsigned *)data = found;
}

static void a_seed_shows_who_trusts_activemask(void **state)
{
    (void)state;
    unsigned found = 0;
    rms(&(Setup){"sm_120a", "120", EMU_ISA_AUTO, 1, EMU_CHECKED, 0, find_lone_lanes, &found}, 2, 272);
    assert_true(found > 0);
}

/* Lanes that part must meet again: lone lanes would give right results slowly, and wrong activemasks. */
static void lanes_stay_together(void **state)
{
    (void)state;
    rms(&(Setup){"sm_120a", "120", EMU_ISA_AUTO, 1, EMU_FAST, 0, NULL, NULL}, 4, 2048);
    assert_true((double)report.counts.lanes / (double)report.counts.instructions > 30.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_every_instruction_set), cmocka_unit_test(with_two_workers), cmocka_unit_test(sm_90_on_a_newer_device),
        cmocka_unit_test(checked_without_findings), cmocka_unit_test(in_any_order_of_warps), cmocka_unit_test(lanes_stay_together),
        cmocka_unit_test(a_seed_shows_who_trusts_activemask),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
