/* Registers without a value: where checked mode finds nothing, what such registers held must not matter. Random programs of one warp
 * compute with registers of which some are written by nobody or by some lanes only, branch, shuffle, vote and multiply matrices, and
 * store. Each runs in checked mode; if that has no finding, the same program with every register set beforehand, to one thing and
 * then to another, must store the same. */
#include "tests/emu/emu_fixture.h"

enum { REGS = 6, PREDS = 4, OPS = 9, PROGRAMS = 6000, OUT = 2 * 32 };

typedef struct Text {
    char at[8000];
    size_t n;
} Text;

__attribute__((format(printf, 2, 3))) static void add(Text *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    t->n += (size_t)vsnprintf(t->at + t->n, sizeof t->at - t->n, format, ap);
    va_end(ap);
    assert_true(t->n < sizeof t->at);
}

static uint32_t below(uint32_t n)
{
    return random_u32() % n;
}

/* "", "@%p2 " or "@!%p2 " */
static const char *guard(void)
{
    static char text[16];
    text[0] = 0;
    if (!below(3))
        snprintf(text, sizeof text, "@%s%%p%u ", below(2) ? "!" : "", below(PREDS));
    return text;
}

static void add_op(Text *t, uint32_t i)
{
    const uint32_t d = below(REGS), a = below(REGS), b = below(REGS), c = below(REGS), p = below(PREDS), q = below(PREDS), r = below(PREDS);
    switch (below(14)) {
    case 0: add(t, "%smov.u32 %%r%u, %u;\n", guard(), d, below(100)); break;
    case 1: add(t, "%smov.u32 %%r%u, %%r%u;\n", guard(), d, a); break;
    case 2: add(t, "%sadd.u32 %%r%u, %%r%u, %%r%u;\n", guard(), d, a, b); break;
    case 3: add(t, "%sselp.b32 %%r%u, %%r%u, %%r%u, %%p%u;\n", guard(), d, a, b, p); break;
    case 4: add(t, "%ssetp.lt.u32 %%p%u, %%r%u, %%r%u;\n", guard(), p, a, b); break;
    case 5: add(t, "%ssetp.lt.and.u32 %%p%u|%%p%u, %%r%u, %%r%u, %s%%p%u;\n", guard(), p, (p + 1) % PREDS, a, b, below(2) ? "!" : "", r); break;
    case 6: add(t, "%sand.pred %%p%u, %%p%u, %%p%u;\n", guard(), p, q, r); break;
    case 7: add(t, "%sor.pred %%p%u, %%p%u, %%p%u;\n", guard(), p, q, r); break;
    case 8: add(t, "setp.lt.u32 %%p%u, %%lane, %u;\n", p, below(33)); break;
    case 9: {
        static const char *const modes[] = {"up.b32 %r#, %r#, 3, 0", "down.b32 %r#, %r#, 5, 31", "bfly.b32 %r#, %r#, 8, 31", "idx.b32 %r#, %r#, 2, 0x181F"};
        const char *m = modes[below(4)];
        add(t, "shfl.sync.");
        for (uint32_t k = 0; *m; m++)
            if (*m == '#')
                add(t, "%u", k++ ? a : d);
            else
                add(t, "%c", *m);
        add(t, ", -1;\n");
        break;
    }
    case 10: add(t, "vote.sync.ballot.b32 %%r%u, %%p%u, -1;\n", d, p); break;
    case 11: add(t, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32 {%%r%u, %%x, %%r%u, %%y}, {%%r%u, %%r%u, %%z, %%r%u}, {%%r%u, %%z}, {%%r%u, %%r%u, %%z, %%z};\n",
                 d, (d + 1) % REGS, a, b, c, below(REGS), below(REGS), below(REGS)); break;
    case 12: add(t, "@%%p%u bra to%u;\nadd.u32 %%r%u, %%r%u, 1;\nmov.u32 %%r%u, 3;\nto%u:\n", p, i, d, a, b, i); break;
    default: add(t, "mov.b32 {%%h1, %%h2}, %%r%u;\ncvt.u32.u16 %%r%u, %%h2;\n", a, d); break;
    }
}

