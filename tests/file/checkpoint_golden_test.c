/* The recorded checkpoints: every dequantized tensor has the bytes that the tools' own readers
 * give, and every weight of every checkpoint is near the one it was made from. */
#include "tests/test.h"

#include <jansson.h>
#include <math.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/file/checkpoint.h"
#include "core/file/checkpoint_names.h"
#include "core/num/bf16.h"

#define TINY "build/golden/tiny/"

enum { LAYERS = 8, EXPERTS = 16, LOGICAL_MAX = 1000 };

/* What the folders of the recorded data are. Layer 3 is one of the two attention layers. */
static const struct {
    const char *folder;
    CheckpointFormat format;
    size_t quantized; /* weights with a recorded hash */
    bool has_mtp, kv_is_fp8, has_input_scales;
    float k_scale, v_scale; /* of layer 3 */
} folders[] = {
    {"modelopt/nvfp4_default-kv_fp8", CHECKPOINT_MODELOPT, 434, false, true, true, 0.015625f,
     0.00453404057770967f},
    {"modelopt/nvfp4_default-kv_none-gptq", CHECKPOINT_MODELOPT, 434, false, false, true, 1, 1},
    {"modelopt/nvfp4_experts_only-kv_fp8_cast", CHECKPOINT_MODELOPT, 384, false, true, true, 1, 1},
    {"modelopt/nvfp4_experts_only_mse-kv_fp8_cast", CHECKPOINT_MODELOPT, 384, false, true, true, 1,
     1},
    {"modelopt/nvfp4_mlp_only-kv_fp8_cast", CHECKPOINT_MODELOPT, 408, false, true, true, 1, 1},
    {"modelopt/nvfp4_weight_only-kv_fp16", CHECKPOINT_MODELOPT, 434, false, false, false, 1, 1},
    {"ct/experts_w4a4", CHECKPOINT_COMPRESSED_TENSORS, 384, true, false, true, 1, 1},
    {"ct/linear_w4a4", CHECKPOINT_COMPRESSED_TENSORS, 416, true, false, true, 1, 1},
    {"ct/experts_w4a16", CHECKPOINT_COMPRESSED_TENSORS, 384, true, false, false, 1, 1},
    {"fp8_block", CHECKPOINT_FP8_BLOCK, 489, true, false, false, 1, 1},
};

enum { FOLDERS = sizeof folders / sizeof *folders };

static char logical[LOGICAL_MAX][64];
static size_t logical_n;

static void add_layer(const char *layer, bool is_attention)
{
    static const char *const every[] = {"input_norm",  "post_norm", "router",     "shared_gate",
                                        "shared.gate", "shared.up", "shared.down"};
    static const char *const attention[] = {"attn.q", "attn.k",      "attn.v",
                                            "attn.o", "attn.q_norm", "attn.k_norm"};
    static const char *const delta[] = {"gdn.qkv",   "gdn.z",       "gdn.a",
                                        "gdn.b",     "gdn.out",     "gdn.conv",
                                        "gdn.a_log", "gdn.dt_bias", "gdn.norm"};
    static const char *const parts[] = {"gate", "up", "down"};
    const char *const *own = is_attention ? attention : delta;
    size_t own_n =
        is_attention ? sizeof attention / sizeof *attention : sizeof delta / sizeof *delta;
    for (size_t i = 0; i < sizeof every / sizeof *every; i++)
        sprintf(logical[logical_n++], "%s.%s", layer, every[i]);
    for (size_t i = 0; i < own_n; i++)
        sprintf(logical[logical_n++], "%s.%s", layer, own[i]);
    for (int e = 0; e < EXPERTS; e++)
        for (int p = 0; p < 3; p++)
            sprintf(logical[logical_n++], "%s.experts.%d.%s", layer, e, parts[p]);
}

/* All logical names of the tiny model. */
static int setup(void **state)
{
    (void)state;
    static const char *const top[] = {"embed",   "final_norm",         "lm_head",
                                      "mtp.fc",  "mtp.norm_embedding", "mtp.norm_hidden",
                                      "mtp.norm"};
    for (size_t i = 0; i < sizeof top / sizeof *top; i++)
        strcpy(logical[logical_n++], top[i]);
    for (int l = 0; l < LAYERS; l++) {
        char layer[32];
        sprintf(layer, "layers.%d", l);
        add_layer(layer, l % 4 == 3);
    }
    add_layer("mtp.0", true);
    return logical_n <= LOGICAL_MAX ? 0 : 1;
}

