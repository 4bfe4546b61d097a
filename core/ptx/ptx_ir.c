/* Names of what the tables hold, look-ups, and the module as text again. */
#include "core/ptx/ptx_ir.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *text;
    uint32_t bytes;
    char class;
} types[PTX_TYPES] = {
    [PTX_NONE] = {"", 0, 0},
#define PTX_TYPE(name, text, bytes, class) [PTX_##name] = {text, bytes, class},
#include "core/ptx/ptx_ops.def"
#undef PTX_TYPE
};

static const char *const mods[PTX_MODS] = {
#define PTX_MOD(name, text) text,
#include "core/ptx/ptx_ops.def"
#undef PTX_MOD
};

static const char *const sregs[PTX_SREGS] = {
#define PTX_SREG(name, text) text,
#include "core/ptx/ptx_ops.def"
#undef PTX_SREG
};

const PtxOp ptx_op[PTX_FORMS] = {
#define PTX_OP(form, mnemonic, modifiers, operands, group) [PTX_OP_##form] = {#form, mnemonic, modifiers, operands, PTX_GROUP_##group},
#include "core/ptx/ptx_ops.def"
#undef PTX_OP
};

const char *ptx_type_name(PtxType type)
{
    return types[type].text;
}

uint32_t ptx_type_bytes(PtxType type)
{
    return types[type].bytes;
}

char ptx_type_class(PtxType type)
{
    return types[type].class;
}

PtxType ptx_type_of(const char *text, size_t n)
{
    for (int i = 1; i < PTX_TYPES; i++)
        if (strlen(types[i].text) == n && memcmp(types[i].text, text, n) == 0)
            return (PtxType)i;
    return PTX_NONE;
}

const char *ptx_mod_name(PtxMod mod)
{
    return mods[mod];
}

const char *ptx_sreg_name(PtxSreg sreg)
{
    return sregs[sreg];
}

const char *ptx_group_name(PtxGroup group)
{
    static const char *const names[PTX_GROUPS] = {"arith", "float", "move", "cvt", "mem", "async", "warp", "sync", "mma", "control"};
    return names[group];
}

const PtxFunc *ptx_func(const PtxModule *module, const char *name)
{
    for (uint32_t i = 0; i < module->funcs_n; i++)
        if (strcmp(module->funcs[i]->name, name) == 0)
            return module->funcs[i];
    return NULL;
}

const char *ptx_file_name(const PtxModule *module, uint32_t idx)
{
    for (uint32_t i = 0; i < module->files_n; i++)
        if (module->files[i].idx == idx)
            return module->files[i].name;
    return NULL;
}

void ptx_free(PtxModule *module)
{
    if (!module)
        return;
    Arena arena = module->arena; /* the module lives in it */
    arena_deinit(&arena);
}

static const char *space_name(PtxSpace space)
{
    static const char *const names[] = {"", "global", "const", "shared", "local", "param"};
    return names[space];
}

static void print_var(FILE *f, const PtxVar *v)
{
    fprintf(f, ".%s ", space_name(v->space));
    if (v->align)
        fprintf(f, ".align %u ", v->align);
    if (v->vec > 1)
        fprintf(f, ".v%u ", v->vec);
    fprintf(f, ".%s %s", ptx_type_name(v->type), v->name);
    uint64_t size = (uint64_t)v->vec * ptx_type_bytes(v->type);
    if (v->is_array && v->bytes)
        fprintf(f, "[%" PRIu64 "]", v->bytes / size);
    else if (v->is_array)
        fprintf(f, "[]");
    if (!v->data)
        return;
    /* the bits of each element: integers in every type but the floats, which have a notation of their own */
    uint64_t step = ptx_type_bytes(v->type);
    fprintf(f, " = ");
    if (v->is_array || v->vec > 1)
        fprintf(f, "{");
    for (uint64_t i = 0; i < v->bytes; i += step) {
        uint64_t bits = 0;
        memcpy(&bits, v->data + i, step);
        fprintf(f, i ? ", " : "");
        if (v->type == PTX_F32)
            fprintf(f, "0f%08" PRIX64, bits);
        else if (v->type == PTX_F64)
            fprintf(f, "0d%016" PRIX64, bits);
        else
            fprintf(f, "%" PRIu64, bits);
    }
    if (v->is_array || v->vec > 1)
        fprintf(f, "}");
}

static void print_operand(FILE *f, const PtxModule *m, const PtxFunc *func, const PtxOperand *o)
{
    switch (o->kind) {
    case PTX_KIND_REG:
        fprintf(f, "%s%s", o->is_negated ? "!" : "", func->regs[o->idx].name);
        break;
    case PTX_KIND_IMM:
        if (o->is_float && o->elems_n == 8)
            fprintf(f, "0d%016" PRIX64, (uint64_t)o->imm);
        else if (o->is_float)
            fprintf(f, "0f%08" PRIX64, (uint64_t)o->imm);
        else
            fprintf(f, "%" PRId64, o->imm);
        break;
    case PTX_KIND_SREG:
        fprintf(f, "%s", ptx_sreg_name((PtxSreg)o->idx));
        break;
    case PTX_KIND_VAR:
        fprintf(f, "%s", o->var->name);
        if (o->imm)
            fprintf(f, "+%" PRId64, o->imm);
        break;
    case PTX_KIND_MEM:
        fprintf(f, "[%s", o->idx >= 0 ? func->regs[o->idx].name : o->var ? o->var->name : "");
        if (o->idx < 0 && !o->var)
            fprintf(f, "%" PRIu64, (uint64_t)o->imm); /* no sign may begin an address */
        else if (o->imm)
            fprintf(f, "+%" PRId64, o->imm);
        fprintf(f, "]");
        break;
    case PTX_KIND_VEC:
        fprintf(f, "{");
        for (uint32_t i = 0; i < o->elems_n; i++) {
            fprintf(f, i ? ", " : "");
            print_operand(f, m, func, o->elems + i);
        }
        fprintf(f, "}");
        break;
    case PTX_KIND_LABEL:
        fprintf(f, "%s", func->labels[o->idx].name);
        break;
    case PTX_KIND_FUNC:
        fprintf(f, "%s", m->funcs[o->idx]->name);
        break;
    case PTX_KIND_SINK:
        fprintf(f, "_");
        break;
    }
    if (o->second) {
        fprintf(f, "|");
        print_operand(f, m, func, o->second);
    }
}

