#include "tests/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "core/base/prng.h"
#include "core/text/tokenizer.h"
#include "tests/text/tiny_json.h"

static double seconds_since(clock_t start)
{
    return (double)(clock() - start) / CLOCKS_PER_SEC;
}

static Tokenizer *tiny(void)
{
    Err err;
    char *json = tiny_json();
    Tokenizer *t = tokenizer_parse(json, strlen(json), &err);
    if (!t)
        fail_msg("%s", err.text);
    free(json);
    return t;
}

/* The base with the first `from` replaced by `to`; the caller frees it. */
static char *changed(const char *from, const char *to)
{
    char *json = tiny_json(), *at = strstr(json, from);
    if (!at)
        fail_msg("the base holds no %s", from);
    size_t head = (size_t)(at - json), n = strlen(json) - strlen(from) + strlen(to);
    char *out = malloc(n + 1);
    memcpy(out, json, head);
    snprintf(out + head, n + 1 - head, "%s%s", to, at + strlen(from));
    free(json);
    return out;
}

static void encode_list(Tokenizer *t, const char *text, TokenizerSpecial special, char *list, size_t list_n)
{
    Buf ids = {0};
    Err err;
    size_t at = 0;
    if (!tokenizer_encode(t, text, strlen(text), special, &ids, &err))
        fail_msg("\"%s\": %s", text, err.text);
    list[0] = 0;
    for (size_t i = 0; i < ids.n / sizeof(uint32_t); i++)
        at += (size_t)snprintf(list + at, list_n - at, "%u ", ((uint32_t *)(void *)ids.data)[i]);
    buf_deinit(&ids);
}

static void text_becomes_the_ids_of_the_file(void **unused)
{
    (void)unused;
    static const struct { const char *text; TokenizerSpecial special; const char *want; } rows[] = {
        {"the the", TOKENIZER_SPECIAL, "258 259 "},
        {"he hthe", TOKENIZER_SPECIAL, "257 32 104 258 "},
        {"<s>the<tool>", TOKENIZER_SPECIAL, "260 258 261 "},
        {"<s>the<tool>", TOKENIZER_PLAIN, "60 115 62 258 261 "},
        {"<\u00E9><e\u0301>", TOKENIZER_SPECIAL, "262 262 "}, /* normalized: found in either spelling */
        {"word words", TOKENIZER_SPECIAL, "263 32 119 111 114 100 115 "},
        {"a  <pad> \n b", TOKENIZER_SPECIAL, "97 264 98 "},
        {"e\u0301", TOKENIZER_SPECIAL, "195 169 "},
        {"", TOKENIZER_SPECIAL, ""},
    };
    Tokenizer *t = tiny();
    char list[200];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        encode_list(t, rows[i].text, rows[i].special, list, sizeof list);
        if (strcmp(list, rows[i].want) != 0)
            fail_msg("row %zu: \"%s\" gives %s, not %s", i, rows[i].text, list, rows[i].want);
    }
    assert_int_equal(tokenizer_size(t), 265);
    assert_int_equal(tokenizer_id(t, "<s>", 3), 260);
    assert_int_equal(tokenizer_id(t, "<S>", 3), -1);
    assert_true(tokenizer_is_special(t, 260) && tokenizer_is_special(t, 264) && !tokenizer_is_special(t, 261));
    assert_false(tokenizer_is_special(t, 97) || tokenizer_is_special(t, UINT32_MAX));
    tokenizer_close(t);
}

