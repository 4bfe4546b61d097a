/* Global memory: a sorted list of allocations. Bounds are found by bisection, and remembered per instruction (EmuCache). */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/emu/emu_check.h"
#include "core/emu/emu_state.h"

enum { GUARD_BYTES = 512, ALIGN_BYTES = 256 };

/* The last allocation that starts at or before address; NULL if none. */
static const EmuAlloc *before(const Emu *emu, uint64_t address)
{
    size_t lo = 0, hi = emu->allocs_n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (emu->allocs[mid].lo <= address)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo ? emu->allocs + lo - 1 : NULL;
}

const EmuAlloc *emu_mem_find(const Emu *emu, uint64_t address)
{
    const EmuAlloc *a = before(emu, address);
    return a && address < a->hi ? a : NULL;
}

bool emu_mem_cache(const Emu *emu, EmuCache *cache, uint64_t address, uint64_t bytes)
{
    const EmuAlloc *a = emu_mem_find(emu, address);
    if (!a || a->hi - address < bytes)
        return false;
    *cache = (EmuCache){a->lo, a->hi, a, a->is_read_only};
    return true;
}

void emu_mem_describe(const Emu *emu, uint64_t address, char *text, size_t n)
{
    const EmuAlloc *a = before(emu, address), *next = a ? a + 1 : emu->allocs;
    bool has_next = next < emu->allocs + emu->allocs_n;
    if (address < 0x10000)
        snprintf(text, n, "address %" PRIu64 ", a null pointer", address);
    else if (a && address < a->hi)
        snprintf(text, n, "byte %" PRIu64 " of \"%s\" (%" PRIu64 " bytes)", address - a->lo, a->name, a->hi - a->lo);
    else if (a && (!has_next || address - a->hi <= next->lo - address))
        snprintf(text, n, "%" PRIu64 " bytes behind the end of \"%s\" (%" PRIu64 " bytes)", address - a->hi, a->name, a->hi - a->lo);
    else if (has_next)
        snprintf(text, n, "%" PRIu64 " bytes before \"%s\" (%" PRIu64 " bytes)", next->lo - address, next->name, next->hi - next->lo);
    else
        snprintf(text, n, "address 0x%" PRIx64 ", where nothing is allocated", address);
}

static bool insert(Emu *emu, EmuAlloc alloc, Err *err)
{
    if (emu->allocs_n == emu->allocs_cap) {
        size_t cap = emu->allocs_cap ? 2 * emu->allocs_cap : 64;
        EmuAlloc *grown = realloc(emu->allocs, cap * sizeof *grown);
        if (!grown)
            return fail(err, E_MEMORY, "allocation \"%s\": memory is exhausted", alloc.name);
        emu->allocs = grown;
        emu->allocs_cap = cap;
    }
    size_t at = emu->allocs_n++;
    for (; at && emu->allocs[at - 1].lo > alloc.lo; at--)
        emu->allocs[at] = emu->allocs[at - 1];
    emu->allocs[at] = alloc;
    return true;
}

bool emu_alloc(Emu *emu, size_t bytes, const char *name, EmuPtr *ptr, Err *err)
{
    *ptr = 0;
    if (!bytes || bytes > SIZE_MAX / 2)
        return fail(err, E_VALUE, "allocation \"%s\" of %zu bytes", name, bytes);
    size_t room = (bytes + ALIGN_BYTES - 1) / ALIGN_BYTES * ALIGN_BYTES;
    EmuAlloc a = {.base = aligned_alloc(ALIGN_BYTES, room + 2 * GUARD_BYTES), .name = strdup(name), .valid = calloc(1, bytes / 8 + 9)};
    if (a.base)
        memset(a.base, 0xA5, room + 2 * GUARD_BYTES < 1 << 20 ? room + 2 * GUARD_BYTES : GUARD_BYTES);
    a.lo = (uint64_t)a.base + GUARD_BYTES;
    a.hi = a.lo + bytes;
    if (!a.base || !a.name || !a.valid)
        fail(err, E_MEMORY, "allocation \"%s\" of %zu bytes: memory is exhausted", name, bytes);
    else if (insert(emu, a, err)) {
        EMU_CLOSE(a.base, GUARD_BYTES);
        EMU_CLOSE((uint8_t *)a.base + GUARD_BYTES + bytes, room - bytes + GUARD_BYTES);
        return *ptr = a.lo, true;
    }
    free(a.base);
    free(a.name);
    free(a.valid);
    return false;
}

