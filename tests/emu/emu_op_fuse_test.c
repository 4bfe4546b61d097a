/* What fast mode does to a kernel before it runs it (copies, fused instructions, both sides of a branch as straight code) changes
 * nothing that shows: drawn programs give the same words and counts as in checked mode, which does nothing of the kind. Every fused
 * handler must have been part of one. */
#include "core/emu/emu_state.h"
#include "tests/emu/emu_fixture.h"

enum { INTS = 6, FLOATS = 6, WIDES = 3, INPUTS = INTS + FLOATS + WIDES, OUTPUTS = INPUTS + 1, THREADS = 40, PROGRAMS = 600 };

typedef struct Text {
    char s[1 << 16];
    size_t n;
    unsigned temps;
} Text;

/* An operand: a register's name or a constant. */
typedef struct Operand {
    char s[24];
} Operand;

__attribute__((format(printf, 2, 3))) static void put(Text *t, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    t->n += (size_t)vsnprintf(t->s + t->n, sizeof t->s - t->n, format, args);
    va_end(args);
    assert_true(t->n < sizeof t->s);
}

static unsigned below(unsigned n)
{
    return (random_u32() >> 8) % n;
}

static Operand named(const char *prefix, unsigned i)
{
    Operand o;
    snprintf(o.s, sizeof o.s, "%s%u", prefix, i);
    return o;
}

/* A new register of a class: t (32 bits), u (f32), w (64 bits), h (16 bits), b (8 bits), p (predicate). */
static Operand temp(Text *t, const char *class)
{
    Operand o = named("%", t->temps++);
    snprintf(o.s, sizeof o.s, "%%%s%u", class, t->temps - 1);
    return o;
}

static Operand draw_float(Text *t, unsigned depth);
static Operand draw_wide(Text *t, unsigned depth);
static Operand draw_int(Text *t, unsigned depth);

static Operand small_constant(void)
{
    static const unsigned values[] = {0, 1, 3, 4, 8, 16, 22, 23, 31, 32, 40, 255};
    return named("", values[below(sizeof values / sizeof *values)]);
}

static Operand compare(Text *t, unsigned depth)
{
    static const char *const how[] = {"eq", "ne", "lt", "le", "gt", "ge"};
    Operand a = draw_int(t, depth), b = below(2) ? small_constant() : draw_int(t, 0), p;
    if (below(2)) {
        Operand masked = temp(t, "t");
        put(t, "and.b32 %s, %s, %s;\n", masked.s, a.s, small_constant().s);
        a = masked;
    }
    p = temp(t, "p");
    put(t, "setp.%s.s32 %s, %s, %s;\n", how[below(6)], p.s, a.s, b.s);
    return p;
}

/* Statements between that write what others read: nothing may be moved behind them. */
static void disturb(Text *t)
{
    if (below(12) == 0)
        put(t, "add.u32 %%v%u, %%v%u, %u;\n", below(INTS), below(INTS), below(100));
    if (below(12) == 0)
        put(t, "mul.f32 %%g%u, %%g%u, %%g%u;\n", below(FLOATS), below(FLOATS), below(FLOATS));
}

static Operand draw_int(Text *t, unsigned depth)
{
    static const char *const ops[] = {"add.s32", "and.b32", "or.b32", "xor.b32", "shl.b32", "shr.u32"};
    if (!depth)
        return named("%v", below(INTS));
    disturb(t);
    Operand d, a, b, p;
    switch (below(9)) {
    case 0:
        a = draw_float(t, depth - 1), b = draw_float(t, depth - 1), p = temp(t, "b"), d = temp(t, "t");
        put(t, "cvt.rn.satfinite.e2m1x2.f32 %s, %s, %s;\n%s %s, %s;\n", p.s, a.s, b.s, below(3) ? "cvt.u32.u8" : "cvt.rn.f16x2.e2m1x2", d.s,
            p.s);
        return d;
    case 1:
        a = draw_wide(t, depth - 1), d = temp(t, "t");
        put(t, "cvt.u32.u64 %s, %s;\n", d.s, a.s);
        return d;
    case 2:
        a = draw_int(t, depth - 1), b = draw_int(t, depth - 1), p = compare(t, depth - 1), d = temp(t, "t");
        put(t, "selp.b32 %s, %s, %s, %s;\n", d.s, a.s, b.s, p.s);
        return d;
    default:
        a = draw_int(t, depth - 1);
        b = below(2) ? small_constant() : draw_int(t, depth - 1);
        d = temp(t, "t");
        put(t, "%s %s, %s, %s;\n", ops[below(6)], d.s, below(4) || *b.s != '%' ? a.s : b.s, b.s);
        return d;
    }
}

