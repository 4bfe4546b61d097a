/* A checkpoint folder: config.json, hf_quant_config.json, index, one or many safetensors. Yields logical weights, whatever the
 * serialization: BF16 (stacked or per-expert), modelopt_fp4 (uniform, mixed with FP8, weight-only, fused 3-D), compressed-tensors
 * nvfp4-pack-quantized, block FP8; either name prefix; with or without mtp.* and visual.
 *
 * Logical names (prefix-free; L = layer number, or "mtp.0" in place of "layers.L" for the MTP layer):
 *   embed · final_norm · lm_head · mtp.fc · mtp.norm_embedding · mtp.norm_hidden · mtp.norm
 *   layers.L.input_norm · .post_norm
 *   layers.L.attn.{q,k,v,o} · .q_norm · .k_norm
 *   layers.L.gdn.{qkv,z,a,b,out} · .conv · .a_log · .dt_bias · .norm
 *   layers.L.router · .shared_gate · .shared.{gate,up,down} · .experts.E.{gate,up,down}
 * Format is decided per tensor by what is stored (spec nvfp4-formats §10.1), never by the label. */
#ifndef CORE_FILE_CHECKPOINT_H
#define CORE_FILE_CHECKPOINT_H
#include "core/base/err.h"
#include "core/file/safetensors.h"
#include "core/tensor/weight.h"

typedef enum CheckpointFormat {
    CHECKPOINT_BF16,
    CHECKPOINT_MODELOPT,
    CHECKPOINT_COMPRESSED_TENSORS,
    CHECKPOINT_FP8_BLOCK
} CheckpointFormat;

typedef struct Checkpoint Checkpoint;

/* Opens the folder at path: maps every file of the index (or every *.safetensors when there is no index; the file names of an
 * index must be plain names inside the folder). E_IO, E_FORMAT, E_MISSING (a listed file or tensor), E_UNSUPPORTED. The caller
 * owns it. */
Checkpoint *checkpoint_open(const char *path, Err *err);
/* Takes NULL. Weights die with it. */
void checkpoint_close(Checkpoint *c);
const char *checkpoint_path(const Checkpoint *c);
/* By label in config.json / hf_quant_config.json, else by content. */
CheckpointFormat checkpoint_format(const Checkpoint *c);
const char *checkpoint_format_name(CheckpointFormat f);
/* Text of config.json; NULL-terminated, owned by c. hf_quant_config.json likewise, NULL when absent. */
const char *checkpoint_config(const Checkpoint *c);
const char *checkpoint_quant_config(const Checkpoint *c);
/* Name prefix of the text backbone: "model.language_model." or "model.". */
const char *checkpoint_prefix(const Checkpoint *c);

/* Stored tensors, over all files, sorted by name. */
size_t checkpoint_count(const Checkpoint *c);
const SafetensorsEntry *checkpoint_entry(const Checkpoint *c, size_t i);
const Safetensors *checkpoint_entry_file(const Checkpoint *c, size_t i);
/* NULL when absent. *file (may be NULL) becomes the file that holds it. */
const SafetensorsEntry *checkpoint_find(const Checkpoint *c, const char *name, const Safetensors **file);

/* True if the logical weight is stored in any serialization (which checkpoint_weight may still refuse). */
bool checkpoint_has(const Checkpoint *c, const char *logical);
/* Fills *out with a view of the logical weight; vectors have n = 1, conv has n = channels, k = width. E_MISSING names the stored
 * tensors that were looked for; E_SHAPE, E_FORMAT (scalar that cannot be a multiplier or a divisor, scale of wrong shape, NaN
 * scalar). */
bool checkpoint_weight(const Checkpoint *c, const char *logical, Weight *out, Err *err);
/* KV cache scales of a full-attention layer ("layers.L" or "mtp.0"); 1.0 where the file has none. */
bool checkpoint_kv_scales(const Checkpoint *c, const char *layer, float *k_scale, float *v_scale, Err *err);
/* True if config or hf_quant_config ask for an FP8 KV cache. */
bool checkpoint_kv_is_fp8(const Checkpoint *c);
/* XXH3-128 over the bytes of config.json, all headers (names, types, shapes, places) and 64 pieces of 4 KiB of the data of every
 * file, as 32 hex digits: a quick identity. Checkpoints that differ in method only have equal headers; their data tells them
 * apart. */
void checkpoint_id(const Checkpoint *c, char hex[33]);

#endif
