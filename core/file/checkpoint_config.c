#include "core/file/checkpoint_config.h"

#include <jansson.h>
#include <string.h>

enum { BLOCK_DEFAULT = 128, BLOCK_MAX = 1 << 20 };

/* The object in text, NULL with *err filled. */
static json_t *load_object(const char *file, const char *text, size_t n, Err *err)
{
    json_error_t at;
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &at);
    if (!root && at.text[0] == 0) /* jansson says nothing when memory is exhausted */
        return fail(err, E_MEMORY, "%s: no memory to parse it", file), NULL;
    if (!root)
        return fail(err, E_FORMAT, "%s: line %d, column %d: %s", file, at.line, at.column, at.text),
               NULL;
    if (!json_is_object(root)) {
        json_decref(root);
        return fail(err, E_FORMAT, "%s: expected a JSON object, found another value", file), NULL;
    }
    return root;
}

/* Member key of o if it is there and not null; a wrong type is an error. *v is NULL when absent. */
static bool member(const json_t *o, const char *file, const char *key, json_type type, json_t **v,
                   Err *err)
{
    static const char *const type_names[] = {[JSON_OBJECT] = "an object",
                                             [JSON_ARRAY] = "an array",
                                             [JSON_STRING] = "a string",
                                             [JSON_TRUE] = "true or false"};
    *v = o ? json_object_get(o, key) : NULL;
    if (*v && json_is_null(*v))
        *v = NULL;
    if (!*v || json_typeof(*v) == type || (type == JSON_TRUE && json_is_false(*v)))
        return true;
    return fail(err, E_FORMAT, "%s: expected %s under \"%s\"", file, type_names[type], key);
}

static bool read_tied(const json_t *root, CheckpointConfig *out, Err *err)
{
    json_t *text, *tied;
    if (!member(root, "config.json", "text_config", JSON_OBJECT, &text, err)
        || !member(text, "config.json", "tie_word_embeddings", JSON_TRUE, &tied, err))
        return false;
    if (!tied && !member(root, "config.json", "tie_word_embeddings", JSON_TRUE, &tied, err))
        return false;
    out->is_tied = tied && json_is_true(tied);
    return true;
}

static bool read_block(const json_t *q, CheckpointConfig *out, Err *err)
{
    json_t *block;
    if (!member(q, "config.json", "weight_block_size", JSON_ARRAY, &block, err))
        return false;
    if (!block)
        return true;
    size_t *extent[] = {&out->block_n, &out->block_k};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_array_get(block, i);
        json_int_t n = json_is_integer(v) ? json_integer_value(v) : 0;
        if (json_array_size(block) != 2 || n < 1 || n > BLOCK_MAX)
            return fail(err, E_FORMAT,
                        "config.json: expected two positive integers under \"weight_block_size\"");
        *extent[i] = (size_t)n;
    }
    return true;
}

static bool is_fp8(const json_t *algo)
{
    return json_is_string(algo) && strcmp(json_string_value(algo), "FP8") == 0;
}

static bool read_quantization(const json_t *root, CheckpointConfig *out, Err *err)
{
    json_t *q, *method, *kv;
    if (!member(root, "config.json", "quantization_config", JSON_OBJECT, &q, err)
        || !member(q, "config.json", "quant_method", JSON_STRING, &method, err)
        || !member(q, "config.json", "kv_cache_scheme", JSON_OBJECT, &kv, err))
        return false;
    const char *name = method ? json_string_value(method) : "";
    out->has_label = true;
    if (strcmp(name, "compressed-tensors") == 0)
        out->label = CHECKPOINT_COMPRESSED_TENSORS;
    else if (strncmp(name, "modelopt", 8) == 0)
        out->label = CHECKPOINT_MODELOPT;
    else if (strcmp(name, "fp8") == 0)
        out->label = CHECKPOINT_FP8_BLOCK;
    else
        out->has_label = false;
    out->kv_is_fp8 = json_integer_value(json_object_get(kv, "num_bits")) == 8
                  || is_fp8(json_object_get(q, "kv_cache_quant_algo"));
    return read_block(q, out, err);
}

/* hf_quant_config.json: only ModelOpt writes it. */
static bool read_quant_file(const json_t *root, CheckpointConfig *out, Err *err)
{
    json_t *q, *algo;
    if (!member(root, "hf_quant_config.json", "quantization", JSON_OBJECT, &q, err)
        || !member(q, "hf_quant_config.json", "kv_cache_quant_algo", JSON_STRING, &algo, err))
        return false;
    if (!out->has_label) {
        out->has_label = true;
        out->label = CHECKPOINT_MODELOPT;
    }
    out->kv_is_fp8 = out->kv_is_fp8 || is_fp8(algo);
    return true;
}

bool checkpoint_config_parse(const char *config, size_t config_n, const char *quant, size_t quant_n,
                             CheckpointConfig *out, Err *err)
{
    *out = (CheckpointConfig){.block_n = BLOCK_DEFAULT, .block_k = BLOCK_DEFAULT};
    json_t *root = load_object("config.json", config, config_n, err);
    bool ok = root && read_tied(root, out, err) && read_quantization(root, out, err);
    json_decref(root);
    if (!ok || !quant)
        return ok;
    root = load_object("hf_quant_config.json", quant, quant_n, err);
    ok = root && read_quant_file(root, out, err);
    json_decref(root);
    return ok;
}