/* Settings that are valid and change nothing, or what they say. */
static void other_ways_to_write_a_file(void **unused)
{
    (void)unused;
    static const struct { const char *from, *to, *text, *want; } rows[] = {
        {"[\"t\", \"h\"]", "\"t h\"", "the", "258 "},
        {"\"ignore_merges\": false", "\"ignore_merges\": true", "he the", "257 259 "},
        {"\"normalizer\": {\"type\": \"NFC\"}", "\"normalizer\": null", "e\u0301", "101 204 129 "},
        {"{\"type\": \"NFC\"}", "{\"type\": \"Sequence\", \"normalizers\": [{\"type\": \"NFC\"}]}", "e\u0301", "195 169 "},
        {"\"post_processor\": null", "\"post_processor\": {\"type\": \"ByteLevel\"}", "a", "97 "},
        {"\"truncation\": null", "\"truncation\": {\"max_length\": 1}", "ab", "97 98 "},
        {"\"dropout\": null", "\"dropout\": 0.0", "the", "258 "},
        {"\"unk_token\": null", "\"unk_token\": \"<s>\"", "the", "258 "},
        {"\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"\"", "the", "258 "},
        /* without the flag, special tokens are not normalized and the others are */
        {"\"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false",
         "\"<e\u0301s>\"", "<\u00E9s><e\u0301s>", "60 195 169 115 62 260 "},
        {"\"<tool>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false",
         "\"<e\u0301t>\"", "<\u00E9t><e\u0301t>", "261 261 "},
        {"[\"\u0120\", \"the\"]", "[\"\u0120\", \"the\"], [\"t\", \"h\"]", "the", "116 257 "}, /* the last rank of a pair counts */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *json = changed(rows[i].from, rows[i].to), list[200];
        Err err;
        Tokenizer *t = tokenizer_parse(json, strlen(json), &err);
        if (!t)
            fail_msg("row %zu: %s", i, err.text);
        encode_list(t, rows[i].text, TOKENIZER_SPECIAL, list, sizeof list);
        if (strcmp(list, rows[i].want) != 0)
            fail_msg("row %zu: \"%s\" gives %s, not %s", i, rows[i].text, list, rows[i].want);
        tokenizer_close(t);
        free(json);
    }
}

/* With ignore_merges a word is looked up whole in the model's vocabulary; "word" is there as an added token only, and as such it
 * must stand alone. */
static void whole_words_are_the_models_own(void **unused)
{
    (void)unused;
    char *json = changed("\"ignore_merges\": false", "\"ignore_merges\": true"), list[200];
    Err err;
    Tokenizer *t = tokenizer_parse(json, strlen(json), &err);
    assert_non_null(t);
    encode_list(t, "1word1 word", TOKENIZER_SPECIAL, list, sizeof list);
    assert_string_equal(list, "49 119 111 114 100 49 32 263 ");
    tokenizer_close(t);
    free(json);
}

