/* What the fuzzers of PTX share: statements of the opcode cases, put together to small kernels, and changes to their tokens.
 * A kernel has parameters a0 … a5, registers %p %h %r %d <MUTATE_REGS> and %lane, variables gv, cv and dyn, and a function of one
 * argument, odd_or; registers and parameters of the cases are renamed to these, modulo how many there are. */
#ifndef TESTS_PTX_PTX_MUTATE_H
#define TESTS_PTX_PTX_MUTATE_H
#include <assert.h>
#include <ctype.h>
#include <dirent.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/prng.h"
#include "core/ptx/ptx_ir.h"

enum { MUTATE_REGS = 16, MUTATE_PARAMS = 6, MUTATE_TOKENS = 3000, MUTATE_WORD = 64, MUTATE_TEXT = 80000, MUTATE_FILES = 1000 };

typedef struct MutateToken {
    char text[MUTATE_WORD]; /* ends in 0 */
} MutateToken;

/* Statements of a case, one behind the other: unit i is tokens[starts[i]] up to starts[i + 1]. A block in braces is one unit. */
typedef struct MutateFile {
    MutateToken *tokens;
    uint32_t *starts, units_n, tokens_n;
} MutateFile;

typedef struct MutateCorpus {
    MutateFile files[MUTATE_FILES];
    uint32_t files_n;
} MutateCorpus;

typedef struct MutateKernel {
    MutateToken tokens[MUTATE_TOKENS]; /* of the body, without the declarations in front */
    uint32_t n;
} MutateKernel;

static inline uint32_t mutate_below(Prng *p, uint32_t n)
{
    return (uint32_t)(prng_next(p) % n);
}

/* A number of any size. */
static inline uint64_t mutate_bits(Prng *p)
{
    uint64_t bits = prng_next(p);
    return bits >> mutate_below(p, 64);
}

static inline char *mutate_read(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "%s cannot be opened; fuzzers run from the repository's root\n", path);
        exit(1);
    }
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert(text && fread(text, 1, *n, f) == *n);
    text[*n] = 0;
    fclose(f);
    return text;
}

static inline bool mutate_is_word(int c)
{
    return isalnum(c) || c == '_' || c == '$' || c == '%' || c == '.';
}

/* The next token of *s; false at the end of the text. Comments are none. */
static inline bool mutate_next(const char **s, MutateToken *t)
{
    const char *c = *s;
    for (;;) {
        while (isspace((unsigned char)*c))
            c++;
        if (c[0] != '/' || c[1] != '/')
            break;
        c += strcspn(c, "\n");
    }
    size_t n = 0;
    while (mutate_is_word((unsigned char)c[n]) || (n && c[n] == ':' && c[n + 1] == ':'))
        n += c[n] == ':' ? 2 : 1;
    n = n ? n : *c != 0;
    *s = c + n;
    n = n < MUTATE_WORD ? n : MUTATE_WORD - 1;
    memcpy(t->text, c, n);
    t->text[n] = 0;
    return n != 0;
}

/* %r123, in45: the number modulo what this kernel has. */
static inline void mutate_rename(MutateToken *t)
{
    char kind = t->text[0] == '%' ? t->text[1] : 0, *end = t->text;
    unsigned long idx = kind && strchr("phrd", kind) && isdigit((unsigned char)t->text[2]) ? strtoul(t->text + 2, &end, 10) : 0;
    if (end != t->text && !*end)
        snprintf(t->text, sizeof t->text, "%%%c%lu", kind, idx % MUTATE_REGS);
    const char *names[] = {"inout", "in", "out"};
    for (int i = 0; i < 3; i++) {
        size_t n = strlen(names[i]);
        if (strncmp(t->text, names[i], n) == 0 && isdigit((unsigned char)t->text[n])) {
            idx = strtoul(t->text + n, NULL, 10);
            snprintf(t->text, sizeof t->text, "a%lu", idx % MUTATE_PARAMS);
        }
    }
}

