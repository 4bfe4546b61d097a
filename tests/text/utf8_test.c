#include "tests/test.h"

#include <string.h>

#include "core/base/prng.h"
#include "core/text/utf8.h"

/* The definition, read off the Unicode Standard's bit table and not its byte ranges: a sequence is whole when its value takes
 * just that many bytes and is no surrogate. */
static int definition_length(const char *s, size_t n)
{
    const uint8_t *b = (const uint8_t *)s;
    static const struct { uint8_t mask, head; uint32_t least; } rows[] = {{0x80, 0, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800},
        {0xF8, 0xF0, 0x10000}};
    for (size_t len = 1; len <= 4 && len <= n; len++) {
        if ((b[0] & rows[len - 1].mask) != rows[len - 1].head)
            continue;
        uint32_t cp = b[0] & (uint8_t)~rows[len - 1].mask;
        for (size_t i = 1; i < len; i++) {
            if ((b[i] & 0xC0) != 0x80)
                return 0;
            cp = cp << 6 | (b[i] & 0x3F);
        }
        return cp >= rows[len - 1].least && cp <= 0x10FFFF && (cp < 0xD800 || cp > 0xDFFF) ? (int)len : 0;
    }
    return 0;
}

/* How many bytes at s begin some character without being one: the longest such beginning. */
static size_t definition_maximal(const char *s, size_t n)
{
    size_t longest = 0;
    for (size_t len = 1; len <= 3 && len <= n; len++) {
        char probe[4] = {0};
        memcpy(probe, s, len);
        bool extends = false;
        for (int a = 0x80; a <= 0xBF && !extends; a++)
            for (int b = 0x80; b <= 0xBF && !extends; b += 0x3F)
                for (int c = 0x80; c <= 0xBF && !extends; c += 0x3F) {
                    char rest[3] = {(char)a, (char)b, (char)c};
                    memcpy(probe + len, rest, 4 - len);
                    extends = definition_length(probe, 4) > (int)len;
                }
        if (extends)
            longest = len;
    }
    return longest ? longest : 1;
}

static void every_character_comes_back(void **unused)
{
    (void)unused;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++) {
        if (cp >= 0xD800 && cp <= 0xDFFF)
            continue;
        char s[UTF8_BYTES_MAX];
        size_t n = utf8_put(cp, s), len = 0;
        if (definition_length(s, n) != (int)n || utf8_next(s, n, &len) != UTF8_CHAR || len != n || utf8_get(s, &len) != cp ||
            len != n)
            fail_msg("U+%04X in %zu bytes", cp, n);
        for (size_t cut = 1; cut < n; cut++)
            if (utf8_next(s, cut, &len) != UTF8_PARTIAL || len != cut)
                fail_msg("U+%04X cut at %zu", cp, cut);
    }
}

static void check_bytes(const char *s, size_t n)
{
    size_t len = 0;
    int want = definition_length(s, n);
    Utf8Kind kind = utf8_next(s, n, &len);
    size_t want_len = want ? (size_t)want : definition_maximal(s, n);
    if ((kind == UTF8_CHAR) != (want != 0) || len != want_len)
        fail_msg("%02x %02x %02x %02x of %zu: kind %d, %zu bytes, not %zu", s[0] & 0xFF, n > 1 ? s[1] & 0xFF : 0,
                 n > 2 ? s[2] & 0xFF : 0, n > 3 ? s[3] & 0xFF : 0, n, kind, len, want_len);
    if (kind == UTF8_PARTIAL)
        assert_int_equal(len, n);
}

static void all_short_sequences_read_as_defined(void **unused)
{
    (void)unused;
    static const uint8_t edges[] = {0x41, 0x80, 0xBF, 0xC0}; /* only second bytes have finer ranges, and those are all tried */
    for (int a = 0; a < 256; a++)
        for (int b = 0; b < 256; b++) {
            char s[4] = {(char)a, (char)b};
            check_bytes(s, 1);
            check_bytes(s, 2);
            if (a < 0xE0)
                continue;
            for (size_t c = 0; c < sizeof edges; c++) {
                s[2] = (char)edges[c];
                check_bytes(s, 3);
                for (size_t d = 0; d < sizeof edges; d++) {
                    s[3] = (char)edges[d];
                    check_bytes(s, 4);
                }
            }
        }
}

