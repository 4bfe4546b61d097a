#include "tests/test.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/buf.h"
#include "core/base/prng.h"
#include "core/text/split.h"
#include "core/text/utf8.h"

static const char family[] = "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
                            " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|"
                             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

static Split *make(const char *pattern)
{
    Err err;
    Split *s = split_new(pattern, strlen(pattern), &err);
    if (!s)
        fail_msg("%s: %s", pattern, err.text);
    return s;
}

/* The pieces with | between; they must cover the text. */
static void pieces(const Split *s, const char *text, size_t n, Buf *out)
{
    SplitCursor c = {0};
    Err err;
    size_t start, end = 0;
    out->n = 0;
    for (;;) {
        if (!split_next(s, text, n, &c, &start, &err))
            fail_msg("%s", err.text);
        assert_int_equal(start, end);
        if (start == n)
            break;
        end = c.at;
        assert_true(end > start && end <= n);
        assert_true(buf_append(out, text + start, end - start, &err) && buf_append(out, "|", 1, &err));
    }
    assert_true(buf_append(out, "", 1, &err));
}

static void text_falls_into_the_pieces_of_the_pattern(void **unused)
{
    (void)unused;
    static const struct { const char *pattern, *text, *want; } rows[] = {
        {family, "In the beginning", "In| the| beginning|"},
        {family, "it's WE'LL i'd", "it|'s| WE|'LL| i|'d|"},
        {family, "a'\u017Fx", "a|'\u017F|x|"}, /* long s is an s to (?i:'s) */
        {family, "x1234", "x|1|2|3|4|"},
        {family, "  two   spaces \n\n next\t", " | two|  | spaces| \n\n| next|\t|"},
        {family, "a \u2003b", "a| |\u2003b|"}, /* the sign before letters may be any white space */
        {family, "a\r\nb", "a|\r\n|b|"},
        {family, "e\u0301\u0323!", "e\u0301\u0323|!|"},
        {family, "--- a;b\n\n", "---| a|;b|\n\n|"},
        {family, "\u180E\u180Ea", "\u180E\u180E|a|"}, /* no white space since Unicode 6.3 */
        {family, "\u6771\u4EAC 7", "\u6771\u4EAC| |7|"},
        {"b+", "aabba", "aa|bb|a|"}, /* what lies between matches is a piece */
        {"b+", "aa", "aa|"},
        {"b+", "", ""},
        {"\\s", "a\xC2\x85" "b\u00A0c d", "a|\xC2\x85|b|\u00A0|c| |d|"},
        {"[^\\S]", "a\u3000b", "a|\u3000|b|"},
        {"\\S", " ab ", " |a|b| |"},
        {"(?<=a)b|(?>c+)", "abcb", "a|b|c|b|"},
        /* letters, marks and digits of Unicode 15 and 16 */
        {family, "\U00031350\U000323AF\U0002EBF0\U0001E4ED.", "\U00031350\U000323AF\U0002EBF0\U0001E4ED|.|"},
        {family, "\U0001E4F0\U00010D40", "\U0001E4F0|\U00010D40|"},
        {family, "\U00031350'S", "\U00031350|'S|"},
        {"\\p{N}+|\\P{L}", "\U0001E4F0\U0001E4F9\u0301\U00031350\U00031351.", "\U0001E4F0\U0001E4F9|\u0301|\U00031350\U00031351|.|"},
        {"\\p{L}+|\\P{L}{1,3}", "ab1234c", "ab|123|4|c|"},
        {"[\\]x-]+\\.", "]x-.a", "]x-.|a|"},
    };
    Buf got = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Split *s = make(rows[i].pattern);
        pieces(s, rows[i].text, strlen(rows[i].text), &got);
        if (strcmp(got.data, rows[i].want) != 0)
            fail_msg("row %zu: \"%s\" gives %s, not %s", i, rows[i].text, got.data, rows[i].want);
        split_free(s);
    }
    buf_deinit(&got);
}

static void white_space_is_unicodes(void **unused)
{
    (void)unused;
    Split *space = make("\\s"), *other = make("\\S");
    for (uint32_t cp = 1; cp <= 0x10FFFF; cp++) {
        char text[UTF8_BYTES_MAX + 1] = "x";
        Err err;
        SplitCursor c = {0};
        size_t start;
        if (cp >= 0xD800 && cp <= 0xDFFF)
            continue;
        size_t n = 1 + utf8_put(cp, text + 1);
        /* \s cuts before white space and only there; \S cuts behind each sign that is none. */
        assert_true(split_next(space, text, n, &c, &start, &err));
        if ((c.at == 1) != utf8_is_space(cp))
            fail_msg("U+%04X under \\s", cp);
        c = (SplitCursor){1, 1, 1};
        assert_true(split_next(other, text, n, &c, &start, &err));
        assert_int_equal(c.at, n);
    }
    /* Unicode 15.0, PropList.txt: 25 characters. */
    int count = 0;
    for (uint32_t cp = 0; cp <= 0x10FFFF; cp++)
        count += utf8_is_space(cp);
    assert_int_equal(count, 25);
    assert_false(utf8_is_space(0x180E) || utf8_is_space(0x200B) || utf8_is_space(0xFEFF));
    split_free(space);
    split_free(other);
}