/* Is the unit a declaration that every kernel has? */
static inline bool mutate_is_common(const MutateToken *t, uint32_t n)
{
    return n > 2 && strcmp(t[0].text, ".reg") == 0 && (t[3].text[0] == '<' || strcmp(t[2].text, "%lane") == 0);
}

static inline void mutate_load(MutateFile *file, const char *text)
{
    const char *entry = strstr(text, ".entry"), *s = entry ? strchr(entry, '{') : NULL;
    assert(s);
    s++;
    size_t cap = strlen(s) + 4;
    file->tokens = malloc(cap / 2 * sizeof *file->tokens);
    file->starts = malloc(cap * sizeof *file->starts);
    assert(file->tokens && file->starts);
    int depth = 0;
    uint32_t start = 0;
    bool is_block = false;
    MutateToken t;
    while (mutate_next(&s, &t) && !(t.text[0] == '}' && !depth)) {
        is_block |= file->tokens_n == start && t.text[0] == '{';
        depth += (t.text[0] == '{') - (t.text[0] == '}');
        mutate_rename(&t);
        assert(file->tokens_n < cap / 2);
        file->tokens[file->tokens_n++] = t;
        if (depth || !(is_block ? t.text[0] == '}' : t.text[0] == ';'))
            continue;
        if (mutate_is_common(file->tokens + start, file->tokens_n - start))
            file->tokens_n = start;
        else
            file->starts[file->units_n++] = start;
        start = file->tokens_n;
        is_block = false;
    }
    file->starts[file->units_n] = file->tokens_n;
    assert(file->units_n);
}

static inline int mutate_is_ptx(const struct dirent *entry)
{
    size_t n = strlen(entry->d_name);
    return n > 4 && strcmp(entry->d_name + n - 4, ".ptx") == 0;
}

/* The statements of every case. */
static inline MutateCorpus *mutate_open(void)
{
    MutateCorpus *c = calloc(1, sizeof *c);
    struct dirent **names;
    int count = scandir("tests/ptx/cases", &names, mutate_is_ptx, alphasort);
    assert(c && count > 70 && count <= MUTATE_FILES);
    for (int i = 0; i < count; i++) {
        char path[300];
        size_t n;
        snprintf(path, sizeof path, "tests/ptx/cases/%s", names[i]->d_name);
        char *text = mutate_read(path, &n);
        mutate_load(c->files + c->files_n++, text);
        free(text);
        free(names[i]);
    }
    free(names);
    return c;
}

static inline void mutate_close(MutateCorpus *c)
{
    for (uint32_t i = 0; i < c->files_n; i++) {
        free(c->files[i].tokens);
        free(c->files[i].starts);
    }
    free(c);
}

/* Replaces `gone` tokens at `at` by n others; nothing happens when there are not so many or there is no room. */
static inline void mutate_splice(MutateKernel *k, uint32_t at, uint32_t gone, const MutateToken *t, uint32_t n)
{
    if (at > k->n || gone > k->n - at || k->n - gone + n > MUTATE_TOKENS)
        return;
    memmove(k->tokens + at + n, k->tokens + at + gone, (k->n - at - gone) * sizeof *t);
    if (n)
        memcpy(k->tokens + at, t, n * sizeof *t);
    k->n += n - gone;
}

/* Replaces `gone` tokens at `at` by those of a text. */
static inline void mutate_put(MutateKernel *k, uint32_t at, uint32_t gone, const char *text)
{
    MutateToken t[16];
    uint32_t n = 0;
    while (n < 16 && mutate_next(&text, t + n))
        n++;
    mutate_splice(k, at, gone, t, n);
}

/* A few statements of one case behind what the kernel has. */
static inline void mutate_add(MutateKernel *k, const MutateCorpus *c, Prng *p)
{
    const MutateFile *f = c->files + mutate_below(p, c->files_n);
    uint32_t first = mutate_below(p, f->units_n), last = first + 1 + mutate_below(p, 12);
    last = last < f->units_n ? last : f->units_n;
    mutate_splice(k, k->n, 0, f->tokens + f->starts[first], f->starts[last] - f->starts[first]);
}

