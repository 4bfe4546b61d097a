/* From files to a Tokenizer. Every part of tokenizer.json that could change an id is either followed or refused by name.
 * The vocabulary and the merges, which are nearly all of a file, are walked through once; the rest, a few kilobytes, is a tree
 * (a tree of everything takes three times as long as all the rest of loading). */
#include "core/text/tokenizer_read.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "core/file/json_scan.h"
#include "core/text/nfc.h"

enum { PATH_BYTES = 4096, SHOWN_MAX = 60, TOKEN_BYTES_MAX = 16384 };

/* The pattern of qwen3_5_moe, for folders that hold vocab.json and merges.txt only. */
static const char family_pattern[] =
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}|"
    " ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

typedef struct Reader {
    Tokenizer *t;
    bool has_bytes, has_decoder; /* a ByteLevel pre-tokenizer, a ByteLevel decoder */
} Reader;

/* ---- values ---- */

static bool is_absent(const json_t *v)
{
    return !v || json_is_null(v);
}

static const char *kind_of(const json_t *v)
{
    static const char *const names[] = {"an object", "a list", "a string", "an integer", "a number", "true", "false", "null"};
    return v ? names[json_typeof(v)] : "nothing";
}

static const char *type_of(const json_t *v)
{
    const char *type = json_string_value(json_object_get(v, "type"));
    return type ? type : "(no type)";
}

static int shown(const char *text)
{
    return (int)utf8_cut(text, strlen(text), SHOWN_MAX);
}

static bool read_flag(const json_t *o, const char *key, bool standard, bool *out, Err *err)
{
    const json_t *v = json_object_get(o, key);
    if (!is_absent(v) && !json_is_boolean(v))
        return fail(err, E_FORMAT, "%s: expected true or false, found %s", key, kind_of(v));
    *out = is_absent(v) ? standard : json_is_true(v);
    return true;
}

/* A setting that must be off; an absent one counts as `standard`. */
static bool must_be_off(const json_t *o, const char *key, bool standard, Err *err)
{
    bool on = false;
    if (!read_flag(o, key, standard, &on, err))
        return false;
    return !on || fail(err, E_UNSUPPORTED, "%s %s is on; this program needs it off", type_of(o), key);
}

static bool refuse(const char *part, const json_t *found, const char *known, Err *err)
{
    const char *type = type_of(found);
    return fail(err, E_UNSUPPORTED, "%s \"%.*s\" is not known; known is %s", part, shown(type), type, known);
}

/* Calls one for each member of a node that may be null, a single member or a (nested) Sequence of them. */
static bool each(const json_t *node, const char *part, const char *list_key, bool (*one)(Reader *, const json_t *, Err *),
                 Reader *r,
                 Err *err)
{
    if (is_absent(node))
        return true;
    if (!json_is_object(node))
        return fail(err, E_FORMAT, "%s: expected an object, found %s", part, kind_of(node));
    if (strcmp(type_of(node), "Sequence") != 0)
        return one(r, node, err);
    const json_t *list = json_object_get(node, list_key);
    if (!json_is_array(list))
        return fail(err, E_FORMAT, "%s: %s: expected a list, found %s", part, list_key, kind_of(list));
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!each(json_array_get(list, i), part, list_key, one, r, err))
            return false;
    return true;
}

/* ---- the parts around the model ---- */

static bool read_normalizer(Reader *r, const json_t *node, Err *err)
{
    r->t->nfc = true;
    return strcmp(type_of(node), "NFC") == 0 || refuse("normalizer", node, "NFC", err);
}

static bool read_split(Reader *r, const json_t *node, Err *err)
{
    const json_t *pattern = json_object_get(json_object_get(node, "pattern"), "Regex");
    const char *behavior = json_string_value(json_object_get(node, "behavior"));
    if (r->t->split || r->has_bytes)
        return fail(err, E_UNSUPPORTED, "more than one Split, or one behind ByteLevel, in the pre-tokenizer");
    if (!behavior || strcmp(behavior, "Isolated") != 0)
        return fail(err, E_UNSUPPORTED, "Split behavior \"%.*s\" is not known; known is Isolated",
                    shown(behavior ? behavior : ""),
                    behavior ? behavior : "");
    if (!must_be_off(node, "invert", false, err))
        return false;
    if (!json_is_string(pattern))
        return fail(err, E_UNSUPPORTED, "Split pattern: expected {\"Regex\": text}, found %s",
                    kind_of(json_object_get(node, "pattern")));
    r->t->split = split_new(json_string_value(pattern), json_string_length(pattern), err);
    return r->t->split != NULL;
}

