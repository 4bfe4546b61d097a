#include "core/emu/emu_defined.h"

typedef struct Reads {
    const EmuUseReg *regs;
    uint32_t n;
} Reads;

static uint32_t lanes_of(const EmuWarp *w, uint32_t cell)
{
    return cell == EMU_NO_CELL ? 0xFFFFFFFF : w->cells[cell].lanes;
}

static const uint32_t *numbers_at(const EmuWarp *w, uint32_t slot)
{
    return (const uint32_t *)(const void *)(w->regs + slot);
}

static uint32_t pred_at(const EmuWarp *w, uint32_t slot, bool is_negated)
{
    return *numbers_at(w, slot) ^ (is_negated ? 0xFFFFFFFF : 0);
}

/* Lanes of bad use a register without a value as `what`: from here on they count as written. */
static void report(EmuWarp *w, const EmuRec *r, uint32_t cell, uint32_t bad, const char *what)
{
    const char *const *names = w->code->cell_names;
    if (cell == EMU_NO_CELL || !(bad &= ~w->cells[cell].lanes))
        return;
    const uint32_t origin = w->cells[cell].origin;
    w->cells[cell].lanes |= bad;
    if (origin == cell)
        emu_check_finding(w, r, EMU_UNINITIALISED_REGISTER, bad, "%s, which was never written, is %s", names[cell], what);
    else
        emu_check_finding(w, r, EMU_UNINITIALISED_REGISTER, bad, "%s, computed from %s, which was never written, is %s", names[cell],
                          names[origin], what);
}

static uint32_t all_defined(const EmuWarp *w, Reads x)
{
    uint32_t lanes = 0xFFFFFFFF;
    for (uint32_t i = 0; i < x.n; i++)
        lanes &= lanes_of(w, x.regs[i].cell);
    return lanes;
}

/* and, or of predicates, setp with a predicate: lanes where one operand alone decides. */
static uint32_t decided(const EmuWarp *w, const PtxInsn *in, Reads x)
{
    uint32_t lanes = 0;
    for (uint32_t i = in->form == PTX_OP_SETP_BOOL ? 2 : 0; i < x.n; i++) {
        const EmuUseReg *p = x.regs + i;
        if (p->slot && (ptx_has(in, PTX_MOD_AND) || in->form == PTX_OP_AND_PRED))
            lanes |= lanes_of(w, p->cell) & ~pred_at(w, p->slot, p->is_negated);
        else if (p->slot && (ptx_has(in, PTX_MOD_OR) || in->form == PTX_OP_OR_PRED))
            lanes |= lanes_of(w, p->cell) & pred_at(w, p->slot, p->is_negated);
    }
    return lanes;
}

static uint32_t selected(const EmuWarp *w, Reads x)
{
    const EmuUseReg *p = x.regs + 2;
    if (!p->slot)
        return all_defined(w, x);
    const uint32_t takes = pred_at(w, p->slot, p->is_negated);
    return lanes_of(w, p->cell) & ((takes & lanes_of(w, x.regs[0].cell)) | (~takes & lanes_of(w, x.regs[1].cell)));
}

/* The value of a lane is that of the lane that it takes it from; see emu_op_warp's shuffle. */
static uint32_t shuffled(const EmuWarp *w, const EmuRec *r, const PtxInsn *in, Reads x, uint32_t on)
{
    const uint32_t *pb = numbers_at(w, r->o[3]), *pc = numbers_at(w, r->o[4]), values = lanes_of(w, x.regs[0].cell);
    uint32_t lanes = 0;
    for (uint32_t l = 0; l < 32; l++) {
        const uint32_t b = pb[l] & 31, segment = pc[l] >> 8 & 31, last = (l & segment) | (pc[l] & 31 & ~segment);
        const bool up = ptx_has(in, PTX_MOD_UP);
        const uint32_t from = up ? l - b : ptx_has(in, PTX_MOD_DOWN) ? l + b : ptx_has(in, PTX_MOD_BFLY) ? l ^ b : (l & segment) | (b & ~segment);
        const bool is_in = up ? (int32_t)from >= (int32_t)last : from <= last;
        lanes |= (values >> (is_in && on >> (from & 31) & 1 ? from & 31 : l) & 1) << l;
    }
    return lanes;
}

typedef struct Tile {
    uint32_t rows, columns, c[4]; /* without definition: rows of A, columns of B, lanes of C's registers */
} Tile;