/* Numbers at which something may turn, and any other. */
static inline void mutate_number(Prng *p, char *text, size_t n)
{
    static const char *const odd[] = {"0", "1", "2", "3", "4", "7", "8", "15", "16", "17", "31", "32", "33", "63", "64", "65", "127",
        "128", "255", "256", "1023", "1024", "4095", "4096", "65535", "65536", "0x7FFFFFFF", "0x80000000", "0xFFFFFFFF", "0x100000000",
        "0x200000000", "0x1FFFFFFFF", "0x7FFFFFFFFFFFFFFF", "0x8000000000000000", "0xFFFFFFFFFFFFFFFF", "0f7F800000", "0f7FC00000",
        "0f00000001", "0fFF7FFFFF", "0f4F000000", "0d7FF0000000000000", "0dFFFFFFFFFFFFFFFF", "1.5"};
    switch (mutate_below(p, 4)) {
    case 0: snprintf(text, n, "%u", mutate_below(p, 40)); break;
    case 1: snprintf(text, n, "%llu", (unsigned long long)mutate_bits(p)); break;
    default: snprintf(text, n, "%s", odd[mutate_below(p, sizeof odd / sizeof *odd)]);
    }
}

/* Any token for which is() holds, by trying; k->n when there is none in reach. */
static inline uint32_t mutate_find(const MutateKernel *k, Prng *p, bool (*is)(const char *text))
{
    for (int i = 0; i < 40 && k->n; i++) {
        uint32_t at = mutate_below(p, k->n);
        if (is(k->tokens[at].text))
            return at;
    }
    return k->n;
}

static inline bool mutate_is_number(const char *s)
{
    return isdigit((unsigned char)*s) != 0;
}

static inline bool mutate_is_reg(const char *s)
{
    return *s == '%';
}

static inline bool mutate_is_opcode(const char *s)
{
    return isalpha((unsigned char)*s) && strchr(s, '.') != NULL;
}

static inline bool mutate_is_end(const char *s)
{
    return *s == ';';
}

static inline bool mutate_is_bracket(const char *s)
{
    return *s == ']';
}

static inline bool mutate_is_any(const char *s)
{
    return *s != 0;
}

/* One dotted part of an opcode becomes another, goes, or gets a neighbour. */
static inline void mutate_modifier(MutateToken *t, Prng *p)
{
    char text[2 * MUTATE_WORD];
    uint32_t dots = 0;
    for (const char *s = t->text; *s; s++)
        dots += *s == '.';
    const char *at = t->text, *word = mutate_below(p, 2) ? ptx_type_name((PtxType)(1 + mutate_below(p, PTX_TYPES - 1)))
                                                         : ptx_mod_name((PtxMod)mutate_below(p, PTX_MODS));
    for (uint32_t i = mutate_below(p, dots ? dots : 1) + 1; i && (at = strchr(at, '.')); i--)
        at++;
    if (!at)
        return;
    int head = (int)(at - t->text);
    const char *rest = strchr(at, '.');
    switch (mutate_below(p, 4)) {
    case 0: snprintf(text, sizeof text, "%.*s%s", head - 1, t->text, rest ? rest : ""); break;
    case 1: snprintf(text, sizeof text, "%.*s%s.%s", head, t->text, word, at); break;
    default: snprintf(text, sizeof text, "%.*s%s%s", head, t->text, word, rest ? rest : ""); break;
    }
    snprintf(t->text, sizeof t->text, "%.*s", MUTATE_WORD - 1, text);
}

