/* Deterministic mutations of structured text for fuzzers: bytes, numbers, punctuation, slices. */
#ifndef TESTS_FILE_MUTATE_H
#define TESTS_FILE_MUTATE_H
#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MUTATE_MAX = 4096 };

typedef struct Mutant {
    uint64_t state;
    size_t n;
    char text[MUTATE_MAX];
} Mutant;

static inline uint64_t mutate_random(Mutant *m)
{
    m->state ^= m->state << 13;
    m->state ^= m->state >> 7;
    m->state ^= m->state << 17;
    return m->state * 0x2545f4914f6cdd1du >> 16;
}

static inline size_t mutate_below(Mutant *m, size_t n)
{
    return n ? (size_t)(mutate_random(m) % n) : 0;
}

/* Puts s in place of the old_n bytes at at; nothing happens when it does not fit. */
static inline void mutate_splice(Mutant *m, size_t at, size_t old_n, const char *s, size_t new_n)
{
    if (m->n - old_n + new_n > MUTATE_MAX)
        return;
    memmove(m->text + at + new_n, m->text + at + old_n, m->n - at - old_n);
    memcpy(m->text + at, s, new_n);
    m->n = m->n - old_n + new_n;
}

/* The number at or behind a random place, replaced by one that is likely to hurt. */
static inline void mutate_number(Mutant *m)
{
    static const char *const numbers[] = {"0",
                                          "1",
                                          "2",
                                          "3",
                                          "4",
                                          "7",
                                          "8",
                                          "16",
                                          "-1",
                                          "1.0",
                                          "1e3",
                                          "00",
                                          "255",
                                          "65536",
                                          "2147483648",
                                          "4294967295",
                                          "4294967296",
                                          "9223372036854775807",
                                          "9223372036854775808",
                                          "18446744073709551615",
                                          "18446744073709551616",
                                          "1e999",
                                          ""};
    size_t at = mutate_below(m, m->n), end;
    while (at < m->n && (m->text[at] < '0' || m->text[at] > '9'))
        at++;
    for (end = at; end < m->n && m->text[end] >= '0' && m->text[end] <= '9';)
        end++;
    const char *s = numbers[mutate_below(m, sizeof numbers / sizeof *numbers)];
    mutate_splice(m, at, end - at, s, strlen(s));
}

static inline void mutate_once(Mutant *m)
{
    static const char *const pieces[] = {"{",
                                         "}",
                                         "[",
                                         "]",
                                         ",",
                                         ":",
                                         "\"",
                                         "\\",
                                         "\\u0000",
                                         "\\ud83d\\ude00",
                                         "\\ud800",
                                         "\\u0061",
                                         " ",
                                         "\n",
                                         "null",
                                         "true",
                                         "false",
                                         "{}",
                                         "[]",
                                         "\"\"",
                                         "\xc3\xa9",
                                         "\xff",
                                         "\xed\xa0\x80",
                                         "\"dtype\"",
                                         "\"shape\"",
                                         "\"data_offsets\"",
                                         "\"U8\"",
                                         "\"F32\"",
                                         "\"BF16\"",
                                         "\"F4\"",
                                         "\"__metadata__\"",
                                         "../",
                                         "/",
                                         ".safetensors",
                                         "[[[[",
                                         "{\"a\":",
                                         ",\"a\":1"};
    size_t at = mutate_below(m, m->n + 1), len, from;
    char copy[64];
    switch (mutate_below(m, 7)) {
    case 0: /* one bit */
        if (at < m->n)
            m->text[at] = (char)(m->text[at] ^ (char)(1 << mutate_below(m, 8)));
        break;
    case 1: /* a piece of syntax */
    case 2: {
        const char *s = pieces[mutate_below(m, sizeof pieces / sizeof *pieces)];
        len = mutate_below(m, 3);
        mutate_splice(m, at, len < m->n - at ? len : m->n - at, s, strlen(s));
        break;
    }
    case 3: /* a hole */
        len = mutate_below(m, 12);
        mutate_splice(m, at, len < m->n - at ? len : m->n - at, "", 0);
        break;
    case 4: /* a slice again at another place */
        from = mutate_below(m, m->n + 1);
        len = mutate_below(m, sizeof copy);
        len = len < m->n - from ? len : m->n - from;
        memcpy(copy, m->text + from, len);
        mutate_splice(m, at, 0, copy, len);
        break;
    case 5: /* the end cut off, seldom */
        if (mutate_below(m, 8) == 0)
            m->n = at;
        break;
    default: mutate_number(m);
    }
}

/* Fills m->text from base and mutates it a few times; about one in eight stays as it is. */
static inline void mutate(Mutant *m, const char *base)
{
    m->n = strlen(base);
    assert(m->n <= MUTATE_MAX);
    memcpy(m->text, base, m->n);
    for (size_t i = mutate_below(m, 8); i > 0; i--)
        mutate_once(m);
}

/* A copy of exactly n bytes, so that a read behind its end is seen. */
static inline unsigned char *mutate_exact(const void *bytes, size_t n)
{
    unsigned char *copy = malloc(n ? n : 1);
    assert(copy);
    memcpy(copy, bytes, n);
    return copy;
}

/* Runs one(m) as often as the arguments say: prog N [SEED]; prints how many executions were
 * accepted. */
static inline int mutate_main(int argc, char **argv, const char *stem, bool (*one)(Mutant *m))
{
    unsigned long long n = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000,
                       seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    static Mutant m;
    unsigned long long good = 0;
    m.state = seed * 0x9e3779b97f4a7c15u | 1;
    for (unsigned long long i = 0; i < n; i++)
        good += one(&m);
    printf("# %llu accepted, %llu refused\n", good, n - good);
    printf("ok 1 - %s: %llu executions, seed %llu\n", stem, n, seed);
    return 0;
}

#endif