static bool read_pre_tokenizer(Reader *r, const json_t *node, Err *err)
{
    if (strcmp(type_of(node), "Split") == 0)
        return read_split(r, node, err);
    if (strcmp(type_of(node), "ByteLevel") != 0)
        return refuse("pre-tokenizer", node, "Split followed by ByteLevel", err);
    r->has_bytes = true;
    return must_be_off(node, "add_prefix_space", true, err) && must_be_off(node, "use_regex", true, err);
}

static bool read_decoder(Reader *r, const json_t *node, Err *err)
{
    r->has_decoder = true;
    return strcmp(type_of(node), "ByteLevel") == 0 || refuse("decoder", node, "ByteLevel", err);
}

static bool read_post_processor(Reader *r, const json_t *node, Err *err)
{
    (void)r;
    return strcmp(type_of(node), "ByteLevel") == 0 || refuse("post-processor", node, "ByteLevel, which adds no token", err);
}

static bool read_surroundings(Reader *r, const json_t *root, Err *err)
{
    if (!each(json_object_get(root, "normalizer"), "normalizer", "normalizers", read_normalizer, r, err) ||
        !each(json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", read_pre_tokenizer, r, err) ||
        !each(json_object_get(root, "decoder"), "decoder", "decoders", read_decoder, r, err) ||
        !each(json_object_get(root, "post_processor"), "post_processor", "processors", read_post_processor, r, err))
        return false;
    if (!r->t->split || !r->has_bytes)
        return fail(err, E_UNSUPPORTED, "pre_tokenizer: expected a Split followed by ByteLevel, found %s",
                    r->t->split ? "no ByteLevel" : "no Split");
    return r->has_decoder || fail(err, E_UNSUPPORTED, "decoder: expected ByteLevel, found none");
}

/* ---- vocabulary and merges ---- */

/* A value of the file, by place. */
typedef struct Part {
    size_t start, n; /* n is 0 when the file lacks it */
} Part;

static JsonScan scan_part(const char *text, Part part, const char *where, Err *err)
{
    return (JsonScan){.text = text + part.start, .n = part.n, .where = where, .base = part.start, .err = err};
}

static bool read_vocab(Tokenizer *t, const char *text, Part part, Err *err)
{
    JsonScan s = scan_part(text, part, "vocab", err);
    char token[TOKEN_BYTES_MAX];
    uint64_t id;
    size_t n;
    if (!json_scan_expect(&s, '{', "an object of ids by token"))
        return false;
    bool more = json_scan_peek(&s) != '}';
    while (more) {
        if (!json_scan_string(&s, token, sizeof token, &n, "a token") || !json_scan_expect(&s, ':', "':' behind a token") ||
            !json_scan_u64(&s, &id, "an id"))
            return false;
        if (!vocab_add(t->vocab, token, n, id > VOCAB_ID_MAX ? INT64_MAX : (int64_t)id, err))
            return err_in(err, "vocab: byte %" PRIu64, s.base + s.at);
        if (!json_scan_more(&s, '}', &more))
            return false;
    }
    return true;
}

/* Parts are separated by exactly one space: no character of the byte-level alphabet is a space. */
static bool add_merge_text(Bpe *bpe, const char *text, size_t n, Err *err)
{
    const char *space = memchr(text, ' ', n);
    if (!space || space == text || space + 1 == text + n || memchr(space + 1, ' ', (size_t)(text + n - space - 1)))
        return fail(err, E_FORMAT, "expected two tokens with a space between, found \"%.*s\"",
                    (int)utf8_cut(text, n, SHOWN_MAX), text);
    return bpe_add(bpe, text, (size_t)(space - text), space + 1, (size_t)(text + n - space - 1), err);
}

/* One merge, "left right" or ["left", "right"]. */
static bool read_merge(Bpe *bpe, JsonScan *s)
{
    char left[TOKEN_BYTES_MAX], right[TOKEN_BYTES_MAX];
    size_t left_n, right_n;
    if (json_scan_peek(s) == '"')
        return json_scan_string(s, left, sizeof left, &left_n, "a merge") && add_merge_text(bpe, left, left_n, s->err);
    return json_scan_expect(s, '[', "a merge, \"left right\" or [left, right]") &&
           json_scan_string(s, left, sizeof left, &left_n, "a token") &&
           json_scan_expect(s, ',', "',' and the second token of a merge") &&
           json_scan_string(s, right, sizeof right, &right_n, "a token") && json_scan_expect(s, ']', "']' behind two tokens") &&
           bpe_add(bpe, left, left_n, right, right_n, s->err);
}

static bool read_merges(Tokenizer *t, const char *text, Part part, Err *err)
{
    JsonScan s = scan_part(text, part, "merges", err);
    size_t merges_max = 0;
    for (size_t i = 0; i < part.n; i++) /* every merge but the first stands behind a comma */
        merges_max += text[part.start + i] == ',';
    t->bpe = bpe_new(t->vocab, merges_max + 1, err);
    if (!t->bpe || !json_scan_expect(&s, '[', "a list"))
        return false;
    bool more = json_scan_peek(&s) != ']';
    for (size_t i = 0; more; i++)
        if (!read_merge(t->bpe, &s) || !json_scan_more(&s, ']', &more))
            return err_in(err, "merge %zu", i);
    return true;
}

static bool must_be_empty(const json_t *model, const char *key, Err *err)
{
    const json_t *v = json_object_get(model, key);
    if (is_absent(v) || (json_is_string(v) && json_string_length(v) == 0) || (json_is_number(v) && !(json_number_value(v) > 0)))
        return true;
    return fail(err, E_UNSUPPORTED, "model: %s is set, which this program does not follow", key);
}

static bool read_model(Tokenizer *t, const json_t *model, Err *err)
{
    if (!json_is_object(model))
        return fail(err, is_absent(model) ? E_MISSING : E_FORMAT, "model: expected an object, found %s", kind_of(model));
    if (strcmp(type_of(model), "BPE") != 0)
        return refuse("model", model, "BPE", err);
    return must_be_empty(model, "dropout", err) && must_be_empty(model, "continuing_subword_prefix", err) &&
           must_be_empty(model, "end_of_word_suffix", err) && must_be_off(model, "byte_fallback", false, err) &&
           read_flag(model, "ignore_merges", false, &t->ignore_merges, err);
}

/* ---- added tokens ---- */

static bool set_flag(Tokenizer *t, uint32_t id, int flag, Err *err)
{
    if (id >= t->flags.n) {
        size_t more = id + 1 - t->flags.n;
        if (!buf_reserve(&t->flags, more, err))
            return false;
        memset(t->flags.data + t->flags.n, 0, more);
        t->flags.n += more;
    }
    t->flags.data[id] |= (char)flag;
    return true;
}

static bool add_token(Tokenizer *t, const json_t *item, int64_t id, Err *err)
{
    const json_t *content = json_object_get(item, "content");
    AddedToken token = {0};
    Buf normal = {0};
    bool is_normalized = false, ok = false;
    if (!json_is_string(content) || json_string_length(content) == 0)
        return fail(err, E_FORMAT, "content: expected a text, found %s",
                    json_is_string(content) ? "an empty one" : kind_of(content));
    token.text = json_string_value(content);
    token.n = json_string_length(content);
    token.id = (uint32_t)id;
    bool is_new = vocab_find(t->vocab, token.text, token.n) == VOCAB_NONE;
    if (!vocab_add(t->vocab, token.text, token.n, id, err) || !read_flag(item, "special", false, &token.is_special, err) ||
        !read_flag(item, "single_word", false, &token.single_word, err) ||
        !read_flag(item, "lstrip", false, &token.lstrip, err) ||
        !read_flag(item, "rstrip", false, &token.rstrip, err) ||
        !read_flag(item, "normalized", !token.is_special, &is_normalized, err) ||
        (token.is_special && !set_flag(t, token.id, TOKEN_SPECIAL, err)) ||
        (is_new && !set_flag(t, token.id, TOKEN_ADDED_ONLY, err)))
        return false;
    if (is_normalized && t->nfc) {
        if (!nfc_append(token.text, token.n, &normal, err))
            goto done;
        token.text = normal.data;
        token.n = normal.n;
    }
    ok = added_add(is_normalized ? t->normalized : t->raw, &token, err);
done:
    buf_deinit(&normal);
    return ok;
}

static bool read_added(Tokenizer *t, const json_t *list, Err *err)
{
    if (is_absent(list))
        return true;
    if (!json_is_array(list))
        return fail(err, E_FORMAT, "added_tokens: expected a list, found %s", kind_of(list));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i), *id = json_object_get(item, "id");
        if (!json_is_integer(id))
            return fail(err, E_FORMAT, "added_tokens: item %zu: expected an object with an id, found %s", i,
                        json_is_object(item) ? kind_of(id) : kind_of(item));
        if (!add_token(t, item, json_integer_value(id), err))
            return err_in(err, "added_tokens: item %zu", i);
    }
    return true;
}