bool emu_map(Emu *emu, const void *host, size_t bytes, const char *name, EmuPtr *ptr, Err *err)
{
    EmuAlloc a = {.lo = (uint64_t)host, .hi = (uint64_t)host + bytes, .is_read_only = true};
    *ptr = 0;
    if (!bytes || a.lo % 16)
        return fail(err, E_VALUE, "loan \"%s\" of %zu bytes at an address that %s", name, bytes, bytes ? "is not a multiple of 16" : "is empty");
    const EmuAlloc *b = before(emu, a.hi - 1);
    if (b && b->hi > a.lo)
        return fail(err, E_VALUE, "loan \"%s\" overlaps \"%s\"", name, b->name);
    a.name = strdup(name);
    if (!a.name)
        return fail(err, E_MEMORY, "loan \"%s\": memory is exhausted", name);
    if (!insert(emu, a, err)) {
        free(a.name);
        return false;
    }
    *ptr = a.lo;
    return true;
}

static void drop(EmuAlloc *a)
{
    free(a->cells);
    free(a->base);
    free(a->name);
    free(a->valid);
}

bool emu_release(Emu *emu, EmuPtr ptr, Err *err)
{
    if (!ptr)
        return true;
    const EmuAlloc *a = before(emu, ptr);
    if (!a || a->lo != ptr)
        return fail(err, E_VALUE, "0x%" PRIx64 " is not the start of an allocation", ptr);
    size_t at = (size_t)(a - emu->allocs);
    drop(emu->allocs + at);
    emu->allocs_n--;
    memmove(emu->allocs + at, emu->allocs + at + 1, (emu->allocs_n - at) * sizeof *emu->allocs);
    return true;
}

void emu_mem_deinit(Emu *emu)
{
    for (size_t i = 0; i < emu->allocs_n; i++)
        drop(emu->allocs + i);
    free(emu->allocs);
}

static bool inside(const Emu *emu, uint64_t address, size_t bytes, bool is_write, const char *what, Err *err)
{
    const EmuAlloc *a = emu_mem_find(emu, address);
    char text[200];
    if (a && a->hi - address >= bytes && !(is_write && a->is_read_only))
        return true;
    emu_mem_describe(emu, address, text, sizeof text);
    return fail(err, E_VALUE, "%s of %zu bytes at %s%s", what, bytes, text, a && a->is_read_only && is_write ? ", which is lent for reading" : "");
}

bool emu_write(Emu *emu, EmuPtr to, const void *from, size_t bytes, Err *err)
{
    if (!bytes)
        return true;
    if (!inside(emu, to, bytes, true, "copy to the device", err))
        return false;
    memcpy((void *)to, from, bytes);
    emu_check_mark_valid(emu, to, bytes);
    return true;
}

bool emu_read(Emu *emu, void *to, EmuPtr from, size_t bytes, Err *err)
{
    if (!bytes)
        return true;
    if (!inside(emu, from, bytes, false, "copy from the device", err))
        return false;
    memcpy(to, (const void *)from, bytes);
    return true;
}

bool emu_fill(Emu *emu, EmuPtr to, uint8_t value, size_t bytes, Err *err)
{
    if (!bytes)
        return true;
    if (!inside(emu, to, bytes, true, "fill", err))
        return false;
    memset((void *)to, value, bytes);
    emu_check_mark_valid(emu, to, bytes);
    return true;
}

bool emu_poison(Emu *emu, EmuPtr to, uint8_t value, size_t bytes, Err *err)
{
    if (!bytes || !emu_fill(emu, to, value, bytes, err))
        return !bytes;
    const EmuAlloc *a = emu_mem_find(emu, to);
    ((EmuAlloc *)a)->is_written = false;
    for (uint64_t i = to - a->lo; a->valid && i < to - a->lo + bytes; i++)
        a->valid[i / 8] &= (uint8_t)~(1u << (i % 8));
    return true;
}

bool emu_copy(Emu *emu, EmuPtr to, EmuPtr from, size_t bytes, Err *err)
{
    if (!bytes)
        return true;
    if (!inside(emu, from, bytes, false, "copy from", err) || !inside(emu, to, bytes, true, "copy to", err))
        return false;
    memmove((void *)to, (const void *)from, bytes);
    emu_check_mark_valid(emu, to, bytes);
    return true;
}

void emu_mem_mark_all_valid(Emu *emu)
{
    for (size_t i = 0; i < emu->allocs_n; i++) {
        free(emu->allocs[i].valid);
        emu->allocs[i].valid = NULL;
    }
}