static inline void mutate_register(Prng *p, const char *old, char *text, size_t n)
{
    static const char *const others[] = {"%lane", "%tid.x", "%laneid", "%warpid", "%ctaid.x", "%lanemask_lt", "%dynamic_smem_size",
        "gv", "cv", "dyn", "dyn+16", "a0", "_", "odd_or", "0", "-1"};
    char kind = old[0] == '%' && old[1] && strchr("phrd", old[1]) && mutate_below(p, 4) ? old[1] : "phrd"[mutate_below(p, 4)];
    if (mutate_below(p, 8))
        snprintf(text, n, "%%%c%u", kind, mutate_below(p, MUTATE_REGS));
    else
        snprintf(text, n, "%s", others[mutate_below(p, sizeof others / sizeof *others)]);
}

/* One change. */
static inline void mutate_once(MutateKernel *k, const MutateCorpus *c, Prng *p)
{
    char text[100];
    uint32_t at, end;
    const MutateFile *f = c->files + mutate_below(p, c->files_n);
    switch (mutate_below(p, 14)) {
    case 0:
    case 1:
        if ((at = mutate_find(k, p, mutate_is_number)) < k->n)
            mutate_number(p, k->tokens[at].text, MUTATE_WORD);
        break;
    case 2:
    case 3:
        if ((at = mutate_find(k, p, mutate_is_reg)) < k->n) {
            mutate_register(p, k->tokens[at].text, text, sizeof text);
            mutate_put(k, at, 1, text);
        }
        break;
    case 4:
    case 5:
        if ((at = mutate_find(k, p, mutate_is_opcode)) < k->n)
            mutate_modifier(k->tokens + at, p);
        break;
    case 6: /* a statement again, or gone */
        at = mutate_find(k, p, mutate_is_end);
        for (end = at + 1; end < k->n && k->tokens[end].text[0] != ';';)
            end++;
        if (end < k->n && mutate_below(p, 2)) {
            mutate_splice(k, at + 1, end - at, NULL, 0);
        } else if (end < k->n && end - at < 40) {
            MutateToken copy[40];
            memcpy(copy, k->tokens + at + 1, (end - at) * sizeof *copy);
            mutate_splice(k, mutate_find(k, p, mutate_is_end) + 1, 0, copy, k->n < MUTATE_TOKENS - 50 ? end - at : 0);
        }
        break;
    case 7: /* a guard */
        if ((at = mutate_find(k, p, mutate_is_opcode)) < k->n && strcmp(k->tokens[at].text, "WARP_SZ") != 0) {
            snprintf(text, sizeof text, "@%s%%p%u", mutate_below(p, 2) ? "!" : "", mutate_below(p, MUTATE_REGS));
            mutate_put(k, at, 0, text);
        }
        break;
    case 8: /* a branch, forwards or backwards */
        if ((at = mutate_find(k, p, mutate_is_end)) < k->n) {
            uint32_t name = mutate_below(p, 1000);
            snprintf(text, sizeof text, "J%u:", name);
            mutate_put(k, at + 1, 0, text);
            at = mutate_find(k, p, mutate_is_end);
            snprintf(text, sizeof text, "@%s%%p%u bra J%u;", mutate_below(p, 2) ? "!" : "", mutate_below(p, MUTATE_REGS), name);
            mutate_put(k, at < k->n ? at + 1 : k->n, 0, text);
        }
        break;
    case 9: /* another address */
        if ((at = mutate_find(k, p, mutate_is_bracket)) < k->n) {
            char number[MUTATE_WORD];
            mutate_number(p, number, sizeof number);
            snprintf(text, sizeof text, "%c%s", "+-"[mutate_below(p, 2)], number);
            mutate_put(k, at, 0, text);
        }
        break;
    case 10: /* any token of any case */
        if ((at = mutate_find(k, p, mutate_is_any)) < k->n)
            k->tokens[at] = f->tokens[mutate_below(p, f->tokens_n)];
        break;
    case 11: /* another opcode */
        end = mutate_below(p, f->tokens_n);
        if ((at = mutate_find(k, p, mutate_is_opcode)) < k->n && mutate_is_opcode(f->tokens[end].text))
            k->tokens[at] = f->tokens[end];
        break;
    case 12: /* threads that differ */
        if ((at = mutate_find(k, p, mutate_is_end)) < k->n) {
            static const char *const ends[] = {"exit;", "ret;", "bar.sync 0;", "bar.warp.sync -1;", "trap;"};
            snprintf(text, sizeof text, "setp.lt.u32 %%p%u, %%lane, %u;", mutate_below(p, MUTATE_REGS), mutate_below(p, 34));
            mutate_put(k, at + 1, 0, text);
            snprintf(text, sizeof text, "@%%p%u %s", mutate_below(p, MUTATE_REGS), ends[mutate_below(p, 5)]);
            if (mutate_below(p, 2))
                mutate_put(k, mutate_find(k, p, mutate_is_end) + 1, 0, k->n < MUTATE_TOKENS - 16 ? text : "");
        }
        break;
    default:
        if (mutate_below(p, 2) && (at = mutate_find(k, p, mutate_is_any)) < k->n)
            mutate_splice(k, at, 1, NULL, 0);
        else
            mutate_add(k, c, p);
    }
}

