/* Logical weights: which stored tensors make one, and whether they fit together. What is stored
 * decides, never the label. Source: nvfp4-formats specification §3, §4, §5, §10.1; model
 * specification §2. */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "core/file/checkpoint_config.h"
#include "core/file/checkpoint_names.h"
#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/nvfp4.h"

enum { STORED_NAME_MAX = CHECKPOINT_NAME_MAX + 32 };

/* Largest code times largest block scale: amax = 2688 · multiplier. FP8 has no block scale: amax =
 * 448 · multiplier. */
static const double FP4_RANGE = 2688, FP8_RANGE = 448;
/* The largest absolute weight and activation that a scalar may stand for. A scalar stored the wrong
 * way round (2688/amax in place of amax/2688) stands for a far larger one: an ordinary weight
 * tensor has amax 0.01 … 10, inverted it claims 7e5 … 7e8. */
static const double WEIGHT_AMAX_MAX = 2688, INPUT_AMAX_MAX = 43008, AMAX_MIN = 1e-20;

/* A stored tensor with its bytes. */
typedef struct Part {
    const SafetensorsEntry *entry; /* NULL: absent */
    const uint8_t *data;
} Part;

static Part part(const Checkpoint *c, const char *stem, const char *suffix)
{
    char name[STORED_NAME_MAX];
    const Safetensors *file;
    int n = snprintf(name, sizeof name, "%s%s", stem, suffix);
    assert(n > 0 && (size_t)n < sizeof name);
    Part p = {.entry = checkpoint_find(c, name, &file)};
    if (p.entry)
        p.data = safetensors_data(file, p.entry);
    return p;
}

/* The first that is there of a list of suffixes that ends with NULL. */
static Part part_any(const Checkpoint *c, const char *stem, const char *const *suffixes)
{
    Part p = {0};
    for (; !p.entry && *suffixes; suffixes++)
        p = part(c, stem, *suffixes);
    return p;
}

/* "BF16 [16, 128, 64]" */
static const char *describe(const SafetensorsEntry *e, char *buf, size_t n)
{
    size_t at = (size_t)snprintf(buf, n, "%s [", dtype_name(e->dtype));
    for (int i = 0; i < e->rank && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, i ? ", %zu" : "%zu", e->shape[i]);
    if (at < n)
        snprintf(buf + at, n - at, "]");
    return buf;
}

static bool bad_shape(const SafetensorsEntry *e, const char *expected, Err *err)
{
    char text[200];
    return fail(err, E_SHAPE, "tensor %s: expected %s, found %s", e->name, expected,
                describe(e, text, sizeof text));
}

static bool is_float(DType t)
{
    return t == DTYPE_F32 || t == DTYPE_BF16 || t == DTYPE_F16;
}

static size_t count(const SafetensorsEntry *e)
{
    return (size_t)(e->bytes / dtype_bytes(e->dtype));
}

/* Element i of a float tensor; files are little-endian, and so are we. */
static float element(const Part *p, size_t i)
{
    uint16_t half;
    float f;
    if (p->entry->dtype == DTYPE_F32) {
        memcpy(&f, p->data + 4 * i, sizeof f);
        return f;
    }
    memcpy(&half, p->data + 2 * i, sizeof half);
    return p->entry->dtype == DTYPE_BF16 ? bf16_to_f32(half) : fp16_to_f32(half);
}

/* What a scalar scales, and how. */
typedef struct ScalarUse {
    double range; /* amax = range · multiplier */
    double amax_max;
    bool is_divisor;
} ScalarUse;

/* Element i of p as a scale. It must be positive, finite and of a size that its convention allows.
 */
static bool read_scalar(const Part *p, size_t i, ScalarUse use, float *v, Err *err)
{
    *v = element(p, i);
    if (!isfinite(*v) || *v <= 0)
        return fail(err, E_FORMAT,
                    "tensor %s: expected a positive finite scale, found %g at element %zu",
                    p->entry->name, (double)*v, i);
    double amax = use.is_divisor ? use.range / (double)*v : use.range * (double)*v;
    if (amax > use.amax_max || amax < AMAX_MIN)
        return fail(
            err, E_FORMAT,
            "tensor %s: %.9g cannot be a %s: it would stand for a largest absolute value of %.3g, "
            "expected %g to %.0f%s",
            p->entry->name, (double)*v, use.is_divisor ? "divisor" : "multiplier", amax, AMAX_MIN,
            use.amax_max, amax > 1 ? "; it looks inverted" : "");
    return true;
}

