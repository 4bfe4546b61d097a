/* A kernel's instructions → records. In this order:
 *   flatten   calls are inlined (each call site its own registers and frame), guards of anything that waits or jumps become branches
 *   blocks    basic blocks, and for each branch the block where its sides meet: the immediate post-dominator. Edges to blocks that
 *             only end are left out of that question if the other side gets to an end without them: early returns divide nobody
 *   copies    in fast mode, a register that is only ever a copy of another, or of a constant, shares its slot and is not copied
 *   fuse      in fast mode, an instruction whose result one other instruction of its block reads becomes part of that one, where
 *             emu_op_fuse has a handler for both
 *   sides     in fast mode, short sides of a branch that only compute also exist as straight code, for lanes that go both ways
 *   live      which registers are live where; a predicated write ends no life
 *   allocate  linear scan over life intervals in text order. Lanes live their own lives, all writes are masked, so sides of a
 *             branch may share slots
 *   cells     in checked mode, which registers may be undefined, and which instructions are to be watched for it (emu_defined)
 *   emit      records, with sources of other widths brought to the instruction's by records of their own */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/emu/emu_defined.h"

/* binds, compiled */

typedef struct Row {
    uint64_t types0, types1; /* bit sets over PtxType, all ones: any */
    uint64_t mods[4];
    EmuExec fn;
} Row;

typedef struct Fusion {
    EmuExec first, second, fn;
    uint32_t element, at;
} Fusion;

struct EmuTable {
    uint32_t first[PTX_FORMS + 1], fusions_n;
    Fusion *fusions; /* by first */
    Row rows[];
};

static uint64_t type_set(const char *names)
{
    uint64_t set = names ? 0 : ~0ull;
    while (names && *names) {
        size_t n = strcspn(names, " ");
        PtxType type = ptx_type_of(names, n);
        assert(type);
        set |= 1ull << type;
        names += n + (names[n] == ' ');
    }
    return set;
}

static void mod_set(const char *names, uint64_t mods[4])
{
    memset(mods, 0, 4 * sizeof *mods);
    while (*names) {
        size_t n = strcspn(names, " ");
        int mod = -1;
        for (int i = 0; n && i < PTX_MODS; i++)
            if (strlen(ptx_mod_name((PtxMod)i)) == n && memcmp(ptx_mod_name((PtxMod)i), names, n) == 0)
                mod = i;
        assert(!n || mod >= 0);
        if (n)
            mods[mod / 64] |= 1ull << (mod % 64);
        names += n + (names[n] == ' ');
    }
}

static EmuExec find(const EmuTable *t, PtxForm form, PtxType type0, PtxType type1, const uint64_t mods[4])
{
    for (uint32_t i = t->first[form]; i < t->first[form + 1]; i++)
        if (t->rows[i].types0 >> type0 & 1 && t->rows[i].types1 >> type1 & 1 && memcmp(t->rows[i].mods, mods, sizeof t->rows[i].mods) == 0)
            return t->rows[i].fn;
    return NULL;
}

/* The handler that a row of fusions means. */
static EmuExec resolve(const EmuTable *t, const EmuBind *b)
{
    uint64_t mods[4];
    if (b->fn)
        return b->fn;
    mod_set(b->mods, mods);
    EmuExec fn = find(t, b->form, b->type0 ? ptx_type_of(b->type0, strlen(b->type0)) : PTX_NONE,
                      b->type1 ? ptx_type_of(b->type1, strlen(b->type1)) : PTX_NONE, mods);
    assert(fn);
    return fn;
}

static int by_first(const void *a, const void *b)
{
    const Fusion *x = a, *y = b;
    const uintptr_t p = (uintptr_t)x->first, q = (uintptr_t)y->first;
    return p < q ? -1 : p > q;
}

EmuTable *emu_decode_table(EmuIsa isa, EmuMode mode)
{
    EmuBinds all[] = {emu_op_arith(isa, mode), emu_op_float(isa, mode), emu_op_cvt(isa, mode), emu_op_mem(isa, mode),
                      emu_op_warp(isa, mode), emu_op_sync(isa, mode), emu_op_async(isa, mode), emu_op_mma(isa, mode)};
    const size_t all_n = sizeof all / sizeof *all;
    size_t n = 0;
    for (size_t i = 0; i < all_n; i++)
        n += all[i].n;
    const EmuFusions fusions = mode == EMU_FAST ? emu_op_fuse(isa) : (EmuFusions){NULL, 0};
    EmuTable *t = malloc(sizeof *t + n * sizeof *t->rows + fusions.n * sizeof *t->fusions);
    if (!t)
        return NULL;
    uint32_t at = 0;
    for (uint32_t form = 0; form < PTX_FORMS; form++) {
        t->first[form] = at;
        for (size_t i = 0; i < all_n; i++)
            for (size_t k = 0; k < all[i].n; k++) {
                const EmuBind *b = all[i].rows + k;
                if (b->form != form)
                    continue;
                t->rows[at] = (Row){.types0 = type_set(b->type0), .types1 = type_set(b->type1), .fn = b->fn};
                mod_set(b->mods, t->rows[at++].mods);
            }
    }
    t->first[PTX_FORMS] = at;
    t->fusions = (Fusion *)(t->rows + n);
    t->fusions_n = (uint32_t)fusions.n;
    for (size_t i = 0; i < fusions.n; i++) {
        const EmuFusion *x = fusions.rows + i;
        t->fusions[i] = (Fusion){resolve(t, x->first), resolve(t, x->second), x->fn, x->element, x->at};
        t->fusions[i].fn = x->fn ? x->fn : t->fusions[i].second;
    }
    if (fusions.n)
        qsort(t->fusions, fusions.n, sizeof *t->fusions, by_first);
    return t;
}

/* The handler for both, NULL: there is none. */
static EmuExec find_fusion(const EmuTable *t, EmuExec first, uint32_t element, EmuExec second, uint32_t at)
{
    uint32_t lo = 0, hi = t->fusions_n;
    while (lo < hi) {
        const uint32_t mid = (lo + hi) / 2;
        if ((uintptr_t)t->fusions[mid].first < (uintptr_t)first)
            lo = mid + 1;
        else
            hi = mid;
    }
    for (; lo < t->fusions_n && t->fusions[lo].first == first; lo++)
        if (t->fusions[lo].second == second && t->fusions[lo].element == element && t->fusions[lo].at == at)
            return t->fusions[lo].fn;
    return NULL;
}

/* flattened code */

typedef enum Kind { KIND_INSN, KIND_GOTO, KIND_BRANCH, KIND_END, KIND_TRAP } Kind;

typedef struct Flat {
    const PtxInsn *in;
    uint32_t inst;     /* which inlined function */
    Kind kind;
    int32_t guard;     /* virtual register, -1: none; of KIND_BRANCH: when to go to target */
    bool is_negated;
    uint32_t target;   /* flat index; until its instance is complete, with TO_INSN, an instruction of the function */
    bool is_to_insn;
    bool is_copy;      /* of a register that shares its source's slot: emits nothing */
    bool is_absorbed;  /* part of a later instruction: emits nothing */
    bool is_fused;     /* has absorbed others: see its Plain */
    bool is_masked;    /* on a side of a branch, in straight code: only lanes of that side may write */
} Flat;

/* An instruction that only computes: its handler, how many registers that writes, and the operands it reads, in order of slots. */
typedef struct Plain {
    EmuExec fn;           /* NULL: it is none */
    uint8_t dests_n, sources_n;
    uint8_t absorbed;     /* destinations, as a set, that only instructions read that have absorbed this one */
    struct {
        uint32_t flat;
        uint8_t operand, bytes; /* bytes 0: a predicate */
    } sources[EMU_SLOTS];
} Plain;

typedef struct Inst {
    const PtxFunc *f;
    uint32_t reg_base, parent;
    uint32_t *offsets; /* by PtxVar.id: local offset of locals and params of calls, plus 1; 0: not placed */
} Inst;

typedef struct Block {
    uint32_t first, end;  /* flat */
    uint32_t succ[2], succ_n;
    uint32_t rec;
    int32_t ipdom;        /* -1: none */
    bool is_exit_only, is_join;
    uint32_t dropped;     /* bit i: edge i leads to a block that only ends */
    uint32_t straight;    /* record where its sides are straight code; 0: nowhere, UINT32_MAX: to be emitted */
} Block;

typedef struct Map { /* open addressing: constants by (bits, bytes) → slot */
    struct MapEntry {
        uint64_t bits;
        uint32_t bytes, slot;
    } *entries;
    uint32_t cap, n;
} Map;

typedef struct Decoder {
    const EmuModule *module;
    const EmuTable *table;
    EmuCode *code;
    Err *err;
    Flat *flats;
    uint32_t flats_n, flats_cap;
    Inst *insts;
    uint32_t insts_n, insts_cap;
    uint32_t vregs_n;
    uint8_t *vreg_bytes;  /* 0: predicate */
    uint32_t vregs_cap;
    uint32_t *slots;      /* by virtual register */
    uint32_t *root;       /* by virtual register: whose slot it shares, itself if nobody's, NOT_LIVE if a constant's; NULL: no copies */
    Plain *plains;        /* by flat; NULL: nothing is fused */
    uint32_t side_guard;  /* of straight code being emitted: guard of what is masked */
    Block *blocks;
    uint32_t blocks_n;
    uint32_t *block_of;   /* flat → block; one more for the end */
    uint32_t *smem_offset; /* by PtxVar.id, plus 1 */
    Map consts, params;
    uint32_t consts_cap, params_cap, sregs_cap, zeros_cap, uses_cap, use_regs_cap;
    uint32_t *cell_of;    /* checked mode: by virtual register, NOT_LIVE: none; NULL: no register has one */
    uint32_t flat;        /* being emitted */
    uint32_t sreg_slot[PTX_SREGS];
    uint32_t classes[EMU_CLASSES];
} Decoder;

enum { SINK = 0, TEMP_PRED = 8, TEMPS = 256, TEMP_BYTES = 256, TEMPS_N = 8, FIRST_SLOT = TEMPS + TEMPS_N * TEMP_BYTES };
enum { FLATS_MAX = 4 << 20 };
#define NOT_LIVE UINT32_MAX

static bool out_of_memory(Decoder *d)
{
    return fail(d->err, E_MEMORY, "kernel \"%s\": memory is exhausted", d->code->name);
}

static bool unsupported(Decoder *d, const PtxInsn *in, const char *why)
{
    return fail(d->err, E_UNSUPPORTED, "kernel \"%s\", PTX line %u, \"%.100s\": %s", d->code->name, in->line, in->opcode, why);
}

static bool reserve(Decoder *d, void *array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t wanted = *cap ? 2 * *cap : 64;
    while (wanted <= n)
        wanted *= 2;
    void *old;
    memcpy(&old, array, sizeof old);
    void *grown = realloc(old, wanted * size);
    if (!grown)
        return out_of_memory(d);
    memset((char *)grown + *cap * size, 0, (wanted - *cap) * size);
    memcpy(array, &grown, sizeof grown);
    *cap = wanted;
    return true;
}

static uint32_t align_up(uint64_t x, uint32_t align)
{
    return (uint32_t)((x + align - 1) & ~(uint64_t)(align - 1));
}

/* flatten */

static bool push(Decoder *d, Flat flat)
{
    if (d->flats_n >= FLATS_MAX)
        return fail(d->err, E_UNSUPPORTED, "kernel \"%s\": more than %d instructions after inlining", d->code->name, FLATS_MAX);
    if (!reserve(d, &d->flats, d->flats_n, &d->flats_cap, sizeof *d->flats))
        return false;
    d->flats[d->flats_n++] = flat;
    return true;
}

/* Does it wait for others, or end, so that a guard must be a branch? */
static bool waits(const PtxInsn *in)
{
    PtxGroup group = ptx_op[in->form].group;
    return (group == PTX_GROUP_WARP && in->form != PTX_OP_ACTIVEMASK) || group == PTX_GROUP_MMA || group == PTX_GROUP_CONTROL ||
           in->form == PTX_OP_BAR_SYNC || in->form == PTX_OP_BARRIER_SYNC || in->form == PTX_OP_BAR_RED ||
           in->form == PTX_OP_BAR_RED_POPC;
}

static bool new_inst(Decoder *d, const PtxFunc *f, uint32_t parent, uint32_t *idx)
{
    *idx = d->insts_n;
    if (!reserve(d, &d->insts, d->insts_n, &d->insts_cap, sizeof *d->insts))
        return false;
    if (!reserve(d, &d->vreg_bytes, d->vregs_n + f->regs_n, &d->vregs_cap, sizeof *d->vreg_bytes))
        return false;
    uint32_t *offsets = calloc(d->module->ptx->var_ids_n + 1, sizeof *offsets);
    if (!offsets)
        return out_of_memory(d);
    d->insts[d->insts_n++] = (Inst){f, d->vregs_n, parent, offsets};
    for (uint32_t i = 0; i < f->regs_n; i++) {
        uint32_t bytes = ptx_type_bytes(f->regs[i].type);
        d->vreg_bytes[d->vregs_n + i] = (uint8_t)(bytes == 1 ? 2 : bytes);
    }
    d->vregs_n += f->regs_n;
    for (uint32_t i = 0; i < f->vars_n; i++) {
        const PtxVar *v = f->vars[i];
        if (v->space != PTX_SPACE_LOCAL && v->space != PTX_SPACE_PARAM)
            continue;
        uint32_t at = align_up(d->code->local_bytes, v->align < 8 ? 8 : v->align);
        offsets[v->id] = at + 1;
        d->code->local_bytes = at + (uint32_t)v->bytes;
    }
    return true;
}

static bool flatten(Decoder *d, uint32_t inst);

/* Parameters of the callee lie where the caller put its arguments. */
static bool inline_call(Decoder *d, uint32_t inst, const PtxInsn *in)
{
    const PtxFunc *f = d->module->ptx->funcs[in->operands[1].idx];
    uint32_t callee;
    if (f->is_extern && strcmp(f->name, "__assertfail") == 0)
        return push(d, (Flat){.in = in, .inst = inst, .kind = KIND_TRAP, .guard = -1});
    if (f->is_extern)
        return unsupported(d, in, "a function without body");
    for (uint32_t i = inst;; i = d->insts[i].parent) {
        if (d->insts[i].f == f)
            return unsupported(d, in, "recursion");
        if (!i)
            break;
    }
    if (!new_inst(d, f, inst, &callee))
        return false;
    for (uint32_t i = 0; i < f->params_n; i++)
        d->insts[callee].offsets[f->params[i]->id] = d->insts[inst].offsets[in->operands[2].elems[i].var->id];
    for (uint32_t i = 0; i < f->rets_n; i++)
        d->insts[callee].offsets[f->rets[i]->id] = d->insts[inst].offsets[in->operands[0].elems[i].var->id];
    return flatten(d, callee);
}

