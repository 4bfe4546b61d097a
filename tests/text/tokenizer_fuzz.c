/* Random texts and ids: prog N [SEED]. Bytes that are not UTF-8 are refused at the right offset; valid text comes back in form C;
 * ids give valid UTF-8, the same at once and as a stream. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/prng.h"
#include "core/text/nfc.h"
#include "core/text/tokenizer.h"
#include "tests/text/tiny_json.h"

enum { TEXT_MAX = 200, IDS_MAX = 40 };

static const char *const words[] = {"the", " the", "he", "<s>", "<tool>", "<e\u0301>", "<\u00E9>", "word", " word ", "<pad>", "  ", "\n", "\u1112\u1161\u11AB",
                                    "e\u0301\u0323", "\u0338", "\u6771", "\U0001F642", "\xE2\x82", "\xF0\x9F", "\xED\xA0\x80", "\xC3", "'s", "42", "\u180E", "\u00A0"};

static size_t random_text(Prng *prng, char *s)
{
    size_t n = 0, want = prng_next(prng) % TEXT_MAX;
    bool is_wild = prng_next(prng) % 2;
    while (n < want) {
        uint64_t r = prng_next(prng);
        const char *word = words[(r >> 8) % (sizeof words / sizeof *words)];
        if (r % 3 == 0 && (is_wild || utf8_check(word, strlen(word)) == strlen(word))) {
            memcpy(s + n, word, strlen(word));
            n += strlen(word);
        } else if (is_wild && r % 3 == 1) {
            s[n++] = (char)(r >> 16);
        } else {
            uint32_t cp = (uint32_t)(r >> 16) % (r % 5 ? 0x250 : 0x30000);
            n += utf8_put(cp >= 0xD800 && cp <= 0xDFFF ? 'x' : cp, s + n);
        }
    }
    return n;
}

/* Appends text in form C. */
static void normalized(const Buf *text, Buf *out)
{
    Err err;
    out->n = 0;
    if (text->n && !nfc_append(text->data, text->n, out, &err))
        abort();
}

static bool same(const Buf *a, const Buf *b)
{
    return a->n == b->n && (a->n == 0 || memcmp(a->data, b->data, a->n) == 0);
}

typedef struct Work {
    Buf text, ids, back, want, got;
} Work;

static bool check_text(Tokenizer *t, Work *w)
{
    Err err = {0};
    w->ids.n = w->back.n = 0;
    size_t good = utf8_check(w->text.data, w->text.n);
    if (!tokenizer_encode(t, w->text.data, w->text.n, TOKENIZER_PLAIN, &w->ids, &err)) {
        char words_of_offset[48];
        snprintf(words_of_offset, sizeof words_of_offset, "not UTF-8 at byte %zu (", good);
        return good < w->text.n && err.kind == E_VALUE && strstr(err.text, words_of_offset);
    }
    if (good < w->text.n || !tokenizer_decode(t, (uint32_t *)(void *)w->ids.data, w->ids.n / 4, TOKENIZER_SHOW_ALL, &w->back, &err))
        return false;
    /* Compared in form C: an added token may spell its own content otherwise, and form C reaches over the ends of tokens. */
    normalized(&w->text, &w->want);
    normalized(&w->back, &w->got);
    w->ids.n = 0;
    return same(&w->want, &w->got) && tokenizer_encode(t, w->text.data, w->text.n, TOKENIZER_SPECIAL, &w->ids, &err);
}

static bool check_ids(Tokenizer *t, Prng *prng, Work *w)
{
    uint32_t ids[IDS_MAX];
    size_t n = prng_next(prng) % IDS_MAX;
    Err err = {0};
    TokenizerStream s = {0};
    TokenizerShow show = prng_next(prng) % 2 ? TOKENIZER_SHOW_ALL : TOKENIZER_SKIP_SPECIAL;
    bool all_known = true;
    for (size_t i = 0; i < n; i++) {
        uint64_t r = prng_next(prng);
        ids[i] = r % 2 ? 0x80 + (uint32_t)(r >> 8) % 0x80 : (uint32_t)(r >> 8) % (r % 100 ? 265 : 300);
        all_known = all_known && ids[i] < 265;
    }
    w->want.n = w->got.n = 0;
    if (tokenizer_decode(t, ids, n, show, &w->want, &err) != all_known)
        return false;
    if (!all_known)
        return err.kind == E_VALUE;
    for (size_t i = 0; i < n; i++) {
        if (!tokenizer_stream_put(t, &s, ids[i], show, &w->got, &err))
            return false;
        if (w->got.n && utf8_check(w->got.data, w->got.n) != w->got.n)
            return false;
    }
    return tokenizer_stream_flush(&s, &w->got, &err) && same(&w->want, &w->got);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    char *json = tiny_json(), s[TEXT_MAX + 16];
    Err err;
    Tokenizer *t = tokenizer_parse(json, strlen(json), &err);
    assert(t);
    free(json);
    Prng prng = {seed};
    for (uint64_t i = 0; i < n; i++) {
        Work w = {0}; /* fresh, so that a text ends where its block ends */
        size_t len = random_text(&prng, s);
        w.text.data = malloc(len ? len : 1);
        memcpy(w.text.data, s, len);
        w.text.n = w.text.cap = len;
        bool ok = check_text(t, &w) && check_ids(t, &prng, &w);
        buf_deinit(&w.text);
        buf_deinit(&w.ids);
        buf_deinit(&w.back);
        buf_deinit(&w.want);
        buf_deinit(&w.got);
        if (!ok) {
            printf("not ok 1 - tokenizer: execution %" PRIu64 ", seed %" PRIu64 "\n", i, seed);
            return 1;
        }
    }
    tokenizer_close(t);
    printf("ok 1 - tokenizer: %" PRIu64 " executions, seed %" PRIu64 "\n", n, seed);
    return 0;
}