static Operand draw_wide(Text *t, unsigned depth)
{
    if (!depth)
        return named("%x", below(WIDES));
    disturb(t);
    Operand a, b, d, e;
    switch (below(4)) {
    case 0: case 1:
        a = draw_int(t, depth - 1), d = temp(t, "w");
        if (below(2))
            put(t, "cvt.u64.%s %s, %s;\n", below(2) ? "u32" : "s32", d.s, a.s);
        else
            put(t, "mul.wide.%s %s, %s, %s;\n", below(2) ? "u32" : "s32", d.s, a.s, draw_int(t, 0).s);
        break;
    case 2:
        a = draw_wide(t, depth - 1), d = temp(t, "w");
        put(t, "%s %s, %s, %u;\n", below(2) ? "shl.b64" : "shr.u64", d.s, a.s, below(70));
        break;
    default:
        d = draw_wide(t, depth - 1);
    }
    b = draw_wide(t, depth - 1), e = temp(t, "w");
    put(t, "add.s64 %s, %s, %s;\n", e.s, below(2) ? b.s : d.s, below(2) ? d.s : b.s);
    return e;
}

/* A half of a word as a number. */
static Operand draw_half(Text *t, Operand word, bool is_high, const char *type)
{
    Operand lo = temp(t, "h"), hi = temp(t, "h"), d = temp(t, "u");
    put(t, "mov.b32 {%s, %s}, %s;\ncvt.f32.%s %s, %s;\n", lo.s, hi.s, word.s, type, d.s, is_high ? hi.s : lo.s);
    return d;
}