static bool flatten_one(Decoder *d, uint32_t inst, const PtxInsn *in)
{
    const Inst *self = d->insts + inst;
    const int32_t guard = in->guard < 0 ? -1 : (int32_t)self->reg_base + in->guard;
    if (in->form == PTX_OP_BRA) {
        uint32_t to = self->f->labels[in->operands[0].idx].insn;
        return push(d, (Flat){.in = in, .inst = inst, .kind = guard < 0 ? KIND_GOTO : KIND_BRANCH, .guard = guard,
                              .is_negated = in->is_guard_negated, .target = to, .is_to_insn = true});
    }
    uint32_t skip = d->flats_n;
    bool is_skipped = guard >= 0 && waits(in);
    if (is_skipped && !push(d, (Flat){.in = in, .inst = inst, .kind = KIND_BRANCH, .guard = guard, .is_negated = !in->is_guard_negated}))
        return false;
    switch (in->form) {
    case PTX_OP_CALL:
        if (!inline_call(d, inst, in))
            return false;
        break;
    case PTX_OP_RET:
    case PTX_OP_EXIT: {
        bool returns = in->form == PTX_OP_RET && inst != 0;
        if (!push(d, (Flat){.in = in, .inst = inst, .kind = returns ? KIND_GOTO : KIND_END, .guard = -1, .target = self->f->insns_n,
                            .is_to_insn = returns}))
            return false;
        break;
    }
    case PTX_OP_TRAP:
    case PTX_OP_BRKPT:
        if (!push(d, (Flat){.in = in, .inst = inst, .kind = KIND_TRAP, .guard = -1}))
            return false;
        break;
    default:
        if (!push(d, (Flat){.in = in, .inst = inst, .kind = KIND_INSN, .guard = is_skipped ? -1 : guard, .is_negated = in->is_guard_negated}))
            return false;
    }
    if (is_skipped)
        d->flats[skip].target = d->flats_n;
    return true;
}

static bool flatten(Decoder *d, uint32_t inst)
{
    const PtxFunc *f = d->insts[inst].f;
    uint32_t start = d->flats_n, *map = malloc((f->insns_n + 1) * sizeof *map);
    if (!map)
        return out_of_memory(d);
    bool ok = true;
    for (uint32_t i = 0; ok && i < f->insns_n; i++) {
        map[i] = d->flats_n;
        ok = flatten_one(d, inst, f->insns + i);
    }
    map[f->insns_n] = d->flats_n;
    for (uint32_t i = start; ok && i < d->flats_n; i++)
        if (d->flats[i].inst == inst && d->flats[i].is_to_insn) {
            d->flats[i].target = map[d->flats[i].target];
            d->flats[i].is_to_insn = false;
        }
    free(map);
    return ok;
}

/* blocks */

static bool build_blocks(Decoder *d)
{
    uint32_t n = d->flats_n;
    uint8_t *leads = calloc(n + 1, 1);
    d->block_of = calloc(n + 1, sizeof *d->block_of);
    if (!leads || !d->block_of)
        return free(leads), out_of_memory(d);
    leads[0] = 1;
    for (uint32_t i = 0; i < n; i++) {
        const Flat *f = d->flats + i;
        if (f->kind == KIND_GOTO || f->kind == KIND_BRANCH)
            leads[f->target] = 1;
        if (f->kind != KIND_INSN)
            leads[i + 1] = 1;
    }
    uint32_t blocks_n = 0;
    for (uint32_t i = 0; i < n; i++)
        blocks_n += leads[i];
    d->blocks = calloc(blocks_n, sizeof *d->blocks);
    if (!d->blocks)
        return free(leads), out_of_memory(d);
    d->blocks_n = blocks_n;
    for (uint32_t i = 0, b = UINT32_MAX; i < n; i++) {
        if (leads[i])
            d->blocks[++b].first = i;
        d->blocks[b].end = i + 1;
        d->block_of[i] = b;
    }
    free(leads);
    for (uint32_t b = 0; b < blocks_n; b++) {
        Block *x = d->blocks + b;
        const Flat *last = d->flats + x->end - 1;
        x->ipdom = -1;
        if (last->kind == KIND_GOTO || last->kind == KIND_BRANCH)
            x->succ[x->succ_n++] = d->block_of[last->target];
        if ((last->kind == KIND_INSN || last->kind == KIND_BRANCH) && x->end < n)
            x->succ[x->succ_n++] = b + 1;
    }
    return true;
}

static bool ends(const Decoder *d, uint32_t b)
{
    Kind kind = d->flats[d->blocks[b].end - 1].kind;
    return kind == KIND_END || kind == KIND_TRAP;
}

/* A short block without synchronisation that ends. */
static bool only_ends(const Decoder *d, uint32_t b)
{
    const Block *x = d->blocks + b;
    if (!ends(d, b) || x->end - x->first > 9)
        return false;
    for (uint32_t i = x->first; i < x->end; i++)
        if (d->flats[i].kind == KIND_INSN && (waits(d->flats[i].in) || ptx_op[d->flats[i].in->form].group == PTX_GROUP_SYNC))
            return false;
    return true;
}

/* Can an end be reached from `from` without edge `edge` of block `without`? */
static bool reaches_end(const Decoder *d, uint32_t from, uint32_t without, uint32_t edge, uint32_t *stack, uint8_t *seen)
{
    uint32_t n = 0;
    memset(seen, 0, d->blocks_n);
    stack[n++] = from;
    seen[from] = 1;
    while (n) {
        uint32_t b = stack[--n];
        if (ends(d, b))
            return true;
        for (uint32_t i = 0; i < d->blocks[b].succ_n; i++) {
            uint32_t s = d->blocks[b].succ[i];
            if (seen[s] || (b == without && i == edge))
                continue;
            seen[s] = 1;
            stack[n++] = s;
        }
    }
    return false;
}

/* Post-dominators on the kept edges by the iterative algorithm of Cooper, Harvey and Kennedy; block blocks_n is the common end. */
static bool find_joins(Decoder *d)
{
    const uint32_t n = d->blocks_n, end = n;
    uint32_t *stack = malloc((n + 1) * sizeof *stack), *order = malloc((n + 1) * sizeof *order), *number = malloc((n + 1) * sizeof *number);
    uint32_t *pred_first = calloc(n + 2, sizeof *pred_first), *preds = malloc((3 * (size_t)n + 1) * sizeof *preds), *at = malloc((n + 1) * sizeof *at);
    int32_t *ipdom = malloc((n + 1) * sizeof *ipdom);
    uint8_t *seen = calloc(n + 1, 1);
    bool ok = stack && order && number && pred_first && preds && at && ipdom && seen;
    if (!ok) {
        out_of_memory(d);
        goto done;
    }
    for (uint32_t b = 0; b < n; b++)
        d->blocks[b].is_exit_only = only_ends(d, b);
    for (uint32_t b = 0; b < n; b++) {
        Block *x = d->blocks + b;
        for (uint32_t i = 0; x->succ_n == 2 && i < 2; i++)
            if (d->blocks[x->succ[i]].is_exit_only && !d->blocks[x->succ[1 - i]].is_exit_only &&
                reaches_end(d, x->succ[1 - i], b, i, stack, seen))
                x->dropped |= 1u << i;
    }
    /* predecessors in the reversed graph's sense: pred lists by block, of kept edges; blocks that end have the edge to `end` */
    for (int pass = 0; pass < 2; pass++) {
        for (uint32_t b = 0; b < n; b++) {
            const Block *x = d->blocks + b;
            for (uint32_t i = 0; i < x->succ_n; i++) {
                if (x->dropped >> i & 1)
                    continue;
                if (pass)
                    preds[at[x->succ[i]]++] = b;
                else
                    pred_first[x->succ[i] + 1]++;
            }
            if (!x->succ_n) {
                if (pass)
                    preds[at[end]++] = b;
                else
                    pred_first[end + 1]++;
            }
        }
        for (uint32_t b = 0; !pass && b <= n; b++) {
            pred_first[b + 1] += pred_first[b];
            at[b] = pred_first[b];
        }
    }
    /* post-order of the reversed graph from its root */
    memset(seen, 0, n + 1);
    uint32_t depth = 0, order_n = 0;
    stack[depth++] = end;
    seen[end] = 1;
    for (uint32_t b = 0; b <= n; b++) {
        at[b] = pred_first[b];
        number[b] = UINT32_MAX;
        ipdom[b] = -1;
    }
    while (depth) {
        uint32_t b = stack[depth - 1];
        if (at[b] < pred_first[b + 1]) {
            uint32_t p = preds[at[b]++];
            if (!seen[p]) {
                seen[p] = 1;
                stack[depth++] = p;
            }
        } else {
            number[b] = order_n;
            order[order_n++] = b;
            depth--;
        }
    }
    ipdom[end] = (int32_t)end;
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t k = order_n - 1; k-- > 0;) {
            uint32_t b = order[k];
            const Block *x = d->blocks + b;
            int32_t join = -1;
            for (uint32_t i = 0; i < (x->succ_n ? x->succ_n : 1); i++) {
                uint32_t s = x->succ_n ? x->succ[i] : end;
                if (x->dropped >> i & 1 || ipdom[s] < 0)
                    continue;
                uint32_t a = s, c = join < 0 ? s : (uint32_t)join;
                while (a != c) {
                    while (number[a] < number[c])
                        a = (uint32_t)ipdom[a];
                    while (number[c] < number[a])
                        c = (uint32_t)ipdom[c];
                }
                join = (int32_t)a;
            }
            if (join != ipdom[b]) {
                ipdom[b] = join;
                changed = true;
            }
        }
    }
    for (uint32_t b = 0; b < n; b++) {
        Block *x = d->blocks + b;
        if (x->succ_n == 2 && !x->dropped && ipdom[b] >= 0 && (uint32_t)ipdom[b] != end) {
            x->ipdom = ipdom[b];
            d->blocks[ipdom[b]].is_join = true;
        }
    }
done:
    free(stack);
    free(order);
    free(number);
    free(pred_first);
    free(preds);
    free(at);
    free(ipdom);
    free(seen);
    return ok;
}

/* registers */

static bool is_written(char role)
{
    return strchr("dwxDXUHQqV", role) != NULL;
}

typedef void (*Visit)(void *data, uint32_t vreg, bool is_write);

static void visit_reg(const Decoder *d, uint32_t v, bool is_write, Visit visit, void *data)
{
    if (d->root && v != NOT_LIVE)
        v = d->root[v];
    if (v != NOT_LIVE)
        visit(data, v, is_write);
}

static void visit_operand(const Decoder *d, const Inst *inst, const PtxOperand *o, char role, Visit visit, void *data)
{
    if (o->kind == PTX_KIND_REG)
        visit_reg(d, inst->reg_base + (uint32_t)o->idx, is_written(role), visit, data);
    else if (o->kind == PTX_KIND_MEM && o->idx >= 0)
        visit_reg(d, inst->reg_base + (uint32_t)o->idx, false, visit, data);
    for (uint32_t i = 0; o->kind == PTX_KIND_VEC && i < o->elems_n; i++)
        visit_operand(d, inst, o->elems + i, role, visit, data);
    if (o->second && o->second->kind == PTX_KIND_REG)
        visit_reg(d, inst->reg_base + (uint32_t)o->second->idx, true, visit, data);
}

static const PtxOperand *source_operand(const Decoder *d, const Plain *x, uint32_t k)
{
    return d->flats[x->sources[k].flat].in->operands + x->sources[k].operand;
}

/* The virtual register that source k is, NOT_LIVE: none. */
static uint32_t source_reg(const Decoder *d, const Plain *x, uint32_t k)
{
    const PtxOperand *o = source_operand(d, x, k);
    return o->kind == PTX_KIND_REG ? d->insts[d->flats[x->sources[k].flat].inst].reg_base + (uint32_t)o->idx : NOT_LIVE;
}

static void visit_flat(const Decoder *d, uint32_t i, Visit visit, void *data)
{
    const Flat *f = d->flats + i;
    if (f->is_copy || f->is_absorbed)
        return;
    if (f->guard >= 0)
        visit_reg(d, (uint32_t)f->guard, false, visit, data);
    if (f->is_fused) {
        const Plain *x = d->plains + i;
        visit_operand(d, d->insts + f->inst, f->in->operands, f->in->operands->role, visit, data);
        for (uint32_t k = 0; k < x->sources_n; k++)
            visit_reg(d, source_reg(d, x, k), false, visit, data);
        return;
    }
    for (uint32_t k = 0; f->kind == KIND_INSN && k < f->in->operands_n; k++)
        visit_operand(d, d->insts + f->inst, f->in->operands + k, f->in->operands[k].role, visit, data);
}

/* what an instruction asks for */

static void drop(uint64_t mods[4], PtxMod mod)
{
    mods[mod / 64] &= ~(1ull << (mod % 64));
}

