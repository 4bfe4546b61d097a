/* Races and unwritten reads in shared memory, and races in global memory, judged by checked mode and by brute force: random straight programs of two warps that
 * load, store and copy in rows, columns, broadcasts and partial warps, 1 to 16 bytes a lane, with barriers of the block and of the
 * warp between. By definition a program races when two lanes reach one byte, one of them writing, and no barrier that both take part
 * in lies between. The shapes that checked mode judges as a whole, and those it takes apart, must all come to the same verdict. */
#include "tests/emu/emu_fixture.h"

enum { THREADS = 64, OPS = 6, SMEM = 4096, PROGRAMS = 6000 };

typedef enum OpKind { OP_LOAD, OP_STORE, OP_COPY, OP_BAR, OP_WARP_BAR } OpKind;

typedef struct Op {
    OpKind kind;
    uint32_t size, base, stride, flip, apart; /* lane l of warp w at base + (l ^ flip) * stride + w * apart */
    uint32_t mask, value;                     /* threads t with (t & mask) == value take part */
} Op;

typedef struct Verdict {
    bool race, lanes, unwritten;
} Verdict;

static uint32_t below(uint32_t n)
{
    return random_u32() % n;
}

/* tight: one, two or four threads, one line of 64 bytes, no barrier of the block. */
static Op draw(bool is_tight)
{
    static const uint32_t masks[] = {0, 0, 0, 32, 1, 33, 31, 16, 24, 63, 63, 62, 55};
    static const OpKind kinds[] = {OP_LOAD, OP_LOAD, OP_LOAD, OP_STORE, OP_STORE, OP_COPY, OP_BAR, OP_BAR, OP_BAR, OP_WARP_BAR, OP_WARP_BAR};
    Op o = {.kind = kinds[below(sizeof kinds / sizeof *kinds)]};
    o.size = 1u << (o.kind == OP_COPY ? 2 + below(3) : below(5));
    o.stride = o.size * (o.kind == OP_COPY ? 1 + below(2) : below(4));
    o.flip = below(2) ? 0 : below(32);
    o.base = below(3) ? 0 : o.size * below(8);
    o.apart = below(3) ? 2048 : below(2) * 64;
    o.mask = masks[below(sizeof masks / sizeof *masks)];
    o.value = o.mask & random_u32();
    if (!is_tight)
        return o;
    o.kind = o.kind == OP_BAR ? OP_LOAD : o.kind;
    o.apart = 2048;
    o.base = 0;
    o.size = o.kind == OP_COPY || below(2) ? 16 : o.size;
    o.stride = o.kind == OP_COPY ? o.size : o.size * below(3);
    o.flip &= 3;
    o.mask = 60 + below(4);
    o.value = o.mask & 3 & random_u32();
    return o;
}

static uint32_t place(const Op *o, uint32_t thread)
{
    return o->base + (thread % 32 ^ o->flip) * o->stride + thread / 32 * o->apart;
}

static bool takes_part(const Op *o, uint32_t thread)
{
    return o->kind <= OP_COPY && (thread & o->mask) == o->value;
}

/* Is what thread a does in op i before what b does in op k > i? */
static bool is_before(const Op *ops, uint32_t i, uint32_t k, uint32_t a, uint32_t b)
{
    bool ordered = a == b;
    for (uint32_t n = i + 1; n < k; n++)
        ordered |= ops[n].kind == OP_BAR || (ops[n].kind == OP_WARP_BAR && a / 32 == b / 32);
    return ordered;
}

static void judge_pair(const Op *ops, uint32_t i, uint32_t k, Verdict *v)
{
    const bool writes = ops[i].kind != OP_LOAD || ops[k].kind != OP_LOAD;
    for (uint32_t a = 0; a < THREADS && writes; a++)
        for (uint32_t b = 0; b < THREADS; b++) {
            const uint32_t x = place(ops + i, a), y = place(ops + k, b);
            if (!takes_part(ops + i, a) || !takes_part(ops + k, b) || x >= y + ops[k].size || y >= x + ops[i].size)
                continue;
            /* lanes of one store write the same value */
            if (i == k ? a / 32 == b / 32 : is_before(ops, i, k, a, b))
                continue;
            *(a / 32 == b / 32 ? &v->lanes : &v->race) = true;
        }
}