static const struct { const char *name, *from, *to; ErrKind kind; const char *words; } breakages[] = {
    {"cut", "{\"version\"", "{\"version", E_FORMAT, "not JSON: byte 12: expected ':' behind a key"},
    {"a list", "{\"version\": \"1.0\",", "[] {", E_FORMAT, "not JSON: byte 0: expected an object, found '['"},
    {"not UTF-8", "<tool>", "<\xFF>", E_FORMAT, "expected UTF-8, found byte 0xff"},
    {"key twice", "\"truncation\": null", "\"version\": null", E_FORMAT, "duplicate"},
    {"no model", "\"model\"", "\"modell\"", E_MISSING, "model: expected an object, found nothing"},
    {"model a list", "\"model\": {", "\"model\": [], \"x\": {", E_FORMAT, "model: expected an object, found a list"},
    {"WordPiece", "\"type\": \"BPE\"", "\"type\": \"WordPiece\"", E_UNSUPPORTED, "model \"WordPiece\" is not known; known is BPE"},
    {"no model type", "\"type\": \"BPE\"", "\"typ\": \"BPE\"", E_UNSUPPORTED, "model \"(no type)\""},
    {"no vocab", "\"vocab\"", "\"vocabulary\"", E_MISSING, "model: expected a vocab, found none"},
    {"id a text", "\"th\": 256", "\"th\": \"256\"", E_FORMAT, "expected an id, found '\"'"},
    {"id a fraction", "\"th\": 256", "\"th\": 256.5", E_FORMAT, "expected a whole number, found '.'"},
    {"id negative", "\"th\": 256", "\"th\": -1", E_FORMAT, "expected an id, found '-'"},
    {"id huge", "\"th\": 256", "\"th\": 4294967296", E_VALUE, "token \"th\" has an id above"},
    {"id twice", "\"th\": 256", "\"th\": 65", E_FORMAT, "id 65 belongs to two tokens, \"A\" and \"th\""},
    {"token twice", "\"th\": 256", "\"A\": 256", E_FORMAT, "token \"A\" has two ids, 65 and 256"},
    {"no merges", "\"merges\"", "\"mergers\"", E_MISSING, "model: expected merges, found none"},
    {"merge a number", "[\"t\", \"h\"]", "7", E_FORMAT, "expected a merge, \"left right\" or [left, right], found '7'"},
    {"merge of three", "[\"t\", \"h\"]", "[\"t\", \"h\", \"e\"]", E_FORMAT, "expected ']' behind two tokens, found ','"},
    {"merge of numbers", "[\"t\", \"h\"]", "[1, 2]", E_FORMAT, "merge 0: merges: byte"},
    {"merge without space", "[\"t\", \"h\"]", "\"th\"", E_FORMAT, "expected two tokens with a space between, found \"th\""},
    {"merge with two spaces", "[\"t\", \"h\"]", "\"t h e\"", E_FORMAT, "expected two tokens with a space between"},
    {"merge of an unknown token", "[\"th\", \"e\"]", "[\"tx\", \"e\"]", E_FORMAT, "merge 2: it needs token \"tx\""},
    {"merge into an unknown token", "[\"th\", \"e\"]", "[\"th\", \"h\"]", E_FORMAT, "it needs token \"thh\""},
    {"dropout", "\"dropout\": null", "\"dropout\": 0.1", E_UNSUPPORTED, "model: dropout is set"},
    {"prefix", "\"continuing_subword_prefix\": null", "\"continuing_subword_prefix\": \"##\"", E_UNSUPPORTED, "continuing_subword_prefix is set"},
    {"suffix", "\"end_of_word_suffix\": null", "\"end_of_word_suffix\": \"</w>\"", E_UNSUPPORTED, "end_of_word_suffix is set"},
    {"byte fallback", "\"byte_fallback\": false", "\"byte_fallback\": true", E_UNSUPPORTED, "BPE byte_fallback is on"},
    {"flag a number", "\"ignore_merges\": false", "\"ignore_merges\": 0", E_FORMAT, "ignore_merges: expected true or false, found an integer"},
    {"NFKC", "{\"type\": \"NFC\"}", "{\"type\": \"NFKC\"}", E_UNSUPPORTED, "normalizer \"NFKC\" is not known; known is NFC"},
    {"normalizer a text", "{\"type\": \"NFC\"}", "\"NFC\"", E_FORMAT, "normalizer: expected an object, found a string"},
    {"sequence without list", "\"pretokenizers\"", "\"list\"", E_FORMAT, "pre_tokenizer: pretokenizers: expected a list, found nothing"},
    {"Whitespace", "{\"type\": \"Split\"", "{\"type\": \"Whitespace\"}, {\"type\": \"Split\"", E_UNSUPPORTED, "pre-tokenizer \"Whitespace\" is not known"},
    {"no Split", "{\"type\": \"Split\"", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"use_regex\": false, \"x\": \"\"", E_UNSUPPORTED, "found no Split"},
    {"no ByteLevel", "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}",
     "{\"type\": \"Sequence\", \"pretokenizers\": []}", E_UNSUPPORTED, "found no ByteLevel"},
    {"two Splits", "[{\"type\": \"Split\"", "[{\"type\": \"Split\", \"pattern\": {\"Regex\": \"a\"}, \"behavior\": \"Isolated\"}, {\"type\": \"Split\"",
     E_UNSUPPORTED, "more than one Split"},
    {"Removed", "\"Isolated\"", "\"Removed\"", E_UNSUPPORTED, "Split behavior \"Removed\" is not known; known is Isolated"},
    {"inverted", "\"invert\": false", "\"invert\": true", E_UNSUPPORTED, "Split invert is on"},
    {"plain pattern", "{\"Regex\"", "{\"String\"", E_UNSUPPORTED, "Split pattern: expected {\"Regex\": text}"},
    {"bad pattern", " ?\\\\p{L}+|", " ?\\\\p{L}+|(", E_FORMAT, "not a regular expression"},
    {"word class", " ?\\\\p{L}+|", "\\\\w+|", E_UNSUPPORTED, "the pattern's escape at byte 0"},
    {"prefix space", "\"add_prefix_space\": false", "\"add_prefix_space\": true", E_UNSUPPORTED, "ByteLevel add_prefix_space is on"},
    {"second pattern", "\"use_regex\": false", "\"use_regex\": true", E_UNSUPPORTED, "ByteLevel use_regex is on"},
    {"no decoder", "\"decoder\": {\"type\": \"ByteLevel\"}", "\"decoder\": null", E_UNSUPPORTED, "decoder: expected ByteLevel, found none"},
    {"decoder", "\"decoder\": {\"type\": \"ByteLevel\"}", "\"decoder\": {\"type\": \"Metaspace\"}", E_UNSUPPORTED, "decoder \"Metaspace\" is not known"},
    {"template", "\"post_processor\": null", "\"post_processor\": {\"type\": \"TemplateProcessing\"}", E_UNSUPPORTED, "post-processor \"TemplateProcessing\""},
    {"added an object", "\"added_tokens\": [", "\"added_tokens\": {}, \"x\": [", E_FORMAT, "added_tokens: expected a list, found an object"},
    {"added without id", "{\"id\": 261, ", "{", E_FORMAT, "added_tokens: item 1: expected an object with an id, found nothing"},
    {"added a text", "\"added_tokens\": [", "\"added_tokens\": [\"<a>\", ", E_FORMAT, "item 0: expected an object with an id, found a string"},
    {"added without content", "\"content\": \"<tool>\", ", "", E_FORMAT, "added_tokens: item 1: content: expected a text, found nothing"},
    {"added empty", "\"<tool>\"", "\"\"", E_FORMAT, "content: expected a text, found an empty one"},
    {"added twice", "\"<tool>\"", "\"<s>\"", E_FORMAT, "token \"<s>\" has two ids, 260 and 261"},
    {"added on a token", "\"id\": 261", "\"id\": 258", E_FORMAT, "id 258 belongs to two tokens, \"the\" and \"<tool>\""},
    {"added alike when normalized", "\"<tool>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false",
     "\"<\u00E9>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": true", E_FORMAT, "comes twice"},
    {"added flag", "\"special\": true", "\"special\": 1", E_FORMAT, "special: expected true or false, found an integer"},
};

static void broken_files_say_what_is_broken(void **unused)
{
    (void)unused;
    for (size_t i = 0; i < sizeof breakages / sizeof *breakages; i++) {
        char *json = changed(breakages[i].from, breakages[i].to);
        Err err = {0};
        Tokenizer *t = tokenizer_parse(json, strlen(json), &err);
        if (t || err.kind != breakages[i].kind || !strstr(err.text, breakages[i].words))
            fail_msg("%s: %s, %s", breakages[i].name, err_name(err.kind), err.text);
        tokenizer_close(t);
        free(json);
    }
}

static void every_truncation_is_refused(void **unused)
{
    (void)unused;
    char *json = tiny_json();
    size_t n = strlen(json);
    for (size_t cut = 0; cut < n; cut++) {
        Err err = {0};
        assert_null(tokenizer_parse(json, cut, &err));
        assert_int_equal(err.kind, E_FORMAT);
    }
    free(json);
}

static void bad_input_is_refused(void **unused)
{
    (void)unused;
    static const struct { const char *text; size_t n, at; } rows[] = {
        {"abc\xFF", 4, 3}, {"\xC3", 1, 0}, {"a\xC3\xA9\xE2\x82", 5, 3}, {"\xED\xA0\x80", 3, 0}, {"\xC0\x80", 2, 0}, {"<s>\xF5", 4, 3},
    };
    Tokenizer *t = tiny();
    Buf out = {0};
    Err err = {0};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char want[40];
        snprintf(want, sizeof want, "not UTF-8 at byte %zu (0x%02x)", rows[i].at, (unsigned)(uint8_t)rows[i].text[rows[i].at]);
        assert_false(tokenizer_encode(t, rows[i].text, rows[i].n, TOKENIZER_SPECIAL, &out, &err));
        assert_int_equal(err.kind, E_VALUE);
        if (!strstr(err.text, want))
            fail_msg("row %zu says \"%s\"", i, err.text);
        assert_int_equal(out.n, 0);
    }
    assert_false(tokenizer_decode(t, (uint32_t[]){97, 265}, 2, TOKENIZER_SHOW_ALL, &out, &err));
    assert_int_equal(err.kind, E_VALUE);
    assert_string_equal(err.text, "position 1: id 265 belongs to no token; the largest is 264");
    TokenizerStream s = {0};
    assert_true(tokenizer_stream_put(t, &s, 0xC3, TOKENIZER_SHOW_ALL, &out, &err));
    assert_false(tokenizer_stream_put(t, &s, UINT32_MAX, TOKENIZER_SHOW_ALL, &out, &err));
    assert_true(tokenizer_stream_put(t, &s, 0xA9, TOKENIZER_SHOW_ALL, &out, &err)); /* the failed put changed nothing */
    assert_int_equal(out.n, 2);
    assert_memory_equal(out.data, "\u00E9", 2);
    buf_deinit(&out);
    tokenizer_close(t);
}

