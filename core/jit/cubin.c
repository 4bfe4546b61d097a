#include "core/jit/cubin.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

typedef struct File {
    const unsigned char *bytes;
    size_t n;
} File;

typedef struct Section {
    const char *name;      /* zero-terminated inside the file */
    uint32_t type, link;
    size_t offset, size;   /* offset + size is inside the file, unless it occupies no bytes there */
} Section;

enum { SYSTEM_SHARED = 1024, SYSTEM_SHARED_SINCE = 90 };
enum { HEADER = 64, SECTION = 64, SYMBOL = 24, EM_CUDA = 190, NOBITS = 8, STACK_FRAME = 0x11, REGISTERS = 0x2F };

static uint64_t read_le(const File *f, size_t at, size_t bytes)
{
    uint64_t x = 0;
    for (size_t i = 0; i < bytes; i++)
        x |= (uint64_t)f->bytes[at + i] << 8 * i;
    return x;
}

static bool is_inside(const File *f, uint64_t offset, uint64_t size)
{
    return offset <= f->n && size <= f->n - offset;
}

/* The text at `at` of a string section; NULL when it does not end inside. */
static const char *string_at(const File *f, const Section *strings, uint64_t at)
{
    if (at >= strings->size)
        return NULL;
    const char *text = (const char *)f->bytes + strings->offset + at;
    return memchr(text, 0, strings->size - (size_t)at) ? text : NULL;
}

static bool read_section(const File *f, uint64_t table, unsigned idx, const Section *names, Section *out)
{
    size_t at = (size_t)table + (size_t)idx * SECTION;
    *out = (Section){.name = "", .type = (uint32_t)read_le(f, at + 4, 4), .link = (uint32_t)read_le(f, at + 40, 4),
                     .offset = (size_t)read_le(f, at + 24, 8), .size = (size_t)read_le(f, at + 32, 8)};
    if (out->type != NOBITS && !is_inside(f, out->offset, out->size))
        return false;
    if (names)
        out->name = string_at(f, names, read_le(f, at, 4));
    return out->name != NULL;
}

typedef struct Table {
    uint64_t at;
    unsigned n;
    Section names;
} Table;

static bool open_table(const File *f, Table *t, Err *err)
{
    if (f->n < HEADER || memcmp(f->bytes, "\177ELF\2\1", 6) != 0 || read_le(f, 18, 2) != EM_CUDA)
        return fail(err, E_FORMAT, "cubin: expected a 64-bit ELF file for CUDA, found %zu other bytes", f->n);
    t->at = read_le(f, 40, 8);
    t->n = (unsigned)read_le(f, 60, 2);
    unsigned names = (unsigned)read_le(f, 62, 2);
    if (read_le(f, 58, 2) != SECTION || !is_inside(f, t->at, (uint64_t)t->n * SECTION) || names >= t->n)
        return fail(err, E_FORMAT, "cubin: expected a section table inside %zu bytes, found %u sections at %llu", f->n,
            t->n,
                    (unsigned long long)t->at);
    if (!read_section(f, t->at, names, NULL, &t->names) || t->names.type == NOBITS)
        return fail(err, E_FORMAT, "cubin: the names of its sections lie outside of the file");
    return true;
}

static CubinKernel *find_kernel(CubinKernel *kernels, int n, const char *name)
{
    for (int i = 0; name && i < n; i++)
        if (strcmp(kernels[i].name, name) == 0)
            return &kernels[i];
    return NULL;
}

/* Name of symbol `idx` of the symbol table that `info` links to; NULL when any of it is not there. */
static const char *symbol_name(const File *f, const Table *t, const Section *info, uint64_t idx)
{
    Section symbols, strings;
    if (info->link >= t->n || !read_section(f, t->at, info->link, &t->names, &symbols) || symbols.type == NOBITS ||
        idx >= symbols.size / SYMBOL || symbols.link >= t->n ||
            !read_section(f, t->at, symbols.link, &t->names, &strings) ||
        strings.type == NOBITS)
        return NULL;
    return string_at(f, &strings, read_le(f, symbols.offset + (size_t)idx * SYMBOL, 4));
}

/* Attributes are {format, attribute, 16-bit value} or, with format 4, {format, attribute, 16-bit size, bytes}. */
static bool read_info(const File *f, const Table *t, const Section *info, CubinKernel *kernels, int n)
{
    for (size_t at = 0; at + 4 <= info->size;) {
        size_t here = info->offset + at, size = f->bytes[here] == 4 ? (size_t)read_le(f, here + 2, 2) : 0;
        unsigned attribute = f->bytes[here + 1];
        if (size > info->size - at - 4)
            return false;
        if (size >= 8 && (attribute == REGISTERS || attribute == STACK_FRAME)) {
            CubinKernel *k = find_kernel(kernels, n, symbol_name(f, t, info, read_le(f, here + 4, 4)));
            uint32_t value = (uint32_t)read_le(f, here + 8, 4);
            if (k && attribute == REGISTERS)
                k->registers = (int)(value & 0xFFFF);
            else if (k)
                k->stack = value;
        }
        at += 4 + size;
    }
    return true;
}

/* What follows `prefix` in the section's name; NULL when it begins otherwise. */
static const char *behind(const Section *s, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(s->name, prefix, n) == 0 ? s->name + n : NULL;
}

static int collect_kernels(const File *f, const Table *t, CubinKernel *out)
{
    int n = 0;
    for (unsigned i = 0; i < t->n && n < CUBIN_KERNELS_MAX; i++) {
        Section s;
        const char *name = read_section(f, t->at, i, &t->names, &s) && s.type != NOBITS ? behind(&s, ".text.") : NULL;
        if (!name || strlen(name) >= CUBIN_NAME_MAX || find_kernel(out, n, name))
            continue;
        out[n] = (CubinKernel){.code = f->bytes + s.offset, .code_bytes = s.size};
        strcpy(out[n++].name, name);
    }
    return n;
}

int cubin_read(const void *bytes, size_t n, CubinKernel out[CUBIN_KERNELS_MAX], Err *err)
{
    File f = {bytes, n};
    Table t;
    if (!open_table(&f, &t, err))
        return -1;
    int kernels = collect_kernels(&f, &t, out);
    size_t reserved = f.bytes[49] >= SYSTEM_SHARED_SINCE ? SYSTEM_SHARED : 0;
    for (unsigned i = 0; i < t.n; i++) {
        Section s;
        CubinKernel *k;
        if (!read_section(&f, t.at, i, &t.names, &s))
            return fail(err, E_FORMAT, "cubin: section %u lies outside of the file's %zu bytes", i, n), -1;
        if ((k = find_kernel(out, kernels, behind(&s, ".nv.shared."))))
            k->shared = s.size > reserved ? s.size - reserved : 0;
        if ((k = find_kernel(out, kernels, behind(&s, ".nv.constant0."))))
            k->constants = s.size;
        if (strcmp(s.name, ".nv.info") == 0 && s.type != NOBITS && !read_info(&f, &t, &s, out, kernels))
            return fail(err, E_FORMAT, "cubin: an attribute of .nv.info is longer than its section"), -1;
    }
    return kernels;
}

void cubin_count(const CubinKernel *kernel, unsigned counts[CUBIN_OPCODES])
{
    memset(counts, 0, CUBIN_OPCODES * sizeof *counts);
    for (size_t at = 0; at + 16 <= kernel->code_bytes; at += 16)
        counts[(kernel->code[at] | kernel->code[at + 1] << 8) & (CUBIN_OPCODES - 1)]++;
}