/* fill NULL: registers are left as they are. */
static void begin(Text *t, const char *fill)
{
    t->n = 0;
    add(t, ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 out)\n{\n.reg .pred %%p<%d>, %%w; .reg .b16 %%h<3>;\n"
        ".reg .b32 %%r<%d>, %%lane, %%x, %%y, %%z; .reg .b64 %%out, %%o;\n", PREDS, REGS);
    for (int i = 0; fill && i < REGS; i++)
        add(t, "mov.u32 %%r%d, %s;\n", i, fill);
    for (int i = 0; fill && i < PREDS; i++)
        add(t, "setp.ne.u32 %%p%d, %s, 0;\n", i, fill);
    add(t, "mov.u32 %%lane, %%laneid; ld.param.u64 %%out, [out]; mul.wide.u32 %%o, %%lane, 4; add.s64 %%out, %%out, %%o; mov.u32 %%z, 0x01020301;\n");
}

static const EmuFinding *run(Emu *emu, EmuPtr out, const char *text, EmuMode mode, uint64_t seed, EmuReport *report, uint32_t *stored)
{
    EmuModule *m = load_text(emu, text);
    EmuArg args[] = {{&out, 8}};
    EmuLaunch l = {.func = kernel(m, "k"), .grid = {1}, .block = {32}, .args = args, .args_n = 1, .mode = mode, .seed = seed};
    MUST(emu_fill(emu, out, 0x77, OUT * 4, &err));
    MUST(emu_launch(emu, &l, report, &err));
    MUST(emu_read(emu, stored, out, OUT * 4, &err));
    emu_module_unload(m);
    return report->findings_n ? report->findings : NULL;
}

static void what_nobody_wrote_does_not_matter(void **state)
{
    (void)state;
    static EmuReport report;
    static Text body, text;
    static const char *const fills[] = {"0", "0x9E3779B9", "0xFFFFFFFF", "17"};
    unsigned clean = 0, silent = 0, wrong = 0;
    fixture_random = 7;
    Emu *checked = device("sm_120a", 1, EMU_ISA_AUTO), *fast = device("sm_120a", 1, EMU_ISA_AUTO);
    EmuPtr out = upload(checked, "out", NULL, OUT * 4), out_fast = upload(fast, "out", NULL, OUT * 4);
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        uint32_t stored[4][OUT], ignored[OUT];
        const uint32_t n = 1 + below(OPS), written = REGS - below(3), preds = PREDS - below(4);
        body.n = 0;
        for (uint32_t k = 0; k < written; k++)
            add(&body, "mov.u32 %%r%u, %u;\n", k, below(50));
        for (uint32_t k = 0; k < preds; k++)
            add(&body, "setp.gt.u32 %%p%u, %%lane, %u;\n", k, below(33));
        for (uint32_t k = 0; k < n; k++)
            add_op(&body, k);
        add(&body, "setp.lt.u32 %%w, %%lane, %u;\n@%%w st.global.u32 [%%out], %%r%u;\n%sst.global.u32 [%%out+128], %%r%u;\nret;\n}\n", below(33),
            below(REGS), guard(), below(REGS));
        begin(&text, NULL);
        add(&text, "%s", body.at);
        const EmuFinding *f = run(checked, out, text.at, EMU_CHECKED, i % 3, &report, ignored);
        if (f) {
            assert_int_equal(f->kind, EMU_UNINITIALISED_REGISTER);
            continue;
        }
        clean++;
        bool differs = false;
        for (uint32_t k = 0; k < 4; k++) {
            begin(&text, fills[k]);
            add(&text, "%s", body.at);
            assert_null(run(fast, out_fast, text.at, EMU_FAST, 0, &report, stored[k]));
            differs |= memcmp(stored[k], stored[0], sizeof stored[0]) != 0;
        }
        silent += memcmp(stored[0], ignored, sizeof ignored) == 0;
        if (differs && wrong++ < 3)
            print_error("program %u: no finding, but what it stores depends on what nobody wrote\n%s\n", i, text.at);
    }
    emu_free(checked);
    emu_free(fast);
    print_message("%u of %d programs without a finding\n", clean, PROGRAMS);
    assert_int_equal(wrong, 0);
    assert_int_equal(silent, clean);
    assert_true(clean > PROGRAMS / 5 && clean < PROGRAMS * 4 / 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(what_nobody_wrote_does_not_matter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
