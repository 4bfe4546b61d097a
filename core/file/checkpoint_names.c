#include "core/file/checkpoint_names.h"

#include <stdio.h>
#include <string.h>

typedef struct NameRow {
    const char *logical, *stored;
    CheckpointShape shape;
} NameRow;

/* Once in the model. A stored name with '~' stands under the prefix, the others at the top. */
static const NameRow top_rows[] = {
    {"embed", "~embed_tokens", CHECKPOINT_MATRIX},
    {"final_norm", "~norm", CHECKPOINT_VECTOR},
    {"lm_head", "lm_head", CHECKPOINT_MATRIX},
    {"mtp.fc", "mtp.fc", CHECKPOINT_MATRIX},
    {"mtp.norm_embedding", "mtp.pre_fc_norm_embedding", CHECKPOINT_VECTOR},
    {"mtp.norm_hidden", "mtp.pre_fc_norm_hidden", CHECKPOINT_VECTOR},
    {"mtp.norm", "mtp.norm", CHECKPOINT_VECTOR},
};

/* Once in a layer. */
static const NameRow layer_rows[] = {
    {"input_norm", "input_layernorm", CHECKPOINT_VECTOR},
    {"post_norm", "post_attention_layernorm", CHECKPOINT_VECTOR},
    {"attn.q", "self_attn.q_proj", CHECKPOINT_MATRIX},
    {"attn.k", "self_attn.k_proj", CHECKPOINT_MATRIX},
    {"attn.v", "self_attn.v_proj", CHECKPOINT_MATRIX},
    {"attn.o", "self_attn.o_proj", CHECKPOINT_MATRIX},
    {"attn.q_norm", "self_attn.q_norm", CHECKPOINT_VECTOR},
    {"attn.k_norm", "self_attn.k_norm", CHECKPOINT_VECTOR},
    {"gdn.qkv", "linear_attn.in_proj_qkv", CHECKPOINT_MATRIX},
    {"gdn.z", "linear_attn.in_proj_z", CHECKPOINT_MATRIX},
    {"gdn.a", "linear_attn.in_proj_a", CHECKPOINT_MATRIX},
    {"gdn.b", "linear_attn.in_proj_b", CHECKPOINT_MATRIX},
    {"gdn.out", "linear_attn.out_proj", CHECKPOINT_MATRIX},
    {"gdn.conv", "linear_attn.conv1d", CHECKPOINT_CONV},
    {"gdn.a_log", "linear_attn.A_log", CHECKPOINT_BARE},
    {"gdn.dt_bias", "linear_attn.dt_bias", CHECKPOINT_BARE},
    {"gdn.norm", "linear_attn.norm", CHECKPOINT_VECTOR},
    {"router", "mlp.gate", CHECKPOINT_MATRIX},
    {"shared_gate", "mlp.shared_expert_gate", CHECKPOINT_MATRIX},
    {"shared.gate", "mlp.shared_expert.gate_proj", CHECKPOINT_MATRIX},
    {"shared.up", "mlp.shared_expert.up_proj", CHECKPOINT_MATRIX},
    {"shared.down", "mlp.shared_expert.down_proj", CHECKPOINT_MATRIX},
};

static const NameRow *find_row(const NameRow *rows, size_t n, const char *logical)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].logical, logical) == 0)
            return &rows[i];
    return NULL;
}

/* A canonical decimal number followed by '.'; moves *p behind the dot. */
static bool take_number(const char **p, size_t *n)
{
    enum { DIGITS_MAX = 7 };
    size_t digits = strspn(*p, "0123456789");
    if (digits == 0 || digits > DIGITS_MAX || (*p)[digits] != '.' || ((*p)[0] == '0' && digits > 1))
        return false;
    *n = 0;
    for (size_t i = 0; i < digits; i++)
        *n = *n * 10 + (size_t)((*p)[i] - '0');
    *p += digits + 1;
    return true;
}

/* part behind "experts.": "E.gate". */
static bool resolve_expert(const char *part, const char *layer, CheckpointName *out)
{
    if (!take_number(&part, &out->expert))
        return false;
    bool is_down = strcmp(part, "down") == 0;
    if (!is_down && strcmp(part, "gate") != 0 && strcmp(part, "up") != 0)
        return false;
    out->shape = CHECKPOINT_EXPERT;
    out->half = strcmp(part, "up") == 0;
    out->halves = is_down ? 1 : 2;
    snprintf(out->stem, sizeof out->stem, "%smlp.experts.%zu.%s_proj", layer, out->expert, part);
    snprintf(out->stacked, sizeof out->stacked, "%smlp.experts.%s", layer,
             is_down ? "down_proj" : "gate_up_proj");
    return true;
}

bool checkpoint_names_resolve(const char *logical, const char *prefix, CheckpointName *out)
{
    memset(out, 0, sizeof *out);
    const NameRow *row = find_row(top_rows, sizeof top_rows / sizeof *top_rows, logical);
    if (row) {
        bool is_under = row->stored[0] == '~';
        out->shape = row->shape;
        snprintf(out->stem, sizeof out->stem, "%s%s", is_under ? prefix : "",
                 row->stored + is_under);
        return true;
    }
    bool is_mtp = strncmp(logical, "mtp.", 4) == 0;
    if (!is_mtp && strncmp(logical, "layers.", 7) != 0)
        return false;
    const char *part = logical + (is_mtp ? 4 : 7);
    char layer[96];
    size_t l;
    if (!take_number(&part, &l))
        return false;
    snprintf(layer, sizeof layer, "%slayers.%zu.", is_mtp ? "mtp." : prefix, l);
    if (strncmp(part, "experts.", 8) == 0)
        return resolve_expert(part + 8, layer, out);
    row = find_row(layer_rows, sizeof layer_rows / sizeof *layer_rows, part);
    if (!row)
        return false;
    out->shape = row->shape;
    snprintf(out->stem, sizeof out->stem, "%s%s", layer, row->stored);
    return true;
}