/* Modifiers that decide between handlers; the others of the instruction's row change no result of this emulator. */
static void deciding(const PtxInsn *in, uint64_t mods[4])
{
    static const PtxMod memory[] = {
        PTX_MOD_GLOBAL, PTX_MOD_SHARED, PTX_MOD_SHARED_CTA, PTX_MOD_SHARED_CLUSTER, PTX_MOD_LOCAL, PTX_MOD_CONST, PTX_MOD_PARAM,
        PTX_MOD_PARAM_ENTRY, PTX_MOD_PARAM_FUNC, PTX_MOD_WEAK, PTX_MOD_VOLATILE, PTX_MOD_RELAXED, PTX_MOD_ACQUIRE, PTX_MOD_RELEASE,
        PTX_MOD_ACQ_REL, PTX_MOD_CTA, PTX_MOD_CLUSTER, PTX_MOD_GPU, PTX_MOD_SYS, PTX_MOD_CA, PTX_MOD_CG, PTX_MOD_CS, PTX_MOD_LU,
        PTX_MOD_CV, PTX_MOD_WB, PTX_MOD_WT, PTX_MOD_NC, PTX_MOD_L1_NO_ALLOCATE, PTX_MOD_L1_EVICT_FIRST, PTX_MOD_L1_EVICT_LAST,
        PTX_MOD_L1_EVICT_NORMAL, PTX_MOD_L1_EVICT_UNCHANGED, PTX_MOD_L2_EVICT_FIRST, PTX_MOD_L2_EVICT_LAST, PTX_MOD_L2_EVICT_NORMAL,
        PTX_MOD_L2_CACHE_HINT, PTX_MOD_L2_64B, PTX_MOD_L2_128B, PTX_MOD_L2_256B, PTX_MOD_NOFTZ};
    static const PtxMod floats[] = {PTX_MOD_RN, PTX_MOD_RZ, PTX_MOD_RM, PTX_MOD_RP};
    static const PtxMod warps[] = {PTX_MOD_SYNC, PTX_MOD_ALIGNED, PTX_MOD_CTA};
    memcpy(mods, in->mods, 4 * sizeof *mods);
    switch (ptx_op[in->form].group) {
    case PTX_GROUP_MEM:
        if (in->form == PTX_OP_PREFETCH)
            memset(mods, 0, 4 * sizeof *mods);
        for (size_t i = 0; in->form != PTX_OP_ISSPACEP && i < sizeof memory / sizeof *memory; i++)
            drop(mods, memory[i]);
        break;
    case PTX_GROUP_MOVE:
        for (size_t i = 0; i < sizeof memory / sizeof *memory; i++)
            drop(mods, memory[i]);
        break;
    case PTX_GROUP_FLOAT:
        for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
            drop(mods, floats[i]);
        break;
    case PTX_GROUP_CVT:
        if (in->form == PTX_OP_CVT_I2F)
            for (size_t i = 0; i < sizeof floats / sizeof *floats; i++)
                drop(mods, floats[i]);
        if (in->form == PTX_OP_CVT_E8 || in->form == PTX_OP_CVT_E8_F16 || in->form == PTX_OP_CVT_F16_E8 || in->form == PTX_OP_CVT_E4 ||
            in->form == PTX_OP_CVT_F16_E4 || in->form == PTX_OP_CVT_BF16_UE8M0)
            drop(mods, PTX_MOD_RN);
        drop(mods, PTX_MOD_SATFINITE); /* every conversion that has it must have it */
        break;
    case PTX_GROUP_WARP:
    case PTX_GROUP_SYNC:
        for (size_t i = 0; i < sizeof warps / sizeof *warps; i++)
            drop(mods, warps[i]);
        if (in->form == PTX_OP_MEMBAR || in->form == PTX_OP_FENCE || in->form == PTX_OP_FENCE_PROXY || in->form == PTX_OP_FENCE_MBARRIER ||
            in->form == PTX_OP_GRIDDEPCONTROL)
            memset(mods, 0, 4 * sizeof *mods);
        break;
    case PTX_GROUP_MMA: {
        bool trans = ptx_has(in, PTX_MOD_TRANS) && in->form != PTX_OP_MOVMATRIX;
        memset(mods, 0, 4 * sizeof *mods);
        if (trans)
            mods[PTX_MOD_TRANS / 64] |= 1ull << (PTX_MOD_TRANS % 64);
        break;
    }
    case PTX_GROUP_ASYNC:
    case PTX_GROUP_CONTROL:
        memset(mods, 0, 4 * sizeof *mods);
        break;
    default:
        break;
    }
}

static EmuExec find_for(const Decoder *d, const PtxInsn *in)
{
    uint64_t mods[4];
    deciding(in, mods);
    return find(d->table, in->form, (PtxType)in->types[0], (PtxType)in->types[1], mods);
}

/* MXCSR's bits for a rounding that is not to nearest, 0 for nearest. */
static int64_t rounding(const PtxInsn *in)
{
    return ptx_has(in, PTX_MOD_RZ) ? 0x6000 : ptx_has(in, PTX_MOD_RM) ? 0x2000 : ptx_has(in, PTX_MOD_RP) ? 0x4000 : 0;
}

static uint32_t role_bytes(const PtxInsn *in, const PtxOperand *o)
{
    switch (o->role) {
    case 'c': return 2 * ptx_type_bytes((PtxType)in->types[0]);
    case 'u': return 4;
    case 'h': return 2;
    case 'l': return 8;
    case 'p': return 0;
    default: return ptx_type_bytes((PtxType)in->types[0]);
    }
}

/* copies */

typedef struct Copies {
    uint32_t *defs, *def_at; /* by virtual register: how many instructions write it, the last of them */
    uint32_t at, wanted;
    bool is_used;
} Copies;

static void note_def(void *data, uint32_t v, bool is_write)
{
    Copies *c = data;
    if (is_write) {
        c->defs[v]++;
        c->def_at[v] = c->at;
    }
}

static void note_use(void *data, uint32_t v, bool is_write)
{
    Copies *c = data;
    c->is_used |= v == c->wanted && !is_write;
}

static bool is_own_param(const Decoder *d, const Flat *f)
{
    const PtxOperand *m = f->in->operands + 1;
    return f->in->form == PTX_OP_LD && m->kind == PTX_KIND_MEM && m->var && m->var->space == PTX_SPACE_PARAM && m->idx < 0 &&
           !d->insts[f->inst].offsets[m->var->id];
}

/* Is it an unguarded copy of all bits of its source, one that stays what it is if the source is a constant, a special register or a
 * parameter? */
static bool copies_all(const Decoder *d, const Flat *f)
{
    if (f->kind != KIND_INSN || f->guard >= 0 || f->in->operands[0].kind != PTX_KIND_REG)
        return false;
    const PtxInsn *in = f->in;
    const Inst *inst = d->insts + f->inst;
    const uint32_t bytes = ptx_type_bytes((PtxType)in->types[0]), have = d->vreg_bytes[inst->reg_base + (uint32_t)in->operands[0].idx];
    const PtxOperand *from = in->operands + 1;
    if (bytes < 2 || bytes != have)
        return false;
    if (is_own_param(d, f))
        return in->vec == 1 && from->imm >= 0 && (uint64_t)from->imm + bytes <= from->var->bytes;
    if (in->form != PTX_OP_MOV && (in->form != PTX_OP_CVTA || in->space == PTX_SPACE_SHARED || in->space == PTX_SPACE_LOCAL ||
                                   in->space == PTX_SPACE_PARAM))
        return false;
    if (from->kind == PTX_KIND_REG)
        return d->vreg_bytes[inst->reg_base + (uint32_t)from->idx] == bytes;
    return from->kind == PTX_KIND_IMM || (from->kind == PTX_KIND_SREG && bytes == 4);
}

/* May to, which flat i alone writes as a copy of the register root, which one instruction alone writes, share its slot? It may if
 * root cannot be written again before the copy is: when both are in one block (and what an earlier round copied is not read in
 * between), or root is written before anything that is repeated. */
static bool may_share(const Decoder *d, Copies *c, uint32_t to, uint32_t root, uint32_t i, bool entry_repeats)
{
    enum { FAR = 256 };
    const uint32_t from = c->def_at[root];
    if (d->block_of[from] == 0 && !entry_repeats)
        return true;
    if (d->block_of[from] != d->block_of[i] || from >= i || i - from > FAR)
        return false;
    c->wanted = to;
    c->is_used = false;
    for (uint32_t k = from + 1; k < i; k++)
        visit_flat(d, k, note_use, c);
    return !c->is_used;
}

static bool find_copies(Decoder *d)
{
    const uint32_t n = d->vregs_n;
    Copies c = {.defs = calloc(n + 1, sizeof *c.defs), .def_at = calloc(n + 1, sizeof *c.def_at)};
    uint32_t *root = malloc((n + 1) * sizeof *root);
    bool ok = c.defs && c.def_at && root, entry_repeats = false;
    if (!ok) {
        out_of_memory(d);
        goto done;
    }
    for (uint32_t v = 0; v < n; v++)
        root[v] = v;
    for (c.at = 0; c.at < d->flats_n; c.at++)
        visit_flat(d, c.at, note_def, &c);
    for (uint32_t b = 0; b < d->blocks_n; b++)
        for (uint32_t k = 0; k < d->blocks[b].succ_n; k++)
            entry_repeats |= d->blocks[b].succ[k] == 0;
    for (uint32_t i = 0; i < d->flats_n; i++) {
        Flat *f = d->flats + i;
        if (!copies_all(d, f))
            continue;
        const uint32_t base = d->insts[f->inst].reg_base, to = base + (uint32_t)f->in->operands[0].idx;
        if (c.defs[to] != 1)
            continue;
        if (f->in->operands[1].kind != PTX_KIND_REG) {
            root[to] = NOT_LIVE;
            f->is_copy = true;
            continue;
        }
        const uint32_t from = root[base + (uint32_t)f->in->operands[1].idx];
        if (from == NOT_LIVE || (c.defs[from] == 1 && from != to && may_share(d, &c, to, from, i, entry_repeats))) {
            root[to] = from;
            f->is_copy = true;
        }
    }
done:
    free(c.defs);
    free(c.def_at);
    d->root = root;
    return ok;
}

/* fuse */

enum { FUSE_FAR = 64 };

typedef struct Uses {
    uint32_t *defs, *def_at, *uses; /* by virtual register: instructions that write it, the last of them, operands that read it */
    uint32_t at, wanted;
    bool is_written;
} Uses;

static void note_both(void *data, uint32_t v, bool is_write)
{
    Uses *u = data;
    if (is_write) {
        u->defs[v]++;
        u->def_at[v] = u->at;
    } else {
        u->uses[v]++;
    }
}

static void note_write(void *data, uint32_t v, bool is_write)
{
    Uses *u = data;
    u->is_written |= is_write && v == u->wanted;
}

static void add_source(Plain *x, uint32_t i, uint32_t operand, uint32_t bytes)
{
    assert(x->dests_n + x->sources_n < EMU_SLOTS);
    x->sources[x->sources_n].flat = i;
    x->sources[x->sources_n].operand = (uint8_t)operand;
    x->sources[x->sources_n++].bytes = (uint8_t)bytes;
}

static bool has_exact_width(const Decoder *d, uint32_t i, const PtxOperand *o, uint32_t bytes, bool is_dest)
{
    bytes = bytes == 1 ? 2 : bytes;
    if (o->kind != PTX_KIND_REG)
        return !is_dest;
    return d->vreg_bytes[d->insts[d->flats[i].inst].reg_base + (uint32_t)o->idx] == bytes;
}

/* Plain of flat i as emit_plain, emit_compare, emit_cvt and emit_mov would emit it as one record without a mode; fn NULL where not. */
static void describe(const Decoder *d, uint32_t i, Plain *x)
{
    const Flat *f = d->flats + i;
    const PtxInsn *in = f->in;
    *x = (Plain){.dests_n = 1};
    if (f->kind != KIND_INSN || f->is_copy || in->operands_n < 2 || in->operands_n > 5)
        return;
    const PtxGroup group = ptx_op[in->form].group;
    const PtxType type = (PtxType)in->types[0], from = group == PTX_GROUP_CVT ? (PtxType)in->types[1] : type;
    const PtxOperand *to = in->operands;
    const bool is_unpack = in->form == PTX_OP_MOV && to->kind == PTX_KIND_VEC && to->elems_n == 2, is_setp = in->form == PTX_OP_SETP;
    if ((group != PTX_GROUP_ARITH && group != PTX_GROUP_FLOAT && group != PTX_GROUP_CVT && in->form != PTX_OP_MOV) || rounding(in) ||
        in->form == PTX_OP_SET || in->form == PTX_OP_SETP_BOOL || in->form == PTX_OP_SETP_HALF || in->form == PTX_OP_PRMT)
        return;
    for (int m = PTX_MOD_RNI; m <= PTX_MOD_RPI; m++)
        if (ptx_has(in, (PtxMod)m))
            return;
    if (is_unpack ? !has_exact_width(d, i, to->elems, ptx_type_bytes(type) / 2, true)
                  : !has_exact_width(d, i, to, is_setp ? 0 : to->role == 'w' ? 2 * ptx_type_bytes(type) : ptx_type_bytes(type), true))
        return;
    x->dests_n = is_unpack || is_setp ? 2 : 1;
    for (uint32_t k = 1; k < in->operands_n; k++) {
        const PtxOperand *o = in->operands + k;
        const uint32_t bytes = o->role == 'a' || group == PTX_GROUP_CVT ? ptx_type_bytes(from) : role_bytes(in, o);
        if (o->kind == PTX_KIND_VEC || o->role == 'i' || is_written(o->role) || (group == PTX_GROUP_CVT && !has_exact_width(d, i, o, bytes, false)))
            return;
        add_source(x, i, k, bytes);
    }
    if (in->form == PTX_OP_MOV) {
        uint64_t mods[4] = {0};
        if (is_unpack) {
            mods[PTX_MOD_V2 / 64] |= 1ull << (PTX_MOD_V2 % 64);
            mods[PTX_MOD_HI / 64] |= 1ull << (PTX_MOD_HI % 64);
        }
        const uint32_t bytes = ptx_type_bytes(type);
        x->fn = find(d->table, PTX_OP_MOV, bytes == 2 ? PTX_B16 : bytes == 4 ? PTX_B32 : PTX_B64, PTX_NONE, mods);
    } else if (is_setp) {
        x->fn = find(d->table, PTX_OP_SETP, type, PTX_NONE, in->mods);
    } else {
        x->fn = find_for(d, in);
    }
}

/* Which destination of flat i register v is. */
static uint32_t element_of(const Decoder *d, uint32_t i, uint32_t v)
{
    const PtxOperand *to = d->flats[i].in->operands;
    const uint32_t base = d->insts[d->flats[i].inst].reg_base;
    if (to->kind != PTX_KIND_VEC)
        return to->second && d->root[base + (uint32_t)to->second->idx] == v ? 1 : 0;
    return d->root[base + (uint32_t)to->elems[1].idx] == v ? 1 : 0;
}

/* Is a source of x, the Plain of flat i, written between flats i and j? */
static bool is_overwritten(const Decoder *d, Uses *u, const Plain *x, uint32_t i, uint32_t j)
{
    for (uint32_t k = 0; k < x->sources_n; k++) {
        const uint32_t v = source_reg(d, x, k);
        u->wanted = v == NOT_LIVE ? v : d->root[v];
        if (u->wanted == NOT_LIVE || !u->defs[u->wanted] || (u->defs[u->wanted] == 1 && (u->def_at[u->wanted] <= i || u->def_at[u->wanted] >= j)))
            continue;
        u->is_written = false;
        for (uint32_t between = i + 1; between < j; between++)
            visit_flat(d, between, note_write, u);
        if (u->is_written)
            return true;
    }
    return false;
}

/* Flat i has become part of another through its destination `element`: does anybody need its record? Its sources are read by both
 * until nobody does. */