static Verdict judge(const Op *ops, bool is_filled)
{
    Verdict v = {0};
    static bool written[SMEM];
    memset(written, is_filled, sizeof written);
    for (uint32_t k = 0; k < OPS; k++)
        for (uint32_t i = 0; i <= k; i++)
            if (ops[i].kind <= OP_COPY && ops[k].kind <= OP_COPY)
                judge_pair(ops, i, k, &v);
    for (uint32_t k = 0; k < OPS; k++)
        for (uint32_t t = 0; t < THREADS; t++)
            for (uint32_t n = 0; takes_part(ops + k, t) && n < ops[k].size; n++) {
                v.unwritten |= ops[k].kind == OP_LOAD && !written[place(ops + k, t) + n];
                written[place(ops + k, t) + n] |= ops[k].kind != OP_LOAD;
            }
    return v;
}

static size_t print_op(const Op *o, bool is_global, char *text, size_t n)
{
    static const char *const loads[] = {"u8 %h2", "u16 %h2", "u32 %r6", "v2.u32 {%r6,%r7}", "v4.u32 {%r6,%r7,%r8,%r9}"};
    static const char *const types[] = {"u8", "u16", "u32", "v2.u32", "v4.u32"};
    static const char *const stores[] = {"%h1", "%h1", "%r5", "{%r5,%r5}", "{%r5,%r5,%r5,%r5}"};
    if (o->kind == OP_BAR || o->kind == OP_WARP_BAR)
        return (size_t)snprintf(text, n, "%s;\n", o->kind == OP_BAR ? "bar.sync 0" : "bar.warp.sync 0xFFFFFFFF");
    size_t at = (size_t)snprintf(text, n, "and.b32 %%r10, %%r1, %u; setp.eq.u32 %%p1, %%r10, %u; xor.b32 %%r11, %%r2, %u;\n"
                                 "mul.lo.u32 %%r11, %%r11, %u; mad.lo.u32 %%r11, %%r3, %u, %%r11; add.u32 %%r11, %%r11, %%r4;\n",
                                 o->mask, o->value, o->flip, o->stride, o->apart);
    if (o->kind == OP_COPY)
        return at + (size_t)snprintf(text + at, n - at, "@%%p1 cp.async.ca.shared.global [%%r11+%u], [%%rd1], %u;\ncp.async.wait_all;\n", o->base,
                                     o->size);
    const uint32_t shape = (uint32_t)__builtin_ctz(o->size);
    const char *const to = is_global ? "%rd2" : "%r11", *const space = is_global ? "global" : "shared";
    if (is_global)
        at += (size_t)snprintf(text + at, n - at, "mul.wide.u32 %%rd2, %%r11, 1; add.s64 %%rd2, %%rd1, %%rd2;\n");
    if (o->kind == OP_LOAD)
        return at + (size_t)snprintf(text + at, n - at, "@%%p1 ld.%s.%s, [%s+%u];\n", space, loads[shape], to, o->base);
    return at + (size_t)snprintf(text + at, n - at, "@%%p1 st.%s.%s [%s+%u], %s;\n", space, types[shape], to, o->base, stores[shape]);
}

static void print_program(const Op *ops, bool is_filled, bool is_global, char *text, size_t n)
{
    size_t at = (size_t)snprintf(text, n, ".version 8.7\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 in)\n{\n"
                                 ".reg .pred %%p<2>; .reg .b16 %%h<3>; .reg .b32 %%r<12>; .reg .b64 %%rd<3>;\n.shared .align 16 .b8 s[%d];\n"
                                 "ld.param.u64 %%rd1, [in]; mov.u32 %%r1, %%tid.x; and.b32 %%r2, %%r1, 31; shr.u32 %%r3, %%r1, 5; mov.u32 %%r4, %s;\n"
                                 "mov.u16 %%h1, 7; mov.u32 %%r5, 7;\n", SMEM, is_global ? "0" : "s");
    for (uint32_t i = 0; i < (is_filled ? SMEM : 0); i += 16 * THREADS)
        at += (size_t)snprintf(text + at, n - at, "mad.lo.u32 %%r11, %%r1, 16, %%r4;\nst.shared.v4.u32 [%%r11+%u], {%%r5,%%r5,%%r5,%%r5};\n", i);
    at += (size_t)snprintf(text + at, n - at, "bar.sync 0;\n");
    for (uint32_t i = 0; i < OPS; i++)
        at += print_op(ops + i, is_global, text + at, n - at);
    snprintf(text + at, n - at, "ret;\n}\n");
}

