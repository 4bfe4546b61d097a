#include "core/text/tokenizer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/text/nfc.h"
#include "core/text/tokenizer_read.h"

enum { TEXT_BYTES_MAX = 1 << 30 };

static Tokenizer *tokenizer_new(Err *err)
{
    Tokenizer *t = calloc(1, sizeof *t);
    if (!t)
        return fail(err, E_MEMORY, "no memory for a tokenizer"), NULL;
    if ((t->vocab = vocab_new(err)) && (t->raw = added_new(err)) && (t->normalized = added_new(err)))
        return t;
    tokenizer_close(t);
    return NULL;
}

Tokenizer *tokenizer_open(const char *path, Err *err)
{
    Tokenizer *t = tokenizer_new(err);
    if (t && tokenizer_read_path(t, path, err))
        return t;
    tokenizer_close(t);
    return NULL;
}

Tokenizer *tokenizer_parse(const char *json, size_t n, Err *err)
{
    Tokenizer *t = tokenizer_new(err);
    if (t && tokenizer_read_json(t, json, n, err))
        return t;
    tokenizer_close(t);
    return NULL;
}

void tokenizer_close(Tokenizer *t)
{
    if (!t)
        return;
    bpe_work_deinit(&t->work);
    buf_deinit(&t->text);
    buf_deinit(&t->flags);
    split_free(t->split);
    bpe_free(t->bpe);
    added_free(t->normalized);
    added_free(t->raw);
    vocab_free(t->vocab);
    free(t);
}

size_t tokenizer_size(const Tokenizer *t)
{
    return vocab_size(t->vocab);
}

size_t tokenizer_id_end(const Tokenizer *t)
{
    return vocab_id_end(t->vocab);
}

int64_t tokenizer_id(const Tokenizer *t, const char *text, size_t n)
{
    uint32_t id = vocab_find(t->vocab, text, n);
    return id == VOCAB_NONE ? -1 : (int64_t)id;
}

const char *tokenizer_bytes(const Tokenizer *t, uint32_t id, size_t *n)
{
    return vocab_bytes(t->vocab, id, n);
}

static bool has_flag(const Tokenizer *t, uint32_t id, int flag)
{
    return id < t->flags.n && (t->flags.data[id] & flag);
}

bool tokenizer_is_special(const Tokenizer *t, uint32_t id)
{
    return has_flag(t, id, TOKEN_SPECIAL);
}

/* One word of the split: its token when the file asks for whole words first, else its merges. */
static bool encode_word(Tokenizer *t, const char *word, size_t n, Buf *ids, Err *err)
{
    if (t->ignore_merges) {
        size_t text_n = 0;
        if (!buf_reserve(&t->text, n * 2, err)) /* two bytes of UTF-8 at most for each byte's character */
            return false;
        for (size_t i = 0; i < n; i++)
            text_n += utf8_put(vocab_char_of_byte((uint8_t)word[i]), t->text.data + text_n);
        uint32_t id = vocab_find(t->vocab, t->text.data, text_n);
        if (id != VOCAB_NONE && !has_flag(t, id, TOKEN_ADDED_ONLY))
            return buf_append(ids, &id, sizeof id, err);
    }
    return bpe_word(t->bpe, word, n, &t->work, ids, err);
}

static bool encode_words(Tokenizer *t, const char *text, size_t n, Buf *ids, Err *err)
{
    SplitCursor cursor = {0};
    for (size_t start;;) {
        if (!split_next(t->split, text, n, &cursor, &start, err))
            return false;
        if (start == n)
            return true;
        if (!encode_word(t, text + start, cursor.at - start, ids, err))
            return false;
    }
}