static void note_absorbed(Decoder *d, Uses *u, uint32_t i, uint32_t element)
{
    Plain *x = d->plains + i;
    const PtxOperand *to = d->flats[i].in->operands;
    bool is_needed = false;
    x->absorbed |= (uint8_t)(1u << element);
    for (uint32_t k = 0; to->kind == PTX_KIND_VEC && k < to->elems_n; k++)
        is_needed |= !(x->absorbed >> k & 1) && u->uses[d->root[d->insts[d->flats[i].inst].reg_base + (uint32_t)to->elems[k].idx]];
    d->flats[i].is_absorbed = !is_needed;
    for (uint32_t k = 0; is_needed && k < x->sources_n; k++) {
        const uint32_t v = source_reg(d, x, k);
        if (v != NOT_LIVE && d->root[v] != NOT_LIVE)
            u->uses[d->root[v]]++;
    }
}

/* Makes what writes source k of flat j part of it, if that is possible. */
static bool absorb(Decoder *d, Uses *u, uint32_t j, uint32_t k)
{
    Plain *y = d->plains + j, merged = {0};
    const Flat *g = d->flats + j;
    uint32_t v = source_reg(d, y, k), at = 0, readers = 0;
    v = v == NOT_LIVE ? v : d->root[v];
    if (v == NOT_LIVE || u->defs[v] != 1)
        return false;
    const uint32_t i = u->def_at[v];
    const Flat *f = d->flats + i;
    const Plain *x = d->plains + i;
    if (i >= j || j - i > FUSE_FAR || d->block_of[i] != d->block_of[j] || !x->fn || f->guard >= 0 || f->is_absorbed || f->inst != g->inst)
        return false;
    for (uint32_t n = 0; n < y->sources_n; n++) {
        const uint32_t other = source_reg(d, y, n);
        if (other != NOT_LIVE && d->root[other] == v) {
            at |= 1u << (n + 1);
            readers++;
            if (source_operand(d, y, n)->is_negated)
                return false;
        }
    }
    if (u->uses[v] != readers || (uint32_t)y->dests_n + x->sources_n + y->sources_n > EMU_SLOTS + readers)
        return false;
    const uint32_t element = element_of(d, i, v);
    const bool is_move = g->in->form == PTX_OP_MOV && g->in->operands->kind == PTX_KIND_REG && !g->is_fused && x->dests_n == 1;
    merged.fn = is_move ? x->fn : find_fusion(d->table, x->fn, element, y->fn, at);
    if (!merged.fn || is_overwritten(d, u, x, i, j))
        return false;
    merged.dests_n = y->dests_n;
    for (uint32_t n = 0; n < x->sources_n; n++)
        merged.sources[merged.sources_n++] = x->sources[n];
    for (uint32_t n = 0; n < y->sources_n; n++)
        if (!(at >> (n + 1) & 1))
            merged.sources[merged.sources_n++] = y->sources[n];
    *y = merged;
    d->flats[j].is_fused = true;
    note_absorbed(d, u, i, element);
    return true;
}

static bool fuse(Decoder *d)
{
    const uint32_t n = d->vregs_n;
    Uses u = {.defs = calloc(n + 1, sizeof *u.defs), .def_at = calloc(n + 1, sizeof *u.def_at), .uses = calloc(n + 1, sizeof *u.uses)};
    d->plains = malloc((d->flats_n + 1) * sizeof *d->plains);
    const bool ok = u.defs && u.def_at && u.uses && d->plains;
    if (!ok) {
        out_of_memory(d);
        goto done;
    }
    for (u.at = 0; u.at < d->flats_n; u.at++)
        visit_flat(d, u.at, note_both, &u);
    for (uint32_t j = 0; j < d->flats_n; j++) {
        describe(d, j, d->plains + j);
        for (uint32_t k = 0; d->plains[j].fn && k < d->plains[j].sources_n;)
            k = absorb(d, &u, j, k) ? 0 : k + 1;
    }
done:
    free(u.defs);
    free(u.def_at);
    free(u.uses);
    return ok;
}

/* sides */

enum { SIDES_MAX = 40 };

/* Instructions of block b that may run for lanes which go elsewhere, as long as they do not write: no guards, nothing but values.
 * Those of a block with one predecessor that goes to `to`. */
static bool is_side(const Decoder *d, uint32_t b, uint32_t to, const uint32_t *preds_n, uint32_t guard)
{
    const Block *x = d->blocks + b;
    if (preds_n[b] != 1 || x->succ_n != 1 || x->succ[0] != to || x->end - x->first > SIDES_MAX)
        return false;
    for (uint32_t i = x->first; i < x->end; i++) {
        const Flat *f = d->flats + i;
        const PtxGroup group = f->kind == KIND_INSN ? ptx_op[f->in->form].group : PTX_GROUP_CONTROL;
        Uses u = {.wanted = guard};
        if (f->kind == KIND_GOTO || f->is_copy)
            continue;
        if (f->kind != KIND_INSN || f->guard >= 0 ||
            (group != PTX_GROUP_ARITH && group != PTX_GROUP_FLOAT && group != PTX_GROUP_MOVE && group != PTX_GROUP_CVT))
            return false;
        visit_flat(d, i, note_write, &u);
        if (u.is_written)
            return false;
    }
    return true;
}

/* Branches over one block that only computes, or between two. */
static bool find_sides(Decoder *d)
{
    uint32_t *preds_n = calloc(d->blocks_n + 1, sizeof *preds_n);
    if (!preds_n)
        return out_of_memory(d);
    for (uint32_t b = 0; b < d->blocks_n; b++)
        for (uint32_t k = 0; k < d->blocks[b].succ_n; k++)
            preds_n[d->blocks[b].succ[k]]++;
    for (uint32_t b = 0; b + 1 < d->blocks_n; b++) {
        Block *x = d->blocks + b;
        const Flat *branch = d->flats + x->end - 1;
        if (branch->kind != KIND_BRANCH || x->ipdom < 0)
            continue;
        const uint32_t to = x->succ[0], join = (uint32_t)x->ipdom, guard = d->root[branch->guard];
        /* in the order of the text, which intervals of registers rely on */
        if (to > b + 1 && is_side(d, b + 1, join, preds_n, guard) && (to == join || is_side(d, to, join, preds_n, guard)))
            x->straight = UINT32_MAX;
    }
    free(preds_n);
    return true;
}

typedef struct Life {
    uint64_t *use, *kill; /* of the block being scanned */
    bool is_guarded;
    bool writes;          /* which pass: reads come before writes of an instruction */
    uint32_t at;
    uint32_t *start, *stop;
} Life;

static void note_flow(void *data, uint32_t v, bool is_write)
{
    Life *x = data;
    if (is_write != x->writes)
        return;
    uint64_t bit = 1ull << (v % 64);
    if (!is_write && !(x->kill[v / 64] & bit))
        x->use[v / 64] |= bit;
    else if (is_write && !x->is_guarded)
        x->kill[v / 64] |= bit;
}

static void note_range(void *data, uint32_t v, bool is_write)
{
    Life *x = data;
    (void)is_write;
    if (x->at < x->start[v])
        x->start[v] = x->at;
    if (x->at > x->stop[v] || x->stop[v] == UINT32_MAX)
        x->stop[v] = x->at;
}

typedef struct Masked {
    const uint64_t *live;
    bool is_masked;
} Masked;

static void note_live_write(void *data, uint32_t v, bool is_write)
{
    Masked *m = data;
    m->is_masked |= is_write && m->live[v / 64] >> (v % 64) & 1;
}

/* What writes registers that lanes need which go from here to where `live` are live. */
static void mask_side(Decoder *d, uint32_t b, const uint64_t *live)
{
    for (uint32_t i = d->blocks[b].first; i < d->blocks[b].end; i++) {
        Masked m = {live, false};
        visit_flat(d, i, note_live_write, &m);
        d->flats[i].is_masked = m.is_masked;
    }
}

static uint32_t slot_class(uint32_t bytes)
{
    return bytes == 0 ? 0 : bytes == 2 ? 1 : bytes == 4 ? 2 : 3;
}

static uint32_t slot_bytes(uint32_t bytes)
{
    return bytes ? 32 * bytes : 4;
}

/* Slots for all life intervals: by start, freed ones of the same size first. */
static bool scan(Decoder *d, const uint32_t *start, const uint32_t *stop)
{
    const uint32_t n = d->vregs_n, positions = d->flats_n;
    uint32_t *first = malloc((positions + 1) * sizeof *first), *link = malloc((n + 1) * sizeof *link);
    uint32_t *last = malloc((positions + 1) * sizeof *last), *unlink = malloc((n + 1) * sizeof *unlink), *stack[4], count[4] = {0};
    bool ok = first && link && last && unlink;
    for (int i = 0; i < 4; i++) {
        stack[i] = malloc((n + 1) * sizeof **stack);
        ok &= stack[i] != NULL;
    }
    /* predicates are packed into lines of their own so that the other slots stay aligned */
    uint32_t preds_at = FIRST_SLOT, preds_n = 0, at;
    for (uint32_t v = 0; v < n; v++)
        preds_n += d->vreg_bytes[v] == 0;
    at = align_up((uint64_t)FIRST_SLOT + 4 * (uint64_t)preds_n + 64, 64);
    if (!ok) {
        out_of_memory(d);
        goto done;
    }
    memset(first, 0xFF, (positions + 1) * sizeof *first);
    memset(last, 0xFF, (positions + 1) * sizeof *last);
    for (uint32_t v = n; v-- > 0;) {
        if (start[v] == UINT32_MAX)
            continue;
        link[v] = first[start[v]];
        first[start[v]] = v;
        unlink[v] = last[stop[v]];
        last[stop[v]] = v;
    }
    for (uint32_t i = 0; i < positions; i++) {
        for (uint32_t v = first[i]; v != UINT32_MAX; v = link[v]) {
            uint32_t class = slot_class(d->vreg_bytes[v]), *next = class ? &at : &preds_at;
            if (count[class]) {
                d->slots[v] = stack[class][--count[class]];
            } else {
                d->slots[v] = *next;
                *next += slot_bytes(d->vreg_bytes[v]);
            }
        }
        for (uint32_t v = last[i]; v != UINT32_MAX; v = unlink[v]) {
            uint32_t class = slot_class(d->vreg_bytes[v]);
            stack[class][count[class]++] = d->slots[v];
        }
    }
    d->code->regs_bytes = at;
done:
    free(first);
    free(link);
    free(last);
    free(unlink);
    for (int i = 0; i < 4; i++)
        free(stack[i]);
    return ok;
}

static bool give_cell(Decoder *d, uint32_t v)
{
    if (!d->cell_of) {
        d->cell_of = malloc((d->vregs_n + 1) * sizeof *d->cell_of);
        if (!d->cell_of)
            return out_of_memory(d);
        memset(d->cell_of, 0xFF, (d->vregs_n + 1) * sizeof *d->cell_of);
    }
    if (d->cell_of[v] == NOT_LIVE)
        d->cell_of[v] = d->code->cells_n++;
    return true;
}

static bool allocate(Decoder *d)
{
    const uint32_t n = d->vregs_n, words = (n + 63) / 64, blocks = d->blocks_n;
    uint64_t *sets = calloc(4 * (size_t)blocks * words + 1, sizeof *sets);
    uint32_t *start = malloc((n + 1) * sizeof *start), *stop = malloc((n + 1) * sizeof *stop);
    d->slots = calloc(n + 1, sizeof *d->slots);
    bool ok = sets && start && stop && d->slots;
    if (!ok) {
        out_of_memory(d);
        goto done;
    }
    uint64_t *use = sets, *kill = use + (size_t)blocks * words, *in = kill + (size_t)blocks * words, *out = in + (size_t)blocks * words;
    Life life = {.start = start, .stop = stop};
    for (uint32_t b = 0; b < blocks; b++) {
        life.use = use + (size_t)b * words;
        life.kill = kill + (size_t)b * words;
        for (uint32_t i = d->blocks[b].first; i < d->blocks[b].end; i++) {
            life.is_guarded = d->flats[i].guard >= 0;
            life.writes = false;
            visit_flat(d, i, note_flow, &life);
            life.writes = true;
            visit_flat(d, i, note_flow, &life);
        }
    }
    for (bool changed = true; changed;) {
        changed = false;
        for (uint32_t b = blocks; b-- > 0;)
            for (uint32_t k = 0; k < words; k++) {
                size_t at = (size_t)b * words + k;
                uint64_t o = 0;
                for (uint32_t i = 0; i < d->blocks[b].succ_n; i++)
                    o |= in[(size_t)d->blocks[b].succ[i] * words + k];
                uint64_t x = use[at] | (o & ~kill[at]);
                out[at] = o;
                changed |= x != in[at];
                in[at] = x;
            }
    }
    memset(start, 0xFF, (n + 1) * sizeof *start);
    memset(stop, 0xFF, (n + 1) * sizeof *stop);
    for (uint32_t i = 0; i < d->flats_n; i++) {
        life.at = i;
        visit_flat(d, i, note_range, &life);
    }
    for (uint32_t b = 0; b < blocks; b++)
        for (uint32_t k = 0; k < words; k++) {
            size_t at = (size_t)b * words + k;
            for (uint64_t m = in[at]; m; m &= m - 1) {
                life.at = d->blocks[b].first;
                note_range(&life, 64 * k + (uint32_t)__builtin_ctzll(m), false);
            }
            for (uint64_t m = out[at]; m; m &= m - 1) {
                life.at = d->blocks[b].end - 1;
                note_range(&life, 64 * k + (uint32_t)__builtin_ctzll(m), false);
            }
        }
    /* Straight code runs the side that follows the branch first, as the text has them, so intervals hold: but that the guard lives
     * to its end. */
    for (uint32_t b = 0; b < blocks; b++) {
        const Block *x = d->blocks + b;
        if (!x->straight)
            continue;
        const uint32_t to = x->succ[0], join = (uint32_t)x->ipdom;
        mask_side(d, b + 1, in + (size_t)to * words);
        if (to != join)
            mask_side(d, to, in + (size_t)join * words);
        life.at = d->blocks[to == join ? b + 1 : to].end - 1;
        visit_reg(d, (uint32_t)d->flats[x->end - 1].guard, false, note_range, &life);
    }
    ok = scan(d, start, stop);
    for (uint32_t v = 0; ok && d->root && v < n; v++)
        if (d->root[v] != NOT_LIVE)
            d->slots[v] = d->slots[d->root[v]];
    for (uint32_t v = 0; ok && v < n; v++) {
        if (!(in[v / 64] >> (v % 64) & 1)) /* live into block 0: may be read before it is written */
            continue;
        ok = reserve(d, &d->code->zeros, d->code->zeros_n, &d->zeros_cap, sizeof *d->code->zeros) && (d->root || give_cell(d, v));
        if (ok)
            d->code->zeros[d->code->zeros_n++] = (EmuRange){d->slots[v], slot_bytes(d->vreg_bytes[v])};
    }
done:
    free(sets);
    free(start);
    free(stop);
    return ok;
}