/* ---- files ---- */

/* Of a text that a JsonScan has found well-formed; here only keys that come twice are left to find. */
static json_t *parse(const char *json, size_t n, Err *err)
{
    json_error_t at;
    json_t *root = json_loadb(json, n, JSON_REJECT_DUPLICATES, &at);
    if (!root)
        fail(err, json_error_code(&at) == json_error_out_of_memory ? E_MEMORY : E_FORMAT, "not JSON: %s", at.text);
    return root;
}

/* Checks one member of the object that s walks through and finds its place; key holds TOKEN_BYTES_MAX bytes. */
static bool next_member(JsonScan *s, char *key, Part *value)
{
    if (!json_scan_string(s, key, TOKEN_BYTES_MAX, NULL, "a key") || !json_scan_expect(s, ':', "':' behind a key"))
        return false;
    json_scan_peek(s);
    value->start = s->at;
    if (!json_scan_skip(s))
        return false;
    value->n = s->at - value->start;
    return true;
}

/* The place of the member `name` of the object that is all of `object`, whose text is checked on the way. */
static bool find_member(const char *text, Part object, const char *name, Part *found, Err *err)
{
    JsonScan s = scan_part(text, object, "not JSON", err);
    char key[TOKEN_BYTES_MAX];
    *found = (Part){0};
    if (!json_scan_expect(&s, '{', "an object"))
        return false;
    bool more = json_scan_peek(&s) != '}';
    s.at += !more;
    while (more) {
        Part value;
        if (!next_member(&s, key, &value))
            return false;
        value.start += object.start;
        if (strcmp(key, name) == 0)
            *found = value;
        if (!json_scan_more(&s, '}', &more))
            return false;
    }
    return json_scan_end(&s);
}