static Operand draw_float(Text *t, unsigned depth)
{
    if (!depth)
        return named("%g", below(FLOATS));
    disturb(t);
    Operand a, b, c, d, e, p;
    switch (below(14)) {
    case 12: { /* times the same half of two words */
        const bool is_high = below(2);
        a = draw_half(t, named("%v", below(INTS)), is_high, "bf16"), b = draw_half(t, named("%v", below(INTS)), is_high, "bf16");
        c = temp(t, "u"), d = temp(t, "u");
        put(t, "mul.f32 %s, %s, %s;\nmul.f32 %s, %s, %s;\n", c.s, draw_float(t, 0).s, a.s, d.s, c.s, b.s);
        return d;
    }
    case 0:
        a = draw_int(t, depth - 1), c = temp(t, "u"), d = temp(t, "u");
        put(t, "cvt.rn.f32.u32 %s, %s;\nmul.f32 %s, %s, 0f3F000000;\n", c.s, a.s, d.s, c.s);
        return d;
    case 1:
        a = draw_half(t, draw_int(t, depth - 1), below(2), below(2) ? "bf16" : "f16");
        return a;
    case 2: /* squares of both halves */
        e = named("%v", below(INTS)), p = draw_float(t, depth - 1);
        a = draw_half(t, e, false, "bf16"), c = temp(t, "u");
        put(t, "fma.rn.f32 %s, %s, %s, %s;\n", c.s, a.s, a.s, p.s);
        b = draw_half(t, e, true, "bf16"), d = temp(t, "u");
        put(t, "fma.rn.f32 %s, %s, %s, %s;\n", d.s, b.s, b.s, c.s);
        return d;
    case 3: /* both halves of one word, each read once */
        c = temp(t, "h"), d = temp(t, "h"), a = temp(t, "u"), b = temp(t, "u"), e = temp(t, "u");
        put(t, "mov.b32 {%s, %s}, %s;\ncvt.f32.%s %s, %s;\n", c.s, d.s, draw_int(t, 0).s, "bf16", a.s, c.s);
        put(t, "cvt.f32.bf16 %s, %s;\nfma.rn.f32 %s, %s, %s, %s;\n", b.s, d.s, e.s, a.s, b.s, draw_float(t, 0).s);
        return e;
    case 4: case 5: /* the larger magnitude */
        a = temp(t, "u"), b = temp(t, "u"), c = temp(t, "u");
        put(t, "abs.f32 %s, %s;\n", a.s, draw_float(t, depth - 1).s);
        put(t, "abs.f32 %s, %s;\n", b.s, draw_float(t, 0).s);
        put(t, "max.f32 %s, %s, %s;\n", c.s, a.s, below(2) ? b.s : draw_float(t, 0).s);
        d = temp(t, "u");
        put(t, "max.f32 %s, %s, %s;\n", d.s, below(2) ? c.s : draw_float(t, 0).s, c.s);
        return d;
    case 6: case 7: /* the sign that a bit says */
        a = below(2) ? draw_float(t, depth - 1) : named("%g", below(FLOATS)), b = temp(t, "u"), p = compare(t, depth - 1), c = temp(t, "u");
        put(t, "neg.f32 %s, %s;\nselp.f32 %s, %s, %s, %s;\n", b.s, a.s, c.s, a.s, b.s, p.s);
        if (below(2)) /* which others ask for too */
            put(t, "selp.b32 %%v%u, %%v0, %%v1, %s;\n", below(INTS), p.s);
        if (below(3) == 0)
            return c;
        break;
    case 8: /* bits from fields */
        a = draw_int(t, depth - 1), b = draw_int(t, 0), c = temp(t, "t"), d = temp(t, "t"), e = temp(t, "t"), p = temp(t, "t");
        put(t, "shl.b32 %s, %s, 23;\nadd.s32 %s, %s, 1056964608;\nshl.b32 %s, %s, 22;\nor.b32 %s, %s, %s;\n", c.s, a.s, d.s, c.s, e.s, b.s,
            p.s, d.s, below(2) ? e.s : b.s);
        c = temp(t, "u");
        put(t, "mov.b32 %s, %s;\n", c.s, p.s);
        return c;
    case 9: { /* e2m1 from the low byte of two */
        Operand byte = temp(t, "b"), rest = temp(t, "b"), half = temp(t, "h"), word = temp(t, "t");
        put(t, "cvt.u16.u32 %s, %s;\nmov.b16 {%s, %s}, %s;\ncvt.rn.f16x2.e2m1x2 %s, %s;\n", half.s, draw_int(t, depth - 1).s, byte.s, rest.s,
            half.s, word.s, byte.s);
        c = draw_half(t, word, below(2), "f16");
        break;
    }
    default:
        c = below(2) ? draw_half(t, draw_int(t, depth - 1), below(2), below(2) ? "bf16" : "f16") : draw_float(t, depth - 1);
    }
    b = draw_float(t, depth - 1), d = temp(t, "u");
    if (below(2))
        put(t, "mul.f32 %s, %s, %s;\n", d.s, below(2) ? b.s : c.s, below(2) ? c.s : b.s);
    else
        put(t, "fma.rn.f32 %s, %s, %s, %s;\n", d.s, below(2) ? b.s : c.s, below(2) ? c.s : b.s, draw_float(t, 0).s);
    return d;
}

/* Writes a variable, by a copy. */
static void assign(Text *t, unsigned depth)
{
    Operand x;
    switch (below(5)) {
    case 0: case 1:
        x = draw_int(t, depth);
        put(t, "mov.b32 %%v%u, %s;\n", below(INTS), x.s);
        break;
    case 2: case 3:
        x = draw_float(t, depth);
        put(t, "mov.f32 %%g%u, %s;\n", below(FLOATS), x.s);
        break;
    default:
        x = draw_wide(t, depth);
        put(t, "mov.b64 %%x%u, %s;\n", below(WIDES), x.s);
    }
}

/* A side of a branch on p: changes variables, the same as the other or others; seldom p, under a guard, or memory. */
static void side(Text *t, Operand p)
{
    for (unsigned k = below(3) + 1; k--;)
        assign(t, below(3));
    if (below(8) == 0)
        put(t, "setp.ne.s32 %s, %%v0, %%v1;\n", p.s);
    if (below(8) == 0)
        put(t, "@%s add.s32 %%v0, %%v0, %%v1;\n", compare(t, 0).s);
    if (below(8) == 0)
        put(t, "st.global.u32 [%%to+%d], %%v%u;\n", 8 * INPUTS, below(INTS));
}

/* A branch over one block or between two. */
static void part(Text *t, unsigned i)
{
    Operand p = compare(t, 1);
    const bool is_one = below(3) == 0;
    put(t, "@%s%s bra %s%u;\n", below(2) ? "" : "!", p.s, is_one ? "join" : "other", i);
    side(t, p);
    if (!is_one) {
        put(t, "bra join%u;\nother%u:\n", i, i);
        side(t, p);
    }
    put(t, "join%u:\n", i);
}