/* Cases of the Unicode Standard 15.0, tables 3-8 to 3-11, and of the decoders it describes. */
static void repair_replaces_maximal_beginnings(void **unused)
{
    (void)unused;
    static const struct { const char *in, *want; } rows[] = {
        {"plain", "plain"},
        {"\xC0\xAF\xE0\x80\xBF\xF0\x81\x82\x41", "????????A"},
        {"\xED\xA0\x80\xED\xBF\xBF\xED\xAF\x41", "????????A"},
        {"\xF4\x91\x92\x93\xFF\x41\x80\xBF\x42", "?????A??B"},
        {"\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", "????A"},
        {"a\xE2\x82", "a?"}, {"\xF0\x9F\x99", "?"}, {"\xF0\x9F\x99\x82\x82", "\xF0\x9F\x99\x82?"}, {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Buf got = {0}, want = {0};
        Err err;
        for (const char *c = rows[i].want; *c; c++)
            assert_true(*c == '?' ? buf_append(&want, "\xEF\xBF\xBD", 3, &err) : buf_append(&want, c, 1, &err));
        assert_true(utf8_repair(rows[i].in, strlen(rows[i].in), &got, NULL, &err));
        if (got.n != want.n || memcmp(got.data ? got.data : "", want.data ? want.data : "", got.n) != 0)
            fail_msg("row %zu: %zu bytes, not %zu", i, got.n, want.n);
        buf_deinit(&got);
        buf_deinit(&want);
    }
}

/* Repairing in pieces, the cut character carried over, gives what repairing at once gives. */
static void pieces_repair_like_the_whole(void **unused)
{
    (void)unused;
    static const uint8_t bytes[] = {0x41, 0x80, 0xBF, 0xC3, 0xA9, 0xE2, 0x82, 0xAC, 0xF0, 0x9F, 0x99, 0x82, 0xED, 0xA0, 0xF4,
        0x8F, 0xFF};
    Prng prng = {7};
    Buf whole = {0}, pieces = {0};
    Err err;
    for (int round = 0; round < 20000; round++) {
        char s[24], held[64];
        size_t n = prng_next(&prng) % sizeof s, held_n = 0, rest;
        for (size_t i = 0; i < n; i++)
            s[i] = (char)bytes[prng_next(&prng) % sizeof bytes];
        whole.n = pieces.n = 0;
        assert_true(utf8_repair(s, n, &whole, NULL, &err));
        for (size_t at = 0; at < n;) {
            size_t take = 1 + prng_next(&prng) % 5;
            take = take < n - at ? take : n - at;
            memcpy(held + held_n, s + at, take);
            at += take;
            held_n += take;
            assert_true(utf8_repair(held, held_n, &pieces, &rest, &err));
            assert_true(rest < UTF8_BYTES_MAX);
            assert_int_equal(utf8_check(pieces.data ? pieces.data : "", pieces.n), pieces.n);
            memmove(held, held + held_n - rest, rest);
            held_n = rest;
        }
        assert_true(utf8_repair(held, held_n, &pieces, NULL, &err));
        assert_int_equal(pieces.n, whole.n);
        if (whole.n)
            assert_memory_equal(pieces.data, whole.data, whole.n);
    }
    buf_deinit(&whole);
    buf_deinit(&pieces);
}

static void cuts_fall_between_characters(void **unused)
{
    (void)unused;
    const char *s = "a\xC3\xA9\xE2\x82\xAC\xF0\x9F\x99\x82";
    static const size_t want[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 10};
    for (size_t max = 0; max < sizeof want / sizeof *want; max++)
        assert_int_equal(utf8_cut(s, 10, max), want[max]);
    assert_int_equal(utf8_check(s, 10), 10);
    assert_int_equal(utf8_check(s, 9), 6);
    assert_int_equal(utf8_check("ab\xFF", 3), 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_character_comes_back),
        cmocka_unit_test(all_short_sequences_read_as_defined),
        cmocka_unit_test(repair_replaces_maximal_beginnings),
        cmocka_unit_test(pieces_repair_like_the_whole),
        cmocka_unit_test(cuts_fall_between_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
