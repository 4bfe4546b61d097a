#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <utf8proc.h>

#include "core/base/prng.h"
#include "core/text/nfc.h"
#include "core/text/utf8.h"

static void check(const char *in, size_t n, const char *want, size_t want_n)
{
    Buf out = {0};
    Err err;
    assert_true(nfc_append(in, n, &out, &err));
    if (out.n != want_n || memcmp(out.data ? out.data : "", want, want_n) != 0)
        fail_msg("\"%.*s\" gives \"%.*s\", not \"%.*s\"", (int)n, in, (int)out.n, out.data, (int)want_n, want);
    buf_deinit(&out);
}

/* Annex 15's own examples and the classes it names: composition, order of marks, singletons, exclusions, Hangul. */
static void examples_of_the_standard(void **unused)
{
    (void)unused;
    static const struct { const char *in, *want; } rows[] = {
        {"e\u0301", "\u00E9"}, {"\u212B", "\u00C5"}, {"\u2126", "\u03A9"}, {"D\u0307\u0323", "\u1E0C\u0307"},
        {"q\u0307\u0323", "q\u0323\u0307"},
        {"\u1E9B\u0323", "\u1E9B\u0323"}, {"\u0958", "\u0915\u093C"}, {"\u1112\u1161\u11AB", "\uD55C"}, {"\uFB01", "\uFB01"},
        {"a\u0315\u0300\u05AE" "b", "\u00E0\u05AE\u0315b"}, {"\u0301e", "\u0301e"}, {"plain", "plain"}, {"", ""},
        {"\U0001D15E", "\U0001D157\U0001D165"}, {"\u0340", "\u0300"}, {"\uF900", "\u8C48"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check(rows[i].in, strlen(rows[i].in), rows[i].want, strlen(rows[i].want));
}

static const uint32_t interesting[] = {'a', 'e', 0xE9, 0x1112, 0x1161, 0x11AB, 0xAC00, 0x212B, 0x0915, 0x093C, 0x0958, 0x1E9B,
    0x5D0, 0x5B0, 0xFB1D, 0x1D157};

static size_t random_text(Prng *prng, char *s, size_t chars)
{
    size_t n = 0;
    for (size_t i = 0; i < chars; i++) {
        uint64_t r = prng_next(prng);
        uint32_t cp = r % 4 == 0   ? interesting[(r >> 8) % (sizeof interesting / sizeof *interesting)]
                      : r % 4 == 1 ? 0x300 + (uint32_t)(r >> 8) % 0x70
                      : r % 4 == 2 ? (uint32_t)(r >> 8) % 0x3000
                                   : (uint32_t)(r >> 8) % 0x30000;
        if (cp == 0 || (cp >= 0xD800 && cp <= 0xDFFF))
            cp = 'x';
        n += utf8_put(cp, s + n);
    }
    return n;
}

/* utf8proc's own whole-string normalization, which orders marks in its own way, as the second opinion. */
static void random_text_agrees_with_the_library(void **unused)
{
    (void)unused;
    static char s[4 * 200 + 1];
    Prng prng = {3};
    for (int round = 0; round < 20000; round++) {
        size_t n = random_text(&prng, s, prng_next(&prng) % (round % 100 ? 12 : 200));
        s[n] = 0;
        utf8proc_uint8_t *want = utf8proc_NFC((const utf8proc_uint8_t *)s);
        assert_non_null(want);
        check(s, n, (const char *)want, strlen((const char *)want));
        check((const char *)want, strlen((const char *)want), (const char *)want, strlen((const char *)want));
        free(want);
    }
}

static void long_runs_of_marks_are_ordered_in_linear_time(void **unused)
{
    (void)unused;
    enum { MARKS = 500000 };
    Buf text = {0}, out = {0};
    Err err;
    assert_true(buf_append(&text, "q", 1, &err));
    for (int i = 0; i < MARKS; i++) /* U+0307 has class 230, U+0323 class 220 */
        assert_true(buf_append(&text, i % 2 ? "\u0323" : "\u0307", 2, &err));
    clock_t start = clock();
    assert_true(nfc_append(text.data, text.n, &out, &err));
    double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
    assert_int_equal(out.n, text.n);
    for (size_t i = 0; i < MARKS; i++)
        assert_memory_equal(out.data + 1 + 2 * i, i < MARKS / 2 ? "\u0323" : "\u0307", 2);
    assert_true(seconds < 5); /* a quadratic order takes minutes */
    buf_deinit(&text);
    buf_deinit(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(examples_of_the_standard),
        cmocka_unit_test(random_text_agrees_with_the_library),
        cmocka_unit_test(long_runs_of_marks_are_ordered_in_linear_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