/* All ids at once, and one by one with flushes held to the end: the same text, and each piece whole characters. */
static void a_stream_gives_what_decoding_gives(void **unused)
{
    (void)unused;
    Tokenizer *t = tiny();
    Prng prng = {17};
    Buf whole = {0}, pieces = {0};
    Err err;
    for (int round = 0; round < 30000; round++) {
        uint32_t ids[40];
        size_t n = prng_next(&prng) % 40;
        TokenizerStream s = {0};
        TokenizerShow show = round % 2 ? TOKENIZER_SKIP_SPECIAL : TOKENIZER_SHOW_ALL;
        for (size_t i = 0; i < n; i++) {
            uint64_t r = prng_next(&prng);
            ids[i] = r % 3 ? 0x80 + (uint32_t)(r >> 8) % 0x80 : (uint32_t)(r >> 8) % 265; /* many pieces of characters */
        }
        whole.n = pieces.n = 0;
        assert_true(tokenizer_decode(t, ids, n, show, &whole, &err));
        assert_int_equal(utf8_check(whole.data ? whole.data : "", whole.n), whole.n);
        for (size_t i = 0; i < n; i++) {
            assert_true(tokenizer_stream_put(t, &s, ids[i], show, &pieces, &err));
            assert_int_equal(utf8_check(pieces.data ? pieces.data : "", pieces.n), pieces.n);
        }
        assert_true(tokenizer_stream_flush(&s, &pieces, &err));
        assert_int_equal(pieces.n, whole.n);
        assert_int_equal(s.tail_n, 0);
        if (whole.n)
            assert_memory_equal(pieces.data, whole.data, whole.n);
    }
    buf_deinit(&whole);
    buf_deinit(&pieces);
    tokenizer_close(t);
}

