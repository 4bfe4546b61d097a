/* PTX after parsing: modules, functions, instructions with checked types. What the text means is the emulator's; here is only
 * what it says. Everything lives in the module's arena; indices, not pointers, name registers, variables and labels. */
#ifndef CORE_PTX_PTX_IR_H
#define CORE_PTX_PTX_IR_H
#include <stdbool.h>
#include <stdint.h>

#include "core/base/arena.h"
#include "core/base/err.h"

typedef enum PtxType {
    PTX_NONE,
#define PTX_TYPE(name, text, bytes, class) PTX_##name,
#include "core/ptx/ptx_ops.def"
#undef PTX_TYPE
    PTX_TYPES
} PtxType;

typedef enum PtxMod {
#define PTX_MOD(name, text) PTX_MOD_##name,
#include "core/ptx/ptx_ops.def"
#undef PTX_MOD
    PTX_MODS
} PtxMod;

typedef enum PtxSreg {
#define PTX_SREG(name, text) PTX_SREG_##name,
#include "core/ptx/ptx_ops.def"
#undef PTX_SREG
    PTX_SREGS
} PtxSreg;

typedef enum PtxForm {
#define PTX_OP(form, mnemonic, modifiers, operands, group) PTX_OP_##form,
#include "core/ptx/ptx_ops.def"
#undef PTX_OP
    PTX_FORMS
} PtxForm;

typedef enum PtxGroup {
    PTX_GROUP_ARITH, PTX_GROUP_FLOAT, PTX_GROUP_MOVE, PTX_GROUP_CVT, PTX_GROUP_MEM, PTX_GROUP_ASYNC,
    PTX_GROUP_WARP, PTX_GROUP_SYNC, PTX_GROUP_MMA, PTX_GROUP_CONTROL, PTX_GROUPS
} PtxGroup;

typedef enum PtxSpace {
    PTX_SPACE_GENERIC, PTX_SPACE_GLOBAL, PTX_SPACE_CONST, PTX_SPACE_SHARED, PTX_SPACE_LOCAL, PTX_SPACE_PARAM
} PtxSpace;

typedef struct PtxOp {
    const char *form, *mnemonic, *modifiers, *operands;
    PtxGroup group;
} PtxOp;
extern const PtxOp ptx_op[PTX_FORMS];

typedef struct PtxReg {
    const char *name; /* unique in its function: a name used again in an inner scope gets a suffix */
    PtxType type;
} PtxReg;

/* A variable of any space but registers. data is NULL when it has no initialiser. */
typedef struct PtxVar {
    const char *name;
    PtxSpace space;
    PtxType type;
    uint32_t vec;            /* elements of .v2, .v4; 1 otherwise */
    uint32_t align;
    uint64_t bytes;          /* 0 for an extern array without size (dynamic shared memory) */
    uint32_t id;             /* below var_ids_n of the module */
    bool is_extern, is_array, is_visible;
    const uint8_t *data;     /* bytes of them */
} PtxVar;

typedef enum PtxKind {
    PTX_KIND_REG,     /* idx: register of the function */
    PTX_KIND_IMM,     /* imm: the bits; as f32 or f64 when is_float */
    PTX_KIND_SREG,    /* idx: PtxSreg */
    PTX_KIND_VAR,     /* address of a variable, plus imm */
    PTX_KIND_MEM,     /* address in brackets: register idx (or -1: none) or variable, plus imm */
    PTX_KIND_VEC,     /* elems */
    PTX_KIND_LABEL,   /* idx */
    PTX_KIND_FUNC,    /* idx: function of the module */
    PTX_KIND_SINK     /* _ */
} PtxKind;

typedef struct PtxOperand {
    PtxKind kind;
    char role;                   /* its letter in the row of ptx_ops.def that the instruction fits */
    bool is_negated;             /* !%p */
    bool is_float;               /* an immediate written as 0f… (4 bytes) or 0d… (8 bytes) */
    uint8_t elems_n;
    int32_t idx;                 /* -1 in MEM: no register */
    const PtxVar *var;           /* VAR, MEM without register */
    int64_t imm;
    struct PtxOperand *elems;    /* VEC */
    struct PtxOperand *second;   /* the q of d|q, or NULL */
} PtxOperand;

typedef struct PtxInsn {
    const char *opcode;          /* as written, interned */
    PtxForm form;
    uint8_t vec;                 /* of .v2 .v4 .v8; 1 otherwise */
    uint8_t types_n, operands_n;
    uint8_t types[5];
    PtxSpace space;              /* of memory instructions, generic when none is written */
    uint64_t mods[4];            /* bit set over PtxMod */
    int32_t guard;               /* predicate register, -1 for none */
    bool is_guard_negated;
    PtxOperand *operands;        /* call: return values VEC, function, arguments VEC */
    uint32_t line;               /* of the PTX text, from 1 */
    uint32_t loc_file, loc_line; /* of .loc, 0 when unknown */
} PtxInsn;

typedef struct PtxLabel {
    const char *name;
    uint32_t insn; /* index of the instruction behind it; insns_n at the end */
} PtxLabel;

typedef struct PtxFunc {
    const char *name;
    bool is_entry, is_visible, is_extern;  /* extern: no body */
    PtxVar **params, **rets;
    uint32_t params_n, rets_n;
    PtxReg *regs;
    uint32_t regs_n;
    PtxVar **vars;                         /* declared inside: shared, local, params of calls */
    uint32_t vars_n;
    PtxLabel *labels;
    uint32_t labels_n;
    PtxInsn *insns;
    uint32_t insns_n;
    uint32_t maxntid[3], reqntid[3];       /* 0 when not given */
    uint32_t minnctapersm, maxnreg;
    uint32_t line;
} PtxFunc;

typedef struct PtxFile {
    uint32_t idx;
    const char *name;
} PtxFile;

typedef struct PtxModule {
    Arena arena;
    char version[8], target[16];
    PtxFunc **funcs;
    uint32_t funcs_n;
    PtxVar **vars; /* module scope */
    uint32_t vars_n, var_ids_n;
    PtxFile *files;
    uint32_t files_n;
} PtxModule;

/* "u32", bytes of a register (0 for a predicate), class letter as in ptx_ops.def. */
const char *ptx_type_name(PtxType type);
uint32_t ptx_type_bytes(PtxType type);
char ptx_type_class(PtxType type);
/* PTX_NONE when there is no such type. */
PtxType ptx_type_of(const char *text, size_t n);
const char *ptx_mod_name(PtxMod mod);
const char *ptx_sreg_name(PtxSreg sreg);
const char *ptx_group_name(PtxGroup group);
static inline bool ptx_has(const PtxInsn *insn, PtxMod mod)
{
    return insn->mods[mod / 64] >> (mod % 64) & 1;
}
/* Function of that name, NULL if none. */
const PtxFunc *ptx_func(const PtxModule *module, const char *name);
/* Source file of a .loc, NULL if unknown. */
const char *ptx_file_name(const PtxModule *module, uint32_t idx);
/* The module as PTX text; parsing it gives the same module but for PtxInsn.line, PtxFunc.line and the ids of variables, and
 * printing that gives the same text. What the parser does not keep is not printed: .pragma, .section, .noreturn, .maxnctapersm,
 * .ptr, columns and inlining of .loc, times of .file; .weak and .common come out as .visible. The caller frees; NULL when memory
 * is exhausted. */
char *ptx_print(const PtxModule *module);
void ptx_free(PtxModule *module);

#endif