/* in: INPUTS values of 8 bytes a thread; out: the same, and one more that sides write. Twice round, so that values go from one round to the next. */
static void program(Text *t)
{
    Text *body = calloc(1, sizeof *body);
    unsigned parts = 0;
    for (unsigned k = 0; k < 12; k++)
        if (below(3))
            assign(body, 2 + below(3));
        else
            part(body, parts++);
    t->n = 0;
    put(t, ".version 8.8\n.target sm_120a\n.address_size 64\n.visible .entry f(.param .u64 in, .param .u64 out)\n{\n.reg .b32 %%v<%d>, %%t<%u>, "
        "%%i;\n.reg .f32 %%g<%d>, %%u<%u>;\n.reg .b64 %%x<%d>, %%w<%u>, %%from, %%to, %%at;\n.reg .b16 %%h<%u>;\n.reg .b8 %%b<%u>;\n"
        ".reg .pred %%p<%u>, %%again;\n", INTS, body->temps + 1, FLOATS, body->temps + 1, WIDES, body->temps + 1, body->temps + 1,
        body->temps + 1, body->temps + 1);
    put(t, "ld.param.u64 %%from, [in];\nld.param.u64 %%to, [out];\nmov.u32 %%i, %%tid.x;\nmul.wide.u32 %%at, %%i, %d;\n"
        "add.s64 %%from, %%from, %%at;\nmul.wide.u32 %%at, %%i, %d;\nadd.s64 %%to, %%to, %%at;\n", 8 * INPUTS, 8 * OUTPUTS);
    for (unsigned k = 0; k < INPUTS; k++)
        put(t, k < INTS            ? "ld.global.u32 %%v%u, [%%from+%u];\n"
               : k < INTS + FLOATS ? "ld.global.f32 %%g%u, [%%from+%u];\n"
                                   : "ld.global.u64 %%x%u, [%%from+%u];\n",
            k < INTS ? k : k < INTS + FLOATS ? k - INTS : k - INTS - FLOATS, 8 * k);
    put(t, "mov.u32 %%i, 0;\nround:\n%sadd.u32 %%i, %%i, 1;\nsetp.lt.u32 %%again, %%i, 2;\n@%%again bra round;\n", body->s);
    for (unsigned k = 0; k < INPUTS; k++)
        put(t, k < INTS            ? "st.global.u32 [%%to+%u], %%v%u;\n"
               : k < INTS + FLOATS ? "st.global.f32 [%%to+%u], %%g%u;\n"
                                   : "st.global.u64 [%%to+%u], %%x%u;\n",
            8 * k, k < INTS ? k : k < INTS + FLOATS ? k - INTS : k - INTS - FLOATS);
    put(t, "ret;\n}\n");
    free(body);
}

typedef struct Result {
    uint64_t out[THREADS][OUTPUTS];
    EmuCounts counts;
} Result;

typedef struct Device {
    Emu *emu;
    EmuPtr in, out;
} Device;

static Device open_device(EmuIsa isa)
{
    Device d = {.emu = device("sm_120a", 1, isa)};
    d.in = upload(d.emu, "in", NULL, THREADS * INPUTS * 8);
    d.out = upload(d.emu, "out", NULL, sizeof (Result){0}.out);
    return d;
}

static void run(Device *dev, const char *text, EmuMode mode, uint64_t in[THREADS][INPUTS], Result *y, bool *seen)
{
    EmuModule *m = load_text(dev->emu, text);
    const EmuFunc *f = kernel(m, "f");
    EmuArg args[] = {{&dev->in, 8}, {&dev->out, 8}};
    EmuLaunch l = {.func = f, .grid = {1, 1, 1}, .block = {THREADS, 1, 1}, .args = args, .args_n = 2, .mode = mode};
    EmuReport report;
    memset(y->out, 0x5A, sizeof y->out);
    MUST(emu_write(dev->emu, dev->in, in, THREADS * INPUTS * 8, &err));
    MUST(emu_fill(dev->emu, dev->out, 0x5A, sizeof y->out, &err));
    MUST(emu_launch(dev->emu, &l, &report, &err));
    for (unsigned i = 0; i < report.findings_n; i++)
        fail_msg("%s\n%s", report.findings[i].text, text);
    MUST(emu_read(dev->emu, y->out, dev->out, sizeof y->out, &err));
    y->counts = report.counts;
    const EmuFusions all = emu_op_fuse(emu_isa(dev->emu));
    const EmuCode *code = f->code + mode;
    for (size_t i = 0; seen && i < all.n; i++)
        for (uint32_t k = 0; k < code->recs_n && !seen[i]; k++)
            seen[i] = all.rows[i].fn && all.rows[i].fn == (code->recs[k].fn == emu_exec_guarded ? code->inner[code->recs[k].inner]
                                                                                               : code->recs[k].fn);
    emu_module_unload(m);
}

