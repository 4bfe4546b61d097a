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
    for (uint64_t seed = 1; seed <= 3; seed++)
        all(&(Setup){"sm_120a", "120", EMU_ISA_AUTO, 1, EMU_CHECKED, seed, NULL, NULL}, true);
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
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
