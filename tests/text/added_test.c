#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#include "core/text/added.h"
#include "core/text/vocab.h"

enum { SPECIAL = 1, WORD = 2, LEFT = 4, RIGHT = 8, TOKENS = 4 };

/* Tokens get the ids 0, 1, …; want lists the pieces: text as it is, tokens as their ids in <>. */
typedef struct Case {
    struct { const char *text; int flags; } tokens[TOKENS];
    bool plain;
    const char *text, *want;
} Case;

static const Case cases[] = {
    {{{"<a>", 0}}, false, "x<a>y<a><a>", "x|<0>|y|<0>|<0>|"},
    {{{"<a>", 0}}, false, "", ""},
    {{{"<a>", 0}}, false, "<a", "<a|"},
    {{{0}}, false, "text", "text|"},
    {{{"ab", 0}, {"abc", 0}, {"b", 0}}, false, "abcabxb", "<1>|<0>|x|<2>|"}, /* the longest at the leftmost place */
    {{{"bcd", 0}, {"ab", 0}}, false, "abcd", "<1>|cd|"},                     /* leftmost before longest */
    {{{"<a>", SPECIAL}, {"<b>", 0}}, true, "<a><b>", "<a>|<1>|"},
    {{{"abc", SPECIAL}, {"ab", 0}}, true, "abcab", "abc|<1>|"}, /* a match passed over hides what lies in it */
    {{{"w", WORD}}, false, "w w1 _w w\u00E9 (w) w", "<0>| w1 _w w\u00E9 (|<0>|) |<0>|"},
    {{{"w", WORD}}, false, "w\u0301 \u2028w\u200D w\u3042", "w\u0301 \u2028w\u200D w\u3042|"},
    {{{"<l>", LEFT}}, false, "a \t\u00A0\n<l> b", "a|<0>| b|"},
    {{{"<r>", RIGHT}}, false, "a <r> \u3000\nb", "a |<0>|b|"},
    {{{"<l>", LEFT}, {"<r>", RIGHT}}, false, "<r>  <l>", "<1>|<0>|"}, /* the spaces go to the first */
    {{{"<r>", RIGHT}, {"<x>", 0}}, false, "<r>  <x>  ", "<0>|<1>|  |"},
    {{{"<b>", LEFT | RIGHT}}, false, "  <b>  ", "<0>|"},
    {{{"<l>", LEFT}}, false, "  <l>", "<0>|"},
    {{{"<r>", RIGHT}, {" ", LEFT}}, false, "<r>  x", "<0>|x|"}, /* nothing is left of a space drawn in before */
    {{{"\u00E9", 0}}, false, "\u00C3\u00E9", "\u00C3|<0>|"},
};

static void pieces_are_those_of_the_table(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const Case *c = &cases[i];
        Err err;
        Added *a = added_new(&err);
        AddedCursor cursor = {0};
        AddedPiece piece;
        Buf got = {0};
        for (uint32_t t = 0; t < TOKENS && c->tokens[t].text; t++) {
            int f = c->tokens[t].flags;
            AddedToken token = {c->tokens[t].text, strlen(c->tokens[t].text), t, f & SPECIAL, f & WORD, f & LEFT, f & RIGHT};
            assert_true(added_add(a, &token, &err));
            assert_int_equal(added_count(a), t + 1);
        }
        while (added_next(a, c->text, strlen(c->text), !c->plain, &cursor, &piece)) {
            char id[16];
            assert_true(piece.end > piece.start);
            assert_true(piece.id == VOCAB_NONE ? buf_append(&got, c->text + piece.start, piece.end - piece.start, &err)
                                               : buf_append(&got, id, (size_t)snprintf(id, sizeof id, "<%u>", piece.id), &err));
            assert_true(buf_append(&got, "|", 1, &err));
        }
        assert_true(buf_append(&got, "", 1, &err));
        if (strcmp(got.data, c->want) != 0)
            fail_msg("case %zu: \"%s\" gives %s, not %s", i, c->text, got.data, c->want);
        buf_deinit(&got);
        added_free(a);
    }
}

static void a_token_comes_once(void **unused)
{
    (void)unused;
    Err err = {0};
    Added *a = added_new(&err);
    assert_true(added_add(a, &(AddedToken){.text = "<a>", .n = 3, .id = 1}, &err));
    assert_true(added_add(a, &(AddedToken){.text = "<b>", .n = 3, .id = 2}, &err));
    assert_false(added_add(a, &(AddedToken){.text = "<a>", .n = 3, .id = 3}, &err));
    assert_int_equal(err.kind, E_FORMAT);
    assert_non_null(strstr(err.text, "added token \"<a>\" comes twice"));
    added_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(pieces_are_those_of_the_table), cmocka_unit_test(a_token_comes_once)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