/* A tensor of one element, [] or [1]. */
static bool one_scalar(const Part *p, ScalarUse use, float *v, Err *err)
{
    if (!is_float(p->entry->dtype) || p->entry->rank > 1 || count(p->entry) != 1)
        return bad_shape(p->entry, "one float, shape [] or [1]", err);
    return read_scalar(p, 0, use, v, err);
}

static bool input_scalar(const Part *p, double range, Weight *w, Err *err)
{
    if (!p->entry)
        return true;
    w->has_input_scale = true;
    return one_scalar(p, (ScalarUse){range, INPUT_AMAX_MAX, w->is_divisor}, &w->input_scale, err);
}

/* Things a file may hold beside a linear that change what it computes, and that no reference here
 * does. */
static bool check_extras(const Checkpoint *c, const char *stem, Err *err)
{
    static const struct {
        const char *suffix, *why;
    } extras[] = {
        {".pre_quant_scale",
         "the input must be multiplied by it first (AWQ, SmoothQuant), which is not supported"},
        {".svdquant_lora_a", "an SVDQuant low-rank branch is not supported"},
        {".svdquant_lora_b", "an SVDQuant low-rank branch is not supported"},
        {".weight_zero_point", "asymmetric quantization is not supported"},
        {".bias", "the linears of this family have no bias"},
    };
    for (size_t i = 0; i < sizeof extras / sizeof *extras; i++) {
        Part p = part(c, stem, extras[i].suffix);
        if (p.entry)
            return fail(err, E_UNSUPPORTED, "tensor %s: %s", p.entry->name, extras[i].why);
    }
    return true;
}

/* Codes u8[n,k/2] and scales e4m3[n,k/16]. */
static bool nvfp4_matrix(const Part *codes, const Part *scales, const char *scales_name, Weight *w,
                         Err *err)
{
    const SafetensorsEntry *e = codes->entry, *s = scales->entry;
    char want[96];
    if (e->dtype != DTYPE_U8 || e->rank != 2 || e->shape[0] == 0 || e->shape[1] == 0
        || e->shape[1] % (NVFP4_BLOCK / 2) != 0)
        return bad_shape(e, "U8 [n, k/2] with k a multiple of 16", err);
    w->format = WEIGHT_NVFP4;
    w->dtype = DTYPE_U8;
    w->n = e->shape[0];
    w->k = 2 * e->shape[1];
    if (!s)
        return fail(err, E_MISSING, "tensor %s is packed FP4, but its block scales %s are missing",
                    e->name, scales_name);
    snprintf(want, sizeof want, "F8_E4M3 [%zu, %zu]", w->n, w->k / NVFP4_BLOCK);
    if (s->dtype != DTYPE_F8_E4M3 || s->rank != 2 || s->shape[0] != w->n
        || s->shape[1] != w->k / NVFP4_BLOCK)
        return bad_shape(s, want, err);
    w->scale_dtype = DTYPE_F8_E4M3;
    w->data = codes->data;
    w->scales = scales->data;
    return true;
}

/* The tensor scale that belongs to packed FP4 stem + suffix. */
static bool nvfp4_scalar(const Part *p, const char *stem, const char *suffix, Weight *w, Err *err)
{
    if (!p->entry)
        return fail(err, E_MISSING, "%s is packed FP4, but its tensor scale %s%s is missing", stem,
                    stem, suffix);
    return one_scalar(p, (ScalarUse){FP4_RANGE, WEIGHT_AMAX_MAX, w->is_divisor}, &w->tensor_scale,
                      err);
}

static bool compressed_matrix(const Checkpoint *c, const char *stem, const Part *codes, Weight *w,
                              Err *err)
{
    Part scales = part(c, stem, ".weight_scale"), scalar = part(c, stem, ".weight_global_scale");
    Part input = part(c, stem, ".input_global_scale");
    w->is_divisor = true;
    return nvfp4_matrix(codes, &scales, "weight_scale", w, err)
        && nvfp4_scalar(&scalar, stem, ".weight_global_scale", w, err)
        && input_scalar(&input, FP4_RANGE, w, err);
}