static void patterns_that_cannot_be_followed_are_refused(void **unused)
{
    (void)unused;
    static const struct { const char *pattern; ErrKind kind; const char *words; } rows[] = {
        {"(a", E_FORMAT, "not a regular expression"}, {"a)", E_FORMAT, "not a regular expression"},
        {"a\\", E_FORMAT, "middle of an escape"},
        {"*a", E_FORMAT, "not a regular expression"}, {"[a", E_FORMAT, "not a regular expression"},
        {"\\p{Nonsense}", E_FORMAT, "not a regular"},
        {"a*", E_UNSUPPORTED, "empty string"}, {"(?=a)", E_UNSUPPORTED, "empty string"}, {"", E_UNSUPPORTED, "empty string"},
        {"\\w+", E_UNSUPPORTED, "escape at byte 0"}, {"a\\h", E_UNSUPPORTED, "escape at byte 1"},
        {"(a)\\1", E_UNSUPPORTED, "escape at byte 3"},
        {"\\bx", E_UNSUPPORTED, "escape"}, {"\\Qx\\E", E_UNSUPPORTED, "escape"}, {"\\\xC3\xA9", E_UNSUPPORTED, "escape"},
        {"^a", E_UNSUPPORTED, "\"^\" at byte 0"}, {"a$", E_UNSUPPORTED, "\"$\" at byte 1"},
        {"a.", E_UNSUPPORTED, "\".\" at byte 1"},
        {"[]a]", E_UNSUPPORTED, "\"[]\""}, {"[^]a]", E_UNSUPPORTED, "\"[^]\""}, {"[a[b]]", E_UNSUPPORTED, "\"[\" at byte 2"},
        {"[a&&b]", E_UNSUPPORTED, "\"&&\""}, {"[[:alpha:]]", E_UNSUPPORTED, "\"[\""}, {"(*UTF)a", E_UNSUPPORTED, "\"(*\""},
        {"a{,3}b", E_UNSUPPORTED, "\"{,\""}, {"a{1,3}+b", E_UNSUPPORTED, "\"}+\""}, {"a{1,3}?b", E_UNSUPPORTED, "\"}?\""},
        {"(?i)a", E_UNSUPPORTED, "group at byte 0"}, {"(?m:a)", E_UNSUPPORTED, "group"}, {"(?<n>a)", E_UNSUPPORTED, "group"},
        {"(?", E_UNSUPPORTED, "group"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Err err = {0};
        assert_null(split_new(rows[i].pattern, strlen(rows[i].pattern), &err));
        if (err.kind != rows[i].kind || !strstr(err.text, rows[i].words))
            fail_msg("%s: %s, %s", rows[i].pattern, err_name(err.kind), err.text);
    }
    Err err = {0};
    char *long_pattern = malloc(1 << 17);
    memset(long_pattern, 'a', 1 << 17);
    assert_null(split_new(long_pattern, 1 << 17, &err));
    assert_int_equal(err.kind, E_UNSUPPORTED);
    free(long_pattern);
}

static void a_megabyte_of_anything_is_split(void **unused)
{
    (void)unused;
    enum { N = 1 << 20 };
    static const char *const units[] = {" ", "\n", " \n", "a", "1", "\u3042", "'", "'s", " a", "\u0301", "\u00A0", "!\n", "\r",
        "\t\t \n!"};
    Split *s = make(family);
    char *text = malloc(N);
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit_n = strlen(units[u]), n = 0, start, pieces_n = 0;
        SplitCursor c = {0};
        Err err;
        for (; n + unit_n <= N - 1; n += unit_n)
            memcpy(text + n, units[u], unit_n);
        text[n++] = 'x'; /* so that runs of white space do not end the text */
        clock_t begin = clock();
        for (;; pieces_n++) {
            if (!split_next(s, text, n, &c, &start, &err))
                fail_msg("unit %zu: %s", u, err.text);
            if (start == n)
                break;
        }
        double seconds = (double)(clock() - begin) / CLOCKS_PER_SEC;
        if (seconds > 2)
            fail_msg("unit %zu takes %.1f s for a megabyte", u, seconds);
        assert_true(pieces_n >= 1);
    }
    free(text);
    split_free(s);
}

static void a_pattern_that_explodes_is_stopped(void **unused)
{
    (void)unused;
    Split *s = make("(?:a+)+b|c");
    SplitCursor c = {0};
    size_t start;
    Err err = {0};
    char text[64];
    memset(text, 'a', sizeof text);
    assert_false(split_next(s, text, sizeof text, &c, &start, &err));
    assert_int_equal(err.kind, E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "gives up at byte 0 of 64"));
    split_free(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_falls_into_the_pieces_of_the_pattern),
        cmocka_unit_test(white_space_is_unicodes),
        cmocka_unit_test(patterns_that_cannot_be_followed_are_refused),
        cmocka_unit_test(a_megabyte_of_anything_is_split),
        cmocka_unit_test(a_pattern_that_explodes_is_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
