#include "tests/test.h"

#include <stdio.h>
#include <string.h>

#include "core/text/vocab.h"

/* Each byte has one character of its own, printable Latin-1 bytes are themselves, the others follow U+0100 in order. */
static void the_alphabet_is_a_bijection(void **unused)
{
    (void)unused;
    uint32_t next = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xFF && b != 0xAD);
        uint32_t want = printable ? b : next++;
        assert_int_equal(vocab_char_of_byte((uint8_t)b), want);
        assert_int_equal(vocab_byte_of_char(want), b);
    }
    assert_int_equal(vocab_char_of_byte(' '), 0x120); /* Ġ */
    for (uint32_t cp = 0; cp < 0x110000; cp++) {
        int byte = vocab_byte_of_char(cp);
        if (byte >= 0 && vocab_char_of_byte((uint8_t)byte) != cp)
            fail_msg("U+%04X stands for byte %02x, which is another character's", cp, (unsigned)byte);
    }
}

static void tokens_are_found_by_text_and_id(void **unused)
{
    (void)unused;
    enum { N = 20000 };
    Err err;
    Vocab *v = vocab_new(&err);
    char text[32];
    size_t n;
    for (uint32_t i = 0; i < N; i++)
        assert_true(vocab_add(v, text, (size_t)snprintf(text, sizeof text, "t%u", i), (int64_t)(i * 7 % N), &err));
    assert_int_equal(vocab_size(v), N);
    assert_int_equal(vocab_id_end(v), N);
    for (uint32_t i = 0; i < N; i++) {
        size_t want = (size_t)snprintf(text, sizeof text, "t%u", i);
        assert_int_equal(vocab_find(v, text, want), i * 7 % N);
        assert_memory_equal(vocab_text(v, i * 7 % N, &n), text, want);
        assert_int_equal(n, want);
    }
    assert_int_equal(vocab_find(v, "t20000", 6), VOCAB_NONE);
    assert_int_equal(vocab_find(v, "t1", 1), VOCAB_NONE);
    assert_null(vocab_text(v, N, &n));
    assert_null(vocab_bytes(v, UINT32_MAX, &n));
    vocab_free(v);
}

static void texts_stand_for_bytes(void **unused)
{
    (void)unused;
    static const struct { const char *text, *bytes; } rows[] = {
        {"\xC4\xA0the", " the"}, {"\xC4\x8A", "\n"}, {"\xC3\xA9", "\xE9"}, {"<|x|>", "<|x|>"}, {"", ""},
        {"\xC4\xA0 x", "\xC4\xA0 x"},       /* a space is no character of the alphabet: the text itself */
        {"\xE6\x9D\xB1", "\xE6\x9D\xB1"},
    };
    Err err;
    Vocab *v = vocab_new(&err);
    for (uint32_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        size_t n;
        assert_true(vocab_add(v, rows[i].text, strlen(rows[i].text), i * 100, &err));
        const char *bytes = vocab_bytes(v, i * 100, &n);
        assert_non_null(bytes);
        assert_int_equal(n, strlen(rows[i].bytes));
        assert_memory_equal(bytes, rows[i].bytes, n);
        assert_null(vocab_bytes(v, i * 100 + 1, &n));
    }
    vocab_free(v);
}

static void conflicts_are_refused(void **unused)
{
    (void)unused;
    static const struct { const char *text; int64_t id; ErrKind kind; const char *words; } rows[] = {
        {"a", 0, E_NONE, ""},
        {"a", 1, E_FORMAT, "token \"a\" has two ids, 0 and 1"},
        {"b", 0, E_FORMAT, "id 0 belongs to two tokens, \"a\" and \"b\""},
        {"b", -1, E_VALUE, "token \"b\" has an id below 0"},
        {"b", (int64_t)VOCAB_ID_MAX + 1, E_VALUE, "has an id above the largest; ids go from 0"},
        {"b", INT64_MIN, E_VALUE, "ids go from 0"},
    };
    Err err;
    Vocab *v = vocab_new(&err);
    assert_true(vocab_add(v, "a", 1, 0, &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err = (Err){0};
        assert_int_equal(vocab_add(v, rows[i].text, 1, rows[i].id, &err), rows[i].kind == E_NONE);
        assert_int_equal(err.kind, rows[i].kind);
        if (!strstr(err.text, rows[i].words))
            fail_msg("row %zu says \"%s\"", i, err.text);
    }
    assert_int_equal(vocab_size(v), 1);
    vocab_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_alphabet_is_a_bijection),
        cmocka_unit_test(tokens_are_found_by_text_and_id),
        cmocka_unit_test(texts_stand_for_bytes),
        cmocka_unit_test(conflicts_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
