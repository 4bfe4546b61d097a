/* Recursive descent with one token of look-ahead. All names of the text are interned once; a name knows the symbol it means in
 * the open scopes, so that a look-up is one hash. A distinct opcode text is matched with the table once. Every grammar function
 * returns false after filling p->err. Source: PTX ISA 9.0. */
#include "core/ptx/ptx_parse.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/ptx/ptx_lex.h"

typedef enum SymbolKind { SYMBOL_REG, SYMBOL_VAR, SYMBOL_FUNC } SymbolKind;

typedef struct Symbol {
    SymbolKind kind;
    uint32_t idx;          /* REG, FUNC */
    PtxVar *var;           /* VAR */
    uint32_t scope;        /* in which it was declared */
    struct Symbol *shadowed;
    struct Symbol *older;  /* declared before it in whatever open scope: the list that closing a scope unwinds */
    struct Name *name;
} Symbol;

typedef struct LabelDef {
    uint32_t scope, idx;
    struct LabelDef *next;
} LabelDef;

typedef struct Match {
    PtxForm form;
    uint8_t vec, types_n;
    uint8_t types[5];
    PtxSpace space;
    uint64_t mods[4];
    struct Match *next;
} Match;

typedef struct Name {
    char *text;
    uint32_t hash;
    Symbol *symbol;
    LabelDef *labels;
    Match *match;
    uint32_t func_serial; /* of the newest register or label that uses the text as its unique name */
} Name;

typedef struct LabelRef {
    PtxOperand *operand;
    Name *name;
    uint32_t scope, line;
} LabelRef;

typedef struct Parser {
    PtxLex lex;
    Err *err;
    PtxModule *m;
    Arena *arena;
    Name **names;       /* open addressing, power of two */
    uint32_t names_cap, names_n;
    Symbol *symbols;    /* newest */
    PtxFunc *func;
    uint32_t func_serial;
    uint32_t *scope_parent;
    uint32_t scopes_n, scopes_cap, scope; /* scope 0 is the module */
    LabelRef *refs;
    uint32_t refs_n, refs_cap;
    uint32_t regs_cap, vars_cap, labels_cap, insns_cap, funcs_cap, mvars_cap, files_cap;
    uint32_t loc_file, loc_line, suffix, depth;
} Parser;

enum { REGS_MAX = 1 << 20, VAR_BYTES_MAX = 1 << 28, ELEMS_MAX = 16, OPERANDS_MAX = 12, DEPTH_MAX = 64 };

__attribute__((format(printf, 3, 4))) static bool bad(Parser *p, ErrKind kind, const char *format, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, format);
    vsnprintf(text, sizeof text, format, ap);
    va_end(ap);
    return fail(p->err, kind, "PTX line %u: %s", p->lex.line, text);
}

static bool out_of_memory(Parser *p)
{
    return bad(p, E_MEMORY, "memory is exhausted");
}

/* Room for one more of size bytes behind n; doubled arrays stay in the arena, which costs at most as much again. */
static bool grow(Parser *p, void *array, uint32_t n, uint32_t *cap, size_t size)
{
    if (n < *cap)
        return true;
    uint32_t wanted = *cap ? 2 * *cap : 16;
    void *old, *grown = arena_alloc(p->arena, wanted * size);
    if (!grown)
        return out_of_memory(p);
    memcpy(&old, array, sizeof old);
    if (n)
        memcpy(grown, old, n * size);
    memcpy(array, &grown, sizeof grown);
    *cap = wanted;
    return true;
}

static uint32_t hash_of(const char *s, size_t n)
{
    uint32_t h = 2166136261u; /* FNV-1a */
    for (size_t i = 0; i < n; i++)
        h = (h ^ (unsigned char)s[i]) * 16777619u;
    return h;
}

static bool rehash(Parser *p)
{
    uint32_t cap = p->names_cap ? 2 * p->names_cap : 1024;
    Name **names = arena_alloc(p->arena, cap * sizeof *names);
    if (!names)
        return out_of_memory(p);
    for (uint32_t i = 0; i < p->names_cap; i++) {
        if (!p->names[i])
            continue;
        uint32_t at = p->names[i]->hash & (cap - 1);
        while (names[at])
            at = (at + 1) & (cap - 1);
        names[at] = p->names[i];
    }
    p->names = names;
    p->names_cap = cap;
    return true;
}

/* The one Name of a text; NULL when memory is exhausted. */
static Name *intern(Parser *p, const char *s, size_t n)
{
    if (2 * p->names_n >= p->names_cap && !rehash(p))
        return NULL;
    uint32_t hash = hash_of(s, n), at = hash & (p->names_cap - 1);
    for (; p->names[at]; at = (at + 1) & (p->names_cap - 1))
        if (p->names[at]->hash == hash && strlen(p->names[at]->text) == n && memcmp(p->names[at]->text, s, n) == 0)
            return p->names[at];
    Name *name = arena_alloc(p->arena, sizeof *name);
    char *text = arena_strndup(p->arena, s, n);
    if (!name || !text)
        return out_of_memory(p), NULL;
    name->text = text;
    name->hash = hash;
    p->names[at] = name;
    p->names_n++;
    return name;
}

static bool next(Parser *p)
{
    return ptx_lex_next(&p->lex, p->err);
}

static bool is(const Parser *p, const char *text)
{
    return ptx_lex_is(&p->lex, text);
}

static const char *found(Parser *p, char *buffer, size_t n)
{
    if (p->lex.kind == PTX_TOKEN_END)
        return "the end of the text";
    snprintf(buffer, n, "\"%.*s\"", (int)(p->lex.text_n < 80 ? p->lex.text_n : 80), p->lex.text);
    return buffer;
}

static bool unexpected(Parser *p, const char *wanted)
{
    char buffer[100];
    return bad(p, E_FORMAT, "expected %s, found %s", wanted, found(p, buffer, sizeof buffer));
}

static bool expect(Parser *p, const char *text)
{
    return is(p, text) ? next(p) : unexpected(p, text);
}

/* Consumes the token if it is that text. */
static bool accept(Parser *p, const char *text, bool *got)
{
    *got = is(p, text);
    return !*got || next(p);
}

static Name *expect_name(Parser *p)
{
    if (p->lex.kind != PTX_TOKEN_WORD || *p->lex.text == '.')
        return unexpected(p, "a name"), NULL;
    Name *name = intern(p, p->lex.text, p->lex.text_n);
    return name && next(p) ? name : NULL;
}

static bool expect_uint(Parser *p, uint64_t max, uint64_t *value)
{
    if (p->lex.kind != PTX_TOKEN_INT)
        return unexpected(p, "a whole number");
    if (p->lex.bits > max)
        return bad(p, E_VALUE, "%llu is more than %llu", (unsigned long long)p->lex.bits, (unsigned long long)max);
    *value = p->lex.bits;
    return next(p);
}

/* scopes and symbols */