static Checkpoint *open_tiny(const char *folder)
{
    char path[200];
    Err err = {0};
    snprintf(path, sizeof path, TINY "%s", folder);
    Checkpoint *c = checkpoint_open(path, &err);
    if (!c)
        fail_msg("%s", err.text);
    return c;
}

/* SHA-256 of the weight as little-endian BF16. The tools disagree about the sign of code 8 only. */
static void hash_weight(const Weight *w, char hex[65])
{
    float *y = malloc(w->k * sizeof *y);
    uint8_t *bytes = malloc(w->n * w->k * 2), digest[SHA256_DIGEST_LENGTH];
    assert_non_null(y);
    assert_non_null(bytes);
    bool is_modelopt = w->format == WEIGHT_NVFP4 && !w->is_divisor;
    for (size_t n = 0; n < w->n; n++) {
        weight_row(w, n, y);
        for (size_t k = 0; k < w->k; k++) {
            uint16_t bits = bf16_from_f32(y[k]);
            if (is_modelopt && (w->data[(n * w->k + k) / 2] >> 4 * (k % 2) & 15) == 8)
                bits = 0;
            bytes[2 * (n * w->k + k)] = (uint8_t)bits;
            bytes[2 * (n * w->k + k) + 1] = (uint8_t)(bits >> 8);
        }
    }
    SHA256(bytes, w->n * w->k * 2, digest);
    for (size_t i = 0; i < sizeof digest; i++)
        sprintf(hex + 2 * i, "%02x", digest[i]);
    free(bytes);
    free(y);
}

static void dequantized_tensors_have_the_recorded_bytes(void **state)
{
    (void)state;
    json_error_t at;
    json_t *root = json_load_file(TINY "dequantized-sha256.json", 0, &at);
    assert_non_null(root);
    const json_t *all = json_object_get(root, "sha256");
    assert_int_equal(json_object_size(all), FOLDERS);
    for (size_t f = 0; f < FOLDERS; f++) {
        const json_t *hashes = json_object_get(all, folders[f].folder);
        assert_int_equal(json_object_size(hashes), folders[f].quantized);
        Checkpoint *c = open_tiny(folders[f].folder);
        size_t matched = 0;
        for (size_t i = 0; i < logical_n; i++) {
            CheckpointName name;
            char stored[300], hex[65];
            Weight w;
            Err err = {0};
            assert_true(checkpoint_names_resolve(logical[i], checkpoint_prefix(c), &name));
            snprintf(stored, sizeof stored, "%s.weight", name.stem);
            const char *want = json_string_value(json_object_get(hashes, stored));
            if (!want)
                continue;
            if (!checkpoint_weight(c, logical[i], &w, &err))
                fail_msg("%s", err.text);
            hash_weight(&w, hex);
            if (strcmp(hex, want) != 0)
                fail_msg("%s: %s: want %s, got %s", folders[f].folder, stored, want, hex);
            matched++;
        }
        assert_int_equal(matched, folders[f].quantized);
        checkpoint_close(c);
    }
    json_decref(root);
}

/* |a - b| / |a| over the whole weight. */
static double distance(const Weight *a, const Weight *b)
{
    assert_int_equal(a->n, b->n);
    assert_int_equal(a->k, b->k);
    float *x = malloc(a->k * sizeof *x), *y = malloc(a->k * sizeof *y);
    double diff = 0, norm = 0;
    assert_true(x && y);
    for (size_t n = 0; n < a->n; n++) {
        weight_row(a, n, x);
        weight_row(b, n, y);
        for (size_t k = 0; k < a->k; k++) {
            diff += ((double)x[k] - (double)y[k]) * ((double)x[k] - (double)y[k]);
            norm += (double)x[k] * (double)x[k];
        }
    }
    free(x);
    free(y);
    return sqrt(diff / norm);
}

/* A wrong half of gate_up, a wrong expert, a wrong name or a wrong scale would all be at a distance
 * of 1 or more. Stacked experts of the base thus prove the per-expert ones, and the other way
 * round. */