/* cells */

static EmuUseKind use_of(const PtxInsn *in)
{
    switch (in->form) {
    case PTX_OP_SELP: return EMU_USE_SELECT;
    case PTX_OP_SETP_BOOL: case PTX_OP_AND_PRED: case PTX_OP_OR_PRED: return EMU_USE_DECIDED;
    case PTX_OP_SHFL: return EMU_USE_SHUFFLE;
    case PTX_OP_MOVMATRIX: return EMU_USE_ALL_LANES;
    case PTX_OP_LDMATRIX: case PTX_OP_STMATRIX: case PTX_OP_BAR_WARP: return EMU_USE_SINK;
    case PTX_OP_ISSPACEP: case PTX_OP_ACTIVEMASK: return EMU_USE_PLAIN;
    default: break;
    }
    const PtxGroup group = ptx_op[in->form].group;
    return group == PTX_GROUP_MMA    ? EMU_USE_MMA
           : group == PTX_GROUP_WARP ? EMU_USE_ALL_LANES
           : group == PTX_GROUP_MEM || group == PTX_GROUP_ASYNC || group == PTX_GROUP_SYNC ? EMU_USE_SINK
                                                                                              : EMU_USE_PLAIN;
}

typedef struct Touched {
    const uint32_t *cell_of;
    bool reads, writes; /* a register with a cell; for `writes` see spread_cells */
    Decoder *spread_by; /* gives cells to what is written, NULL: looks */
    bool ok;
} Touched;

static void note_touched(void *data, uint32_t v, bool is_write)
{
    Touched *t = data;
    if (is_write && t->spread_by && t->cell_of[v] == NOT_LIVE) {
        t->writes = true;
        t->ok &= give_cell(t->spread_by, v);
    } else if (!t->spread_by) {
        t->reads |= !is_write && t->cell_of[v] != NOT_LIVE;
        t->writes |= is_write && t->cell_of[v] != NOT_LIVE;
    }
}

/* What an instruction computes from a register with a cell has one, too. */
static bool spread_cells(Decoder *d)
{
    for (bool changed = d->cell_of; changed;) {
        changed = false;
        for (uint32_t i = 0; i < d->flats_n; i++) {
            const Flat *f = d->flats + i;
            Touched t = {.cell_of = d->cell_of, .ok = true};
            if (f->kind != KIND_INSN || use_of(f->in) == EMU_USE_SINK)
                continue;
            visit_flat(d, i, note_touched, &t);
            if (!t.reads)
                continue;
            t = (Touched){.cell_of = d->cell_of, .spread_by = d, .ok = true};
            visit_flat(d, i, note_touched, &t);
            if (!t.ok)
                return false;
            changed |= t.writes;
        }
    }
    if (!d->cell_of)
        return true;
    d->code->cell_names = malloc(d->code->cells_n * sizeof *d->code->cell_names);
    if (!d->code->cell_names)
        return out_of_memory(d);
    for (uint32_t i = 0; i < d->insts_n; i++)
        for (uint32_t k = 0; k < d->insts[i].f->regs_n; k++)
            if (d->cell_of[d->insts[i].reg_base + k] != NOT_LIVE)
                d->code->cell_names[d->cell_of[d->insts[i].reg_base + k]] = d->insts[i].f->regs[k].name;
    return true;
}

static EmuUseReg use_reg(const Decoder *d, int32_t v, uint32_t operand, bool is_negated, bool is_address)
{
    return v < 0 ? (EmuUseReg){EMU_NO_CELL, 0, (uint8_t)operand, is_negated, is_address}
                 : (EmuUseReg){d->cell_of[v], d->slots[v], (uint8_t)operand, is_negated, is_address};
}

static bool add_use_reg(Decoder *d, const PtxOperand *o, uint32_t operand)
{
    const bool is_reg = o->kind == PTX_KIND_REG || (o->kind == PTX_KIND_MEM && o->idx >= 0);
    if (!reserve(d, &d->code->use_regs, d->code->use_regs_n, &d->use_regs_cap, sizeof *d->code->use_regs))
        return false;
    d->code->use_regs[d->code->use_regs_n++] = use_reg(d, is_reg ? (int32_t)(d->insts[d->flats[d->flat].inst].reg_base) + o->idx : -1, operand,
                                                       o->is_negated, o->kind == PTX_KIND_MEM);
    return true;
}

/* Registers of the current instruction that it reads, or writes, in the order of its operands. */
static bool add_use_regs(Decoder *d, const PtxInsn *in, bool written)
{
    for (uint32_t i = 0; i < in->operands_n; i++) {
        const PtxOperand *o = in->operands + i;
        for (uint32_t k = 0; is_written(o->role) == written && k < (o->kind == PTX_KIND_VEC ? o->elems_n : 1); k++)
            if (!add_use_reg(d, o->kind == PTX_KIND_VEC ? o->elems + k : o, i))
                return false;
        if (written && o->second && !add_use_reg(d, o->second, i))
            return false;
    }
    return true;
}

/* Notes the use that the current instruction makes of registers with cells; *is_one: it makes one. */
static bool add_use(Decoder *d, bool *is_one)
{
    const Flat *f = d->flats + d->flat;
    EmuCode *code = d->code;
    *is_one = false;
    if (!d->cell_of || (f->kind != KIND_INSN && f->kind != KIND_BRANCH) || f->in->form == PTX_OP_PREFETCH)
        return true;
    Touched t = {.cell_of = d->cell_of};
    visit_flat(d, d->flat, note_touched, &t);
    if (!t.reads && !t.writes)
        return true;
    EmuUse u = {.kind = f->kind == KIND_BRANCH ? EMU_USE_BRANCH : use_of(f->in), .first = code->use_regs_n, .has_guard = f->guard >= 0};
    u.guard = use_reg(d, f->guard, 0, f->is_negated, false);
    if (f->kind == KIND_INSN) {
        if (!add_use_regs(d, f->in, false))
            return false;
        u.reads_n = code->use_regs_n - u.first;
        if (!add_use_regs(d, f->in, true))
            return false;
        u.writes_n = code->use_regs_n - u.first - u.reads_n;
    }
    if (!reserve(d, &code->uses, code->uses_n, &d->uses_cap, sizeof *code->uses))
        return false;
    code->uses[code->uses_n++] = u;
    code->sites[d->flat].use = code->uses_n;
    *is_one = true;
    return true;
}

/* slots of things that are not registers */

static bool map_slot(Decoder *d, Map *m, uint64_t bits, uint32_t bytes, uint32_t **slot)
{
    if (2 * m->n >= m->cap) {
        Map old = *m;
        m->cap = old.cap ? 2 * old.cap : 64;
        m->entries = calloc(m->cap, sizeof *m->entries);
        if (!m->entries) {
            *m = old;
            return out_of_memory(d);
        }
        for (uint32_t i = 0; i < old.cap; i++)
            if (old.entries[i].slot) {
                uint32_t at = (uint32_t)((old.entries[i].bits * 0x9E3779B97F4A7C15u >> 32) + old.entries[i].bytes) & (m->cap - 1);
                while (m->entries[at].slot)
                    at = (at + 1) & (m->cap - 1);
                m->entries[at] = old.entries[i];
            }
        free(old.entries);
    }
    uint32_t at = (uint32_t)((bits * 0x9E3779B97F4A7C15u >> 32) + bytes) & (m->cap - 1);
    for (; m->entries[at].slot; at = (at + 1) & (m->cap - 1))
        if (m->entries[at].bits == bits && m->entries[at].bytes == bytes)
            break;
    *slot = &m->entries[at].slot;
    if (!m->entries[at].slot) {
        m->entries[at].bits = bits;
        m->entries[at].bytes = bytes;
        m->n++;
    }
    return true;
}

static uint32_t bump(Decoder *d, uint32_t bytes)
{
    uint32_t at = d->code->regs_bytes;
    d->code->regs_bytes = at + align_up(bytes, 64);
    return at;
}

/* bytes 0: a predicate, bits all ones or 0; 2, 4, 8: a number in every lane */
static bool const_slot(Decoder *d, uint64_t bits, uint32_t bytes, uint32_t *slot)
{
    uint32_t *at;
    if (bytes && bytes < 8)
        bits &= (1ull << (8 * bytes)) - 1;
    if (!map_slot(d, &d->consts, bits, bytes, &at) || !reserve(d, &d->code->consts, d->code->consts_n, &d->consts_cap, sizeof *d->code->consts))
        return false;
    if (!*at) {
        *at = bump(d, slot_bytes(bytes));
        d->code->consts[d->code->consts_n++] = (EmuConst){*at, bytes, bits};
    }
    *slot = *at;
    return true;
}

static bool param_slot(Decoder *d, uint32_t offset, uint32_t bytes, uint32_t *slot)
{
    uint32_t *at;
    if (!map_slot(d, &d->params, offset, bytes, &at) ||
        !reserve(d, &d->code->param_slots, d->code->param_slots_n, &d->params_cap, sizeof *d->code->param_slots))
        return false;
    if (!*at) {
        *at = bump(d, slot_bytes(bytes < 2 ? 2 : bytes));
        d->code->param_slots[d->code->param_slots_n++] = (EmuParamSlot){*at, offset, bytes};
    }
    *slot = *at;
    return true;
}

static bool sreg_slot(Decoder *d, PtxSreg sreg, uint32_t *slot)
{
    if (!d->sreg_slot[sreg]) {
        if (!reserve(d, &d->code->sregs, d->code->sregs_n, &d->sregs_cap, sizeof *d->code->sregs))
            return false;
        d->sreg_slot[sreg] = bump(d, slot_bytes(4));
        d->code->sregs[d->code->sregs_n++] = (EmuSregSlot){d->sreg_slot[sreg], sreg};
    }
    *slot = d->sreg_slot[sreg];
    return true;
}

/* The address of a variable in its own space, and that space. */
static bool var_address(Decoder *d, const Inst *inst, const PtxInsn *in, const PtxVar *v, uint64_t *address)
{
    switch (v->space) {
    case PTX_SPACE_SHARED:
        assert(d->smem_offset[v->id]);
        *address = d->smem_offset[v->id] - 1;
        return true;
    case PTX_SPACE_LOCAL:
    case PTX_SPACE_PARAM:
        if (!inst->offsets[v->id])
            return unsupported(d, in, "the address of a kernel parameter");
        *address = inst->offsets[v->id] - 1;
        return true;
    default:
        *address = d->module->vars[v->id];
        return true;
    }
}

/* emission */

static const Inst *inst_of(const Decoder *d)
{
    return d->insts + d->flats[d->flat].inst;
}

static EmuRec *new_rec(Decoder *d, EmuExec fn)
{
    if (!reserve(d, &d->code->recs, d->code->recs_n, &d->code->recs_cap, sizeof *d->code->recs))
        return NULL;
    EmuRec *r = d->code->recs + d->code->recs_n++;
    *r = (EmuRec){.fn = fn, .insn = d->flat};
    return r;
}

static bool wrap(Decoder *d, EmuRec *r, EmuExec by)
{
    if (!reserve(d, &d->code->inner, d->code->inner_n, &d->code->inner_cap, sizeof *d->code->inner))
        return false;
    r->inner = d->code->inner_n;
    d->code->inner[d->code->inner_n++] = r->fn;
    r->fn = by;
    return true;
}

/* Directed rounding; a guard, if any, stays outside of it. */
static bool wrap_rounded(Decoder *d, EmuRec *r, int64_t mxcsr)
{
    r->imm = mxcsr;
    if (!r->guard)
        return wrap(d, r, emu_exec_rounded);
    if (!reserve(d, &d->code->inner, d->code->inner_n, &d->code->inner_cap, sizeof *d->code->inner))
        return false;
    d->code->inner[d->code->inner_n++] = d->code->inner[r->inner];
    d->code->inner[r->inner] = emu_exec_rounded;
    return true;
}

/* A record of the current instruction, under its guard. The record is the caller's to fill; it may move at the next one. */
static EmuRec *emit(Decoder *d, EmuExec fn)
{
    const Flat *f = d->flats + d->flat;
    EmuRec *r = new_rec(d, fn);
    if (!r || (f->guard < 0 && !d->side_guard))
        return r;
    r->guard = d->side_guard ? d->side_guard : d->slots[f->guard] | (f->is_negated ? 1 : 0);
    return wrap(d, r, emu_exec_guarded) ? r : NULL;
}

static uint32_t reg_slot(const Decoder *d, const PtxOperand *o)
{
    return o->kind == PTX_KIND_REG ? d->slots[inst_of(d)->reg_base + (uint32_t)o->idx] : SINK;
}

static uint32_t reg_bytes(const Decoder *d, const PtxOperand *o)
{
    return d->vreg_bytes[inst_of(d)->reg_base + (uint32_t)o->idx];
}

/* The slot of a source of bytes bytes (0: a predicate), whatever it is. */
static bool source(Decoder *d, const PtxOperand *o, uint32_t bytes, uint32_t *slot)
{
    const PtxInsn *in = d->flats[d->flat].in;
    uint64_t address;
    bytes = bytes == 1 ? 2 : bytes;
    switch (o->kind) {
    case PTX_KIND_REG:
        *slot = reg_slot(d, o);
        return true;
    case PTX_KIND_IMM:
        return const_slot(d, bytes ? (uint64_t)o->imm : o->imm ? ~0ull : 0, bytes, slot);
    case PTX_KIND_SREG:
        return sreg_slot(d, (PtxSreg)o->idx, slot);
    case PTX_KIND_VAR:
        return var_address(d, inst_of(d), in, o->var, &address) && const_slot(d, address + (uint64_t)o->imm, bytes, slot);
    case PTX_KIND_VEC:
        if (o->elems_n == 1)
            return source(d, o->elems, bytes, slot);
        break;
    default:
        break;
    }
    return unsupported(d, in, "an operand of this kind");
}

static bool need(Decoder *d, EmuExec fn)
{
    return fn || unsupported(d, d->flats[d->flat].in, "this combination of types and modifiers is not emulated");
}