static bool open_scope(Parser *p)
{
    if (!grow(p, &p->scope_parent, p->scopes_n, &p->scopes_cap, sizeof *p->scope_parent))
        return false;
    p->scope_parent[p->scopes_n] = p->scope;
    p->scope = p->scopes_n++;
    return true;
}

static void close_scope(Parser *p)
{
    while (p->symbols && p->symbols->scope == p->scope) {
        p->symbols->name->symbol = p->symbols->shadowed;
        p->symbols = p->symbols->older;
    }
    p->scope = p->scope_parent[p->scope];
}

static bool declare(Parser *p, Name *name, SymbolKind kind, uint32_t idx, PtxVar *var)
{
    if (name->symbol && name->symbol->scope == p->scope)
        return bad(p, E_FORMAT, "\"%s\" is declared twice", name->text);
    Symbol *s = arena_alloc(p->arena, sizeof *s);
    if (!s)
        return out_of_memory(p);
    *s = (Symbol){kind, idx, var, p->scope, name->symbol, p->symbols, name};
    name->symbol = p->symbols = s;
    return true;
}

/* A text that no other register, variable or label of this function has, so that printing needs no scopes. */
static const char *unique_text(Parser *p, Name *name)
{
    while (name->func_serial == p->func_serial) {
        char text[300];
        int n = snprintf(text, sizeof text, "%.250s$%u", name->text, ++p->suffix);
        name = intern(p, text, (size_t)n);
        if (!name)
            return NULL;
    }
    name->func_serial = p->func_serial;
    return name->text;
}

/* declarations */

static bool expect_type(Parser *p, PtxType *type)
{
    *type = p->lex.kind == PTX_TOKEN_WORD && *p->lex.text == '.' ? ptx_type_of(p->lex.text + 1, p->lex.text_n - 1) : PTX_NONE;
    return *type ? next(p) : unexpected(p, "a type");
}

static bool add_reg(Parser *p, Name *name, PtxType type)
{
    PtxFunc *f = p->func;
    if (f->regs_n >= REGS_MAX)
        return bad(p, E_UNSUPPORTED, "more than %d registers in one function", REGS_MAX);
    if (!grow(p, &f->regs, f->regs_n, &p->regs_cap, sizeof *f->regs) || !declare(p, name, SYMBOL_REG, f->regs_n, NULL))
        return false;
    const char *text = unique_text(p, name);
    if (!text)
        return false;
    f->regs[f->regs_n++] = (PtxReg){text, type};
    return true;
}

static bool parse_reg(Parser *p)
{
    PtxType type;
    bool more;
    if (!p->func)
        return bad(p, E_UNSUPPORTED, "a register outside of a function");
    if (is(p, ".v2") || is(p, ".v4"))
        return bad(p, E_UNSUPPORTED, "a register that is a vector");
    if (!expect_type(p, &type))
        return false;
    do {
        Name *name = expect_name(p);
        if (!name || !accept(p, "<", &more))
            return false;
        if (!more) {
            if (!add_reg(p, name, type))
                return false;
        } else {
            uint64_t n;
            if (!expect_uint(p, REGS_MAX, &n) || !expect(p, ">"))
                return false;
            for (uint64_t i = 0; i < n; i++) {
                char text[300];
                int length = snprintf(text, sizeof text, "%.250s%llu", name->text, (unsigned long long)i);
                Name *one = intern(p, text, (size_t)length);
                if (!one || !add_reg(p, one, type))
                    return false;
            }
        }
        if (!accept(p, ",", &more))
            return false;
    } while (more);
    return expect(p, ";");
}

static bool parse_align(Parser *p, PtxVar *v)
{
    bool got;
    uint64_t n;
    if (!accept(p, ".align", &got) || !got)
        return !got ? true : false;
    if (!expect_uint(p, 1024, &n))
        return false;
    if (!n || n & (n - 1))
        return bad(p, E_VALUE, "alignment %llu is not a power of two", (unsigned long long)n);
    v->align = (uint32_t)n;
    return true;
}

static bool parse_initialiser(Parser *p, PtxVar *v)
{
    bool braces, more;
    uint64_t size = ptx_type_bytes(v->type), i = 0;
    uint8_t *data = arena_alloc(p->arena, v->bytes ? v->bytes : 1);
    if (!data)
        return out_of_memory(p);
    v->data = data;
    if (!accept(p, "{", &braces))
        return false;
    if (braces && is(p, "}"))
        return next(p);
    do {
        bool minus;
        if (!accept(p, "-", &minus))
            return false;
        if (p->lex.kind == PTX_TOKEN_WORD)
            return bad(p, E_UNSUPPORTED, "an initialiser that is an address");
        if (p->lex.kind != PTX_TOKEN_INT && p->lex.kind != PTX_TOKEN_F32 && p->lex.kind != PTX_TOKEN_F64)
            return unexpected(p, "a number");
        if (i + size > v->bytes)
            return bad(p, E_FORMAT, "the initialiser of \"%s\" is longer than the variable", v->name);
        uint64_t bits = p->lex.bits;
        if (p->lex.kind == PTX_TOKEN_INT) {
            bits = minus ? -bits : bits;
        } else if (minus) {
            return bad(p, E_FORMAT, "a minus before the bits of a float");
        }
        memcpy(data + i, &bits, size);
        i += size;
        if (!next(p) || !accept(p, ",", &more))
            return false;
    } while (more && braces);
    return !braces || expect(p, "}");
}

/* Behind `.global`, `.shared` …: alignment, vector, type, name, extent. */
static PtxVar *parse_var(Parser *p, PtxSpace space, bool is_param)
{
    PtxVar *v = arena_alloc(p->arena, sizeof *v);
    bool got;
    if (!v)
        return out_of_memory(p), NULL;
    v->space = space;
    v->vec = 1;
    v->id = p->m->var_ids_n++;
    if (!parse_align(p, v))
        return NULL;
    if (is(p, ".v2") || is(p, ".v4")) {
        v->vec = p->lex.text[2] == '2' ? 2 : 4;
        if (!next(p))
            return NULL;
    }
    if (!expect_type(p, &v->type))
        return NULL;
    if (!ptx_type_bytes(v->type))
        return bad(p, E_FORMAT, "a predicate has no place in memory"), NULL;
    if (is_param && is(p, ".ptr")) { /* says of what alignment and space a pointer is: of no use to us */
        PtxVar ignored = {0};
        if (!next(p))
            return NULL;
        if ((is(p, ".global") || is(p, ".shared") || is(p, ".const") || is(p, ".local")) && !next(p))
            return NULL;
        if (!parse_align(p, &ignored))
            return NULL;
    }
    Name *name = expect_name(p);
    if (!name || !accept(p, "[", &got))
        return NULL;
    v->name = name->text;
    v->bytes = (uint64_t)v->vec * ptx_type_bytes(v->type);
    v->is_array = got;
    bool is_unsized = false;
    while (got) {
        uint64_t n = 0;
        is_unsized = is(p, "]");
        if (!is_unsized && !expect_uint(p, VAR_BYTES_MAX, &n))
            return NULL;
        v->bytes *= n;
        if (v->bytes > VAR_BYTES_MAX)
            return bad(p, E_UNSUPPORTED, "\"%s\" has more than %d bytes", v->name, VAR_BYTES_MAX), NULL;
        if (!expect(p, "]") || !accept(p, "[", &got))
            return NULL;
    }
    if (!v->align)
        v->align = v->vec * ptx_type_bytes(v->type);
    if (p->func)
        v->name = unique_text(p, name);
    if (!v->name || !declare(p, name, SYMBOL_VAR, 0, v))
        return NULL;
    return v;
}

