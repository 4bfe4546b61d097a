/* A small tokenizer.json for tests: all bytes, four merges, five added tokens. Written by hand, so that a test can change one part
 * of its text and know what it broke. */
#ifndef TESTS_TEXT_TINY_JSON_H
#define TESTS_TEXT_TINY_JSON_H
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/base/buf.h"
#include "core/text/vocab.h"
#include "core/text/utf8.h"

static const char tiny_head[] =
    "{\"version\": \"1.0\", \"truncation\": null, \"padding\": null, \"added_tokens\": ["
    "{\"id\": 260, \"content\": \"<s>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": true},"
    "{\"id\": 261, \"content\": \"<tool>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": false},"
    "{\"id\": 262, \"content\": \"<e\u0301>\", \"single_word\": false, \"lstrip\": false, \"rstrip\": false, \"normalized\": true, \"special\": false},"
    "{\"id\": 263, \"content\": \"word\", \"single_word\": true, \"lstrip\": false, \"rstrip\": false, \"normalized\": false, \"special\": false},"
    "{\"id\": 264, \"content\": \"<pad>\", \"single_word\": false, \"lstrip\": true, \"rstrip\": true, \"normalized\": false, \"special\": true}],"
    "\"normalizer\": {\"type\": \"NFC\"}, \"pre_tokenizer\": {\"type\": \"Sequence\", \"pretokenizers\": ["
    "{\"type\": \"Split\", \"pattern\": {\"Regex\": \" ?\\\\p{L}+| ?[^\\\\s\\\\p{L}]+|\\\\s+(?!\\\\S)|\\\\s+\"}, \"behavior\": \"Isolated\", \"invert\": false},"
    "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": false}]},"
    "\"post_processor\": null, \"decoder\": {\"type\": \"ByteLevel\"}, \"model\": {\"type\": \"BPE\", \"dropout\": null, \"unk_token\": null,"
    "\"continuing_subword_prefix\": null, \"end_of_word_suffix\": null, \"fuse_unk\": false, \"byte_fallback\": false, \"ignore_merges\": false,"
    "\"merges\": [[\"t\", \"h\"], [\"h\", \"e\"], [\"th\", \"e\"], [\"\u0120\", \"the\"]], \"vocab\": {";
static const char tiny_tail[] = "\"th\": 256, \"he\": 257, \"the\": 258, \"\u0120the\": 259}}}";

/* The whole text; the caller frees it. */
static inline char *tiny_json(void)
{
    Buf b = {0};
    Err err;
    char item[32], text[UTF8_BYTES_MAX];
    bool ok = buf_append(&b, tiny_head, sizeof tiny_head - 1, &err);
    for (int i = 0; ok && i < 256; i++) {
        size_t n = utf8_put(vocab_char_of_byte((uint8_t)i), text);
        int len = snprintf(item, sizeof item, "\"%s%.*s\": %d, ", i == '"' || i == '\\' ? "\\" : "", (int)n, text, i);
        ok = buf_append(&b, item, (size_t)len, &err);
    }
    if (!ok || !buf_append(&b, tiny_tail, sizeof tiny_tail, &err))
        abort();
    return b.data;
}

#endif