/* Conversion of integers between slots of 2, 4, 8 bytes: only sizes and sign matter. */
static bool emit_resize(Decoder *d, uint32_t to, PtxType to_type, uint32_t from, PtxType from_type)
{
    static const uint64_t none[4] = {0};
    EmuExec fn = find(d->table, PTX_OP_CVT_INT, to_type, from_type, none);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    r->o[0] = to;
    r->o[1] = from;
    return true;
}

static PtxType unsigned_of(uint32_t bytes)
{
    return bytes == 1 ? PTX_U8 : bytes == 2 ? PTX_U16 : bytes == 4 ? PTX_U32 : PTX_U64;
}

static PtxType signed_of(uint32_t bytes)
{
    return bytes == 1 ? PTX_S8 : bytes == 2 ? PTX_S16 : bytes == 4 ? PTX_S32 : PTX_S64;
}

/* A source that may be wider than its type: cut into temporary i. */
static bool source_relaxed(Decoder *d, const PtxOperand *o, PtxType type, uint32_t i, uint32_t *slot)
{
    uint32_t bytes = ptx_type_bytes(type), have = o->kind == PTX_KIND_REG ? reg_bytes(d, o) : bytes;
    bytes = bytes == 1 ? 2 : bytes;
    if (!source(d, o, bytes, slot))
        return false;
    if (have <= bytes)
        return true;
    uint32_t from = *slot;
    *slot = TEMPS + i * TEMP_BYTES;
    return emit_resize(d, *slot, unsigned_of(bytes), from, unsigned_of(have));
}

/* A destination that may be wider than its type: *slot is a temporary then, and finish_dest widens it. */
static uint32_t dest_relaxed(const Decoder *d, const PtxOperand *o, PtxType type, uint32_t i)
{
    uint32_t bytes = ptx_type_bytes(type);
    bytes = bytes == 1 ? 2 : bytes;
    return o->kind == PTX_KIND_REG && reg_bytes(d, o) > bytes ? TEMPS + i * TEMP_BYTES : reg_slot(d, o);
}

static bool finish_dest(Decoder *d, const PtxOperand *o, PtxType type, uint32_t i)
{
    uint32_t bytes = ptx_type_bytes(type);
    bool is_signed = ptx_type_class(type) == 's';
    bytes = bytes == 1 ? 2 : bytes;
    if (o->kind != PTX_KIND_REG || reg_bytes(d, o) <= bytes)
        return true;
    return emit_resize(d, reg_slot(d, o), unsigned_of(reg_bytes(d, o)), TEMPS + i * TEMP_BYTES,
                       is_signed ? signed_of(bytes) : unsigned_of(bytes));
}

/* Arithmetic: operand i in slot i; an integer constant operand ('i') in imm. */
static bool emit_plain(Decoder *d, const PtxInsn *in, EmuExec fn, PtxType type)
{
    uint32_t o[EMU_SLOTS] = {0}, aux = 0, n = 0;
    int64_t imm = 0;
    for (uint32_t i = 0; i < in->operands_n; i++) {
        const PtxOperand *x = in->operands + i;
        if (x->role == 'i') {
            imm = x->imm;
        } else if (is_written(x->role)) {
            o[n++] = reg_slot(d, x);
        } else {
            uint32_t bytes = x->role == 'a' ? ptx_type_bytes(type) : role_bytes(in, x);
            if (!source(d, x, bytes, &o[n]))
                return false;
            aux |= x->is_negated ? 1u << n : 0;
            n++;
        }
    }
    if (in->form == PTX_OP_PRMT)
        for (int i = PTX_MOD_F4E; i <= PTX_MOD_RC16; i++)
            imm = ptx_has(in, (PtxMod)i) ? i : imm;
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    memcpy(r->o, o, sizeof o);
    r->aux = aux;
    r->imm = imm;
    if (ptx_op[in->form].group == PTX_GROUP_FLOAT && rounding(in) && !ptx_has(in, PTX_MOD_APPROX)) {
        return wrap_rounded(d, r, rounding(in));
    }
    return true;
}

static bool emit_compare(Decoder *d, const PtxInsn *in)
{
    const bool is_set = in->form == PTX_OP_SET, has_bool = in->form == PTX_OP_SETP_BOOL;
    const PtxType type = (PtxType)in->types[is_set ? 1 : 0];
    const PtxForm form = in->form == PTX_OP_SETP_HALF ? in->form : PTX_OP_SETP;
    uint64_t mods[4];
    uint32_t a, b, c = 0;
    memcpy(mods, in->mods, sizeof mods);
    if (has_bool) {
        drop(mods, PTX_MOD_AND);
        drop(mods, PTX_MOD_OR);
        drop(mods, PTX_MOD_XOR);
    }
    if (!source(d, in->operands + 1, ptx_type_bytes(type), &a) || !source(d, in->operands + 2, ptx_type_bytes(type), &b) ||
        (has_bool && !source(d, in->operands + 3, 0, &c)))
        return false;
    EmuExec fn = find(d->table, form, type, PTX_NONE, mods);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    const PtxOperand *p = in->operands;
    r->o[0] = is_set ? (uint32_t)TEMP_PRED : reg_slot(d, p);
    r->o[1] = p->second ? reg_slot(d, p->second) : (uint32_t)SINK;
    r->o[2] = a;
    r->o[3] = b;
    r->o[4] = c;
    if (has_bool) {
        r->imm = ptx_has(in, PTX_MOD_AND) ? PTX_MOD_AND : ptx_has(in, PTX_MOD_OR) ? PTX_MOD_OR : PTX_MOD_XOR;
        r->aux = in->operands[3].is_negated ? 1u << 4 : 0;
    }
    if (!is_set)
        return true;
    static const uint64_t none[4] = {0};
    r = emit(d, find(d->table, PTX_OP_SET, (PtxType)in->types[0], type, none));
    if (!r)
        return false;
    r->o[0] = reg_slot(d, p);
    r->o[1] = TEMP_PRED;
    r->imm = in->types[0] == PTX_F32 ? 0x3F800000 : 0xFFFFFFFF;
    return true;
}

static bool emit_cvt(Decoder *d, const PtxInsn *in)
{
    const PtxType to = (PtxType)in->types[0], from = (PtxType)in->types[1];
    uint32_t a, b = 0, dest = dest_relaxed(d, in->operands, to, 0);
    uint64_t mods[4];
    deciding(in, mods);
    int64_t imm = 0;
    bool rounds = false;
    if (in->form == PTX_OP_CVT_F2F && to == PTX_F32 && from == PTX_F64 && rounding(in)) {
        rounds = true;
        drop(mods, PTX_MOD_RZ);
        drop(mods, PTX_MOD_RM);
        drop(mods, PTX_MOD_RP);
        mods[PTX_MOD_RN / 64] |= 1ull << (PTX_MOD_RN % 64);
    }
    if (in->form == PTX_OP_CVT_I2F && rounding(in)) {
        if (to == PTX_F16 || to == PTX_BF16)
            return unsupported(d, in, "directed rounding of an integer to a half type");
        rounds = true;
    }
    for (int i = PTX_MOD_RNI; i <= PTX_MOD_RPI; i++)
        imm = ptx_has(in, (PtxMod)i) ? i : imm;
    if (!source_relaxed(d, in->operands + 1, from, 1, &a) || (in->operands_n > 2 && !source_relaxed(d, in->operands + 2, from, 2, &b)))
        return false;
    EmuExec fn = find(d->table, in->form, to, from, mods);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    r->o[0] = dest;
    r->o[1] = a;
    r->o[2] = b;
    r->imm = imm;
    if (rounds) {
        if (!wrap_rounded(d, r, rounding(in)))
            return false;
    }
    return finish_dest(d, in->operands, to, 0);
}

static bool emit_mov(Decoder *d, const PtxInsn *in)
{
    const uint32_t bytes = ptx_type_bytes((PtxType)in->types[0]);
    const PtxType type = bytes == 2 ? PTX_B16 : bytes == 4 ? PTX_B32 : PTX_B64;
    const PtxOperand *to = in->operands, *from = in->operands + 1;
    const PtxOperand *vec = to->kind == PTX_KIND_VEC ? to : from->kind == PTX_KIND_VEC ? from : NULL;
    uint64_t mods[4] = {0};
    uint32_t o[EMU_SLOTS] = {0};
    if (to->kind == PTX_KIND_VEC && from->kind == PTX_KIND_VEC)
        return unsupported(d, in, "a move from vector to vector");
    if (vec) {
        PtxMod shape = vec->elems_n == 2 ? PTX_MOD_V2 : PTX_MOD_V4, way = vec == to ? PTX_MOD_HI : PTX_MOD_LO;
        mods[shape / 64] |= 1ull << (shape % 64);
        mods[way / 64] |= 1ull << (way % 64);
    }
    if (vec == to && vec) {
        for (uint32_t i = 0; i < vec->elems_n; i++)
            o[i] = reg_slot(d, vec->elems + i);
        if (!source(d, from, bytes, &o[4]))
            return false;
    } else {
        o[0] = reg_slot(d, to);
        for (uint32_t i = 0; vec && i < vec->elems_n; i++)
            if (!source(d, vec->elems + i, bytes / vec->elems_n, &o[1 + i]))
                return false;
        if (!vec && !source(d, from, bytes, &o[1]))
            return false;
    }
    EmuExec fn = find(d->table, PTX_OP_MOV, type, PTX_NONE, mods);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    memcpy(r->o, o, sizeof o);
    return true;
}

/* Base and offset of an address; a variable counts in the offset. */
static bool address(Decoder *d, const PtxInsn *in, const PtxOperand *m, uint32_t *base, bool *is_32, int64_t *offset, PtxSpace *space)
{
    uint64_t at = 0;
    *is_32 = false;
    if (m->idx >= 0) {
        uint32_t v = inst_of(d)->reg_base + (uint32_t)m->idx;
        *base = d->slots[v];
        *is_32 = d->vreg_bytes[v] == 4;
    } else {
        if (m->var && !var_address(d, inst_of(d), in, m->var, &at))
            return false;
        if (m->var && space && *space == PTX_SPACE_GENERIC)
            *space = m->var->space;
        if (!const_slot(d, 0, 8, base))
            return false;
    }
    *offset = (int64_t)(at + (uint64_t)m->imm);
    return true;
}

static uint32_t param_offset(const Decoder *d, const PtxVar *v)
{
    uint32_t k = 0;
    while (d->insts[0].f->params[k] != v)
        k++;
    return d->code->params[k].offset;
}

/* ld.param of a kernel's own parameter: a copy of a slot that the launch fills. */
static bool emit_ld_param(Decoder *d, const PtxInsn *in, const PtxVar *v)
{
    const PtxType type = (PtxType)in->types[0];
    const uint32_t bytes = ptx_type_bytes(type), offset = param_offset(d, v);
    for (uint32_t i = 0; i < in->vec; i++) {
        const PtxOperand *x = in->operands[0].kind == PTX_KIND_VEC ? in->operands[0].elems + i : in->operands;
        int64_t at = in->operands[1].imm + (int64_t)(i * bytes);
        uint32_t from, to = dest_relaxed(d, x, type, 0);
        static const uint64_t none[4] = {0};
        if (at < 0 || (uint64_t)at + bytes > v->bytes)
            return unsupported(d, in, "reads beyond its parameter");
        if (!param_slot(d, offset + (uint32_t)at, bytes, &from))
            return false;
        EmuExec fn = find(d->table, PTX_OP_MOV, bytes <= 2 ? PTX_B16 : bytes == 4 ? PTX_B32 : PTX_B64, PTX_NONE, none);
        if (type == PTX_S8)
            fn = find(d->table, PTX_OP_CVT_INT, PTX_S16, PTX_S8, none);
        EmuRec *r = emit(d, fn);
        if (!r)
            return false;
        r->o[0] = to;
        r->o[1] = from;
        if (!finish_dest(d, x, type, 0))
            return false;
    }
    return true;
}

static bool emit_ld_st(Decoder *d, const PtxInsn *in)
{
    const bool is_load = in->form != PTX_OP_ST;
    const PtxOperand *m = in->operands + (is_load ? 1 : 0), *x = in->operands + (is_load ? 0 : 1);
    const PtxType type = (PtxType)in->types[0];
    const uint32_t bytes = ptx_type_bytes(type);
    PtxSpace space = in->form == PTX_OP_LDU ? PTX_SPACE_GLOBAL : in->space;
    if (m->var && m->var->space == PTX_SPACE_PARAM && !inst_of(d)->offsets[m->var->id]) {
        if (!is_load)
            return unsupported(d, in, "a store to a kernel parameter");
        return emit_ld_param(d, in, m->var);
    }
    if (space == PTX_SPACE_PARAM && m->idx >= 0)
        return unsupported(d, in, "a parameter through a register");
    uint32_t base, o[8];
    bool is_32;
    int64_t offset;
    if (!address(d, in, m, &base, &is_32, &offset, &space))
        return false;
    space = space == PTX_SPACE_PARAM ? PTX_SPACE_LOCAL : space == PTX_SPACE_CONST ? PTX_SPACE_GLOBAL : space;
    for (uint32_t i = 0; i < in->vec; i++) {
        const PtxOperand *e = x->kind == PTX_KIND_VEC ? x->elems + i : x;
        if (is_load)
            o[i] = dest_relaxed(d, e, type, i);
        else if (!source_relaxed(d, e, type, i, &o[i]))
            return false;
    }
    PtxType moved = bytes == 1 ? (is_load && type == PTX_S8 ? PTX_S8 : PTX_B8) : bytes == 2 ? PTX_B16 : bytes == 4 ? PTX_B32 : PTX_B64;
    uint64_t mods[4] = {0};
    PtxMod shape = in->vec == 2 ? PTX_MOD_V2 : in->vec == 4 ? PTX_MOD_V4 : PTX_MOD_V8;
    if (in->vec > 1)
        mods[shape / 64] |= 1ull << (shape % 64);
    EmuExec fn = find(d->table, is_load ? PTX_OP_LD : PTX_OP_ST, moved, PTX_NONE, mods);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    r->o[0] = base;
    r->imm = offset;
    r->aux = (is_32 ? 1 : 0) | (uint32_t)space << 4 | d->code->sites[d->flat].cache << 8;
    if (in->vec <= 4) {
        memcpy(r->o + 1, o, in->vec * sizeof *o);
    } else {
        r->o[1] = d->code->pool_n;
        for (uint32_t i = 0; i < in->vec; i++) {
            if (!reserve(d, &d->code->pool, d->code->pool_n, &d->code->pool_cap, sizeof *d->code->pool))
                return false;
            d->code->pool[d->code->pool_n++] = o[i];
        }
    }
    for (uint32_t i = 0; is_load && i < in->vec; i++)
        if (!finish_dest(d, x->kind == PTX_KIND_VEC ? x->elems + i : x, type, i))
            return false;
    return true;
}