static bool parse_var_statement(Parser *p, PtxSpace space, bool is_extern, bool is_visible)
{
    bool got;
    PtxVar *v = parse_var(p, space, false);
    if (!v || !accept(p, "=", &got))
        return false;
    if (got && !parse_initialiser(p, v))
        return false;
    if (!v->bytes && !(is_extern && space == PTX_SPACE_SHARED))
        return bad(p, E_FORMAT, "\"%s\" has no size", v->name);
    v->is_extern = is_extern;
    v->is_visible = is_visible;
    PtxFunc *f = p->func;
    if (f) {
        if (!grow(p, &f->vars, f->vars_n, &p->vars_cap, sizeof *f->vars))
            return false;
        f->vars[f->vars_n++] = v;
    } else {
        if (space == PTX_SPACE_LOCAL || space == PTX_SPACE_PARAM)
            return bad(p, E_FORMAT, "\"%s\" stands outside of a function", v->name);
        if (!grow(p, &p->m->vars, p->m->vars_n, &p->mvars_cap, sizeof *p->m->vars))
            return false;
        p->m->vars[p->m->vars_n++] = v;
    }
    return expect(p, ";");
}

static bool space_of(const Parser *p, PtxSpace *space)
{
    static const struct {
        const char *text;
        PtxSpace space;
    } rows[] = {{".global", PTX_SPACE_GLOBAL}, {".const", PTX_SPACE_CONST}, {".shared", PTX_SPACE_SHARED},
                {".local", PTX_SPACE_LOCAL}, {".param", PTX_SPACE_PARAM}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (is(p, rows[i].text)) {
            *space = rows[i].space;
            return true;
        }
    }
    return false;
}

/* opcodes */

static bool one_of(const char *slot, size_t slot_n, const char *word, size_t n)
{
    for (size_t i = 0; i < slot_n;) {
        const char *end = memchr(slot + i, '|', slot_n - i);
        size_t length = end ? (size_t)(end - slot) - i : slot_n - i;
        if (length == n && memcmp(slot + i, word, n) == 0)
            return true;
        i += length + 1;
    }
    return false;
}

/* Does ".a.b.c" (without mnemonic) fit the pattern? *rest is where it stopped to fit. */
static bool match_modifiers(const char *pattern, const char *text, size_t n, Match *match, const char **rest)
{
    const char *end = text + n;
    while (*pattern) {
        const char *blank = strchr(pattern, ' ');
        size_t slot_n = blank ? (size_t)(blank - pattern) : strlen(pattern);
        bool is_optional = pattern[slot_n - 1] == '?';
        size_t word_n = 0;
        if (text < end) {
            const char *dot = memchr(text + 1, '.', (size_t)(end - text - 1));
            word_n = (size_t)((dot ? dot : end) - text - 1);
        }
        *rest = text;
        if (word_n && one_of(pattern, slot_n - is_optional, text + 1, word_n)) {
            PtxType type = ptx_type_of(text + 1, word_n);
            if (type) {
                match->types[match->types_n++] = (uint8_t)type;
            } else {
                for (int i = 0; i < PTX_MODS; i++)
                    if (strlen(ptx_mod_name((PtxMod)i)) == word_n && memcmp(ptx_mod_name((PtxMod)i), text + 1, word_n) == 0)
                        match->mods[i / 64] |= 1ull << (i % 64);
            }
            text += word_n + 1;
        } else if (!is_optional) {
            return false;
        }
        pattern += slot_n + (blank != NULL);
    }
    *rest = text;
    return text == end;
}

static bool match_has(const Match *m, PtxMod mod)
{
    return m->mods[mod / 64] >> (mod % 64) & 1;
}

static void finish_match(Match *m)
{
    m->vec = match_has(m, PTX_MOD_V2) ? 2 : match_has(m, PTX_MOD_V4) ? 4 : match_has(m, PTX_MOD_V8) ? 8 : 1;
    m->space = match_has(m, PTX_MOD_SHARED) || match_has(m, PTX_MOD_SHARED_CTA) || match_has(m, PTX_MOD_SHARED_CLUSTER)
                   ? PTX_SPACE_SHARED
               : match_has(m, PTX_MOD_GLOBAL) ? PTX_SPACE_GLOBAL
               : match_has(m, PTX_MOD_LOCAL)  ? PTX_SPACE_LOCAL
               : match_has(m, PTX_MOD_CONST)  ? PTX_SPACE_CONST
               : match_has(m, PTX_MOD_PARAM) || match_has(m, PTX_MOD_PARAM_ENTRY) || match_has(m, PTX_MOD_PARAM_FUNC)
                   ? PTX_SPACE_PARAM
                   : PTX_SPACE_GENERIC;
}

/* All rows that an opcode text fits, in table order, kept at its name. */
static bool match_opcode(Parser *p, Name *name)
{
    if (name->match)
        return true;
    const char *dot = strchr(name->text, '.'), *furthest = NULL;
    size_t mnemonic_n = dot ? (size_t)(dot - name->text) : strlen(name->text);
    const char *tail = name->text + mnemonic_n;
    Match **last = &name->match;
    bool is_known = false;
    for (int form = 0; form < PTX_FORMS; form++) {
        if (strlen(ptx_op[form].mnemonic) != mnemonic_n || memcmp(ptx_op[form].mnemonic, name->text, mnemonic_n) != 0)
            continue;
        Match match = {.form = (PtxForm)form};
        const char *rest = tail;
        is_known = true;
        if (match_modifiers(ptx_op[form].modifiers, tail, strlen(tail), &match, &rest)) {
            finish_match(&match);
            *last = arena_alloc(p->arena, sizeof match);
            if (!*last)
                return out_of_memory(p);
            **last = match;
            last = &(*last)->next;
        } else if (!furthest || rest > furthest) {
            furthest = rest;
        }
    }
    if (name->match)
        return true;
    if (!is_known)
        return bad(p, E_UNSUPPORTED, "unknown instruction \"%.100s\"", name->text);
    if (furthest && *furthest)
        return bad(p, E_UNSUPPORTED, "\"%.100s\": modifier \"%.60s\" is unknown or not allowed there", name->text, furthest);
    return bad(p, E_UNSUPPORTED, "\"%.100s\": a modifier or type is missing", name->text);
}

