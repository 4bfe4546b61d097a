#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/base/prng.h"
#include "core/text/bpe.h"
#include "core/text/utf8.h"

enum { MERGES_MAX = 400, TOKEN_MAX = 64 };

/* A vocabulary of all bytes and random merges over a few letters, kept as plain lists for the definition below. */
typedef struct Model {
    Vocab *vocab;
    Bpe *bpe;
    size_t merges_n;
    uint32_t left[MERGES_MAX], right[MERGES_MAX], made[MERGES_MAX];
} Model;

static void model_open(Model *m, Prng *prng, size_t merges_n, int letters)
{
    Err err;
    char text[256 + MERGES_MAX][TOKEN_MAX];
    uint32_t tokens_n = 256, alphabet[26];
    m->vocab = vocab_new(&err);
    m->merges_n = 0;
    for (uint32_t b = 0; b < 256; b++) {
        size_t n = utf8_put(vocab_char_of_byte((uint8_t)b), text[b]);
        text[b][n] = 0;
        assert_true(vocab_add(m->vocab, text[b], n, b, &err));
    }
    for (int i = 0; i < letters; i++)
        alphabet[i] = (uint32_t)('a' + i);
    while (m->merges_n < merges_n) {
        char both[2 * TOKEN_MAX];
        uint32_t parts[2];
        for (int i = 0; i < 2; i++) {
            uint64_t r = prng_next(prng);
            parts[i] = tokens_n == 256 || r % 2 ? alphabet[(r >> 8) % (uint64_t)letters]
                : 256 + (uint32_t)((r >> 8) % (tokens_n - 256));
        }
        size_t n = (size_t)snprintf(both, sizeof both, "%s%s", text[parts[0]], text[parts[1]]);
        if (n >= TOKEN_MAX)
            continue;
        uint32_t id = vocab_find(m->vocab, both, n);
        if (id == VOCAB_NONE) {
            id = tokens_n++;
            assert_true(vocab_add(m->vocab, both, n, id, &err));
            memcpy(text[id], both, n + 1);
        }
        size_t k = m->merges_n++;
        m->left[k] = parts[0];
        m->right[k] = parts[1];
        m->made[k] = id;
    }
    m->bpe = bpe_new(m->vocab, merges_n, &err);
    for (size_t k = 0; k < merges_n; k++)
        assert_true(bpe_add(m->bpe, text[m->left[k]], strlen(text[m->left[k]]), text[m->right[k]], strlen(text[m->right[k]]),
                            &err));
}

static void model_close(Model *m)
{
    bpe_free(m->bpe);
    vocab_free(m->vocab);
}

/* The definition: look for the neighbours of lowest rank, the leftmost of them, join them, begin again. A pair listed twice has
 * its last rank. */
static size_t definition(const Model *m, const char *word, size_t n, uint32_t *ids)
{
    for (size_t i = 0; i < n; i++)
        ids[i] = (uint8_t)word[i];
    for (;;) {
        size_t best = SIZE_MAX, best_at = 0;
        for (size_t i = 0; i + 1 < n; i++)
            for (size_t k = m->merges_n; k-- > 0;)
                if (m->left[k] == ids[i] && m->right[k] == ids[i + 1]) {
                    if (k < best) {
                        best = k;
                        best_at = i;
                    }
                    break;
                }
        if (best == SIZE_MAX)
            return n;
        ids[best_at] = m->made[best];
        memmove(ids + best_at + 1, ids + best_at + 2, (n - best_at - 2) * sizeof *ids);
        n--;
    }
}