/* Register i of A: rows g and g + 8; B: column g; scales: of the lanes that the thread selectors name (spec ptx-emulator §4). */
static Tile undefined_tile(const EmuWarp *w, const PtxInsn *in, Reads x)
{
    Tile t = {0};
    uint32_t i = 0, operand = 0;
    for (uint32_t k = 0; k < x.n; k++) {
        i = x.regs[k].operand == operand ? i + 1 : 0;
        operand = x.regs[k].operand;
        const uint32_t bad = ~lanes_of(w, x.regs[k].cell);
        const PtxOperand *selector = (operand == 4 || operand == 6) && operand + 1u < in->operands_n ? in->operands + operand + 1 : NULL;
        const uint32_t thread = selector && selector->elems_n == 2 ? (uint32_t)selector->elems[1].imm : 0;
        for (uint32_t m = bad; m; m &= m - 1) {
            const uint32_t l = (uint32_t)__builtin_ctz(m), g = l >> 2;
            t.rows |= operand == 1 ? 1u << (g + 8 * (i & 1)) : operand == 4 && (l & 3) >> 1 == thread ? 1u << (g + 8 * (l & 1)) : 0;
            t.columns |= operand == 2 || (operand == 6 && (l & 3) == thread) ? 1u << g : 0;
        }
        if (operand == 3)
            t.c[i & 3] = bad;
    }
    return t;
}

static uint32_t tile_lanes(const Tile *t, uint32_t i)
{
    uint32_t bad = t->c[i & 3];
    for (uint32_t l = 0; l < 32; l++)
        bad |= ((t->rows >> ((l >> 2) + 8 * (i >> 1)) | t->columns >> (2 * (l & 3) + (i & 1))) & 1) << l;
    return ~bad;
}

static void define(EmuWarp *w, const EmuUseReg *to, Reads x, uint32_t executed, uint32_t unsure, uint32_t lanes)
{
    if (to->cell == EMU_NO_CELL)
        return;
    EmuCell *c = w->cells + to->cell;
    c->lanes = ((c->lanes & ~executed) | (executed & lanes)) & ~unsure;
    for (uint32_t i = 0; executed & ~lanes && i < x.n; i++)
        if (x.regs[i].cell != EMU_NO_CELL && w->cells[x.regs[i].cell].lanes != 0xFFFFFFFF) {
            c->origin = w->cells[x.regs[i].cell].origin;
            return;
        }
}

static void note(EmuWarp *w, const EmuRec *r, uint32_t on)
{
    const EmuUse *u = w->code->uses + w->code->sites[r->insn].use - 1;
    const PtxInsn *in = w->code->sites[r->insn].in;
    const Reads x = {w->code->use_regs + u->first, u->reads_n};
    const EmuUseReg *to = x.regs + x.n;
    uint32_t executed = on, unsure = 0, lanes = 0;
    if (u->has_guard) {
        unsure = on & ~lanes_of(w, u->guard.cell);
        executed = on & pred_at(w, u->guard.slot, u->guard.is_negated);
    }
    switch (u->kind) {
    case EMU_USE_BRANCH:
        report(w, r, u->guard.cell, on, "the predicate of a branch");
        return;
    case EMU_USE_SINK:
        if (unsure)
            report(w, r, u->guard.cell, on, "a guard");
        for (uint32_t i = 0; i < x.n; i++)
            report(w, r, x.regs[i].cell, executed, x.regs[i].is_address ? "an address" : in->form == PTX_OP_ST ? "stored" : "an operand");
        for (uint32_t i = 0; i < u->writes_n; i++)
            define(w, to + i, x, executed, 0, 0xFFFFFFFF);
        return;
    case EMU_USE_SELECT: lanes = selected(w, x); break;
    case EMU_USE_DECIDED: lanes = all_defined(w, x) | decided(w, in, x); break;
    case EMU_USE_SHUFFLE: lanes = shuffled(w, r, in, x, on) & all_defined(w, (Reads){x.regs + 1, x.n - 1}); break;
    case EMU_USE_ALL_LANES: lanes = on & ~all_defined(w, x) ? 0 : 0xFFFFFFFF; break;
    default: lanes = all_defined(w, x); break;
    }
    const Tile t = u->kind == EMU_USE_MMA ? undefined_tile(w, in, x) : (Tile){0};
    for (uint32_t i = 0; i < u->writes_n; i++)
        define(w, to + i, x, executed, unsure, u->kind == EMU_USE_MMA ? tile_lanes(&t, i) : lanes);
}

const EmuRec *emu_defined_note(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    note(w, r, mask & ~w->dead);
    return r + 1;
}

const EmuRec *emu_defined_around(EmuWarp *w, const EmuRec *r, uint32_t mask)
{
    const uint32_t on = mask & ~w->dead;
    const bool is_warp = ptx_op[w->code->sites[r->insn].in->form].group == PTX_GROUP_WARP;
    const uint32_t member = is_warp ? numbers_at(w, r->o[5])[__builtin_ctz(on)] : 0xFFFFFFFF;
    if (!(member & ~on & ~w->dead)) /* else it parks, and this comes again for all of them */
        note(w, r, on);
    return w->code->inner[r->inner](w, r, mask);
}

void emu_defined_begin(EmuWarp *w)
{
    for (uint32_t i = 0; i < w->code->cells_n; i++)
        w->cells[i] = (EmuCell){0, i};
}