/* operands */

static PtxOperand *new_operands(Parser *p, size_t n)
{
    PtxOperand *o = arena_alloc(p->arena, n * sizeof *o);
    if (!o)
        out_of_memory(p);
    return o;
}

/* Moves parsed operands into the arena; references to labels in them, made since first_ref, follow. */
static PtxOperand *keep_operands(Parser *p, const PtxOperand *operands, uint32_t n, uint32_t first_ref)
{
    PtxOperand *kept = new_operands(p, n ? n : 1);
    if (!kept)
        return NULL;
    if (n)
        memcpy(kept, operands, n * sizeof *kept);
    for (uint32_t i = first_ref; i < p->refs_n; i++)
        for (uint32_t j = 0; j < n; j++)
            if (p->refs[i].operand == operands + j)
                p->refs[i].operand = kept + j;
    return kept;
}

/* [+|-] integers behind a name or alone, added to *imm. */
static bool parse_offset(Parser *p, int64_t *imm)
{
    while (is(p, "+") || is(p, "-")) {
        bool minus = is(p, "-"), again;
        if (!next(p) || !accept(p, "-", &again))
            return false;
        if (p->lex.kind != PTX_TOKEN_INT)
            return unexpected(p, "a whole number");
        uint64_t v = p->lex.bits;
        *imm = (int64_t)((uint64_t)*imm + (minus != again ? -v : v));
        if (!next(p))
            return false;
    }
    return true;
}

static bool parse_number(Parser *p, PtxOperand *o)
{
    bool minus;
    if (!accept(p, "-", &minus))
        return false;
    o->kind = PTX_KIND_IMM;
    if (p->lex.kind == PTX_TOKEN_INT) {
        o->imm = (int64_t)(minus ? -p->lex.bits : p->lex.bits);
    } else if (p->lex.kind == PTX_TOKEN_F32 || p->lex.kind == PTX_TOKEN_F64) {
        o->is_float = true;
        o->elems_n = p->lex.kind == PTX_TOKEN_F32 ? 4 : 8;
        o->imm = (int64_t)(p->lex.bits ^ (minus ? 1ull << (8 * o->elems_n - 1) : 0));
    } else {
        return unexpected(p, "an operand");
    }
    return next(p);
}

static bool sreg_of(const char *text, size_t n, int *sreg)
{
    for (int i = 0; i < PTX_SREGS; i++) {
        if (strlen(ptx_sreg_name((PtxSreg)i)) == n && memcmp(ptx_sreg_name((PtxSreg)i), text, n) == 0) {
            *sreg = i;
            return true;
        }
    }
    return false;
}

static bool add_label_ref(Parser *p, PtxOperand *o, Name *name)
{
    if (!grow(p, &p->refs, p->refs_n, &p->refs_cap, sizeof *p->refs))
        return false;
    p->refs[p->refs_n++] = (LabelRef){o, name, p->scope, p->lex.line};
    o->kind = PTX_KIND_LABEL;
    return true;
}

static bool parse_name(Parser *p, PtxOperand *o, bool is_target)
{
    int sreg;
    if (is(p, "_")) {
        o->kind = PTX_KIND_SINK;
        return next(p);
    }
    Name *name = p->lex.kind == PTX_TOKEN_WORD ? intern(p, p->lex.text, p->lex.text_n) : NULL;
    if (!name)
        return unexpected(p, "an operand");
    Symbol *s = name->symbol;
    if (is_target) {
        if (!add_label_ref(p, o, name))
            return false;
    } else if (s && s->kind == SYMBOL_REG) {
        o->kind = PTX_KIND_REG;
        o->idx = (int32_t)s->idx;
    } else if (s && s->kind == SYMBOL_VAR) {
        o->kind = PTX_KIND_VAR;
        o->var = s->var;
    } else if (s) {
        o->kind = PTX_KIND_FUNC;
        o->idx = (int32_t)s->idx;
    } else if (sreg_of(name->text, strlen(name->text), &sreg)) {
        o->kind = PTX_KIND_SREG;
        o->idx = sreg;
    } else if (*name->text == '%' || strcmp(name->text, "WARP_SZ") == 0) {
        return bad(p, E_UNSUPPORTED, "\"%.100s\" is neither declared nor a special register that is emulated", name->text);
    } else {
        return bad(p, E_FORMAT, "\"%.100s\" is not declared", name->text);
    }
    if (!next(p))
        return false;
    return o->kind != PTX_KIND_VAR || parse_offset(p, &o->imm);
}

static bool parse_operand(Parser *p, PtxOperand *o, bool is_target);

static bool parse_list(Parser *p, PtxOperand *o, const char *close, bool is_target)
{
    PtxOperand elems[ELEMS_MAX];
    uint32_t n = 0, first_ref = p->refs_n;
    bool more = !is(p, close);
    while (more) {
        if (n == ELEMS_MAX)
            return bad(p, E_UNSUPPORTED, "more than %d operands in one list", ELEMS_MAX);
        elems[n] = (PtxOperand){0};
        if (!parse_operand(p, elems + n, is_target))
            return false;
        n++;
        if (!accept(p, ",", &more))
            return false;
    }
    o->kind = PTX_KIND_VEC;
    o->elems_n = (uint8_t)n;
    o->elems = keep_operands(p, elems, n, first_ref);
    return o->elems && expect(p, close);
}

static bool parse_address(Parser *p, PtxOperand *o)
{
    PtxOperand base = {0};
    o->kind = PTX_KIND_MEM;
    o->idx = -1;
    if (p->lex.kind == PTX_TOKEN_INT) {
        if (!parse_number(p, &base))
            return false;
        o->imm = base.imm;
    } else {
        if (!parse_name(p, &base, false))
            return false;
        if (base.kind == PTX_KIND_REG)
            o->idx = base.idx;
        else if (base.kind == PTX_KIND_VAR)
            o->var = base.var;
        else
            return bad(p, E_FORMAT, "an address is a register, a variable or a number, and an offset");
        o->imm = base.imm;
    }
    if (o->idx >= 0) {
        PtxType type = p->func->regs[o->idx].type;
        if ((ptx_type_bytes(type) != 4 && ptx_type_bytes(type) != 8) || ptx_type_class(type) == 'f')
            return bad(p, E_FORMAT, "an address of type %s", ptx_type_name(type));
    }
    return parse_offset(p, &o->imm) && expect(p, "]");
}

