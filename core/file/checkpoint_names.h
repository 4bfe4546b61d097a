/* Logical names (checkpoint.h) → stored names, without any file: one table of the model's tensors.
 */
#ifndef CORE_FILE_CHECKPOINT_NAMES_H
#define CORE_FILE_CHECKPOINT_NAMES_H
#include <stdbool.h>
#include <stddef.h>

enum { CHECKPOINT_NAME_MAX = 256 };

/* What the stored tensor looks like and how it becomes n × k. */
typedef enum CheckpointShape {
    CHECKPOINT_MATRIX, /* [n,k], stored as STEM.weight or in a quantized form */
    CHECKPOINT_VECTOR, /* [k], stored as STEM.weight */
    CHECKPOINT_BARE,   /* [k], stored as STEM without .weight */
    CHECKPOINT_CONV,   /* [n,1,k], stored as STEM.weight */
    CHECKPOINT_EXPERT  /* one expert's matrix: stored by itself, or a slab of a stacked tensor */
} CheckpointShape;

typedef struct CheckpointName {
    CheckpointShape shape;
    char stem[CHECKPOINT_NAME_MAX];    /* e.g. "model.layers.3.self_attn.q_proj" */
    char stacked[CHECKPOINT_NAME_MAX]; /* experts only: "….mlp.experts.gate_up_proj" or
                                          "….mlp.experts.down_proj" */
    size_t expert;                     /* experts only */
    int half, halves; /* experts only: gate is half 0 of 2, up 1 of 2, down 0 of 1 */
} CheckpointName;

/* Resolves logical under the text backbone's prefix ("model.language_model."). False when it is no
 * logical name. */
bool checkpoint_names_resolve(const char *logical, const char *prefix, CheckpointName *out);

#endif
