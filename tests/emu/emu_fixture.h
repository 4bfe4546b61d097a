/* What the emulator's tests share: a device that may not fail, buffers, a generator, reference decodings written for the tests. */
#ifndef TESTS_EMU_EMU_FIXTURE_H
#define TESTS_EMU_EMU_FIXTURE_H
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/emu/emu.h"

#include <cmocka.h>

#define MUST(call)                                                                              \
    do {                                                                                        \
        if (!(call))                                                                            \
            fail_msg("%s", err.text);                                                           \
    } while (0)

static Err err;
static uint64_t fixture_random;

static inline uint32_t random_u32(void)
{
    fixture_random = fixture_random * 6364136223846793005ull + 1442695040888963407ull;
    return (uint32_t)(fixture_random >> 32);
}

/* About normal: the sum of four uniforms. */
static inline float random_normal(void)
{
    float x = 0;
    for (int i = 0; i < 4; i++)
        x += (float)(random_u32() >> 8) * 0x1p-24f - 0.5f;
    return x * 1.7320508f;
}

static inline char *read_text(const char *path, size_t *n)
{
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s cannot be opened; tests run from the repository's root", path);
    fseek(f, 0, SEEK_END);
    *n = (size_t)ftell(f);
    rewind(f);
    char *text = malloc(*n + 1);
    assert_int_equal(fread(text, 1, *n, f), *n);
    text[*n] = 0;
    fclose(f);
    return text;
}

static inline Emu *device(const char *arch, unsigned workers, EmuIsa isa)
{
    Emu *emu = emu_new(&(EmuDesc){arch, workers, isa}, &err);
    if (!emu)
        fail_msg("%s", err.text);
    return emu;
}

static inline EmuModule *load_file(Emu *emu, const char *path)
{
    size_t n;
    char *text = read_text(path, &n);
    EmuModule *m = emu_module_load(emu, text, n, &err);
    free(text);
    if (!m)
        fail_msg("%s: %s", path, err.text);
    return m;
}

static inline EmuModule *load_text(Emu *emu, const char *text)
{
    EmuModule *m = emu_module_load(emu, text, strlen(text), &err);
    if (!m)
        fail_msg("%s", err.text);
    return m;
}

static inline const EmuFunc *kernel(EmuModule *m, const char *name)
{
    const EmuFunc *f = emu_func(m, name, &err);
    if (!f)
        fail_msg("%s", err.text);
    return f;
}

/* A device buffer with these bytes, or unwritten when from is NULL. */
static inline EmuPtr upload(Emu *emu, const char *name, const void *from, size_t bytes)
{
    EmuPtr p;
    MUST(emu_alloc(emu, bytes, name, &p, &err));
    if (from)
        MUST(emu_write(emu, p, from, bytes, &err));
    return p;
}

static inline bool has_isa(EmuIsa isa)
{
    Emu *emu = emu_new(&(EmuDesc){NULL, 1, isa}, &err);
    emu_free(emu);
    return emu != NULL;
}

static inline float bf16_value(uint16_t b)
{
    uint32_t u = (uint32_t)b << 16;
    float x;
    memcpy(&x, &u, 4);
    return x;
}

/* Nearest bf16 by trying the two neighbours, ties to the even one. */
static inline uint16_t bf16_nearest(double x)
{
    float f = (float)x;
    uint32_t u;
    memcpy(&u, &f, 4);
    uint16_t lo = (uint16_t)(u >> 16), hi = (uint16_t)(lo + 1);
    double dl = fabs(x - bf16_value(lo)), dh = fabs(bf16_value(hi) - x);
    return dl < dh ? lo : dh < dl ? hi : lo & 1 ? hi : lo;
}

static inline double e2m1_value(unsigned code)
{
    static const double v[8] = {0, 0.5, 1, 1.5, 2, 3, 4, 6};
    return code & 8 ? -v[code & 7] : v[code & 7];
}

static inline double e4m3_value(unsigned b)
{
    int e = b >> 3 & 15, m = b & 7;
    double x = e ? ldexp(1 + m / 8.0, e - 7) : ldexp(m / 8.0, -6);
    return b & 0x80 ? -x : x;
}

#endif