static bool parse_operand(Parser *p, PtxOperand *o, bool is_target)
{
    if (++p->depth > DEPTH_MAX)
        return bad(p, E_FORMAT, "operands are nested too deeply");
    bool ok;
    if (is(p, "{")) {
        ok = next(p) && parse_list(p, o, "}", is_target);
    } else if (is(p, "[")) {
        ok = next(p) && parse_address(p, o);
    } else if (is(p, "!")) {
        ok = next(p) && parse_name(p, o, false);
        o->is_negated = true;
        if (ok && o->kind != PTX_KIND_REG)
            ok = bad(p, E_FORMAT, "\"!\" stands before a predicate only");
    } else if (p->lex.kind == PTX_TOKEN_WORD) {
        ok = parse_name(p, o, is_target);
        if (ok && is(p, "|")) {
            o->second = new_operands(p, 1);
            ok = o->second && next(p) && parse_name(p, o->second, false);
        }
    } else {
        ok = parse_number(p, o);
    }
    p->depth--;
    return ok;
}

/* Do operands fit a row? The reason why not, or NULL. */

static const char *fit_reg(const Parser *p, int32_t reg, PtxType type, bool is_relaxed)
{
    PtxType have = p->func->regs[reg].type;
    uint32_t bytes = ptx_type_bytes(have), wanted = ptx_type_bytes(type);
    char class = ptx_type_class(have), wanted_class = ptx_type_class(type);
    if ((class == 'p') != (wanted_class == 'p'))
        return wanted_class == 'p' ? "is not a predicate" : "is a predicate";
    if (is_relaxed ? bytes < wanted : bytes != wanted)
        return "has another size than the instruction's type";
    if (wanted_class == 'f' && (class == 'u' || class == 's'))
        return "is an integer";
    if ((wanted_class == 'u' || wanted_class == 's') && class == 'f')
        return "is a float";
    return NULL;
}

static const char *fit_imm(PtxOperand *o, PtxType type)
{
    char class = ptx_type_class(type);
    uint32_t bytes = ptx_type_bytes(type);
    if (o->is_float) {
        if (class != 'f' && class != 'b')
            return "is a float";
        if (o->elems_n == 8 && bytes == 4) { /* a decimal constant: rounded once, and kept as f32 from here on */
            double d;
            float f;
            uint32_t bits;
            memcpy(&d, &o->imm, sizeof d);
            f = (float)d;
            memcpy(&bits, &f, sizeof bits);
            o->imm = bits;
            o->elems_n = 4;
        }
        return o->elems_n == bytes ? NULL : "has another size than the instruction's type";
    }
    if (class == 'f' && bytes != 2)
        return "is not a float";
    if (class == 'p')
        return "is not a predicate";
    if (bytes < 8 && (o->imm < -((int64_t)1 << (8 * bytes - 1)) || o->imm >= (int64_t)1 << (8 * bytes)))
        return "does not fit the instruction's type";
    return NULL;
}

static const char *fit_source(const Parser *p, PtxOperand *o, PtxType type, bool is_relaxed)
{
    if (o->is_negated && type != PTX_PRED)
        return "is negated";
    switch (o->kind) {
    case PTX_KIND_REG: return fit_reg(p, o->idx, type, is_relaxed);
    case PTX_KIND_IMM: return fit_imm(o, type);
    case PTX_KIND_SREG: return ptx_type_bytes(type) == 4 && ptx_type_class(type) != 'f' ? NULL : "is a special register of 32 bits";
    case PTX_KIND_VAR:
        return ptx_type_bytes(type) >= 4 && ptx_type_class(type) != 'f' && ptx_type_class(type) != 'x' ? NULL : "is an address";
    default: return "is not a value";
    }
}

static const char *fit_dest(const Parser *p, const PtxOperand *o, PtxType type, bool is_relaxed)
{
    if (o->is_negated)
        return "is negated";
    return o->kind == PTX_KIND_REG ? fit_reg(p, o->idx, type, is_relaxed) : "is not a register";
}

static const char *fit_vec(const Parser *p, PtxOperand *o, uint32_t n, PtxType type, bool is_dest, bool is_relaxed)
{
    if (o->kind != PTX_KIND_VEC && n == 1)
        return is_dest ? fit_dest(p, o, type, is_relaxed) : fit_source(p, o, type, is_relaxed);
    if (o->kind != PTX_KIND_VEC || o->elems_n != n)
        return "is not a vector of as many elements as the instruction's";
    const char *why = NULL;
    for (uint32_t i = 0; i < n && !why; i++)
        why = is_dest ? fit_dest(p, o->elems + i, type, is_relaxed) : fit_source(p, o->elems + i, type, is_relaxed);
    return why;
}

static PtxType wider(PtxType type)
{
    switch (type) {
    case PTX_U16: return PTX_U32;
    case PTX_S16: return PTX_S32;
    case PTX_U32: return PTX_U64;
    default: return PTX_S64;
    }
}

/* mov: one to one of a size, or a vector packed into or unpacked from a register that is as large as all its elements. */
static const char *fit_mov(const Parser *p, PtxOperand *o, PtxType type, bool is_dest)
{
    if (o->kind != PTX_KIND_VEC) {
        if (o->kind == PTX_KIND_FUNC)
            return "is a function: calls through pointers are not emulated";
        return is_dest ? fit_dest(p, o, type, false) : fit_source(p, o, type, false);
    }
    uint32_t each = o->elems_n ? ptx_type_bytes(type) / o->elems_n : 0;
    PtxType element = each == 1 ? PTX_B8 : each == 2 ? PTX_B16 : each == 4 ? PTX_B32 : PTX_NONE;
    if (!element || (o->elems_n != 2 && o->elems_n != 4))
        return "is no vector that fits the instruction's type";
    for (uint32_t i = 0; i < o->elems_n; i++) {
        if (is_dest && o->elems[i].kind == PTX_KIND_SINK)
            continue;
        const char *why = is_dest ? fit_dest(p, o->elems + i, element, false) : fit_source(p, o->elems + i, element, false);
        if (why)
            return why;
    }
    return NULL;
}

static const char *fit_pair(const Parser *p, PtxOperand *o)
{
    return o->kind == PTX_KIND_VEC ? fit_vec(p, o, 2, PTX_U16, false, false) : "is not a pair in braces";
}