static bool emit_atom(Decoder *d, const PtxInsn *in)
{
    const uint32_t bytes = ptx_type_bytes((PtxType)in->types[0]), first = in->form == PTX_OP_RED ? 0 : 1;
    PtxSpace space = in->space;
    uint32_t base, a, b;
    bool is_32;
    int64_t offset;
    if (!address(d, in, in->operands + first, &base, &is_32, &offset, &space) || !source(d, in->operands + first + 1, bytes, &a))
        return false;
    b = a;
    if (in->form == PTX_OP_ATOM_CAS && !source(d, in->operands + 3, bytes, &b))
        return false;
    EmuExec fn = find_for(d, in);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    r->o[0] = base;
    r->o[1] = first ? reg_slot(d, in->operands) : (uint32_t)SINK;
    r->o[2] = a;
    r->o[3] = b;
    r->imm = offset;
    r->aux = (is_32 ? 1 : 0) | (uint32_t)space << 4 | d->code->sites[d->flat].cache << 8;
    char class = ptx_type_class((PtxType)in->types[0]);
    if (space != PTX_SPACE_SHARED && (first || class == 'f' || class == 'x'))
        d->code->is_ordered = true;
    return true;
}

static bool emit_mem(Decoder *d, const PtxInsn *in)
{
    uint32_t a;
    EmuRec *r;
    switch (in->form) {
    case PTX_OP_LD:
    case PTX_OP_LDU:
    case PTX_OP_ST:
        return emit_ld_st(d, in);
    case PTX_OP_ATOM:
    case PTX_OP_ATOM_CAS:
    case PTX_OP_RED:
        return emit_atom(d, in);
    case PTX_OP_CREATEPOLICY: /* a policy is a number without meaning here */
        if (!const_slot(d, 0, 8, &a))
            return false;
        r = emit(d, find(d->table, PTX_OP_MOV, PTX_B64, PTX_NONE, (const uint64_t[4]){0}));
        if (r) {
            r->o[0] = reg_slot(d, in->operands);
            r->o[1] = a;
        }
        return r != NULL;
    case PTX_OP_ISSPACEP: {
        EmuExec fn = NULL;
        if (ptx_has(in, PTX_MOD_SHARED_CTA)) {
            uint64_t mods[4] = {0};
            mods[PTX_MOD_SHARED / 64] |= 1ull << (PTX_MOD_SHARED % 64);
            fn = find(d->table, in->form, PTX_NONE, PTX_NONE, mods);
        } else {
            fn = find_for(d, in);
        }
        if (!source(d, in->operands + 1, 8, &a) || !need(d, fn))
            return false;
        r = emit(d, fn);
        if (r) {
            r->o[0] = reg_slot(d, in->operands);
            r->o[1] = a;
        }
        return r != NULL;
    }
    default: /* prefetch */
        return need(d, find_for(d, in)) && emit(d, find_for(d, in));
    }
}

static bool emit_cvta(Decoder *d, const PtxInsn *in)
{
    uint32_t a;
    EmuExec fn = find_for(d, in);
    if (in->space == PTX_SPACE_PARAM)
        return unsupported(d, in, "the generic address of a parameter");
    if (!source(d, in->operands + 1, 8, &a) || !need(d, fn))
        return false;
    EmuRec *r = emit(d, fn);
    if (!r)
        return false;
    r->o[0] = reg_slot(d, in->operands);
    r->o[1] = a;
    r->imm = (int64_t)(in->space == PTX_SPACE_SHARED ? EMU_SHARED_WINDOW : in->space == PTX_SPACE_LOCAL ? EMU_LOCAL_WINDOW : 0);
    return true;
}

/* d, second d, a, b, c, member in slots 0 to 5. */
static bool emit_warp(Decoder *d, const PtxInsn *in)
{
    uint32_t o[EMU_SLOTS] = {0}, aux = 0, n = in->operands_n, at = 2;
    for (uint32_t i = 0; i < n; i++) {
        const PtxOperand *x = in->operands + i;
        if (is_written(x->role)) {
            o[0] = reg_slot(d, x);
            o[1] = x->second ? reg_slot(d, x->second) : (uint32_t)SINK;
            continue;
        }
        uint32_t to = i == n - 1 ? 5 : at++;
        if (!source(d, x, role_bytes(in, x), &o[to]))
            return false;
        aux |= x->is_negated ? 1u << to : 0;
    }
    if (in->form == PTX_OP_SHFL && in->operands[2].kind == PTX_KIND_IMM && in->operands[3].kind == PTX_KIND_IMM)
        aux |= EMU_SHFL_IS_CONSTANT;
    EmuExec fn = find_for(d, in);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    memcpy(r->o, o, sizeof o);
    r->aux = aux;
    return true;
}

static bool emit_sync(Decoder *d, const PtxInsn *in)
{
    EmuExec fn = find_for(d, in);
    uint32_t id, count = 0, pred = 0;
    if (!need(d, fn))
        return false;
    if (in->form == PTX_OP_BAR_RED || in->form == PTX_OP_BAR_RED_POPC) {
        if (!source(d, in->operands + 1, 4, &id) || !source(d, in->operands + 2, 0, &pred))
            return false;
        EmuRec *r = emit(d, fn);
        if (!r)
            return false;
        r->o[0] = id;
        r->o[2] = pred;
        r->aux = EMU_BAR_IS_ALIGNED | EMU_BAR_IS_REDUCTION | (in->operands[2].is_negated ? 1u << 2 : 0);
        uint64_t mods[4] = {0};
        mods[PTX_MOD_READ / 64] |= 1ull << (PTX_MOD_READ % 64);
        r = emit(d, find(d->table, PTX_OP_BAR_RED, PTX_NONE, PTX_NONE, mods));
        if (!r)
            return false;
        r->o[0] = id;
        r->o[1] = reg_slot(d, in->operands);
        r->imm = in->form == PTX_OP_BAR_RED_POPC ? PTX_MOD_POPC : ptx_has(in, PTX_MOD_AND) ? PTX_MOD_AND : PTX_MOD_OR;
        return true;
    }
    bool is_barrier = in->form == PTX_OP_BAR_SYNC || in->form == PTX_OP_BAR_ARRIVE || in->form == PTX_OP_BARRIER_SYNC ||
                      in->form == PTX_OP_BARRIER_ARRIVE;
    if (is_barrier && (!source(d, in->operands, 4, &id) || (in->operands_n > 1 && !source(d, in->operands + 1, 4, &count))))
        return false;
    EmuRec *r = emit(d, fn);
    if (!r || !is_barrier)
        return r != NULL;
    bool is_bar = in->form == PTX_OP_BAR_SYNC || in->form == PTX_OP_BAR_ARRIVE;
    r->o[0] = id;
    r->o[1] = count;
    r->aux = (in->operands_n > 1 ? EMU_BAR_HAS_COUNT : 0) | (is_bar || ptx_has(in, PTX_MOD_ALIGNED) ? EMU_BAR_IS_ALIGNED : 0);
    return true;
}

static bool emit_async(Decoder *d, const PtxInsn *in)
{
    const PtxOperand *x = in->operands;
    uint32_t o[EMU_SLOTS] = {0}, aux = 0;
    int64_t imm = 0, src = 0, bar = 0;
    bool is_32 = false;
    switch (in->form) {
    case PTX_OP_CP_ASYNC:
        if (x[2].imm != 16 && (ptx_has(in, PTX_MOD_CG) || (x[2].imm != 4 && x[2].imm != 8)))
            return unsupported(d, in, "a copy of this size");
        if (!address(d, in, x, &o[0], &is_32, &imm, NULL))
            return false;
        aux |= is_32 ? EMU_ASYNC_DST_IS_32 : 0;
        if (!address(d, in, x + 1, &o[1], &is_32, &src, NULL))
            return false;
        aux |= is_32 ? EMU_ASYNC_SRC_IS_32 : 0;
        o[3] = (uint32_t)x[2].imm;
        if (in->operands_n > 3 && x[3].role == 'u') {
            aux |= EMU_ASYNC_HAS_SIZE;
            if (!source(d, x + 3, 4, &o[2]))
                return false;
        }
        o[4] = (uint32_t)src;
        o[5] = (uint32_t)((uint64_t)src >> 32);
        break;
    case PTX_OP_CP_BULK:
        if (!address(d, in, x, &o[0], &is_32, &imm, NULL))
            return false;
        aux |= is_32 ? EMU_ASYNC_DST_IS_32 : 0;
        if (!address(d, in, x + 1, &o[1], &is_32, &src, NULL) || !source(d, x + 2, 4, &o[2]))
            return false;
        aux |= is_32 ? EMU_ASYNC_SRC_IS_32 : 0;
        if (!address(d, in, x + 3, &o[3], &is_32, &bar, NULL))
            return false;
        aux |= is_32 ? EMU_ASYNC_HAS_COUNT : 0;
        o[4] = (uint32_t)src;
        o[5] = (uint32_t)((uint64_t)src >> 32);
        o[6] = (uint32_t)bar;
        break;
    case PTX_OP_CP_ASYNC_WAIT:
        if (x[0].imm < 0)
            return unsupported(d, in, "a negative number of groups");
        imm = x[0].imm;
        break;
    case PTX_OP_MBAR_INIT:
    case PTX_OP_MBAR_INVAL:
    case PTX_OP_MBAR_EXPECT_TX:
    case PTX_OP_CP_ASYNC_MBARRIER:
        if (!address(d, in, x, &o[0], &is_32, &imm, NULL) || (in->operands_n > 1 && !source(d, x + 1, 4, &o[1])))
            return false;
        aux = (is_32 ? EMU_ASYNC_DST_IS_32 : 0) | (ptx_has(in, PTX_MOD_NOINC) ? 0 : EMU_ASYNC_IS_INC);
        break;
    case PTX_OP_MBAR_ARRIVE:
    case PTX_OP_MBAR_ARRIVE_TX:
    case PTX_OP_MBAR_WAIT_PARITY:
    case PTX_OP_MBAR_WAIT:
        if (!address(d, in, x + 1, &o[0], &is_32, &imm, NULL))
            return false;
        if (in->operands_n > 2 && !source(d, x + 2, in->form == PTX_OP_MBAR_WAIT ? 8 : 4, &o[1]))
            return false;
        o[2] = reg_slot(d, x);
        aux = (is_32 ? EMU_ASYNC_DST_IS_32 : 0) | (in->operands_n > 2 ? EMU_ASYNC_HAS_COUNT : 0);
        break;
    default:
        break;
    }
    EmuExec fn = find_for(d, in);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    memcpy(r->o, o, sizeof o);
    r->imm = imm;
    r->aux = aux;
    return true;
}

static bool pool_operand(Decoder *d, const PtxOperand *o, uint32_t bytes)
{
    uint32_t n = o->kind == PTX_KIND_VEC ? o->elems_n : 1;
    for (uint32_t i = 0; i < n; i++) {
        const PtxOperand *e = o->kind == PTX_KIND_VEC ? o->elems + i : o;
        uint32_t slot;
        if (!source(d, e, bytes, &slot) || !reserve(d, &d->code->pool, d->code->pool_n, &d->code->pool_cap, sizeof *d->code->pool))
            return false;
        d->code->pool[d->code->pool_n++] = slot;
    }
    return true;
}

/* Do none of the `back` records before the last write one of n slots of the pool from i on? */
static bool is_unwritten(const Decoder *d, uint32_t i, uint32_t n, uint32_t back)
{
    const EmuCode *code = d->code;
    for (uint32_t x = i; x < i + n; x++)
        for (uint32_t at = 1; at <= back; at++)
            for (uint32_t y = 0; y < 4; y++)
                if (code->pool[code->recs[code->recs_n - 1 - at].o[0] + y] == code->pool[x])
                    return false;
    return true;
}

/* Of the last record, an mma with scales, behind others. A record's slots in the pool: d, a, b, c, scale of a with its two selectors,
 * scale of b with its.
 * o[3]: 0, or its place in a group that shares A and whose B are all there before the first; o[4]: B is that of as many records before,
 * 0: another; o[5]: D is C. */
static void note_kept(Decoder *d)
{
    enum { A = 4, B = 8, C = 10, SCALE_A = 14, SCALE_B = 17 };
    const uint32_t *pool = d->code->pool;
    EmuRec *r = d->code->recs + d->code->recs_n - 1;
    const uint32_t own = r->o[0];
    r->o[5] = memcmp(pool + own, pool + own + C, 4 * sizeof *pool) == 0;
    for (uint32_t back = 1; back <= EMU_MMA_BACK && back < d->code->recs_n && r[-(int32_t)back].fn == r->fn; back++) {
        const uint32_t other = r[-(int32_t)back].o[0], place = r[-1].o[3] + 1;
        if (back == 1 && place < EMU_MMA_GROUP && memcmp(pool + own + A, pool + other + A, 4 * sizeof *pool) == 0 &&
            memcmp(pool + own + SCALE_A, pool + other + SCALE_A, 3 * sizeof *pool) == 0 && is_unwritten(d, own + A, 6, place) &&
            is_unwritten(d, own + SCALE_A, 6, place))
            r->o[3] = place;
        if (memcmp(pool + own + B, pool + other + B, 2 * sizeof *pool) == 0 &&
            memcmp(pool + own + SCALE_B, pool + other + SCALE_B, 3 * sizeof *pool) == 0 && is_unwritten(d, own + B, 2, back) &&
            is_unwritten(d, own + SCALE_B, 3, back)) {
            r->o[4] = back;
            return;
        }
    }
}

static bool emit_mma(Decoder *d, const PtxInsn *in)
{
    uint32_t first = d->code->pool_n, base = 0, n = 0;
    bool is_32 = false;
    int64_t offset = 0;
    for (uint32_t i = 0; i < in->operands_n; i++) {
        const PtxOperand *x = in->operands + i;
        if (x->kind == PTX_KIND_MEM) {
            if (!address(d, in, x, &base, &is_32, &offset, NULL))
                return false;
            continue;
        }
        n = x->kind == PTX_KIND_VEC ? x->elems_n : 1;
        if (!pool_operand(d, x, x->role == 'z' ? 2 : 4))
            return false;
    }
    EmuExec fn = find_for(d, in);
    EmuRec *r = need(d, fn) ? emit(d, fn) : NULL;
    if (!r)
        return false;
    r->o[0] = first;
    r->o[1] = base;
    r->o[2] = n;
    r->imm = offset;
    r->aux = is_32;
    if (in->form == PTX_OP_MMA_NVF4 || in->form == PTX_OP_MMA_NVF4_SHAPE)
        note_kept(d);
    return true;
}