static bool modelopt_matrix(const Checkpoint *c, const char *stem, const Part *codes, Weight *w,
                            Err *err)
{
    Part scales = part(c, stem, ".weight_scale"), scalar = part(c, stem, ".weight_scale_2"),
         input = part(c, stem, ".input_scale");
    return nvfp4_matrix(codes, &scales, "weight_scale", w, err)
        && nvfp4_scalar(&scalar, stem, ".weight_scale_2", w, err)
        && input_scalar(&input, FP4_RANGE, w, err);
}

/* Shape of the scales of an e4m3[n,k]: one per block, edge blocks are shorter. lead is 0 or 1
 * dimension in front. */
static bool block_scales(const SafetensorsEntry *s, int lead, Weight *w, Err *err)
{
    char want[128];
    size_t rows = (w->n + w->block_n - 1) / w->block_n, cols = (w->k + w->block_k - 1) / w->block_k;
    snprintf(want, sizeof want, "BF16, F16 or F32 [%s%zu, %zu] (blocks of %zu × %zu)",
             lead ? "experts, " : "", rows, cols, w->block_n, w->block_k);
    if (!is_float(s->dtype) || s->rank != lead + 2 || s->shape[lead] != rows
        || s->shape[lead + 1] != cols)
        return bad_shape(s, want, err);
    w->scale_dtype = s->dtype;
    return true;
}

static bool fp8_matrix(const Checkpoint *c, const char *stem, const Part *data, Weight *w, Err *err)
{
    Part block = part(c, stem, ".weight_scale_inv"), scalar = part(c, stem, ".weight_scale"),
         input = part(c, stem, ".input_scale");
    const SafetensorsEntry *e = data->entry;
    if (e->rank != 2 || count(e) == 0)
        return bad_shape(e, "F8_E4M3 [n, k]", err);
    w->dtype = DTYPE_F8_E4M3;
    w->n = e->shape[0];
    w->k = e->shape[1];
    w->data = data->data;
    if (block.entry && scalar.entry)
        return fail(err, E_FORMAT, "tensor %s: expected one scale, found both %s and %s", e->name,
                    block.entry->name, scalar.entry->name);
    if (block.entry) {
        w->format = WEIGHT_FP8_BLOCK;
        w->block_n = checkpoint_config_settings(c)->block_n;
        w->block_k = checkpoint_config_settings(c)->block_k;
        w->scales = block.data;
        return block_scales(block.entry, 0, w, err) && input_scalar(&input, FP8_RANGE, w, err);
    }
    w->format = WEIGHT_FP8;
    if (!scalar.entry)
        return fail(
            err, E_MISSING,
            "tensor %s is FP8, but its scale %s.weight_scale_inv or %s.weight_scale is missing",
            e->name, stem, stem);
    if (count(scalar.entry) != 1)
        return fail(
            err, E_UNSUPPORTED,
            "tensor %s: an FP8 scale per channel or group is not supported, only one per tensor",
            scalar.entry->name);
    return one_scalar(&scalar, (ScalarUse){FP8_RANGE, WEIGHT_AMAX_MAX, false}, &w->tensor_scale,
                      err)
        && input_scalar(&input, FP8_RANGE, w, err);
}

/* A float tensor as n × k. */
static bool plain(const Part *p, CheckpointShape shape, Weight *w, Err *err)
{
    const SafetensorsEntry *e = p->entry;
    bool is_matrix = shape == CHECKPOINT_MATRIX || shape == CHECKPOINT_EXPERT;
    int rank = is_matrix ? 2 : shape == CHECKPOINT_CONV ? 3 : 1;
    const char *expected = is_matrix ? "F32, BF16 or F16 [n, k]"
                         : rank == 3 ? "F32, BF16 or F16 [channels, 1, width]"
                                     : "F32, BF16 or F16 [n]";
    if (!is_float(e->dtype) || e->rank != rank || count(e) == 0 || (rank == 3 && e->shape[1] != 1))
        return bad_shape(e, expected, err);
    w->format = WEIGHT_PLAIN;
    w->dtype = e->dtype;
    w->n = rank == 1 ? 1 : e->shape[0];
    w->k = e->shape[rank - 1];
    w->data = p->data;
    return true;
}

/* Only the float, or the quantized forms of, one matrix stored by itself. *is_there is false when
 * nothing is. */
