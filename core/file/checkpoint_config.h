/* What the reader needs of config.json and hf_quant_config.json. Everything else in them is the
 * graph's or doctor's business. */
#ifndef CORE_FILE_CHECKPOINT_CONFIG_H
#define CORE_FILE_CHECKPOINT_CONFIG_H
#include <stdbool.h>
#include <stddef.h>

#include "core/base/err.h"
#include "core/file/checkpoint.h"

typedef struct CheckpointConfig {
    bool has_label; /* a quantization method is named that this program knows, or
                       hf_quant_config.json is there */
    CheckpointFormat label;
    bool is_tied; /* tie_word_embeddings of text_config, else of the root */
    bool kv_is_fp8;
    size_t block_n, block_k; /* weight_block_size; 128 × 128 when absent */
} CheckpointConfig;

/* Parses the two texts; quant may be NULL. E_FORMAT (not JSON, not an object, a key twice: file,
 * line and column; a key of the wrong type), E_MEMORY. Source: model specification §1.1,
 * nvfp4-formats specification §3.4, §3.5, §4.2, §5. */
bool checkpoint_config_parse(const char *config, size_t config_n, const char *quant, size_t quant_n,
                             CheckpointConfig *out, Err *err);
/* The settings of an open checkpoint. */
const CheckpointConfig *checkpoint_config_settings(const Checkpoint *c);

#endif
