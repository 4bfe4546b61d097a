/* Mutated tokenizer.json: prog N [SEED]. A file is either refused with a kind and words, or the tokenizer works: its own decoding of
 * its own ids is valid UTF-8. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/prng.h"
#include "core/text/tokenizer.h"
#include "tests/text/tiny_json.h"

enum { ROOM = 4096 };

/* Whole values first, then fragments. */
static const char *const words[] = {
    "null", "true", "false", "[]", "{}", "\"\"", "0", "-1", "1e9", "4194303", "4194304", "18446744073709551616", "\"NFC\"", "\"NFKC\"",
    "\"Sequence\"", "\"Split\"", "\"ByteLevel\"", "\"BPE\"", "\"Isolated\"", "{\"Regex\": \"\\\\s+|[^\\\\s]+\"}", "{\"type\": \"NFC\"}",
    "{\"type\": \"ByteLevel\"}", "[[\"t\", \"h\"], [\"th\", \"e\"]]", "{\"a\": 0, \"b\": 1}", "\"the\"", "\"\\u0120\"", "\"\\u00e9\"", "260", "97",
    ",", ":", "\"", "\\", "[", "]", "{", "}", "\"type\"", "\"vocab\": {}", "\"merges\": []", "\"model\"", "\\u0000", "\\ud800", "\\ud83d\\ude00",
    "\xFF", "\xED\xA0\x80", "\u0120", "\u0301", "(?:a+)+", "\\\\s*", "[^", "\\\\p{L}", "{1,60000}", "(?<=", "(?i:", "|", "\"t h\", ",
    "[\"t\", \"h\"],", "\"a\": 97,", "\"normalized\": true,", "\"special\": true,", "\"lstrip\": true,", "\"single_word\": true,",
    "\"ignore_merges\": true,",
};
enum { WORDS = sizeof words / sizeof *words, VALUES = 29 };

/* A place to change: the settings at the head and the merges more often than the list of bytes. */
static size_t place(Prng *prng, size_t n)
{
    uint64_t r = prng_next(prng);
    size_t head = sizeof tiny_head - 1 < n ? sizeof tiny_head - 1 : n;
    return r % 4 ? (size_t)(r >> 8) % (head + 1) : (size_t)(r >> 8) % (n + 1);
}

static size_t mutate(Prng *prng, char *s, size_t n)
{
    size_t at = place(prng, n), span = prng_next(prng) % 24;
    const char *word = words[prng_next(prng) % WORDS];
    char copy[64];
    span = span < n - at ? span : n - at;
    switch (prng_next(prng) % 10) {
    case 0:
        if (at < n)
            s[at] = (char)prng_next(prng);
        return n;
    case 1:
        memmove(s + at, s + at + span, n - at - span);
        return n - span;
    case 2: /* a piece of the text moves elsewhere */
        memcpy(copy, s + at, span);
        at = place(prng, n);
        memmove(s + at + span, s + at, n - at);
        memcpy(s + at, copy, span);
        return n + span;
    case 3: case 4: case 5: case 6: { /* a whole value is replaced */
        const char *colon = memchr(s + at, ':', n - at), *end = colon ? memchr(colon, ',', n - (size_t)(colon - s)) : NULL;
        if (!end)
            return n;
        at = (size_t)(colon - s) + 1;
        word = words[prng_next(prng) % VALUES];
        span = (size_t)(end - s) - at;
        break;
    }
    case 7: /* a letter or digit becomes its neighbour */
        for (; at < n && !(s[at] >= '0' && s[at] <= '8') && !(s[at] >= 'a' && s[at] < 'z'); at++)
            ;
        if (at < n)
            s[at]++;
        return n;
    case 8: span = 0; break;
    default: break;
    }
    memmove(s + at + strlen(word), s + at + span, n - at - span);
    memcpy(s + at, word, strlen(word));
    return n - span + strlen(word);
}

static void use(Tokenizer *t)
{
    static const char text[] = " the <s>he<tool> \u1112\u1161 e\u0301 word <pad>\n\n  <\u00E9>42!";
    Buf ids = {0}, back = {0};
    Err err = {0};
    for (int special = 0; special < 2; special++) {
        ids.n = back.n = 0;
        if (tokenizer_encode(t, text, sizeof text - 1, special ? TOKENIZER_SPECIAL : TOKENIZER_PLAIN, &ids, &err)) {
            if (!tokenizer_decode(t, (uint32_t *)(void *)ids.data, ids.n / 4, TOKENIZER_SHOW_ALL, &back, &err))
                abort();
            if (back.n && utf8_check(back.data, back.n) != back.n)
                abort();
        } else if (err.kind != E_MISSING && err.kind != E_UNSUPPORTED) {
            abort();
        }
    }
    buf_deinit(&ids);
    buf_deinit(&back);
}

int main(int argc, char **argv)
{
    uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 20000, seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1, good = 0;
    char *base = tiny_json();
    size_t base_n = strlen(base);
    char *s = malloc(base_n + ROOM);
    Prng prng = {seed};
    for (uint64_t i = 0; i < n; i++) {
        size_t len = base_n;
        memcpy(s, base, base_n);
        for (uint64_t k = 1 + prng_next(&prng) % 3 * (prng_next(&prng) % 2); k > 0 && len + 256 < base_n + ROOM; k--)
            len = mutate(&prng, s, len);
        char *exact = malloc(len ? len : 1); /* so that a read behind the end is one behind a block */
        memcpy(exact, s, len);
        Err err = {0};
        Tokenizer *t = tokenizer_parse(exact, len, &err);
        free(exact);
        if (t) {
            good++;
            use(t);
        } else if (err.kind == E_NONE || err.text[0] == 0) {
            printf("not ok 1 - tokenizer_read: execution %" PRIu64 ", seed %" PRIu64 " fails without words\n", i, seed);
            return 1;
        }
        tokenizer_close(t);
    }
    free(s);
    free(base);
    printf("# %" PRIu64 " of the files were good\n", good);
    printf("ok 1 - tokenizer_read: %" PRIu64 " executions, seed %" PRIu64 "\n", n, seed);
    return 0;
}