static bool single_matrix(const Checkpoint *c, const char *stem, CheckpointShape shape,
                          bool *is_there, Weight *w, Err *err)
{
    Part weight = part(c, stem, ".weight"), packed = part(c, stem, ".weight_packed");
    *is_there = weight.entry || packed.entry;
    if (!*is_there)
        return true;
    if (weight.entry && packed.entry)
        return fail(err, E_FORMAT, "%s is stored twice: as %s and as %s", stem, weight.entry->name,
                    packed.entry->name);
    if (!check_extras(c, stem, err))
        return false;
    if (packed.entry)
        return compressed_matrix(c, stem, &packed, w, err);
    if (weight.entry->dtype == DTYPE_U8)
        return modelopt_matrix(c, stem, &weight, w, err);
    if (weight.entry->dtype == DTYPE_F8_E4M3)
        return fp8_matrix(c, stem, &weight, w, err);
    return plain(&weight, shape, w, err);
}

/* Spellings of the parts of a stacked expert tensor (fused 3-D flavours). */
static const char *const stacked_weight[] = {"", ".weight", NULL};
static const char *const stacked_scale[] = {"_scale", "_weight_scale", ".weight_scale", NULL};
static const char *const stacked_scale_2[] = {"_scale_2", "_weight_scale_2", ".weight_scale_2",
                                              NULL};
static const char *const stacked_input[] = {".input_scale", "_input_scale", NULL};
static const char *const stacked_inverse[] = {"_scale_inv", "_weight_scale_inv",
                                              ".weight_scale_inv", NULL};

/* The rows of one expert's half in a stacked tensor. */
typedef struct Slab {
    size_t experts, rows_all, row; /* row: first of the half, rows_all: of the expert */
    size_t expert;
    int half, halves;
} Slab;

static bool stacked_slab(const SafetensorsEntry *e, const CheckpointName *name, Slab *slab,
                         Weight *w, Err *err)
{
    if (e->rank != 3 || count(e) == 0)
        return bad_shape(e, "a stack of matrices [experts, n, k]", err);
    if (e->shape[1] % (size_t)name->halves != 0)
        return bad_shape(e, "[experts, n, k] with an even n: gate rows, then up rows", err);
    if (name->expert >= e->shape[0])
        return fail(err, E_MISSING, "tensor %s holds %zu experts, number %zu is not among them",
                    e->name, e->shape[0], name->expert);
    w->n = e->shape[1] / (size_t)name->halves;
    *slab = (Slab){e->shape[0],  e->shape[1], (size_t)name->half * w->n,
                   name->expert, name->half,  name->halves};
    return true;
}

/* [], [1], [E], [E,1] or, where gate and up are halves, [E,2]. */
static bool stacked_scalar(const Part *p, const Slab *slab, ScalarUse use, float *v, Err *err)
{
    const SafetensorsEntry *e = p->entry;
    size_t cols = e->rank == 2 ? e->shape[1] : 1;
    bool is_one = e->rank <= 1 && count(e) == 1;
    bool is_per_expert = (e->rank == 1 || e->rank == 2) && e->shape[0] == slab->experts
                      && (cols == 1 || cols == (size_t)slab->halves);
    if (!is_float(e->dtype) || !(is_one || is_per_expert))
        return bad_shape(e,
                         slab->halves == 2 ? "floats [], [experts] or [experts, 2]"
                                           : "floats [], [experts] or [experts, 1]",
                         err);
    size_t i = is_per_expert ? slab->expert * cols + (cols == 2 ? (size_t)slab->half : 0) : 0;
    return read_scalar(p, i, use, v, err);
}

static bool stacked_nvfp4(const Checkpoint *c, const char *stem, const Part *codes,
                          const Slab *slab, Weight *w, Err *err)
{
    const SafetensorsEntry *e = codes->entry;
    Part scales = part_any(c, stem, stacked_scale), scalar = part_any(c, stem, stacked_scale_2),
         input = part_any(c, stem, stacked_input);
    char want[96];
    if (e->shape[2] % (NVFP4_BLOCK / 2) != 0)
        return bad_shape(e, "U8 [experts, n, k/2] with k a multiple of 16", err);
    if (!scales.entry || !scalar.entry)
        return fail(err, E_MISSING, "tensor %s is packed FP4, but %s%s is missing", e->name, stem,
                    scales.entry ? "_scale_2" : "_scale");
    w->format = WEIGHT_NVFP4;
    w->dtype = DTYPE_U8;
    w->scale_dtype = DTYPE_F8_E4M3;
    w->k = 2 * e->shape[2];
    const SafetensorsEntry *s = scales.entry;
    size_t cols = w->k / NVFP4_BLOCK, row = slab->expert * slab->rows_all + slab->row;
    snprintf(want, sizeof want, "F8_E4M3 [%zu, %zu, %zu]", slab->experts, slab->rows_all, cols);
    if (s->dtype != DTYPE_F8_E4M3 || s->rank != 3 || s->shape[0] != slab->experts
        || s->shape[1] != slab->rows_all || s->shape[2] != cols)
        return bad_shape(s, want, err);
    w->data = codes->data + row * (w->k / 2);
    w->scales = scales.data + row * cols;
    if (!stacked_scalar(&scalar, slab, (ScalarUse){FP4_RANGE, WEIGHT_AMAX_MAX, false},
                        &w->tensor_scale, err))
        return false;
    w->has_input_scale = input.entry != NULL;
    return !input.entry
        || stacked_scalar(&input, slab, (ScalarUse){FP4_RANGE, INPUT_AMAX_MAX, false},
                          &w->input_scale, err);
}