/* The text with null for vocab and merges, as a tree. */
static json_t *parse_rest(const char *text, size_t n, Part vocab, Part merges, Err *err)
{
    Buf rest = {0};
    json_t *root = NULL;
    Part first = vocab.start < merges.start ? vocab : merges, second = vocab.start < merges.start ? merges : vocab;
    size_t at = 0;
    for (int i = 0; i < 2; i++) {
        Part p = i == 0 ? first : second;
        if (p.n == 0)
            continue;
        if (!buf_append(&rest, text + at, p.start - at, err) || !buf_append(&rest, "null", 4, err))
            goto done;
        at = p.start + p.n;
    }
    if (buf_append(&rest, text + at, n - at, err))
        root = parse(rest.data, rest.n, err);
done:
    buf_deinit(&rest);
    return root;
}

bool tokenizer_read_json(Tokenizer *t, const char *json, size_t n, Err *err)
{
    Part model, vocab = {0}, merges = {0};
    Reader r = {.t = t};
    if (!find_member(json, (Part){0, n}, "model", &model, err))
        return false;
    bool has_model = model.n && json[model.start] == '{';
    if (has_model && (!find_member(json, model, "vocab", &vocab, err) || !find_member(json, model, "merges", &merges, err)))
        return false;
    json_t *root = parse_rest(json, n, vocab, merges, err);
    bool ok = root && read_surroundings(&r, root, err) && read_model(t, json_object_get(root, "model"), err) &&
              (vocab.n || fail(err, E_MISSING, "model: expected a vocab, found none")) && read_vocab(t, json, vocab, err) &&
              (merges.n || fail(err, E_MISSING, "model: expected merges, found none")) && read_merges(t, json, merges, err) &&
              read_added(t, json_object_get(root, "added_tokens"), err);
    json_decref(root);
    return ok;
}