static bool is_nan(uint32_t u)
{
    return (u & 0x7FFFFFFF) > 0x7F800000;
}

static void draw_inputs(uint64_t in[THREADS][INPUTS])
{
    static const uint32_t special[] = {0, 0x80000000, 0x3F800000, 0x40A00000, 0x3E800000, 0x7F800000, 0xFF800000, 0x7FC00000, 1, 0x00800000,
                                       0x3FA00000, 0x40200000, 0x4B000000, 0xFFFFFFFF, 0x7FFFFFFF, 0x7F7FFFFF};
    for (unsigned l = 0; l < THREADS; l++)
        for (unsigned k = 0; k < INPUTS; k++) {
            const float x = random_normal() * 4;
            uint32_t u = random_u32();
            if (k >= INTS && k < INTS + FLOATS)
                memcpy(&u, &x, 4);
            if (below(6) == 0)
                u = special[below(16)];
            in[l][k] = k < INTS ? (below(2) ? u : u & 15) : k < INTS + FLOATS ? u : (uint64_t)u << 32 | random_u32();
        }
}

static void fast_mode_changes_nothing(void **state)
{
    (void)state;
    static Text text;
    static uint64_t in[THREADS][INPUTS];
    static Result want, got;
    static bool seen[EMU_ISAS][400];
    Device checked = open_device(EMU_ISA_PLAIN), devices[EMU_ISAS] = {0};
    for (EmuIsa isa = EMU_ISA_PLAIN; isa < EMU_ISAS; isa++)
        if (has_isa(isa))
            devices[isa] = open_device(isa);
    unsigned missing = 0;
    fixture_random = 20;
    for (unsigned i = 0; i < PROGRAMS; i++) {
        program(&text);
        draw_inputs(in);
        run(&checked, text.s, EMU_CHECKED, in, &want, NULL);
        for (EmuIsa isa = EMU_ISA_PLAIN; isa < EMU_ISAS; isa++) {
            if (!devices[isa].emu)
                continue;
            run(devices + isa, text.s, EMU_FAST, in, &got, seen[isa]);
            for (unsigned l = 0; l < THREADS; l++)
                for (unsigned k = 0; k < OUTPUTS; k++) {
                    const uint64_t a = want.out[l][k], b = got.out[l][k];
                    if (a != b && !(k >= INTS && k < INTS + FLOATS && is_nan((uint32_t)a) && is_nan((uint32_t)b)))
                        fail_msg("program %u, %s, thread %u, value %u: %llX, checked %llX\n%s", i, emu_isa_name(isa), l, k,
                                 (unsigned long long)b, (unsigned long long)a, text.s);
                }
            assert_int_equal(got.counts.instructions, want.counts.instructions);
            assert_int_equal(got.counts.lanes, want.counts.lanes);
            assert_memory_equal(got.counts.by_class, want.counts.by_class, sizeof want.counts.by_class);
        }
    }
    for (EmuIsa isa = EMU_ISA_PLAIN; isa < EMU_ISAS; isa++) {
        const EmuFusions all = emu_op_fuse(isa);
        assert_true(all.n <= 400);
        for (size_t i = 0; devices[isa].emu && i < all.n; i++)
            if (all.rows[i].fn && !seen[isa][i])
                print_message("no program has fusion %zu of %s\n", i, emu_isa_name(isa)), missing++;
        emu_free(devices[isa].emu);
    }
    emu_free(checked.emu);
    assert_int_equal(missing, 0);
}