static bool stacked_fp8(const Checkpoint *c, const char *stem, const Part *data, const Slab *slab,
                        Weight *w, Err *err)
{
    const SafetensorsEntry *e = data->entry;
    Part scales = part_any(c, stem, stacked_inverse);
    if (!scales.entry)
        return fail(err, E_MISSING, "tensor %s is FP8, but its scales %s_scale_inv are missing",
                    e->name, stem);
    w->format = WEIGHT_FP8_BLOCK;
    w->dtype = DTYPE_F8_E4M3;
    w->k = e->shape[2];
    w->block_n = checkpoint_config_settings(c)->block_n;
    w->block_k = checkpoint_config_settings(c)->block_k;
    if (slab->row % w->block_n != 0)
        return fail(
            err, E_UNSUPPORTED,
            "tensor %s: the up rows begin at row %zu, inside a block of %zu rows: gate and up share scales",
            e->name, slab->row, w->block_n);
    Weight whole = *w;
    whole.n = slab->rows_all;
    if (!block_scales(scales.entry, 1, &whole, err))
        return false;
    if (scales.entry->shape[0] != slab->experts)
        return bad_shape(scales.entry, "as many matrices of scales as experts", err);
    size_t rows = scales.entry->shape[1], cols = scales.entry->shape[2];
    w->scale_dtype = whole.scale_dtype;
    w->data = data->data + (slab->expert * slab->rows_all + slab->row) * w->k;
    w->scales = scales.data
              + (slab->expert * rows + slab->row / w->block_n) * cols * dtype_bytes(w->scale_dtype);
    return true;
}

static bool stacked_plain(const Part *data, const Slab *slab, Weight *w, Err *err)
{
    const SafetensorsEntry *e = data->entry;
    if (!is_float(e->dtype))
        return bad_shape(e, "U8, F8_E4M3, BF16, F16 or F32", err);
    w->format = WEIGHT_PLAIN;
    w->dtype = e->dtype;
    w->k = e->shape[2];
    w->data =
        data->data + (slab->expert * slab->rows_all + slab->row) * w->k * dtype_bytes(e->dtype);
    return true;
}

static bool stacked_matrix(const Checkpoint *c, const CheckpointName *name, const Part *data,
                           Weight *w, Err *err)
{
    Slab slab;
    if (!check_extras(c, name->stacked, err) || !stacked_slab(data->entry, name, &slab, w, err))
        return false;
    if (data->entry->dtype == DTYPE_U8)
        return stacked_nvfp4(c, name->stacked, data, &slab, w, err);
    if (data->entry->dtype == DTYPE_F8_E4M3)
        return stacked_fp8(c, name->stacked, data, &slab, w, err);
    return stacked_plain(data, &slab, w, err);
}

static bool expert_matrix(const Checkpoint *c, const CheckpointName *name, bool *is_there,
                          Weight *w, Err *err)
{
    Part stacked = part_any(c, name->stacked, stacked_weight);
    if (!single_matrix(c, name->stem, name->shape, is_there, w, err))
        return false;
    if (*is_there && stacked.entry)
        return fail(err, E_FORMAT, "%s is stored twice: by itself and in %s", name->stem,
                    stacked.entry->name);
    if (*is_there || !stacked.entry)
        return true;
    *is_there = true;
    return stacked_matrix(c, name, &stacked, w, err);
}