/* merges.txt: a merge a line, a head line that begins with #version. */
static bool read_merges_text(Tokenizer *t, const Buf *text, Err *err)
{
    size_t lines_n = 1, line_n = 0;
    for (size_t i = 0; i < text->n; i++)
        lines_n += text->data[i] == '\n';
    t->bpe = bpe_new(t->vocab, lines_n, err);
    if (!t->bpe)
        return false;
    for (const char *line = text->data, *end = text->data + text->n; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        size_t n = (size_t)((stop ? stop : end) - line);
        line_n++;
        bool is_head = n >= 8 && memcmp(line, "#version", 8) == 0;
        size_t used = n > 0 && line[n - 1] == '\r' ? n - 1 : n;
        if (used > 0 && !is_head && (utf8_check(line, used) != used ? !fail(err, E_FORMAT, "the text is not UTF-8")
                                                                  : !add_merge_text(t->bpe, line, used, err)))
            return err_in(err, "line %zu", line_n);
        line += n + (stop != NULL);
    }
    return true;
}

static bool read_decoder_tokens(Tokenizer *t, const json_t *config, Err *err)
{
    const json_t *tokens = json_object_get(config, "added_tokens_decoder");
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)(uintptr_t)tokens, key, item) {
        char *end;
        long long id = strtoll(key, &end, 10);
        if (*key == 0 || *end != 0)
            return fail(err, E_FORMAT, "added_tokens_decoder: expected an id, found \"%.*s\"", shown(key), key);
        if (!add_token(t, item, id, err))
            return err_in(err, "added_tokens_decoder: %s", key);
    }
    return true;
}

static bool join(char path[PATH_BYTES], const char *dir, const char *name, Err *err)
{
    int n = snprintf(path, PATH_BYTES, "%s/%s", dir, name);
    return n < PATH_BYTES || fail(err, E_IO, "the path %.60s… is longer than %d bytes", dir, PATH_BYTES);
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

/* tokenizer_config.json beside vocab.json, when it is there. */
static bool read_config(Tokenizer *t, const char *path, Err *err)
{
    Buf text = {0};
    json_t *config = NULL;
    Part unused;
    bool ok = !exists(path);
    if (ok)
        return true;
    if (!buf_read_file(&text, path, err))
        goto done;
    ok = (find_member(text.data, (Part){0, text.n}, "", &unused, err) && (config = parse(text.data, text.n, err)) &&
          read_decoder_tokens(t, config, err)) ||
         err_in(err, "%s", path);
done:
    json_decref(config);
    buf_deinit(&text);
    return ok;
}

static bool read_pair(Tokenizer *t, const char *vocab_path, const char *merges_path, const char *config_path, Err *err)
{
    Buf vocab = {0}, merges = {0};
    Part unused;
    bool ok = false;
    t->nfc = true;
    t->split = split_new(family_pattern, sizeof family_pattern - 1, err);
    if (!t->split || !buf_read_file(&vocab, vocab_path, err) || !buf_read_file(&merges, merges_path, err))
        goto done;
    if (!find_member(vocab.data, (Part){0, vocab.n}, "", &unused, err) || !read_vocab(t, vocab.data, (Part){0, vocab.n}, err)) {
        err_in(err, "%s", vocab_path);
        goto done;
    }
    if (!read_merges_text(t, &merges, err)) {
        err_in(err, "%s", merges_path);
        goto done;
    }
    ok = read_config(t, config_path, err);
done:
    buf_deinit(&vocab);
    buf_deinit(&merges);
    return ok;
}

static bool read_file(Tokenizer *t, const char *path, Err *err)
{
    Buf text = {0};
    bool ok = buf_read_file(&text, path, err) && (tokenizer_read_json(t, text.data, text.n, err) || err_in(err, "%s", path));
    buf_deinit(&text);
    return ok;
}

bool tokenizer_read_path(Tokenizer *t, const char *path, Err *err)
{
    char file[PATH_BYTES], merges[PATH_BYTES], config[PATH_BYTES];
    struct stat st;
    if (stat(path, &st) != 0)
        return fail_errno(err, "cannot open %s", path);
    if (!S_ISDIR(st.st_mode))
        return read_file(t, path, err);
    if (!join(file, path, "tokenizer.json", err))
        return false;
    if (exists(file))
        return read_file(t, file, err);
    if (!join(file, path, "vocab.json", err) || !join(merges, path, "merges.txt", err) ||
        !join(config, path, "tokenizer_config.json", err))
        return false;
    if (!exists(file) || !exists(merges))
        return fail(err, E_MISSING, "%s holds no tokenizer: expected tokenizer.json, or vocab.json and merges.txt", path);
    return read_pair(t, file, merges, config, err);
}
