/* Mutated cubins: whatever is read lies inside of the file. */
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/prng.h"
#include "core/jit/cubin.h"
#include "tests/jit/cubin_make.h"

static size_t below(Prng *p, size_t n)
{
    return (size_t)(prng_next(p) % n);
}

/* Numbers that headers are likely to be checked against, and any other. */
static uint64_t odd_number(Prng *p, size_t n)
{
    static const uint64_t odd[] = {0, 1, 8, 24, 63, 64, 0xFFFF, 0xFFFFFFFF, UINT64_MAX, UINT64_MAX - 63, 1ULL << 63};
    switch (below(p, 3)) {
    case 0: return odd[below(p, sizeof odd / sizeof *odd)];
    case 1: return below(p, n + 32);
    default: return prng_next(p);
    }
}

/* Changes a few fields of headers, tables and attributes, or bytes anywhere; cuts some files short. */
static size_t mutate(Prng *p, unsigned char *file, size_t n)
{
    for (size_t i = 0, changes = below(p, 5); i < changes; i++) {
        size_t bytes = (size_t)1 << below(p, 4);
        size_t at = below(p, 2) ? MADE_TABLE + 8 * below(p, (n - MADE_TABLE) / 8) : below(p, n - 8);
        made_put(file + at, odd_number(p, n), bytes);
    }
    return below(p, 8) ? n : below(p, n + 1);
}

static void check(const unsigned char *file, size_t n, const CubinKernel *kernels, int count, unsigned *seen)
{
    unsigned counts[CUBIN_OPCODES];
    for (int i = 0; i < count; i++) {
        const CubinKernel *k = &kernels[i];
        assert(k->code >= file && k->code_bytes <= (size_t)(file + n - k->code));
        assert(memchr(k->name, 0, sizeof k->name));
        cubin_count(k, counts);
        for (int op = 0; op < CUBIN_OPCODES; op++)
            *seen += counts[op];
    }
}

int main(int argc, char **argv)
{
    long executions = argc > 1 ? strtol(argv[1], NULL, 10) : 20000, read = 0;
    uint64_t seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    Prng p = {seed};
    unsigned seen = 0;
    for (long i = 0; i < executions; i++) {
        unsigned char file[MADE_BYTES];
        CubinKernel kernels[CUBIN_KERNELS_MAX];
        Err err = {0};
        size_t n = mutate(&p, file, made_cubin(file));
        unsigned char *exact = malloc(n + 1);
        assert(exact);
        memcpy(exact, file, n);
        int count = cubin_read(exact, n, kernels, &err);
        assert(count >= 0 || err.kind == E_FORMAT);
        read += count >= 0;
        check(exact, n, kernels, count, &seen);
        free(exact);
    }
    assert(executions < 1000 || (read > executions / 10 && read < executions && seen > 0));
    printf("ok 1 - cubin: %ld executions, seed %llu\n", executions, (unsigned long long)seed);
    return 0;
}