static const char *fit_operand(const Parser *p, const Match *m, const char *spec, PtxOperand *o)
{
    uint32_t idx = spec[1] >= '0' && spec[1] <= '9' ? (uint32_t)(spec[1] - '0') : 0;
    PtxType type = (PtxType)m->types[idx < 5 ? idx : 0];
    if (o->second) {
        if (!strchr(spec, '|'))
            return "has a second part";
        if (o->second->kind != PTX_KIND_SINK && fit_dest(p, o->second, PTX_PRED, false))
            return "has a second part that is not a predicate";
    }
    switch (*spec) {
    case 'd': return fit_dest(p, o, type, false);
    case 'a': return fit_source(p, o, type, false);
    case 'w': return fit_dest(p, o, wider(type), false);
    case 'c': return fit_source(p, o, wider(type), false);
    case 'x': return fit_dest(p, o, type, true);
    case 'y': return fit_source(p, o, type, true);
    case 'D': return fit_vec(p, o, m->vec, type, true, true);
    case 'A': return fit_vec(p, o, m->vec, type, false, true);
    case 'X': return fit_mov(p, o, type, true);
    case 'Y': return fit_mov(p, o, type, false);
    case 'U': return o->kind == PTX_KIND_SINK ? NULL : fit_dest(p, o, PTX_B32, false);
    case 'H': return fit_dest(p, o, PTX_B16, false);
    case 'Q': return o->kind == PTX_KIND_SINK ? NULL : fit_dest(p, o, PTX_B64, false);
    case 'u': return fit_source(p, o, PTX_B32, false);
    case 'h': return fit_source(p, o, PTX_B16, false);
    case 'l': return fit_source(p, o, PTX_B64, false);
    case 'q': return o->kind == PTX_KIND_SINK ? NULL : fit_dest(p, o, PTX_PRED, false);
    case 'p':
        return m->form == PTX_OP_MOV_PRED && o->kind == PTX_KIND_IMM ? NULL : fit_source(p, o, PTX_PRED, false);
    case 'V':
    case 'v':
        if (!idx)
            idx = match_has(m, PTX_MOD_X4) ? 4 : match_has(m, PTX_MOD_X2) ? 2 : 1;
        return fit_vec(p, o, idx, PTX_B32, *spec == 'V', false);
    case 'z': return fit_pair(p, o);
    case 'm': return o->kind == PTX_KIND_MEM ? NULL : "is not an address in brackets";
    case 'i': return o->kind == PTX_KIND_IMM && !o->is_float ? NULL : "is not a whole number";
    case 'L': return o->kind == PTX_KIND_LABEL ? NULL : "is not a label";
    default: return "is of a kind that the table does not know";
    }
}

/* Which operand does not fit and why; NULL when all fit. */
static const char *fit_operands(const Parser *p, const Match *m, PtxOperand *o, uint32_t n, uint32_t *which)
{
    const char *spec = ptx_op[m->form].operands;
    uint32_t i = 0;
    for (; *spec; spec += strcspn(spec, " "), spec += *spec == ' ') {
        size_t length = strcspn(spec, " ");
        bool is_optional = spec[length - 1] == '?';
        *which = i;
        if (i == n) {
            if (!is_optional)
                return "is missing";
            continue;
        }
        const char *why = fit_operand(p, m, spec, o + i);
        if (why && is_optional)
            continue;
        if (why)
            return why;
        o[i].role = *spec;
        i++;
    }
    *which = i;
    return i == n ? NULL : "is one too many or does not fit";
}

/* statements */

static bool parse_call(Parser *p, PtxInsn *in)
{
    bool got;
    in->operands = new_operands(p, 3);
    if (!in->operands)
        return false;
    in->operands_n = 3;
    in->operands[0].kind = in->operands[2].kind = PTX_KIND_VEC;
    if (!accept(p, "(", &got) || (got && (!parse_list(p, in->operands, ")", false) || !expect(p, ","))))
        return false;
    if (!parse_name(p, in->operands + 1, false))
        return false;
    if (in->operands[1].kind != PTX_KIND_FUNC)
        return bad(p, E_UNSUPPORTED, "a call through a pointer");
    if (!accept(p, ",", &got) || (got && (!expect(p, "(") || !parse_list(p, in->operands + 2, ")", false))))
        return false;
    const PtxFunc *f = p->m->funcs[in->operands[1].idx];
    if (f->is_entry || f->params_n != in->operands[2].elems_n || f->rets_n != in->operands[0].elems_n)
        return bad(p, E_FORMAT, "call of \"%.100s\" with %u arguments and %u results, which has %u and %u", f->name,
                   in->operands[2].elems_n, in->operands[0].elems_n, f->params_n, f->rets_n);
    for (int part = 0; part < 3; part += 2)
        for (uint32_t i = 0; i < in->operands[part].elems_n; i++) {
            const PtxOperand *o = in->operands[part].elems + i;
            const PtxVar *formal = part ? f->params[i] : f->rets[i];
            if (o->kind != PTX_KIND_VAR || o->var->space != PTX_SPACE_PARAM || o->imm)
                return bad(p, E_UNSUPPORTED, "an argument of a call that is not a .param variable");
            if (o->var->bytes != formal->bytes)
                return bad(p, E_FORMAT, "call of \"%.100s\": \"%.100s\" has %llu bytes, the parameter %llu", f->name, o->var->name,
                           (unsigned long long)o->var->bytes, (unsigned long long)formal->bytes);
        }
    return true;
}

static bool parse_operands(Parser *p, PtxInsn *in, const Match *match, const char *opcode)
{
    PtxOperand operands[OPERANDS_MAX];
    uint32_t n = 0, which = 0, first_ref = p->refs_n;
    bool more = !is(p, ";"), is_branch = match->form == PTX_OP_BRA;
    while (more) {
        if (n == OPERANDS_MAX)
            return bad(p, E_FORMAT, "more than %d operands", OPERANDS_MAX);
        operands[n] = (PtxOperand){0};
        if (!parse_operand(p, operands + n, is_branch))
            return false;
        n++;
        if (!accept(p, ",", &more))
            return false;
    }
    in->operands_n = (uint8_t)n;
    in->operands = keep_operands(p, operands, n, first_ref);
    if (!in->operands)
        return false;
    const char *why = NULL;
    for (const Match *m = match; m; m = m->next) {
        uint32_t i;
        const char *reason = fit_operands(p, m, in->operands, n, &i);
        if (!reason) {
            in->form = m->form;
            in->vec = m->vec;
            in->space = m->space;
            in->types_n = m->types_n;
            memcpy(in->types, m->types, sizeof in->types);
            memcpy(in->mods, m->mods, sizeof in->mods);
            return true;
        }
        if (!why) {
            why = reason;
            which = i;
        }
    }
    return bad(p, E_FORMAT, "\"%.100s\": operand %u %s", opcode, which + 1, why);
}

static bool parse_insn(Parser *p, const PtxInsn *guard)
{
    PtxFunc *f = p->func;
    if (!grow(p, &f->insns, f->insns_n, &p->insns_cap, sizeof *f->insns))
        return false;
    Name *opcode = expect_name(p);
    if (!opcode || !match_opcode(p, opcode))
        return false;
    PtxInsn in = *guard;
    in.opcode = opcode->text;
    in.loc_file = p->loc_file;
    in.loc_line = p->loc_line;
    if (opcode->match->form == PTX_OP_CALL) {
        in.form = PTX_OP_CALL;
        in.vec = 1;
        memcpy(in.mods, opcode->match->mods, sizeof in.mods);
        if (!parse_call(p, &in))
            return false;
    } else if (!parse_operands(p, &in, opcode->match, opcode->text)) {
        return false;
    }
    f->insns[f->insns_n++] = in;
    return expect(p, ";");
}