static bool emit_fused(Decoder *d, const PtxInsn *in)
{
    const Plain *x = d->plains + d->flat;
    uint32_t o[EMU_SLOTS] = {reg_slot(d, in->operands)}, aux = 0, n = 1;
    if (x->dests_n == 2)
        o[n++] = in->operands->second ? reg_slot(d, in->operands->second) : (uint32_t)SINK;
    for (uint32_t k = 0; k < x->sources_n; k++) {
        const PtxOperand *from = source_operand(d, x, k);
        if (!source(d, from, x->sources[k].bytes, &o[n]))
            return false;
        aux |= from->is_negated ? 1u << n : 0;
        n++;
    }
    EmuRec *r = emit(d, x->fn);
    if (!r)
        return false;
    memcpy(r->o, o, sizeof o);
    r->aux = aux;
    return true;
}

static bool emit_insn(Decoder *d, const PtxInsn *in)
{
    if (d->flats[d->flat].is_fused)
        return emit_fused(d, in);
    switch (ptx_op[in->form].group) {
    case PTX_GROUP_ARITH:
        if (in->form == PTX_OP_SETP || in->form == PTX_OP_SETP_BOOL || in->form == PTX_OP_SETP_HALF || in->form == PTX_OP_SET)
            return emit_compare(d, in);
        return emit_plain(d, in, find_for(d, in), (PtxType)in->types[0]);
    case PTX_GROUP_FLOAT:
        return emit_plain(d, in, find_for(d, in), (PtxType)in->types[0]);
    case PTX_GROUP_MOVE:
        return in->form == PTX_OP_MOV    ? emit_mov(d, in)
               : in->form == PTX_OP_CVTA ? emit_cvta(d, in)
                                         : emit_plain(d, in, find_for(d, in), PTX_PRED);
    case PTX_GROUP_CVT: return emit_cvt(d, in);
    case PTX_GROUP_MEM: return emit_mem(d, in);
    case PTX_GROUP_ASYNC: return emit_async(d, in);
    case PTX_GROUP_WARP: return emit_warp(d, in);
    case PTX_GROUP_SYNC: return emit_sync(d, in);
    case PTX_GROUP_MMA: return emit_mma(d, in);
    default: /* setmaxnreg changes nothing that shows */
        return need(d, find_for(d, in)) && emit(d, find_for(d, in));
    }
}

static bool emit_control(Decoder *d, uint32_t b)
{
    const Flat *f = d->flats + d->flat;
    const Block *x = d->blocks + b;
    EmuRec *r = NULL;
    switch (f->kind) {
    case KIND_GOTO:
        if (d->block_of[f->target] == b + 1)
            return true;
        r = new_rec(d, emu_exec_goto);
        break;
    case KIND_BRANCH:
        r = new_rec(d, emu_exec_branch);
        break;
    default:
        return new_rec(d, f->kind == KIND_TRAP ? emu_exec_trap : emu_exec_end) != NULL;
    }
    if (!r)
        return false;
    r->aux = d->block_of[f->target]; /* records of blocks come in when all are known */
    if (f->kind == KIND_BRANCH) {
        r->guard = d->slots[f->guard] | (f->is_negated ? 1 : 0);
        r->o[0] = x->ipdom < 0 ? EMU_NO_PC : (uint32_t)x->ipdom;
        r->o[1] = x->dropped & 1;
        if (x->straight) {
            const bool is_one = x->succ[0] == (uint32_t)x->ipdom;
            r->o[3] = b + 1;
            r->o[4] = is_one ? b + 1 : x->succ[0];
            r->imm = d->blocks[b + 1].end - d->blocks[b + 1].first;
            r->imm += is_one ? 0 : d->blocks[x->succ[0]].end - d->blocks[x->succ[0]].first;
        }
    }
    return true;
}

/* The records of the current instruction, watched where that is needed: before it, or when it executes if it needs lanes together. */
static bool emit_watched(Decoder *d, uint32_t b)
{
    const Flat *f = d->flats + d->flat;
    bool is_used;
    if (!add_use(d, &is_used))
        return false;
    const PtxGroup group = f->kind == KIND_INSN ? ptx_op[f->in->form].group : PTX_GROUP_CONTROL;
    const bool is_around = (group == PTX_GROUP_WARP && f->in->form != PTX_OP_ACTIVEMASK) || group == PTX_GROUP_MMA;
    if (is_used && !is_around && !new_rec(d, emu_defined_note))
        return false;
    if (!(f->kind == KIND_INSN ? emit_insn(d, f->in) : emit_control(d, b)))
        return false;
    return !is_used || !is_around || wrap(d, d->code->recs + d->code->recs_n - 1, emu_defined_around);
}

static bool emit_side(Decoder *d, uint32_t b, uint32_t guard)
{
    for (d->flat = d->blocks[b].first; d->flat < d->blocks[b].end; d->flat++) {
        const Flat *f = d->flats + d->flat;
        d->side_guard = f->is_masked ? guard : 0;
        if (f->kind == KIND_INSN && !f->is_copy && !f->is_absorbed && !emit_insn(d, f->in))
            return false;
    }
    d->side_guard = 0;
    return true;
}

/* Both sides of the branch that ends block b, one behind the other, for all lanes; then where they meet. */
static bool emit_straight(Decoder *d, uint32_t b)
{
    Block *x = d->blocks + b;
    const Flat *branch = d->flats + x->end - 1;
    const uint32_t to = x->succ[0], join = (uint32_t)x->ipdom, p = d->slots[branch->guard], negated = branch->is_negated ? 1 : 0;
    x->straight = d->code->recs_n;
    if (!emit_side(d, b + 1, p | (negated ^ 1)) || (to != join && !emit_side(d, to, p | negated)))
        return false;
    EmuRec *r = new_rec(d, emu_exec_goto);
    if (r)
        r->aux = join;
    return r != NULL;
}

static bool emit_all(Decoder *d)
{
    EmuCode *code = d->code;
    code->classes = calloc(d->blocks_n, sizeof *code->classes);
    code->sites = calloc(d->flats_n, sizeof *code->sites);
    if (!code->classes || !code->sites)
        return out_of_memory(d);
    code->blocks_n = d->blocks_n;
    code->sites_n = code->insns_n = d->flats_n;
    for (uint32_t i = 0; i < d->flats_n; i++) {
        const PtxInsn *in = d->flats[i].in;
        PtxGroup group = in ? ptx_op[in->form].group : PTX_GROUP_CONTROL;
        code->sites[i] = (EmuSite){.in = in};
        if (group == PTX_GROUP_MEM || group == PTX_GROUP_ASYNC)
            code->sites[i].cache = code->caches_n++;
        code->has_async |= group == PTX_GROUP_ASYNC;
    }
    for (uint32_t b = 0; b < d->blocks_n; b++) {
        Block *x = d->blocks + b;
        d->flat = x->first;
        x->rec = code->recs_n;
        EmuRec *r = new_rec(d, x->is_join ? emu_exec_head_join : emu_exec_head);
        if (!r)
            return false;
        r->aux = b;
        r->imm = x->end - x->first;
        for (; d->flat < x->end; d->flat++) {
            const Flat *f = d->flats + d->flat;
            PtxGroup group = f->kind == KIND_INSN ? ptx_op[f->in->form].group : PTX_GROUP_CONTROL;
            code->classes[b][group]++;
            if (!f->is_copy && !f->is_absorbed && !emit_watched(d, b))
                return false;
        }
    }
    for (uint32_t b = 0; b < d->blocks_n; b++)
        if (d->blocks[b].straight && !emit_straight(d, b))
            return false;
    for (uint32_t i = 0; i < code->recs_n; i++) {
        EmuRec *r = code->recs + i;
        if (r->fn == emu_exec_branch)
            r->o[2] = d->blocks[d->block_of[r->insn]].straight;
        if (r->fn == emu_exec_goto || r->fn == emu_exec_branch)
            r->aux = d->blocks[r->aux].rec;
        if (r->fn == emu_exec_branch && r->o[0] != EMU_NO_PC)
            r->o[0] = d->blocks[r->o[0]].rec;
    }
    return true;
}

/* Slots of registers that are constants: in text order, so that a copy of a copy finds its source's. */
static bool place_constants(Decoder *d)
{
    for (d->flat = 0; d->flat < d->flats_n; d->flat++) {
        const Flat *f = d->flats + d->flat;
        if (!f->is_copy)
            continue;
        const uint32_t to = inst_of(d)->reg_base + (uint32_t)f->in->operands[0].idx, bytes = ptx_type_bytes((PtxType)f->in->types[0]);
        if (d->root[to] != NOT_LIVE)
            continue;
        const PtxOperand *from = f->in->operands + 1;
        if (!(is_own_param(d, f) ? param_slot(d, param_offset(d, from->var) + (uint32_t)from->imm, bytes, &d->slots[to])
                                 : source(d, from, bytes, &d->slots[to])))
            return false;
    }
    return true;
}

/* Shared variables that this kernel uses: those with a size first, the dynamic ones behind them at one place. */
static void place_shared_var(Decoder *d, const PtxVar *v, bool dynamic, uint32_t dynamic_at)
{
    if (v->space != PTX_SPACE_SHARED || d->smem_offset[v->id] || (v->bytes == 0) != dynamic)
        return;
    if (dynamic) {
        d->smem_offset[v->id] = EMU_SMEM_BASE + dynamic_at + 1;
        return;
    }
    uint32_t at = align_up(d->code->smem_bytes, v->align);
    d->smem_offset[v->id] = EMU_SMEM_BASE + at + 1;
    d->code->smem_bytes = at + (uint32_t)v->bytes;
}

static void place_operand(Decoder *d, const PtxOperand *o, bool dynamic, uint32_t at, uint32_t *align)
{
    if ((o->kind == PTX_KIND_VAR || o->kind == PTX_KIND_MEM) && o->var) {
        if (dynamic && o->var->space == PTX_SPACE_SHARED && !o->var->bytes && o->var->align > *align)
            *align = o->var->align;
        if (at != UINT32_MAX)
            place_shared_var(d, o->var, dynamic, at);
    }
    for (uint32_t i = 0; o->kind == PTX_KIND_VEC && i < o->elems_n; i++)
        place_operand(d, o->elems + i, dynamic, at, align);
}

static void place_pass(Decoder *d, bool dynamic, uint32_t at, uint32_t *align)
{
    for (uint32_t i = 0; i < d->flats_n; i++)
        for (uint32_t k = 0; d->flats[i].kind == KIND_INSN && k < d->flats[i].in->operands_n; k++)
            place_operand(d, d->flats[i].in->operands + k, dynamic, at, align);
}

static bool place_shared(Decoder *d)
{
    uint32_t align = 16;
    d->smem_offset = calloc(d->module->ptx->var_ids_n + 1, sizeof *d->smem_offset);
    if (!d->smem_offset)
        return out_of_memory(d);
    for (uint32_t i = 0; i < d->insts_n; i++) /* declared in the function: static even if unused */
        for (uint32_t k = 0; k < d->insts[i].f->vars_n; k++)
            place_shared_var(d, d->insts[i].f->vars[k], false, 0);
    place_pass(d, false, 0, &align);
    place_pass(d, true, UINT32_MAX, &align);
    d->code->smem_align = align;
    d->code->smem_bytes = align_up(d->code->smem_bytes, align);
    place_pass(d, true, d->code->smem_bytes, &align);
    return true;
}

static bool place_params(Decoder *d, const PtxFunc *f)
{
    d->code->params = calloc(f->params_n + 1, sizeof *d->code->params);
    if (!d->code->params)
        return out_of_memory(d);
    d->code->params_n = f->params_n;
    for (uint32_t i = 0; i < f->params_n; i++) {
        uint32_t at = align_up(d->code->params_bytes, f->params[i]->align);
        d->code->params[i] = (EmuParam){at, (uint32_t)f->params[i]->bytes};
        d->code->params_bytes = at + (uint32_t)f->params[i]->bytes;
    }
    return true;
}

static uint32_t product(const uint32_t v[3])
{
    return v[0] * (v[1] ? v[1] : 1) * (v[2] ? v[2] : 1);
}

bool emu_decode(const EmuModule *module, const PtxFunc *func, const EmuTable *table, EmuMode mode, EmuCode *code, Err *err)
{
    Decoder d = {.module = module, .table = table, .code = code, .err = err};
    uint32_t root;
    *code = (EmuCode){.name = func->name, .ptx = module->ptx};
    code->threads_max = func->reqntid[0] ? product(func->reqntid) : func->maxntid[0] ? product(func->maxntid) : 1024;
    bool ok = place_params(&d, func) && new_inst(&d, func, 0, &root) && flatten(&d, root);
    ok = ok && push(&d, (Flat){.in = func->insns_n ? func->insns + func->insns_n - 1 : NULL, .kind = KIND_END, .guard = -1});
    if (ok && !func->insns_n)
        ok = fail(err, E_UNSUPPORTED, "kernel \"%s\" has no instructions", func->name);
    ok = ok && place_shared(&d) && build_blocks(&d) && find_joins(&d) &&
         (mode == EMU_CHECKED || (find_copies(&d) && fuse(&d) && find_sides(&d))) && allocate(&d) && spread_cells(&d) && place_constants(&d) &&
         emit_all(&d);
    code->local_bytes = align_up(code->local_bytes, 16);
    code->regs_bytes = align_up(code->regs_bytes, 64);
    free(d.flats);
    for (uint32_t i = 0; i < d.insts_n; i++)
        free(d.insts[i].offsets);
    free(d.insts);
    free(d.vreg_bytes);
    free(d.slots);
    free(d.root);
    free(d.plains);
    free(d.cell_of);
    free(d.blocks);
    free(d.block_of);
    free(d.smem_offset);
    free(d.consts.entries);
    free(d.params.entries);
    return ok;
}

void emu_decode_deinit(EmuCode *code)
{
    free(code->recs);
    free(code->inner);
    free(code->pool);
    free(code->sites);
    free(code->consts);
    free(code->param_slots);
    free(code->sregs);
    free(code->zeros);
    free(code->params);
    free(code->classes);
    free(code->uses);
    free(code->use_regs);
    free(code->cell_names);
    *code = (EmuCode){0};
}