static void words_merge_as_defined(void **unused)
{
    (void)unused;
    Prng prng = {11};
    BpeWork work = {0};
    Buf ids = {0};
    Err err;
    for (int round = 0; round < 60; round++) {
        Model m;
        int letters = 1 + round % 5;
        model_open(&m, &prng, 1 + prng_next(&prng) % (round < 30 ? 12 : MERGES_MAX), letters);
        for (int w = 0; w < 100; w++) {
            char word[48];
            uint32_t want[48];
            size_t n = prng_next(&prng) % sizeof word;
            for (size_t i = 0; i < n; i++) {
                uint64_t r = prng_next(&prng);
                word[i] = (char)(r % 40 ? 'a' + (r >> 8) % (uint64_t)letters : (r >> 8) & 0xFF);
            }
            size_t want_n = definition(&m, word, n, want);
            ids.n = 0;
            assert_true(bpe_word(m.bpe, word, n, &work, &ids, &err));
            if (ids.n != want_n * sizeof *want || memcmp(ids.data ? ids.data : "", want, ids.n) != 0)
                fail_msg("round %d: \"%.*s\" gives %zu ids, not these %zu", round, (int)n, word, ids.n / sizeof *want, want_n);
        }
        model_close(&m);
    }
    buf_deinit(&ids);
    bpe_work_deinit(&work);
}

static void a_megabyte_without_a_break_merges(void **unused)
{
    (void)unused;
    enum { N = 1 << 20 };
    Prng prng = {5};
    Model m;
    BpeWork work = {0};
    Buf ids = {0};
    Err err;
    char *word = malloc(N);
    for (int letters = 1; letters <= 3; letters++) {
        model_open(&m, &prng, MERGES_MAX, letters);
        for (size_t i = 0; i < N; i++)
            word[i] = (char)('a' + prng_next(&prng) % (uint64_t)letters);
        ids.n = 0;
        clock_t start = clock();
        assert_true(bpe_word(m.bpe, word, N, &work, &ids, &err));
        double seconds = (double)(clock() - start) / CLOCKS_PER_SEC;
        if (seconds > 5) /* a quadratic algorithm takes hours */
            fail_msg("%d letters: %.1f s", letters, seconds);
        size_t bytes = 0;
        for (size_t i = 0; i < ids.n / sizeof(uint32_t); i++) {
            size_t n;
            const char *piece = vocab_bytes(m.vocab, ((uint32_t *)(void *)ids.data)[i], &n);
            assert_memory_equal(piece, word + bytes, n);
            bytes += n;
        }
        assert_int_equal(bytes, N);
        model_close(&m);
    }
    free(word);
    buf_deinit(&ids);
    bpe_work_deinit(&work);
}

static void merges_need_their_tokens(void **unused)
{
    (void)unused;
    static const struct { const char *left, *right, *words; } rows[] = {
        {"x", "b", "it needs token \"x\""}, {"a", "x", "needs token \"x\""}, {"b", "a", "needs token \"ba\""}, {"", "x", "needs token \"\""},
    };
    Err err;
    Vocab *v = vocab_new(&err);
    assert_true(vocab_add(v, "a", 1, 0, &err) && vocab_add(v, "b", 1, 1, &err) && vocab_add(v, "ab", 2, 2, &err));
    Bpe *b = bpe_new(v, 5, &err);
    assert_true(bpe_add(b, "a", 1, "b", 1, &err));
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        err = (Err){0};
        assert_false(bpe_add(b, rows[i].left, strlen(rows[i].left), rows[i].right, strlen(rows[i].right), &err));
        if (err.kind != E_FORMAT || !strstr(err.text, rows[i].words))
            fail_msg("row %zu says \"%s\"", i, err.text);
    }
    BpeWork work = {0};
    Buf ids = {0};
    assert_false(bpe_word(b, "abc", 3, &work, &ids, &err));
    assert_int_equal(err.kind, E_MISSING);
    assert_non_null(strstr(err.text, "0x63"));
    assert_int_equal(bpe_byte(b, 'a'), 0);
    assert_int_equal(bpe_byte(b, 'c'), VOCAB_NONE);
    buf_deinit(&ids);
    bpe_work_deinit(&work);
    bpe_free(b);
    vocab_free(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_merge_as_defined),
        cmocka_unit_test(a_megabyte_without_a_break_merges),
        cmocka_unit_test(merges_need_their_tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