/* ---- folders ---- */

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[300];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!text) {
        unlink(path);
        return;
    }
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* vocab.json of the tiny tokenizer. */
static char *tiny_vocab(void)
{
    char *json = tiny_json();
    char *start = strstr(json, "\"vocab\": ") + 9, *end = strrchr(json, '}') - 1;
    *end = 0;
    char *out = strdup(start);
    free(json);
    return out;
}

static void folders_hold_one_file_or_the_older_pair(void **unused)
{
    (void)unused;
    static const char merges[] = "#version: 0.2\nt h\r\nh e\nth e\n\n\u0120 the";
    static const char config[] = "{\"added_tokens_decoder\": {\"260\": {\"content\": \"<s>\", \"special\": true, \"normalized\": false}}}";
    static const struct { const char *vocab, *merges, *config; ErrKind kind; const char *words; } rows[] = {
        {"", merges, config, E_FORMAT, "vocab.json: not JSON: byte 0: expected an object, found the end"},
        {"[]", merges, config, E_FORMAT, "vocab.json: not JSON: byte 0: expected an object, found '['"},
        {"{\"a\": \"b\"}", merges, config, E_FORMAT, "vocab.json: vocab: byte 6: expected an id"},
        {NULL, merges, config, E_MISSING, "holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt"},
        {"vocab", NULL, config, E_MISSING, "holds no tokenizer"},
        {"vocab", "t h\nt\n", config, E_FORMAT, "merges.txt: line 2: expected two tokens"},
        {"vocab", "t h\n\xFF h\n", config, E_FORMAT, "merges.txt: line 2: the text is not UTF-8"},
        {"vocab", "t t\n", config, E_FORMAT, "merges.txt: line 1: it needs token \"tt\""},
        {"vocab", merges, "{", E_FORMAT, "tokenizer_config.json: not JSON"},
        {"vocab", merges, "{\"added_tokens_decoder\": {\"x\": {\"content\": \"<s>\"}}}", E_FORMAT, "expected an id, found \"x\""},
        {"vocab", merges, "{\"added_tokens_decoder\": {\"300\": {}}}", E_FORMAT, "added_tokens_decoder: 300: content"},
    };
    char dir[] = "/tmp/nibble-tok-XXXXXX", list[200], *vocab = tiny_vocab(), *json = tiny_json();
    Err err;
    assert_non_null(mkdtemp(dir));
    write_file(dir, "vocab.json", vocab);
    write_file(dir, "merges.txt", merges);
    write_file(dir, "tokenizer_config.json", config);
    Tokenizer *t = tokenizer_open(dir, &err);
    if (!t)
        fail_msg("%s", err.text);
    encode_list(t, "<s>the the e\u0301x1", TOKENIZER_SPECIAL, list, sizeof list);
    assert_string_equal(list, "260 258 259 32 195 169 120 49 ");
    tokenizer_close(t);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        write_file(dir, "vocab.json", rows[i].vocab && strcmp(rows[i].vocab, "vocab") == 0 ? vocab : rows[i].vocab);
        write_file(dir, "merges.txt", rows[i].merges);
        write_file(dir, "tokenizer_config.json", rows[i].config);
        err = (Err){0};
        t = tokenizer_open(dir, &err);
        if (t || err.kind != rows[i].kind || !strstr(err.text, rows[i].words) || !strstr(err.text, dir))
            fail_msg("row %zu: %s, %s", i, err_name(err.kind), err.text);
    }
    write_file(dir, "tokenizer.json", json); /* it goes first */
    t = tokenizer_open(dir, &err);
    assert_non_null(t);
    assert_int_equal(tokenizer_size(t), 265);
    tokenizer_close(t);
    write_file(dir, "tokenizer.json", "{}");
    assert_null(tokenizer_open(dir, &err));
    assert_non_null(strstr(err.text, "tokenizer.json: "));
    static const char *const names[] = {"tokenizer.json", "vocab.json", "merges.txt", "tokenizer_config.json"};
    for (int i = 0; i < 4; i++)
        write_file(dir, names[i], NULL);
    assert_null(tokenizer_open(dir, &err));
    assert_int_equal(err.kind, E_MISSING);
    rmdir(dir);
    assert_null(tokenizer_open(dir, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, dir));
    free(vocab);
    free(json);
}