/* Text between the tokens that are cut out first: normalize, cut out the others. */
static bool encode_text(Tokenizer *t, const char *text, size_t n, TokenizerSpecial special, Buf *ids, Err *err)
{
    Buf normal = {0};
    AddedCursor cursor = {0};
    AddedPiece piece;
    bool ok = false;
    if (t->nfc) {
        if (!nfc_append(text, n, &normal, err))
            goto done;
        text = normal.data;
        n = normal.n;
    }
    while (added_next(t->normalized, text, n, special == TOKENIZER_SPECIAL, &cursor, &piece)) {
        if (piece.id != VOCAB_NONE ? !buf_append(ids, &piece.id, sizeof piece.id, err)
                                   : !encode_words(t, text + piece.start, piece.end - piece.start, ids, err))
            goto done;
    }
    ok = true;
done:
    buf_deinit(&normal);
    return ok;
}

bool tokenizer_encode(Tokenizer *t, const char *text, size_t n, TokenizerSpecial special, Buf *ids, Err *err)
{
    AddedCursor cursor = {0};
    AddedPiece piece;
    if (n > TEXT_BYTES_MAX)
        return fail(err, E_VALUE, "the text has %zu bytes; at most %d are encoded at once", n, TEXT_BYTES_MAX);
    size_t good = utf8_check(text, n);
    if (good != n)
        return fail(err, E_VALUE, "the text is not UTF-8 at byte %zu (0x%02x)", good, (unsigned)(uint8_t)text[good]);
    while (added_next(t->raw, text, n, special == TOKENIZER_SPECIAL, &cursor, &piece)) {
        if (piece.id != VOCAB_NONE ? !buf_append(ids, &piece.id, sizeof piece.id, err)
                                   : !encode_text(t, text + piece.start, piece.end - piece.start, special, ids, err))
            return false;
    }
    return true;
}

/* The bytes of an id as it is to be shown; none for a special token that is skipped. */
static const char *bytes_shown(const Tokenizer *t, uint32_t id, TokenizerShow show, size_t *n, Err *err)
{
    const char *bytes = vocab_bytes(t->vocab, id, n);
    if (!bytes)
        return fail(err, E_VALUE, "id %u belongs to no token; the largest is %zu", id, tokenizer_id_end(t) - 1), NULL;
    if (show == TOKENIZER_SKIP_SPECIAL && tokenizer_is_special(t, id))
        *n = 0;
    return bytes;
}

bool tokenizer_decode(const Tokenizer *t, const uint32_t *ids, size_t ids_n, TokenizerShow show, Buf *text, Err *err)
{
    Buf bytes = {0};
    bool ok = false;
    for (size_t i = 0; i < ids_n; i++) {
        size_t n;
        const char *piece = bytes_shown(t, ids[i], show, &n, err);
        if (!piece) {
            err_in(err, "position %zu", i);
            goto done;
        }
        if (!buf_append(&bytes, piece, n, err))
            goto done;
    }
    ok = utf8_repair(bytes.data, bytes.n, text, NULL, err);
done:
    buf_deinit(&bytes);
    return ok;
}

bool tokenizer_stream_put(const Tokenizer *t, TokenizerStream *s, uint32_t id, TokenizerShow show, Buf *text, Err *err)
{
    Buf bytes = {0};
    size_t n, rest, text_n = text->n;
    bool ok = false;
    const char *piece = bytes_shown(t, id, show, &n, err);
    if (!piece)
        return false;
    if (!buf_append(&bytes, s->tail, s->tail_n, err) || !buf_append(&bytes, piece, n, err) ||
        !utf8_repair(bytes.data, bytes.n, text, &rest, err)) {
        text->n = text_n;
        goto done;
    }
    assert(rest < sizeof s->tail);
    if (rest)
        memcpy(s->tail, bytes.data + bytes.n - rest, rest);
    s->tail_n = rest;
    ok = true;
done:
    buf_deinit(&bytes);
    return ok;
}

bool tokenizer_stream_flush(TokenizerStream *s, Buf *text, Err *err)
{
    if (!utf8_repair(s->tail, s->tail_n, text, NULL, err))
        return false;
    s->tail_n = 0;
    return true;
}