static bool add_label(Parser *p, Name *name)
{
    PtxFunc *f = p->func;
    for (LabelDef *d = name->labels; d; d = d->next)
        if (d->scope == p->scope)
            return bad(p, E_FORMAT, "label \"%.100s\" is declared twice", name->text);
    if (!grow(p, &f->labels, f->labels_n, &p->labels_cap, sizeof *f->labels))
        return false;
    LabelDef *d = arena_alloc(p->arena, sizeof *d);
    const char *text = unique_text(p, name);
    if (!d || !text)
        return d ? false : out_of_memory(p);
    *d = (LabelDef){p->scope, f->labels_n, name->labels};
    name->labels = d;
    f->labels[f->labels_n++] = (PtxLabel){text, f->insns_n};
    return true;
}

static bool resolve_labels(Parser *p)
{
    for (uint32_t i = 0; i < p->refs_n; i++) {
        LabelRef *r = p->refs + i;
        const LabelDef *found_def = NULL;
        for (uint32_t scope = r->scope; scope && !found_def; scope = p->scope_parent[scope])
            for (const LabelDef *d = r->name->labels; d && !found_def; d = d->next)
                if (d->scope == scope)
                    found_def = d;
        if (!found_def)
            return fail(p->err, E_FORMAT, "PTX line %u: label \"%.100s\" is not declared", r->line, r->name->text);
        r->operand->idx = (int32_t)found_def->idx;
    }
    p->refs_n = 0;
    return true;
}

/* .file 1 "name" [, time, bytes] */
static bool parse_file(Parser *p)
{
    uint64_t idx, ignored;
    bool got;
    PtxModule *m = p->m;
    if (!next(p) || !expect_uint(p, UINT32_MAX, &idx))
        return false;
    if (p->lex.kind != PTX_TOKEN_STRING)
        return unexpected(p, "a file name");
    if (!grow(p, &m->files, m->files_n, &p->files_cap, sizeof *m->files))
        return false;
    char *name = arena_strndup(p->arena, p->lex.text, p->lex.text_n);
    if (!name)
        return out_of_memory(p);
    m->files[m->files_n++] = (PtxFile){(uint32_t)idx, name};
    if (!next(p) || !accept(p, ",", &got))
        return false;
    return !got || (expect_uint(p, UINT64_MAX, &ignored) && expect(p, ",") && expect_uint(p, UINT64_MAX, &ignored));
}

/* .loc file line column [, function_name symbol [+ n], inlined_at file line column] */
static bool parse_loc(Parser *p)
{
    uint64_t file = 0, line = 0, column;
    bool got;
    if (!next(p) || !expect_uint(p, UINT32_MAX, &file) || !expect_uint(p, UINT32_MAX, &line) || !expect_uint(p, UINT32_MAX, &column))
        return false;
    p->loc_file = (uint32_t)file;
    p->loc_line = (uint32_t)line;
    if (!accept(p, ",", &got))
        return false;
    while (got) {
        uint32_t at = p->lex.line;
        while (p->lex.kind != PTX_TOKEN_END && p->lex.line == at && !is(p, ","))
            if (!next(p))
                return false;
        got = is(p, ",") && p->lex.line == at;
        if (got && !next(p))
            return false;
    }
    return true;
}

static bool parse_pragma(Parser *p)
{
    if (!next(p))
        return false;
    while (p->lex.kind == PTX_TOKEN_STRING || is(p, ","))
        if (!next(p))
            return false;
    return expect(p, ";");
}

/* .section name { … }: debug information */
static bool skip_section(Parser *p)
{
    int depth = 0;
    do {
        depth += is(p, "{");
        depth -= is(p, "}");
        if (p->lex.kind == PTX_TOKEN_END)
            return unexpected(p, "}");
        if (!next(p))
            return false;
    } while (depth || (!is(p, "}") && !is(p, ".entry") && is(p, "{")));
    return true;
}

static bool parse_block(Parser *p);

static bool parse_statement(Parser *p)
{
    PtxSpace space;
    PtxInsn in = {.guard = -1, .line = p->lex.line};
    bool got;
    if (is(p, "{"))
        return parse_block(p);
    if (is(p, ";"))
        return next(p);
    if (is(p, ".reg"))
        return next(p) && parse_reg(p);
    if (is(p, ".loc"))
        return parse_loc(p);
    if (is(p, ".pragma"))
        return parse_pragma(p);
    if (is(p, ".extern"))
        return next(p) && space_of(p, &space) ? next(p) && parse_var_statement(p, space, true, false) : unexpected(p, "a variable");
    if (space_of(p, &space))
        return next(p) && parse_var_statement(p, space, false, false);
    if (is(p, "@")) {
        PtxOperand guard = {0};
        if (!next(p) || !accept(p, "!", &got) || !parse_name(p, &guard, false))
            return false;
        if (guard.kind != PTX_KIND_REG || p->func->regs[guard.idx].type != PTX_PRED)
            return bad(p, E_FORMAT, "the guard is not a predicate");
        in.guard = guard.idx;
        in.is_guard_negated = got;
        return parse_insn(p, &in);
    }
    if (p->lex.kind == PTX_TOKEN_WORD && *p->lex.text == '.')
        return bad(p, E_UNSUPPORTED, "unknown directive \"%.*s\"", (int)(p->lex.text_n < 80 ? p->lex.text_n : 80), p->lex.text);
    /* a label or an instruction: what comes behind the word decides */
    PtxLex ahead = p->lex;
    Err ignored;
    if (p->lex.kind == PTX_TOKEN_WORD && ptx_lex_next(&ahead, &ignored) && ptx_lex_is(&ahead, ":")) {
        Name *name = intern(p, p->lex.text, p->lex.text_n);
        return name && next(p) && next(p) && add_label(p, name);
    }
    return parse_insn(p, &in);
}

static bool parse_block(Parser *p)
{
    if (++p->depth > DEPTH_MAX)
        return bad(p, E_FORMAT, "blocks are nested too deeply");
    if (!expect(p, "{") || !open_scope(p))
        return false;
    while (!is(p, "}")) {
        if (p->lex.kind == PTX_TOKEN_END)
            return unexpected(p, "}");
        if (!parse_statement(p))
            return false;
    }
    close_scope(p);
    p->depth--;
    return next(p);
}

static bool parse_params(Parser *p, PtxVar ***vars, uint32_t *n)
{
    bool more;
    uint32_t cap = 0;
    if (!expect(p, "("))
        return false;
    more = !is(p, ")");
    while (more) {
        if (!is(p, ".param"))
            return is(p, ".reg") ? bad(p, E_UNSUPPORTED, "a parameter in a register") : unexpected(p, ".param");
        if (!next(p) || !grow(p, vars, *n, &cap, sizeof **vars))
            return false;
        PtxVar *v = parse_var(p, PTX_SPACE_PARAM, true);
        if (!v)
            return false;
        if (!v->bytes)
            return bad(p, E_FORMAT, "parameter \"%.100s\" has no size", v->name);
        (*vars)[(*n)++] = v;
        if (!accept(p, ",", &more))
            return false;
    }
    return expect(p, ")");
}