/* call (results), function, (arguments); braces become parentheses there. */
static void print_call(FILE *f, const PtxModule *m, const PtxFunc *func, const PtxInsn *in)
{
    for (int part = 0; part < 3; part++) {
        const PtxOperand *o = in->operands + part;
        if (part == 1) {
            fprintf(f, "%s", m->funcs[o->idx]->name);
            continue;
        }
        if (!o->elems_n)
            continue;
        fprintf(f, part == 2 ? ", (" : "(");
        for (uint32_t i = 0; i < o->elems_n; i++) {
            fprintf(f, i ? ", " : "");
            print_operand(f, m, func, o->elems + i);
        }
        fprintf(f, part == 0 ? "), " : ")");
    }
}

static void print_insn(FILE *f, const PtxModule *m, const PtxFunc *func, const PtxInsn *in)
{
    fprintf(f, "\t");
    if (in->guard >= 0)
        fprintf(f, "@%s%s ", in->is_guard_negated ? "!" : "", func->regs[in->guard].name);
    fprintf(f, "%s%s", in->opcode, in->operands_n ? " " : "");
    if (in->form == PTX_OP_CALL) {
        print_call(f, m, func, in);
    } else {
        for (uint32_t i = 0; i < in->operands_n; i++) {
            fprintf(f, i ? ", " : "");
            print_operand(f, m, func, in->operands + i);
        }
    }
    fprintf(f, ";\n");
}

static void print_body(FILE *f, const PtxModule *m, const PtxFunc *func)
{
    fprintf(f, "{\n");
    for (uint32_t i = 0; i < func->regs_n; i++)
        fprintf(f, "\t.reg .%s %s;\n", ptx_type_name(func->regs[i].type), func->regs[i].name);
    for (uint32_t i = 0; i < func->vars_n; i++) {
        fprintf(f, func->vars[i]->is_extern ? "\t.extern " : "\t");
        print_var(f, func->vars[i]);
        fprintf(f, ";\n");
    }
    uint32_t label = 0, file = 0, line = 0;
    for (uint32_t i = 0; i <= func->insns_n; i++) {
        for (; label < func->labels_n && func->labels[label].insn == i; label++)
            fprintf(f, "%s:\n", func->labels[label].name);
        if (i == func->insns_n)
            break;
        const PtxInsn *in = func->insns + i;
        if (in->loc_file != file || in->loc_line != line) /* line 0, code of no line, ends the line before */
            fprintf(f, "\t.loc %u %u 0\n", in->loc_file, in->loc_line);
        file = in->loc_file;
        line = in->loc_line;
        print_insn(f, m, func, in);
    }
    fprintf(f, "}\n");
}

static void print_vars(FILE *f, PtxVar *const *vars, uint32_t n)
{
    fprintf(f, "(");
    for (uint32_t i = 0; i < n; i++) {
        fprintf(f, i ? ",\n\t" : "\n\t");
        print_var(f, vars[i]);
    }
    fprintf(f, ")");
}

static void print_func(FILE *f, const PtxModule *m, const PtxFunc *func)
{
    fprintf(f, "%s%s.%s ", func->is_extern ? ".extern " : "", func->is_visible ? ".visible " : "", func->is_entry ? "entry" : "func");
    if (func->rets_n)
        print_vars(f, func->rets, func->rets_n);
    fprintf(f, " %s", func->name);
    print_vars(f, func->params, func->params_n);
    fprintf(f, "\n");
    if (func->maxntid[0])
        fprintf(f, ".maxntid %u, %u, %u\n", func->maxntid[0], func->maxntid[1], func->maxntid[2]);
    if (func->reqntid[0])
        fprintf(f, ".reqntid %u, %u, %u\n", func->reqntid[0], func->reqntid[1], func->reqntid[2]);
    if (func->minnctapersm)
        fprintf(f, ".minnctapersm %u\n", func->minnctapersm);
    if (func->maxnreg)
        fprintf(f, ".maxnreg %u\n", func->maxnreg);
    if (func->is_extern)
        fprintf(f, ";\n");
    else
        print_body(f, m, func);
}

char *ptx_print(const PtxModule *m)
{
    char *text = NULL;
    size_t n = 0;
    FILE *f = open_memstream(&text, &n);
    if (!f)
        return NULL;
    fprintf(f, ".version %s\n.target %s\n.address_size 64\n", m->version, m->target);
    for (uint32_t i = 0; i < m->files_n; i++)
        fprintf(f, ".file %u \"%s\"\n", m->files[i].idx, m->files[i].name);
    for (uint32_t i = 0; i < m->vars_n; i++) {
        fprintf(f, "%s%s", m->vars[i]->is_extern ? ".extern " : "", m->vars[i]->is_visible ? ".visible " : "");
        print_var(f, m->vars[i]);
        fprintf(f, ";\n");
    }
    for (uint32_t i = 0; i < m->funcs_n; i++)
        print_func(f, m, m->funcs[i]);
    if (fclose(f) == 0)
        return text;
    free(text);
    return NULL;
}