/* A kernel and how it is declared, as text. With is_loaded its registers begin with what lies behind a0, and pointers. */
static inline size_t mutate_print(const MutateKernel *k, bool is_loaded, char *text)
{
    static const char head[] =
        ".version 9.0\n.target sm_120a\n.address_size 64\n"
        ".global .align 16 .b8 gv[64];\n.const .align 8 .b32 cv[4] = {1, 2, 3, 4};\n.extern .shared .align 16 .b8 dyn[];\n"
        ".func (.param .b32 result) odd_or(.param .b32 x)\n{\n.reg .b32 %r<2>;\n.reg .pred %p;\nld.param.b32 %r0, [x];\n"
        "and.b32 %r1, %r0, 1;\nsetp.eq.u32 %p, %r1, 0;\n@%p bra even;\nst.param.b32 [result], %r0;\nret;\neven:\nmov.u32 %r0, 100;\n"
        "st.param.b32 [result], %r0;\nret;\n}\n"
        ".visible .entry k(.param .u64 a0, .param .u64 a1, .param .u64 a2, .param .u64 a3, .param .u64 a4, .param .u64 a5)\n{\n"
        ".reg .pred %p<16>;\n.reg .b16 %h<16>;\n.reg .b32 %r<16>;\n.reg .b64 %d<16>;\n.reg .b32 %lane;\nmov.u32 %lane, %tid.x;\n";
    static const char loads[] =
        "ld.param.u64 %d0, [a0];\nmad.wide.u32 %d0, %lane, 16, %d0;\nld.param.u64 %d1, [a1];\nmov.u64 %d2, gv;\nmov.u64 %d3, dyn;\n"
        "ld.global.v4.b32 {%r0, %r1, %r2, %r3}, [%d0];\nld.global.v4.b32 {%r4, %r5, %r6, %r7}, [%d0+512];\n"
        "ld.global.v4.u16 {%h0, %h1, %h2, %h3}, [%d0];\nld.global.v2.u64 {%d4, %d5}, [%d0];\n"
        "setp.lt.u32 %p0, %r0, %r1;\nsetp.lt.u32 %p1, %lane, 16;\nsetp.eq.u32 %p2, %lane, 0;\n";
    size_t n = sizeof head - 1;
    memcpy(text, head, n);
    if (is_loaded) {
        memcpy(text + n, loads, sizeof loads - 1);
        n += sizeof loads - 1;
    }
    for (uint32_t i = 0; i < k->n && n + MUTATE_WORD + 16 < MUTATE_TEXT; i++) {
        size_t length = strlen(k->tokens[i].text);
        memcpy(text + n, k->tokens[i].text, length);
        n += length;
        text[n++] = k->tokens[i].text[0] == ';' ? '\n' : ' ';
    }
    memcpy(text + n, "ret;\n}\n", 8);
    return n + 7;
}

#endif