/* Block-scaled mma behind each other keep what they share; which of them write what others read is drawn. */
static void mma_in_a_row(void **state)
{
    (void)state;
    enum { REGS = 14, ROUNDS = 150 };
    static Text text;
    static uint32_t in[32 * REGS];
    static uint32_t want[32 * REGS], got[32 * REGS];
    const EmuAccumulate how[] = {EMU_ACCUMULATE_FAST, EMU_ACCUMULATE_TRUNCATE};
    fixture_random = 21;
    for (EmuIsa isa = EMU_ISA_PLAIN; isa < EMU_ISAS; isa++) {
        if (!has_isa(isa))
            continue;
        Emu *dev = device("sm_120a", 1, isa);
        EmuPtr from = upload(dev, "in", NULL, sizeof in), to = upload(dev, "out", NULL, sizeof in);
        for (unsigned i = 0; i < ROUNDS; i++) {
            text.n = 0;
            put(&text, ".version 8.8\n.target sm_120a\n.address_size 64\n.visible .entry f(.param .u64 in, .param .u64 out)\n{\n"
                ".reg .b32 %%v<%d>, %%i;\n.reg .b64 %%from, %%to, %%at;\nld.param.u64 %%from, [in];\nld.param.u64 %%to, [out];\n"
                "mov.u32 %%i, %%tid.x;\nmul.wide.u32 %%at, %%i, 4;\nadd.s64 %%from, %%from, %%at;\nadd.s64 %%to, %%to, %%at;\n", REGS);
            for (unsigned k = 0; k < REGS; k++)
                put(&text, "ld.global.b32 %%v%u, [%%from+%u];\n", k, 128 * k);
            /* few registers for A and B, so that much is shared; any for D */
            const unsigned a = below(3), wild = below(3) ? 12 : 4;
            for (unsigned n = 2 + below(10); n--;) {
                const unsigned aa = below(4) ? a : below(3), b = 4 + below(3), c = 6 + below(5), d[2] = {below(2) ? c : below(8), c};
                const unsigned to_d = below(wild) ? c : d[0];
                put(&text, "mma.sync.aligned.kind::mxf4nvf4.block_scale.scale_vec::4X.m16n8k64.row.col.f32.e2m1.e2m1.f32.ue4m3 "
                    "{%%v%u,%%v%u,%%v%u,%%v%u},{%%v%u,%%v%u,%%v%u,%%v%u},{%%v%u,%%v%u},{%%v%u,%%v%u,%%v%u,%%v%u},{%%v%u},{0,0},{%%v%u},{0,0};\n",
                    to_d, to_d + 1, to_d + 2, to_d + 3, aa, aa + 1, aa + 2, aa + 3, b, b + 1, c, c + 1, c + 2, c + 3, below(2) ? 13 : 3,
                    below(2) ? 12 : 5);
            }
            for (unsigned k = 0; k < REGS; k++)
                put(&text, "st.global.b32 [%%to+%u], %%v%u;\n", 128 * k, k);
            put(&text, "ret;\n}\n");
            for (unsigned k = 0; k < 32 * REGS; k++) { /* numbers as sums and scales as ue4m3 without NaN */
                const float x = random_normal();
                memcpy(in + k, &x, 4);
                in[k] = k / 32 < 6 || k / 32 > 11 ? random_u32() & 0x7E7E7E7E : in[k];
            }
            EmuModule *m = load_text(dev, text.s);
            EmuArg args[] = {{&from, 8}, {&to, 8}};
            for (unsigned k = 0; k < 4; k++) {
                EmuReport report;
                EmuLaunch l = {.func = kernel(m, "f"), .grid = {1, 1, 1}, .block = {32, 1, 1}, .args = args, .args_n = 2,
                               .mode = k & 1 ? EMU_FAST : EMU_CHECKED, .accumulate = how[k / 2]};
                MUST(emu_write(dev, from, in, sizeof in, &err));
                MUST(emu_launch(dev, &l, &report, &err));
                MUST(emu_read(dev, k & 1 ? got : want, to, sizeof in, &err));
                for (unsigned x = 0; k & 1 && x < 32 * REGS; x++)
                    if (got[x] != want[x] && !(is_nan(got[x]) && is_nan(want[x])))
                        fail_msg("row %u, %s, register %u, lane %u: %08X, one by one %08X\n%s", i, emu_isa_name(isa), x / 32, x % 32, got[x],
                                 want[x], text.s);
            }
            emu_module_unload(m);
        }
        emu_free(dev);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(fast_mode_changes_nothing), cmocka_unit_test(mma_in_a_row)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