static bool vector(const Checkpoint *c, const CheckpointName *name, bool *is_there, Weight *w,
                   Err *err)
{
    Part p = part(c, name->stem, name->shape == CHECKPOINT_BARE ? "" : ".weight");
    *is_there = p.entry != NULL;
    return !p.entry || plain(&p, name->shape, w, err);
}

/* The names that were looked for, for the message of a missing weight. */
static bool missing(const Checkpoint *c, const char *logical, const CheckpointName *name, Err *err)
{
    switch (name->shape) {
    case CHECKPOINT_EXPERT:
        return fail(err, E_MISSING,
                    "%s: %s: looked for %s.weight, %s.weight_packed and %s, found none",
                    checkpoint_path(c), logical, name->stem, name->stem, name->stacked);
    case CHECKPOINT_MATRIX:
        return fail(err, E_MISSING,
                    "%s: %s: looked for %s.weight and %s.weight_packed, found neither",
                    checkpoint_path(c), logical, name->stem, name->stem);
    default:
        return fail(err, E_MISSING, "%s: %s: looked for %s%s, found none", checkpoint_path(c),
                    logical, name->stem, name->shape == CHECKPOINT_BARE ? "" : ".weight");
    }
}

static bool find_weight(const Checkpoint *c, const CheckpointName *name, bool *is_there, Weight *w,
                        Err *err)
{
    memset(w, 0, sizeof *w);
    *is_there = false;
    switch (name->shape) {
    case CHECKPOINT_EXPERT: return expert_matrix(c, name, is_there, w, err);
    case CHECKPOINT_MATRIX: return single_matrix(c, name->stem, name->shape, is_there, w, err);
    default: return vector(c, name, is_there, w, err);
    }
}

bool checkpoint_weight(const Checkpoint *c, const char *logical, Weight *out, Err *err)
{
    CheckpointName name;
    bool is_there;
    if (!checkpoint_names_resolve(logical, checkpoint_prefix(c), &name))
        return fail(err, E_MISSING, "%s: \"%s\" is not the name of a weight of this family",
                    checkpoint_path(c), logical);
    if (!find_weight(c, &name, &is_there, out, err))
        return err_in(err, "%s: %s", checkpoint_path(c), logical);
    if (is_there)
        return true;
    if (strcmp(logical, "lm_head") == 0 && checkpoint_config_settings(c)->is_tied)
        return checkpoint_weight(c, "embed", out, err);
    return missing(c, logical, &name, err);
}

bool checkpoint_has(const Checkpoint *c, const char *logical)
{
    CheckpointName name;
    if (!checkpoint_names_resolve(logical, checkpoint_prefix(c), &name))
        return false;
    if (name.shape == CHECKPOINT_BARE)
        return part(c, name.stem, "").entry != NULL;
    if (part(c, name.stem, ".weight").entry || part(c, name.stem, ".weight_packed").entry)
        return true;
    if (name.shape == CHECKPOINT_EXPERT) {
        Part stacked = part_any(c, name.stacked, stacked_weight);
        return stacked.entry && stacked.entry->rank == 3 && name.expert < stacked.entry->shape[0];
    }
    return strcmp(logical, "lm_head") == 0 && checkpoint_config_settings(c)->is_tied
        && checkpoint_has(c, "embed");
}

bool checkpoint_kv_scales(const Checkpoint *c, const char *layer, float *k_scale, float *v_scale,
                          Err *err)
{
    static const char *const logical[] = {"attn.k", "attn.v"}, *const suffix[] = {".k_scale",
                                                                                  ".v_scale"};
    float *out[] = {k_scale, v_scale};
    for (int i = 0; i < 2; i++) {
        char full[64];
        CheckpointName name;
        snprintf(full, sizeof full, "%s.%s", layer, logical[i]);
        if (!checkpoint_names_resolve(full, checkpoint_prefix(c), &name))
            return fail(err, E_MISSING, "%s: \"%s\" is not the name of a layer", checkpoint_path(c),
                        layer);
        Part p = part(c, name.stem, suffix[i]); /* ModelOpt: ….self_attn.k_proj.k_scale */
        *strrchr(name.stem, '.') = 0;
        if (!p.entry)
            p = part(c, name.stem, suffix[i]); /* compressed-tensors: ….self_attn.k_scale */
        *out[i] = 1.0f;
        if (p.entry && !one_scalar(&p, (ScalarUse){FP8_RANGE, INPUT_AMAX_MAX, false}, out[i], err))
            return err_in(err, "%s: %s", checkpoint_path(c), layer);
    }
    return true;
}