/* ---- size ---- */

enum { FULL_MERGES = 247587, FULL_MODEL = 248044, FULL_ADDED = 33, FULL_TOKEN_MAX = 24 };

typedef struct Full {
    Buf json;
    char (*text)[FULL_TOKEN_MAX]; /* of each token, in the alphabet of the file */
} Full;

static void append(Buf *b, const char *text)
{
    Err err;
    assert_true(buf_append(b, text, strlen(text), &err));
}

static void append_quoted(Buf *b, const char *text)
{
    append(b, "\"");
    append(b, strcmp(text, "\"") == 0 ? "\\\"" : strcmp(text, "\\") == 0 ? "\\\\" : text);
    append(b, "\"");
}

/* A tokenizer.json of the family's size and pattern: words and parts of words of lower-case letters, half of them after a space. */
static void full_new(Full *f)
{
    Err err;
    Prng prng = {1};
    Vocab *seen = vocab_new(&err);
    Buf merges = {0};
    char item[120];
    uint32_t n = 256;
    f->json = (Buf){0};
    f->text = calloc(FULL_MODEL, sizeof *f->text);
    for (uint32_t b = 0; b < 256; b++) {
        utf8_put(vocab_char_of_byte((uint8_t)b), f->text[b]);
        assert_true(vocab_add(seen, f->text[b], strlen(f->text[b]), b, &err));
    }
    while (n < 256 + FULL_MERGES) {
        uint64_t r = prng_next(&prng);
        const char *left = n == 256 || r % 3 == 0 ? (r % 2 ? "\u0120" : f->text['a' + (r >> 8) % 26]) : f->text[256 + (r >> 8) % (n - 256)];
        const char *right = n == 256 || r % 5 < 3 ? f->text['a' + (r >> 32) % 26] : f->text[256 + (r >> 32) % (n - 256)];
        size_t length = strlen(left) + strlen(right);
        if ((uint8_t)right[0] == 0xC4 || length >= 14)
            continue;
        memcpy(f->text[n], left, strlen(left));
        memcpy(f->text[n] + strlen(left), right, strlen(right) + 1);
        if (vocab_find(seen, f->text[n], length) != VOCAB_NONE)
            continue;
        assert_true(vocab_add(seen, f->text[n], length, n, &err));
        snprintf(item, sizeof item, "%s[\"%s\",\"%s\"]", n > 256 ? "," : "", left, right);
        append(&merges, item);
        n++;
    }
    for (; n < FULL_MODEL; n++)
        snprintf(f->text[n], FULL_TOKEN_MAX, "ALONE%u", n); /* no merge makes these, as some of the real file's */
    append(&f->json, "{\"version\":\"1.0\",\"added_tokens\":[");
    for (uint32_t i = 0; i < FULL_ADDED; i++) {
        snprintf(item, sizeof item, "%s{\"id\":%u,\"content\":\"<|special_%u|>\",\"normalized\":false,\"special\":true}", i ? "," : "", FULL_MODEL + i, i);
        append(&f->json, item);
    }
    append(&f->json, "],\"normalizer\":{\"type\":\"NFC\"},\"pre_tokenizer\":{\"type\":\"Sequence\",\"pretokenizers\":[{\"type\":\"Split\",\"pattern\":{\"Regex\":\""
                     "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\\\r\\\\n\\\\p{L}\\\\p{N}]?[\\\\p{L}\\\\p{M}]+|\\\\p{N}| ?[^\\\\s\\\\p{L}\\\\p{M}\\\\p{N}]+[\\\\r\\\\n]*|"
                     "\\\\s*[\\\\r\\\\n]+|\\\\s+(?!\\\\S)|\\\\s+\"},\"behavior\":\"Isolated\"},{\"type\":\"ByteLevel\",\"add_prefix_space\":false,"
                     "\"use_regex\":false}]},\"decoder\":{\"type\":\"ByteLevel\"},\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (uint32_t i = 0; i < FULL_MODEL; i++) {
        append_quoted(&f->json, f->text[i]);
        snprintf(item, sizeof item, ":%u%s", i, i + 1 < FULL_MODEL ? "," : "},\"merges\":[");
        append(&f->json, item);
    }
    assert_true(buf_append(&f->json, merges.data, merges.n, &err));
    append(&f->json, "]}}");
    buf_deinit(&merges);
    vocab_free(seen);
}