static void every_weight_is_near_its_origin(void **state)
{
    (void)state;
    Checkpoint *base = open_tiny("bf16");
    assert_int_equal(checkpoint_format(base), CHECKPOINT_BF16);
    assert_string_equal(checkpoint_prefix(base), "model.language_model.");
    assert_null(checkpoint_quant_config(base));
    for (size_t f = 0; f < FOLDERS; f++) {
        Checkpoint *c = open_tiny(folders[f].folder);
        for (size_t i = 0; i < logical_n; i++) {
            Weight a, b;
            Err err = {0};
            bool is_mtp = strncmp(logical[i], "mtp.", 4) == 0;
            if (!checkpoint_weight(base, logical[i], &a, &err))
                fail_msg("%s", err.text);
            assert_int_equal(a.format, WEIGHT_PLAIN);
            assert_int_equal(checkpoint_has(c, logical[i]), !is_mtp || folders[f].has_mtp);
            if (!checkpoint_weight(c, logical[i], &b, &err)) {
                if (is_mtp && !folders[f].has_mtp && err.kind == E_MISSING)
                    continue;
                fail_msg("%s", err.text);
            }
            /* llm-compressor writes norms as bf16(bf16(1 + w) - 1); all other plain weights are
             * copies. */
            bool is_shifted =
                folders[f].format == CHECKPOINT_COMPRESSED_TENSORS && strstr(logical[i], "norm");
            double bound = b.format == WEIGHT_NVFP4     ? 0.2
                         : b.format == WEIGHT_FP8_BLOCK ? 0.04
                         : is_shifted                   ? 0.05
                                                        : 0;
            double d = distance(&a, &b);
            if (!(d <= bound))
                fail_msg("%s: %s is %g away from the base, more than %g", folders[f].folder,
                         logical[i], d, bound);
            if (b.format == WEIGHT_NVFP4) {
                assert_int_equal(b.has_input_scale, folders[f].has_input_scales);
                assert_int_equal(b.is_divisor, folders[f].format == CHECKPOINT_COMPRESSED_TENSORS);
            }
        }
        checkpoint_close(c);
    }
    checkpoint_close(base);
}

static void labels_and_kv_scales(void **state)
{
    (void)state;
    for (size_t f = 0; f < FOLDERS; f++) {
        Checkpoint *c = open_tiny(folders[f].folder);
        float k, v;
        Err err = {0};
        assert_int_equal(checkpoint_format(c), folders[f].format);
        assert_int_equal(checkpoint_kv_is_fp8(c), folders[f].kv_is_fp8);
        assert_true(checkpoint_kv_scales(c, "layers.3", &k, &v, &err));
        assert_true(k == folders[f].k_scale && v == folders[f].v_scale);
        assert_true(checkpoint_kv_scales(c, "layers.0", &k, &v, &err));
        assert_true(k == 1 && v == 1);
        assert_false(checkpoint_kv_scales(c, "layer.0", &k, &v, &err));
        assert_int_equal(err.kind, E_MISSING);
        assert_int_equal(checkpoint_quant_config(c) != NULL,
                         folders[f].format == CHECKPOINT_MODELOPT);
        checkpoint_close(c);
    }
}

/* Stored tensors come in the order of their names, each is found, and the identity differs between
 * all folders. */
static void stored_tensors_and_identity(void **state)
{
    (void)state;
    char id[FOLDERS][33], again[33];
    for (size_t f = 0; f < FOLDERS; f++) {
        Checkpoint *c = open_tiny(folders[f].folder);
        for (size_t i = 0; i < checkpoint_count(c); i++) {
            const SafetensorsEntry *e = checkpoint_entry(c, i);
            const Safetensors *file = NULL;
            assert_true(i == 0 || strcmp(checkpoint_entry(c, i - 1)->name, e->name) < 0);
            assert_ptr_equal(checkpoint_find(c, e->name, &file), e);
            assert_ptr_equal(file, checkpoint_entry_file(c, i));
            assert_ptr_equal(safetensors_find(file, e->name), e);
        }
        checkpoint_id(c, id[f]);
        checkpoint_id(c, again);
        assert_string_equal(id[f], again);
        assert_int_equal(strlen(id[f]), 32);
        for (size_t g = 0; g < f; g++)
            assert_string_not_equal(id[f], id[g]);
        checkpoint_close(c);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dequantized_tensors_have_the_recorded_bytes),
        cmocka_unit_test(every_weight_is_near_its_origin),
        cmocka_unit_test(labels_and_kv_scales),
        cmocka_unit_test(stored_tensors_and_identity),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