static bool parse_extent(Parser *p, uint32_t extent[3])
{
    uint64_t v = 0;
    bool more = true;
    extent[0] = extent[1] = extent[2] = 1;
    if (!next(p))
        return false;
    for (int i = 0; i < 3 && more; i++) {
        if (!expect_uint(p, 1 << 20, &v))
            return false;
        extent[i] = (uint32_t)v;
        if (!accept(p, ",", &more))
            return false;
    }
    return !more || unexpected(p, "the end of the list");
}

static bool parse_tuning(Parser *p, PtxFunc *f)
{
    uint64_t v = 0;
    for (;;) {
        if (is(p, ".maxntid") || is(p, ".reqntid")) {
            if (!parse_extent(p, is(p, ".maxntid") ? f->maxntid : f->reqntid))
                return false;
        } else if (is(p, ".minnctapersm") || is(p, ".maxnreg") || is(p, ".maxnctapersm")) {
            uint32_t ignored, *to = is(p, ".maxnreg") ? &f->maxnreg : is(p, ".minnctapersm") ? &f->minnctapersm : &ignored;
            if (!next(p) || !expect_uint(p, 1 << 20, &v))
                return false;
            *to = (uint32_t)v;
        } else if (is(p, ".noreturn")) {
            if (!next(p))
                return false;
        } else if (is(p, ".pragma")) {
            if (!parse_pragma(p))
                return false;
        } else {
            return true;
        }
    }
}

static bool same_signature(const PtxFunc *a, const PtxFunc *b)
{
    bool same = a->is_entry == b->is_entry && a->params_n == b->params_n && a->rets_n == b->rets_n;
    for (uint32_t i = 0; same && i < a->params_n; i++)
        same = a->params[i]->bytes == b->params[i]->bytes;
    for (uint32_t i = 0; same && i < a->rets_n; i++)
        same = a->rets[i]->bytes == b->rets[i]->bytes;
    return same;
}

static bool parse_func(Parser *p, bool is_entry, bool is_visible)
{
    PtxModule *m = p->m;
    PtxFunc *f = arena_alloc(p->arena, sizeof *f);
    if (!f)
        return out_of_memory(p);
    f->is_entry = is_entry;
    f->is_visible = is_visible;
    f->line = p->lex.line;
    p->func = f;
    p->func_serial++;
    p->regs_cap = p->vars_cap = p->labels_cap = p->insns_cap = 0;
    p->loc_file = p->loc_line = 0;
    if (!next(p) || !open_scope(p))
        return false;
    if (is(p, "(") && !parse_params(p, &f->rets, &f->rets_n))
        return false;
    Name *name = expect_name(p);
    if (!name)
        return false;
    f->name = name->text;
    if (is(p, "(") && !parse_params(p, &f->params, &f->params_n))
        return false;
    if (!parse_tuning(p, f))
        return false;
    bool has_body = is(p, "{");
    f->is_extern = !has_body;
    /* the name belongs to the module, and is known inside so that a function may be declared first */
    Symbol *known = name->symbol;
    uint32_t idx = m->funcs_n;
    if (known && known->kind == SYMBOL_FUNC) {
        PtxFunc *before = m->funcs[known->idx];
        if (!same_signature(before, f) || (!before->is_extern && has_body))
            return bad(p, E_FORMAT, "function \"%.100s\" is declared twice", f->name);
        idx = known->idx;
    } else if (known) {
        return bad(p, E_FORMAT, "\"%.100s\" is declared twice", f->name);
    } else if (!grow(p, &m->funcs, m->funcs_n, &p->funcs_cap, sizeof *m->funcs)) {
        return false;
    } else {
        Symbol *s = arena_alloc(p->arena, sizeof *s), **at = &p->symbols;
        if (!s)
            return out_of_memory(p);
        while (*at && (*at)->scope)
            at = &(*at)->older;
        *s = (Symbol){SYMBOL_FUNC, idx, NULL, 0, NULL, *at, name};
        *at = name->symbol = s;
        m->funcs_n++;
    }
    if (idx == m->funcs_n - 1 || has_body)
        m->funcs[idx] = f;
    if (!has_body) {
        close_scope(p);
        p->func = NULL;
        return expect(p, ";");
    }
    if (!parse_block(p) || !resolve_labels(p))
        return false;
    close_scope(p);
    p->func = NULL;
    return true;
}

static bool parse_header(Parser *p, const char *directive, char *to, size_t to_n)
{
    if (!is(p, directive) || !next(p))
        return is(p, directive) ? false : unexpected(p, directive);
    if (p->lex.text_n >= to_n || !p->lex.text_n)
        return unexpected(p, "a short word");
    memcpy(to, p->lex.text, p->lex.text_n);
    to[p->lex.text_n] = 0;
    return next(p);
}

static bool parse_item(Parser *p)
{
    bool is_extern = false, is_visible = false;
    PtxSpace space;
    if (is(p, ".file"))
        return parse_file(p);
    if (is(p, ".section"))
        return next(p) && next(p) && skip_section(p);
    if (is(p, ".pragma"))
        return parse_pragma(p);
    while (is(p, ".visible") || is(p, ".extern") || is(p, ".weak") || is(p, ".common")) {
        is_extern |= is(p, ".extern");
        is_visible |= !is(p, ".extern");
        if (!next(p))
            return false;
    }
    if (is(p, ".entry") || is(p, ".func"))
        return parse_func(p, is(p, ".entry"), is_visible);
    if (space_of(p, &space))
        return next(p) && parse_var_statement(p, space, is_extern, is_visible);
    char buffer[100];
    return bad(p, E_UNSUPPORTED, "expected a function or a variable, found %s", found(p, buffer, sizeof buffer));
}

static bool parse_module(Parser *p)
{
    uint64_t bits = 0;
    bool more;
    if (!next(p) || !parse_header(p, ".version", p->m->version, sizeof p->m->version) ||
        !parse_header(p, ".target", p->m->target, sizeof p->m->target) || !accept(p, ",", &more))
        return false;
    if (more)
        return bad(p, E_UNSUPPORTED, "more than one word behind .target");
    if (!expect(p, ".address_size") || !expect_uint(p, 64, &bits))
        return false;
    if (bits != 64)
        return bad(p, E_UNSUPPORTED, ".address_size %u", (unsigned)bits);
    while (p->lex.kind != PTX_TOKEN_END)
        if (!parse_item(p))
            return false;
    return true;
}

PtxModule *ptx_parse_module(const char *text, size_t n, Err *err)
{
    Arena arena = {0};
    PtxModule *m = arena_alloc(&arena, sizeof *m);
    if (!m)
        return fail(err, E_MEMORY, "PTX: memory is exhausted"), NULL;
    m->arena = arena;
    Parser p = {.err = err, .m = m, .arena = &m->arena};
    ptx_lex_init(&p.lex, text, n);
    if (!open_scope(&p) || !parse_module(&p)) {
        ptx_free(m);
        return NULL;
    }
    return m;
}