/* n bytes of words of one to three tokens, with commas and line ends. */
static char *full_prose(const Full *f, size_t n)
{
    Prng prng = {2};
    char *text = malloc(n + 4 * FULL_TOKEN_MAX);
    size_t at = 0;
    while (at < n) {
        uint64_t r = prng_next(&prng);
        text[at++] = r % 12 == 0 ? '\n' : ' ';
        for (uint64_t parts = 1 + (r >> 8) % 3; parts > 0; parts--) {
            const char *token = f->text[256 + prng_next(&prng) % FULL_MERGES];
            size_t skip = (uint8_t)token[0] == 0xC4 ? 2 : 0, len = strlen(token + skip);
            memcpy(text + at, token + skip, len);
            at += len;
        }
        if (r % 9 == 0)
            text[at++] = ',';
    }
    text[n] = 0;
    return text;
}

#if defined(__SANITIZE_ADDRESS__) || !defined(__OPTIMIZE__)
enum { SLOWER = 20 };
#else
enum { SLOWER = 1 };
#endif

static void the_full_vocabulary_is_fast(void **unused)
{
    (void)unused;
    enum { PROSE = 4 << 20, WORD = 1 << 20 };
    Full f;
    Err err;
    Buf ids = {0}, back = {0};
    full_new(&f);
    clock_t start = clock();
    Tokenizer *t = tokenizer_parse(f.json.data, f.json.n, &err);
    double load_s = seconds_since(start);
    if (!t)
        fail_msg("%s", err.text);
    assert_int_equal(tokenizer_size(t), 248077);
    char *prose = full_prose(&f, PROSE);
    start = clock();
    assert_true(tokenizer_encode(t, prose, PROSE, TOKENIZER_SPECIAL, &ids, &err));
    double encode_s = seconds_since(start);
    start = clock();
    assert_true(tokenizer_decode(t, (uint32_t *)(void *)ids.data, ids.n / 4, TOKENIZER_SHOW_ALL, &back, &err));
    double decode_s = seconds_since(start);
    assert_int_equal(back.n, PROSE);
    assert_memory_equal(back.data, prose, PROSE);
    print_message("# %.1f MB of tokenizer.json in %.2f s; encodes %.1f MB/s (%.1f bytes a token), decodes %.0f MB/s\n", (double)f.json.n / 1e6,
                  load_s, PROSE / 1e6 / encode_s, PROSE / ((double)ids.n / 4), PROSE / 1e6 / decode_s);
    assert_true(load_s <= 1.0 * SLOWER);
    assert_true(PROSE / 1e6 / encode_s >= 1.0 / SLOWER);
    /* Without a space the whole text is one word. */
    for (char *c = prose; *c; c++)
        *c = *c == ' ' || *c == '\n' || *c == ',' ? 'e' : *c;
    ids.n = 0;
    start = clock();
    assert_true(tokenizer_encode(t, prose, WORD, TOKENIZER_SPECIAL, &ids, &err));
    encode_s = seconds_since(start);
    print_message("# one word of %d bytes: %.1f MB/s\n", WORD, WORD / 1e6 / encode_s);
    assert_true(WORD / 1e6 / encode_s >= 0.2 / SLOWER);
    free(prose);
    buf_deinit(&ids);
    buf_deinit(&back);
    tokenizer_close(t);
    buf_deinit(&f.json);
    free(f.text);
}