static Verdict run(Emu *emu, EmuPtr in, bool races, const char *text, uint64_t seed, EmuReport *report)
{
    EmuModule *m = load_text(emu, text);
    EmuArg args[] = {{&in, 8}};
    EmuLaunch l = {.func = kernel(m, "k"), .grid = {1}, .block = {THREADS}, .args = args, .args_n = 1, .mode = EMU_CHECKED, .seed = seed, .races = races};
    Verdict v = {0};
    MUST(emu_launch(emu, &l, report, &err));
    for (unsigned i = 0; i < report->findings_n; i++) {
        const EmuFindingKind kind = report->findings[i].kind;
        assert_true(kind == EMU_RACE || kind == EMU_RACE_LANES || kind == EMU_UNINITIALISED_SHARED);
        v.race |= kind == EMU_RACE;
        v.lanes |= kind == EMU_RACE_LANES;
        v.unwritten |= kind == EMU_UNINITIALISED_SHARED;
    }
    emu_module_unload(m);
    return v;
}

/* A race hides others of the same place, so of racing programs only that they race is compared, and that each kind found is there. */
static void same_verdict_as_by_definition(void **state)
{
    (void)state;
    static EmuReport report;
    static const uint8_t bytes[16] = {0};
    char text[6000];
    unsigned wrong = 0, races = 0, clean = 0, unwritten = 0;
    fixture_random = 3;
    Emu *emu = device("sm_120a", 1, EMU_ISA_AUTO);
    const EmuPtr in = upload(emu, "in", bytes, sizeof bytes);
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        Op ops[OPS];
        const uint32_t first = below(OPS - 1); /* before it only barriers: short programs hide no race behind another */
        for (uint32_t k = 0; k < OPS; k++)
            ops[k] = k < first ? (Op){.kind = OP_BAR} : draw(i % 2);
        const bool is_filled = below(3);
        const Verdict want = judge(ops, is_filled);
        print_program(ops, is_filled, false, text, sizeof text);
        const Verdict got = run(emu, in, false, text, i % 3, &report);
        const bool wants = want.race || want.lanes, gets = got.race || got.lanes;
        if (wants != gets || (got.race && !want.race) || (got.lanes && !want.lanes) || (!wants && want.unwritten != got.unwritten)) {
            print_error("program %u: by definition race %d, of lanes %d, unwritten %d; found race %d, of lanes %d, unwritten %d: %s\n%s\n", i,
                        want.race, want.lanes, want.unwritten, got.race, got.lanes, got.unwritten,
                        report.findings_n ? report.findings[0].text : "", wrong < 2 ? text : "");
            wrong++;
        }
        races += wants;
        unwritten += !wants && want.unwritten;
        clean += !wants && !want.unwritten;
    }
    emu_free(emu);
    print_message("%u race, %u read what nobody wrote, %u are clean\n", races, unwritten, clean);
    assert_int_equal(wrong, 0);
    assert_true(races > PROGRAMS / 4 && unwritten > PROGRAMS / 10 && clean > PROGRAMS / 10);
}

/* The book of global memory is smaller (emu_race.h): it may miss some races, but what it finds is there. */
static void global_races_are_there(void **state)
{
    (void)state;
    static EmuReport report;
    static uint8_t bytes[SMEM];
    char text[6000];
    unsigned wrong = 0, races = 0, found = 0;
    fixture_random = 4;
    Emu *emu = device("sm_120a", 1, EMU_ISA_AUTO);
    const EmuPtr in = upload(emu, "in", bytes, sizeof bytes);
    for (uint32_t i = 0; i < PROGRAMS; i++) {
        Op ops[OPS];
        const uint32_t first = below(OPS - 1);
        for (uint32_t k = 0; k < OPS; k++) {
            ops[k] = k < first ? (Op){.kind = OP_BAR} : draw(i % 2);
            ops[k].kind = ops[k].kind == OP_COPY ? OP_STORE : ops[k].kind;
        }
        const Verdict want = judge(ops, true);
        print_program(ops, false, true, text, sizeof text);
        const Verdict got = run(emu, in, true, text, i % 3, &report);
        if (((got.race && !want.race) || (got.lanes && !want.lanes) || got.unwritten) && wrong++ < 3)
            print_error("program %u: by definition race %d, of lanes %d; found: %s\n%s\n", i, want.race, want.lanes, report.findings[0].text, text);
        races += want.race || want.lanes;
        found += (want.race || want.lanes) && (got.race || got.lanes);
    }
    emu_free(emu);
    print_message("%u of %u racing programs found\n", found, races);
    assert_int_equal(wrong, 0);
    assert_true(races > PROGRAMS / 10 && found > races / 10 * 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(same_verdict_as_by_definition), cmocka_unit_test(global_races_are_there)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