static void long_inputs_of_one_sign_are_encoded(void **unused)
{
    (void)unused;
    enum { N = 1 << 20 };
    static const char *const units[] = {" ", "\n", "e", "<", "<s>", "<s", "\u0301", "\u6771", " <pad> ", "the ", "'"};
    Tokenizer *t = tiny();
    char *text = malloc(N);
    Buf ids = {0}, back = {0};
    Err err;
    for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
        size_t unit_n = strlen(units[u]), n = 0;
        for (; n + unit_n <= N; n += unit_n)
            memcpy(text + n, units[u], unit_n);
        ids.n = back.n = 0;
        clock_t start = clock();
        if (!tokenizer_encode(t, text, n, TOKENIZER_SPECIAL, &ids, &err))
            fail_msg("unit %zu: %s", u, err.text);
        assert_true(tokenizer_decode(t, (uint32_t *)(void *)ids.data, ids.n / 4, TOKENIZER_SHOW_ALL, &back, &err));
        if (seconds_since(start) > 2 * SLOWER)
            fail_msg("unit %zu takes %.1f s for a megabyte", u, seconds_since(start));
        if (!strstr(units[u], "pad")) {
            assert_int_equal(back.n, n);
            assert_memory_equal(back.data, text, n);
        }
    }
    free(text);
    buf_deinit(&ids);
    buf_deinit(&back);
    tokenizer_close(t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_becomes_the_ids_of_the_file),
        cmocka_unit_test(other_ways_to_write_a_file),
        cmocka_unit_test(whole_words_are_the_models_own),
        cmocka_unit_test(broken_files_say_what_is_broken),
        cmocka_unit_test(every_truncation_is_refused),
        cmocka_unit_test(bad_input_is_refused),
        cmocka_unit_test(a_stream_gives_what_decoding_gives),
        cmocka_unit_test(folders_hold_one_file_or_the_older_pair),
        cmocka_unit_test(the_full_vocabulary_is_fast),
        cmocka_unit_test(long_inputs_of_one_sign_are_encoded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
