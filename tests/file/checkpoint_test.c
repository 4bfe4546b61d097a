/* Checkpoint folders made here: every serialization of a weight, and every way a folder or a weight
 * can be bad. */
#include "tests/test.h"

#include <math.h>
#include <time.h>

#include "core/file/checkpoint.h"
#include "core/num/bf16.h"
#include "core/num/fp16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"
#include "tests/file/folder.h"

#define P "model.layers.0."
#define FILE1 "model-00001-of-00002.safetensors"
#define FILE2 "model-00002-of-00002.safetensors"
#define INDEX "model.safetensors.index.json"
#define ROWS(a) (a), sizeof(a) / sizeof *(a)

enum { EXPERTS = 3, INNER = 32, HIDDEN = 48 };

static char folder[64];

static int setup(void **state)
{
    (void)state;
    folder_new(folder);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_free(folder);
    return 0;
}

static Checkpoint *open_good(void)
{
    Err err = {0};
    Checkpoint *c = checkpoint_open(folder, &err);
    if (!c)
        fail_msg("%s", err.text);
    return c;
}

static Weight weight(const Checkpoint *c, const char *logical)
{
    Weight w;
    Err err = {0};
    if (!checkpoint_weight(c, logical, &w, &err))
        fail_msg("%s", err.text);
    assert_true(checkpoint_has(c, logical));
    return w;
}

static void expect_no_weight(const Checkpoint *c, const char *what, const char *logical,
                             ErrKind kind, const char *words)
{
    Weight w;
    Err err = {0};
    if (checkpoint_weight(c, logical, &w, &err) || err.kind != kind || !strstr(err.text, words)
        || !strstr(err.text, folder))
        fail_msg("%s: want %s with \"%s\", got %s: %s", what, err_name(kind), words,
                 err_name(err.kind), err.text);
}

/* The i-th of a fixed sequence of bytes. */
static uint8_t noise(size_t i)
{
    uint64_t x = (i + 1) * 0x9e3779b97f4a7c15u;
    x ^= x >> 29;
    x *= 0xbf58476d1ce4e5b9u;
    return (uint8_t)(x >> 40);
}

static uint8_t codes_gate_up[EXPERTS][2 * INNER][HIDDEN / 2],
    scales_gate_up[EXPERTS][2 * INNER][HIDDEN / 16];
static uint8_t codes_down[EXPERTS][HIDDEN][INNER / 2], scales_down[EXPERTS][HIDDEN][INNER / 16];
static const float scale_2[EXPERTS][2] = {{0.001f, 0.002f}, {0.003f, 0.004f}, {0.005f, 0.006f}};
static const float one_scale = 0.0078125f, inputs[EXPERTS] = {0.25f, 0.5f, 0.75f};

static void fill_fp4(void)
{
    uint8_t *codes[] = {&codes_gate_up[0][0][0], &codes_down[0][0][0]},
            *scales[] = {&scales_gate_up[0][0][0], &scales_down[0][0][0]};
    size_t codes_n[] = {sizeof codes_gate_up, sizeof codes_down},
           scales_n[] = {sizeof scales_gate_up, sizeof scales_down};
    for (int t = 0; t < 2; t++) {
        for (size_t i = 0; i < codes_n[t]; i++)
            codes[t][i] = noise(i + (size_t)t * 7777);
        for (size_t i = 0; i < scales_n[t]; i++)
            scales[t][i] = noise(i + 99991) % 0x7f;
    }
}

/* What a weight must be, said from the arrays and not from the reader. */
static void expect_fp4(const Weight *w, const uint8_t *codes, const uint8_t *scales, size_t n,
                       size_t k, float g)
{
    float row[HIDDEN];
    assert_int_equal(w->format, WEIGHT_NVFP4);
    assert_int_equal(w->n, n);
    assert_int_equal(w->k, k);
    for (size_t r = 0; r < n; r++) {
        weight_row(w, r, row);
        for (size_t i = 0; i < k; i++) {
            uint8_t code = codes[(r * k + i) / 2] >> 4 * (i % 2) & 15;
            float scale = fp8_e4m3_to_f32(scales[(r * k + i) / 16]);
            float want = fp4_to_f32(code) * (w->is_divisor ? scale / g : scale * g);
            assert_true(row[i] == want);
        }
    }
}

/* One spelling of the fused 3-D flavour. */
typedef struct Fused {
    const char *weight, *scale, *scale_2, *input; /* suffixes behind gate_up_proj and down_proj */
    const char *scale_2_shape, *down_scale_2_shape;
    bool is_pair, is_single; /* [E,2] · [] or [1] */
    const char *input_shape; /* NULL: no input scale */
} Fused;

static void fused_fp4_is_the_same_in_every_spelling(void **state)
{
    (void)state;
    static const Fused rows[] = {
        {"", "_scale", "_scale_2", ".input_scale", "[3,2]", "[3]", true, false, "[]"},
        {"", "_weight_scale", "_weight_scale_2", "_input_scale", "[3,2]", "[3,1]", true, false,
         "[3]"},
        {".weight", ".weight_scale", ".weight_scale_2", ".input_scale", "[3]", "[3]", false, false,
         "[1]"},
        {"", "_scale", "_scale_2", "", "[]", "[1]", false, true, NULL},
    };
    static const char *const shapes[2][2] = {{"[3,64,24]", "[3,64,3]"}, {"[3,48,16]", "[3,48,2]"}};
    fill_fp4();
    float flat[EXPERTS];
    for (int e = 0; e < EXPERTS; e++)
        flat[e] = scale_2[e][0];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Fused *f = &rows[i];
        char names[8][100];
        TestTensor t[8];
        size_t n = 0;
        for (int d = 0; d < 2; d++) {
            const char *stem = d ? P "mlp.experts.down_proj" : P "mlp.experts.gate_up_proj";
            const char *suffixes[] = {f->weight, f->scale, f->scale_2, f->input};
            for (int s = 0; s < (f->input_shape ? 4 : 3); s++)
                snprintf(names[n + (size_t)s], sizeof names[0], "%s%s", stem, suffixes[s]);
            t[n] = (TestTensor){names[n], "U8", shapes[d][0],
                                d ? (void *)codes_down : (void *)codes_gate_up,
                                d ? sizeof codes_down : sizeof codes_gate_up};
            t[n + 1] = (TestTensor){names[n + 1], "F8_E4M3", shapes[d][1],
                                    d ? (void *)scales_down : (void *)scales_gate_up,
                                    d ? sizeof scales_down : sizeof scales_gate_up};
            bool is_pair = f->is_pair && !d;
            t[n + 2] =
                (TestTensor){names[n + 2], "F32", d ? f->down_scale_2_shape : f->scale_2_shape,
                             f->is_single ? &one_scale
                             : is_pair    ? &scale_2[0][0]
                                          : flat,
                             f->is_single ? sizeof one_scale
                             : is_pair    ? sizeof scale_2
                                          : sizeof flat};
            if (f->input_shape)
                t[n + 3] = (TestTensor){names[n + 3], "F32", f->input_shape, inputs,
                                        strcmp(f->input_shape, "[3]") == 0 ? sizeof inputs
                                                                           : sizeof *inputs};
            n += f->input_shape ? 4 : 3;
        }
        folder_text(folder, "config.json", "{}");
        folder_tensors(folder, "model.safetensors", t, n);
        Checkpoint *c = open_good();
        for (size_t e = 0; e < EXPERTS; e++) {
            char logical[64];
            for (size_t half = 0; half < 2; half++) {
                snprintf(logical, sizeof logical, "layers.0.experts.%zu.%s", e,
                         half ? "up" : "gate");
                Weight w = weight(c, logical);
                float g = f->is_single ? one_scale : scale_2[e][f->is_pair ? half : 0];
                expect_fp4(&w, codes_gate_up[e][half * INNER], scales_gate_up[e][half * INNER],
                           INNER, HIDDEN, g);
                assert_int_equal(w.has_input_scale, f->input_shape != NULL);
                if (f->input_shape)
                    assert_true(w.input_scale
                                == inputs[strcmp(f->input_shape, "[3]") == 0 ? e : 0]);
            }
            snprintf(logical, sizeof logical, "layers.0.experts.%zu.down", e);
            Weight w = weight(c, logical);
            expect_fp4(&w, codes_down[e][0], scales_down[e][0], HIDDEN, INNER,
                       f->is_single ? one_scale : flat[e]);
        }
        assert_false(checkpoint_has(c, "layers.0.experts.3.up"));
        expect_no_weight(c, "expert 3", "layers.0.experts.3.up", E_MISSING,
                         "holds 3 experts, number 3 is not among them");
        checkpoint_close(c);
    }
}

static void scalars_may_be_0d_or_1d(void **state)
{
    (void)state;
    static const char *const shapes[] = {"[]", "[1]"};
    static const float divisor = 512, input = 64;
    fill_fp4();
    for (int s = 0; s < 2; s++) {
        TestTensor t[] = {
            {P "mlp.shared_expert.up_proj.weight_packed", "U8", "[32,24]", codes_gate_up,
             INNER * HIDDEN / 2},
            {P "mlp.shared_expert.up_proj.weight_scale", "F8_E4M3", "[32,3]", scales_gate_up,
             INNER * HIDDEN / 16},
            {P "mlp.shared_expert.up_proj.weight_global_scale", "F32", shapes[s], &divisor, 4},
            {P "mlp.shared_expert.up_proj.input_global_scale", "F32", shapes[s], &input, 4},
            {P "self_attn.q_proj.weight", "U8", "[32,24]", codes_gate_up, INNER * HIDDEN / 2},
            {P "self_attn.q_proj.weight_scale", "F8_E4M3", "[32,3]", scales_gate_up,
             INNER * HIDDEN / 16},
            {P "self_attn.q_proj.weight_scale_2", "F32", shapes[s], &one_scale, 4},
            {P "self_attn.q_proj.input_scale", "F32", shapes[s], inputs, 4},
        };
        folder_text(folder, "config.json", "{}");
        folder_tensors(folder, "model.safetensors", ROWS(t));
        Checkpoint *c = open_good();
        Weight w = weight(c, "layers.0.shared.up");
        assert_true(w.is_divisor && w.tensor_scale == divisor && w.has_input_scale
                    && w.input_scale == input);
        expect_fp4(&w, codes_gate_up[0][0], scales_gate_up[0][0], INNER, HIDDEN, divisor);
        w = weight(c, "layers.0.attn.q");
        assert_true(!w.is_divisor && w.tensor_scale == one_scale && w.has_input_scale
                    && w.input_scale == inputs[0]);
        expect_fp4(&w, codes_gate_up[0][0], scales_gate_up[0][0], INNER, HIDDEN, one_scale);
        checkpoint_close(c);
    }
}

/* Ragged blocks in all three scale types, by itself and stacked. 20 × 24 in blocks of 8 × 16: edges
 * of 4 rows and 8 columns. */
static void block_fp8_in_every_form(void **state)
{
    (void)state;
    enum { N = 20, K = 24, BN = 8, BK = 16, E = 2 };
    static const char *const dtypes[] = {"BF16", "F16", "F32"};
    uint8_t data[E * 2 * 8 * K + N * K];
    float scale[E * 2 * 2];
    uint16_t halves[E * 2 * 2];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = noise(i) % 0x7f;
    for (size_t i = 0; i < E * 2 * 2; i++)
        scale[i] = 0.125f * (float)(i + 1);
    for (int d = 0; d < 3; d++) {
        for (size_t i = 0; i < E * 2 * 2; i++)
            halves[i] = d == 0 ? bf16_from_f32(scale[i]) : fp16_from_f32(scale[i]);
        size_t one = d == 2 ? 4 : 2;
        const void *s = d == 2 ? (const void *)scale : halves;
        TestTensor t[] = {
            {P "linear_attn.out_proj.weight", "F8_E4M3", "[20,24]", data, N * K},
            {P "linear_attn.out_proj.weight_scale_inv", dtypes[d], "[3,2]", s, 6 * one},
            {P "mlp.experts.gate_up_proj", "F8_E4M3", "[2,16,24]", data, E * 16 * K},
            {P "mlp.experts.gate_up_proj_scale_inv", dtypes[d], "[2,2,2]", s, 8 * one},
        };
        folder_text(
            folder, "config.json",
            "{\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[8,16]}}");
        folder_tensors(folder, "model.safetensors", ROWS(t));
        Checkpoint *c = open_good();
        assert_int_equal(checkpoint_format(c), CHECKPOINT_FP8_BLOCK);
        float row[K];
        Weight w = weight(c, "layers.0.gdn.out");
        assert_int_equal(w.format, WEIGHT_FP8_BLOCK);
        assert_true(w.n == N && w.k == K && w.block_n == BN && w.block_k == BK
                    && !w.has_input_scale);
        for (size_t n = 0; n < N; n++) {
            weight_row(&w, n, row);
            for (size_t k = 0; k < K; k++)
                assert_true(row[k]
                            == fp8_e4m3_to_f32(data[n * K + k]) * scale[n / BN * 2 + k / BK]);
        }
        for (size_t e = 0; e < E; e++)
            for (size_t half = 0; half < 2; half++) {
                char logical[64];
                snprintf(logical, sizeof logical, "layers.0.experts.%zu.%s", e,
                         half ? "up" : "gate");
                w = weight(c, logical);
                assert_true(w.n == 8 && w.k == K);
                for (size_t n = 0; n < 8; n++) {
                    weight_row(&w, n, row);
                    for (size_t k = 0; k < K; k++)
                        assert_true(row[k]
                                    == fp8_e4m3_to_f32(data[((e * 2 + half) * 8 + n) * K + k])
                                           * scale[(e * 2 + half) * 2 + k / BK]);
                }
            }
        checkpoint_close(c);
    }
}

/* Per-tensor FP8 with and without input scale, F32 and F16 beside BF16, vectors, the conv, tied
 * embeddings. */
static void other_forms(void **state)
{
    (void)state;
    static const uint8_t q[] = {0x38, 0xb8, 0x7e, 0x01};
    static const float w_scale = 0.5f, in_scale = 0.25f, f32[] = {1.5f, -2.25f, 3},
                       conv[] = {1, 2, 3, 4, 5, 6, 7, 8};
    const uint16_t f16[] = {fp16_from_f32(0.5f), fp16_from_f32(-7)},
                   bf16[] = {bf16_from_f32(1), bf16_from_f32(-3)};
    TestTensor t[] = {
        {P "self_attn.k_proj.weight", "F8_E4M3", "[2,2]", q, 4},
        {P "self_attn.k_proj.weight_scale", "F32", "[]", &w_scale, 4},
        {P "self_attn.k_proj.input_scale", "F32", "[]", &in_scale, 4},
        {P "self_attn.v_proj.weight", "F8_E4M3", "[1,4]", q, 4},
        {P "self_attn.v_proj.weight_scale", "F32", "[1]", &w_scale, 4},
        {P "self_attn.k_scale", "BF16", "[]", bf16, 2},
        {P "self_attn.v_scale", "F32", "[1]", &in_scale, 4},
        {P "linear_attn.A_log", "F32", "[3]", f32, 12},
        {P "linear_attn.dt_bias", "BF16", "[2]", bf16, 4},
        {P "linear_attn.norm.weight", "F16", "[2]", f16, 4},
        {P "linear_attn.conv1d.weight", "F32", "[2,1,4]", conv, 32},
        {"model.embed_tokens.weight", "F32", "[1,3]", f32, 12},
        {"mtp.layers.0.input_layernorm.weight", "BF16", "[2]", bf16, 4},
    };
    folder_tensors(folder, "model.safetensors", ROWS(t));
    folder_text(folder, "config.json", "{\"tie_word_embeddings\":true}");
    Checkpoint *c = open_good();
    assert_string_equal(checkpoint_prefix(c), "model.");
    assert_string_equal(checkpoint_path(c), folder);
    float row[4], k, v;
    Err err = {0};
    Weight w = weight(c, "layers.0.attn.k");
    assert_int_equal(w.format, WEIGHT_FP8);
    assert_true(w.n == 2 && w.k == 2 && w.tensor_scale == 0.5f && w.has_input_scale
                && w.input_scale == 0.25f);
    weight_row(&w, 0, row);
    assert_true(row[0] == 0.5f && row[1] == -0.5f);
    weight_row(&w, 1, row);
    assert_true(row[0] == 224 && row[1] == 0x1p-10f);
    w = weight(c, "layers.0.attn.v");
    assert_true(w.n == 1 && w.k == 4 && !w.has_input_scale);
    assert_true(checkpoint_kv_scales(c, "layers.0", &k, &v, &err));
    assert_true(k == 1 && v == 0.25f);
    w = weight(c, "layers.0.gdn.a_log");
    weight_row(&w, 0, row);
    assert_true(w.n == 1 && w.k == 3 && w.dtype == DTYPE_F32 && row[1] == -2.25f);
    w = weight(c, "layers.0.gdn.dt_bias");
    weight_row(&w, 0, row);
    assert_true(w.k == 2 && row[1] == -3);
    w = weight(c, "layers.0.gdn.norm");
    weight_row(&w, 0, row);
    assert_true(w.k == 2 && row[1] == -7);
    w = weight(c, "layers.0.gdn.conv");
    weight_row(&w, 1, row);
    assert_true(w.n == 2 && w.k == 4 && row[2] == 7);
    w = weight(c, "mtp.0.input_norm");
    assert_true(w.n == 1 && w.k == 2);
    assert_ptr_equal(weight(c, "lm_head").data, weight(c, "embed").data);
    checkpoint_close(c);
    folder_text(folder, "config.json",
                "{\"text_config\":{\"tie_word_embeddings\":false},\"tie_word_embeddings\":true}");
    c = open_good();
    assert_false(checkpoint_has(c, "lm_head"));
    expect_no_weight(c, "untied", "lm_head", E_MISSING,
                     "looked for lm_head.weight and lm_head.weight_packed, found neither");
    checkpoint_close(c);
}

/* A weight in which one thing is wrong: a good linear, of which some tensors are replaced, added or
 * (dtype NULL) taken away. */
typedef struct BadWeight {
    const char *what, *base; /* base: "modelopt", "ct", "fp8", "block", "bf16" */
    TestTensor change;       /* name is the suffix behind the stem */
    ErrKind kind;
    const char *words;
} BadWeight;

static const float f_nan = NAN, f_inf = INFINITY, f_zero = 0, f_minus = -0.5f, f_896 = 896,
                   f_1e5 = 1e5f, f_small = 0x1p-10f, f_tiny = 1e-30f, f_two[] = {0.01f, 0.01f};
static const uint16_t h_nan = 0x7fc0;

static const BadWeight bad_weights[] = {
    {"modelopt scalar is NaN",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_nan, 4},
     E_FORMAT,
     "q_proj.weight_scale_2: expected a positive finite scale, found nan"},
    {"modelopt scalar is infinite",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_inf, 4},
     E_FORMAT,
     "positive finite scale, found inf"},
    {"modelopt scalar is 0",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_zero, 4},
     E_FORMAT,
     "positive finite scale, found 0"},
    {"modelopt scalar is negative",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_minus, 4},
     E_FORMAT,
     "positive finite scale, found -0.5"},
    {"modelopt scalar is inverted",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_896, 4},
     E_FORMAT,
     "q_proj.weight_scale_2: 896 cannot be a multiplier"},
    {"modelopt scalar is tiny",
     "modelopt",
     {".weight_scale_2", "F32", "[]", &f_tiny, 4},
     E_FORMAT,
     "cannot be a multiplier"},
    {"modelopt scalar is BF16 NaN",
     "modelopt",
     {".weight_scale_2", "BF16", "[]", &h_nan, 2},
     E_FORMAT,
     "found nan"},
    {"modelopt scalar has two values",
     "modelopt",
     {".weight_scale_2", "F32", "[2]", f_two, 8},
     E_SHAPE,
     "expected one float, shape [] or [1], found F32 [2]"},
    {"modelopt scalar is I32",
     "modelopt",
     {".weight_scale_2", "I32", "[]", NULL, 4},
     E_SHAPE,
     "found I32 []"},
    {"modelopt scalar is missing",
     "modelopt",
     {".weight_scale_2", NULL, NULL, NULL, 0},
     E_MISSING,
     "q_proj.weight_scale_2 is missing"},
    {"modelopt input scale is inverted",
     "modelopt",
     {".input_scale", "F32", "[]", &f_1e5, 4},
     E_FORMAT,
     "q_proj.input_scale: 100000 cannot be a multiplier"},
    {"modelopt input scale is 0",
     "modelopt",
     {".input_scale", "F32", "[]", &f_zero, 4},
     E_FORMAT,
     "input_scale: expected a positive"},
    {"block scales are missing",
     "modelopt",
     {".weight_scale", NULL, NULL, NULL, 0},
     E_MISSING,
     "block scales weight_scale are missing"},
    {"block scales are transposed",
     "modelopt",
     {".weight_scale", "F8_E4M3", "[2,4]", NULL, 8},
     E_SHAPE,
     "expected F8_E4M3 [4, 2], found F8_E4M3 [2, 4]"},
    {"block scales are swizzled and padded",
     "modelopt",
     {".weight_scale", "F8_E4M3", "[128,4]", NULL, 512},
     E_SHAPE,
     "found F8_E4M3 [128, 4]"},
    {"block scales are U8",
     "modelopt",
     {".weight_scale", "U8", "[4,2]", NULL, 8},
     E_SHAPE,
     "found U8 [4, 2]"},
    {"codes are 1-D",
     "modelopt",
     {".weight", "U8", "[64]", NULL, 64},
     E_SHAPE,
     "expected U8 [n, k/2] with k a multiple of 16, found U8 [64]"},
    {"k is no multiple of 16",
     "modelopt",
     {".weight", "U8", "[4,12]", NULL, 48},
     E_SHAPE,
     "found U8 [4, 12]"},
    {"codes are empty",
     "modelopt",
     {".weight", "U8", "[0,16]", NULL, 0},
     E_SHAPE,
     "found U8 [0, 16]"},
    {"codes are I8",
     "modelopt",
     {".weight", "I8", "[4,16]", NULL, 64},
     E_SHAPE,
     "found I8 [4, 16]"},
    {"AWQ",
     "modelopt",
     {".pre_quant_scale", "BF16", "[32]", NULL, 64},
     E_UNSUPPORTED,
     "q_proj.pre_quant_scale: the input must be multiplied by it"},
    {"SVDQuant",
     "modelopt",
     {".svdquant_lora_a", "BF16", "[2,32]", NULL, 128},
     E_UNSUPPORTED,
     "low-rank branch"},
    {"a bias", "bf16", {".bias", "BF16", "[4]", NULL, 8}, E_UNSUPPORTED, "have no bias"},
    {"a zero point",
     "ct",
     {".weight_zero_point", "U8", "[4,2]", NULL, 8},
     E_UNSUPPORTED,
     "asymmetric"},
    {"stored twice",
     "ct",
     {".weight", "BF16", "[4,32]", NULL, 256},
     E_FORMAT,
     "q_proj is stored twice"},
    {"divisor is inverted",
     "ct",
     {".weight_global_scale", "F32", "[1]", &f_small, 4},
     E_FORMAT,
     "0.0009765625 cannot be a divisor"},
    {"divisor is missing",
     "ct",
     {".weight_global_scale", NULL, NULL, NULL, 0},
     E_MISSING,
     "weight_global_scale is missing"},
    {"divisor is infinite",
     "ct",
     {".weight_global_scale", "F32", "[1]", &f_inf, 4},
     E_FORMAT,
     "found inf"},
    {"input divisor is inverted",
     "ct",
     {".input_global_scale", "F32", "[1]", &f_small, 4},
     E_FORMAT,
     "0.0009765625 cannot be a divisor"},
    {"FP8 without scale",
     "fp8",
     {".weight_scale", NULL, NULL, NULL, 0},
     E_MISSING,
     "q_proj.weight_scale_inv or "},
    {"FP8 scale per channel",
     "fp8",
     {".weight_scale", "F32", "[4,1]", NULL, 16},
     E_UNSUPPORTED,
     "per channel or group"},
    {"FP8 scale is inverted",
     "fp8",
     {".weight_scale", "F32", "[]", &f_896, 4},
     E_FORMAT,
     "896 cannot be a multiplier"},
    {"FP8 with both scales",
     "fp8",
     {".weight_scale_inv", "BF16", "[1,1]", NULL, 2},
     E_FORMAT,
     "expected one scale, found both"},
    {"FP8 is 3-D",
     "fp8",
     {".weight", "F8_E4M3", "[4,4,8]", NULL, 128},
     E_SHAPE,
     "expected F8_E4M3 [n, k], found F8_E4M3 [4, 4, 8]"},
    {"block scales of another block",
     "block",
     {".weight_scale_inv", "BF16", "[2,1]", NULL, 4},
     E_SHAPE,
     "F32 [1, 1] (blocks of 128 × 128), found BF16 [2, 1]"},
    {"block scales are E4M3",
     "block",
     {".weight_scale_inv", "F8_E4M3", "[1,1]", NULL, 1},
     E_SHAPE,
     "found F8_E4M3 [1, 1]"},
    {"BF16 is 1-D",
     "bf16",
     {".weight", "BF16", "[128]", NULL, 256},
     E_SHAPE,
     "expected F32, BF16 or F16 [n, k], found BF16 [128]"},
    {"weight is E5M2",
     "bf16",
     {".weight", "F8_E5M2", "[4,32]", NULL, 128},
     E_SHAPE,
     "found F8_E5M2 [4, 32]"},
    {"weight is missing",
     "bf16",
     {".weight", NULL, NULL, NULL, 0},
     E_MISSING,
     "looked for " P "self_attn.q_proj.weight and "},
};

static size_t good_linear(const char *kind, TestTensor *t)
{
    static const float small = 0.01f, divisor = 896, input = 50;
    static const TestTensor forms[][4] = {
        {{".weight", "U8", "[4,16]", NULL, 64},
         {".weight_scale", "F8_E4M3", "[4,2]", NULL, 8},
         {".weight_scale_2", "F32", "[]", &small, 4},
         {".input_scale", "F32", "[]", &small, 4}},
        {{".weight_packed", "U8", "[4,16]", NULL, 64},
         {".weight_scale", "F8_E4M3", "[4,2]", NULL, 8},
         {".weight_global_scale", "F32", "[1]", &divisor, 4},
         {".input_global_scale", "F32", "[1]", &input, 4}},
        {{".weight", "F8_E4M3", "[4,32]", NULL, 128}, {".weight_scale", "F32", "[]", &small, 4}},
        {{".weight", "F8_E4M3", "[4,32]", NULL, 128},
         {".weight_scale_inv", "BF16", "[1,1]", NULL, 2}},
        {{".weight", "BF16", "[4,32]", NULL, 256}},
    };
    static const char *const kinds[] = {"modelopt", "ct", "fp8", "block", "bf16"};
    static const size_t counts[] = {4, 4, 2, 2, 1};
    size_t f = 0;
    while (strcmp(kinds[f], kind) != 0)
        f++;
    memcpy(t, forms[f], counts[f] * sizeof *t);
    return counts[f];
}

/* Writes the linear with the change (NULL: none) as layers.0.attn.q. */
static void write_linear(const char *kind, const TestTensor *change)
{
    TestTensor t[8];
    char names[8][100];
    size_t n = good_linear(kind, t), i = 0;
    if (change) {
        while (i < n && strcmp(t[i].name, change->name) != 0)
            i++;
        if (!change->dtype)
            t[i] = t[--n];
        else
            t[i == n ? n++ : i] = *change;
    }
    for (i = 0; i < n; i++) {
        snprintf(names[i], sizeof names[i], P "self_attn.q_proj%s", t[i].name);
        t[i].name = names[i];
    }
    folder_text(folder, "config.json", "{}");
    folder_tensors(folder, "model.safetensors", t, n);
}

static void bad_weights_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof bad_weights / sizeof *bad_weights; i++) {
        const BadWeight *b = &bad_weights[i];
        write_linear(b->base, NULL);
        Checkpoint *c = open_good();
        weight(c, "layers.0.attn.q");
        checkpoint_close(c);
        write_linear(b->base, &b->change);
        c = open_good(); /* one bad weight does not keep the folder from being looked at */
        expect_no_weight(c, b->what, "layers.0.attn.q", b->kind, b->words);
        checkpoint_close(c);
    }
}

static void bad_stacks_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *what;
        TestTensor t[3];
        size_t n;
        const char *logical;
        ErrKind kind;
        const char *words;
    } rows[] = {
        {"2-D stack",
         {{P "mlp.experts.gate_up_proj", "BF16", "[4,8]", NULL, 64}},
         1,
         "layers.0.experts.0.up",
         E_SHAPE,
         "expected a stack of matrices"},
        {"odd rows",
         {{P "mlp.experts.gate_up_proj", "BF16", "[2,3,4]", NULL, 48}},
         1,
         "layers.0.experts.0.up",
         E_SHAPE,
         "even n"},
        {"stack of integers",
         {{P "mlp.experts.down_proj", "I32", "[2,3,4]", NULL, 96}},
         1,
         "layers.0.experts.0.down",
         E_SHAPE,
         "found I32 [2, 3, 4]"},
        {"both forms",
         {{P "mlp.experts.down_proj", "BF16", "[2,3,4]", NULL, 48},
          {P "mlp.experts.1.down_proj.weight", "BF16", "[3,4]", NULL, 24}},
         2,
         "layers.0.experts.1.down",
         E_FORMAT,
         "stored twice: by itself and in"},
        {"FP4 stack without scales",
         {{P "mlp.experts.down_proj", "U8", "[2,3,8]", NULL, 48}},
         1,
         "layers.0.experts.0.down",
         E_MISSING,
         "down_proj_scale is missing"},
        {"FP4 stack without scalar",
         {{P "mlp.experts.down_proj", "U8", "[2,3,8]", NULL, 48},
          {P "mlp.experts.down_proj_scale", "F8_E4M3", "[2,3,1]", NULL, 6}},
         2,
         "layers.0.experts.0.down",
         E_MISSING,
         "down_proj_scale_2 is missing"},
        {"FP4 stack, scales of 2 experts too many",
         {{P "mlp.experts.down_proj", "U8", "[2,3,8]", NULL, 48},
          {P "mlp.experts.down_proj_scale", "F8_E4M3", "[4,3,1]", NULL, 12},
          {P "mlp.experts.down_proj_scale_2", "F32", "[2]", f_two, 8}},
         3,
         "layers.0.experts.0.down",
         E_SHAPE,
         "expected F8_E4M3 [2, 3, 1]"},
        {"FP4 stack, a pair of scalars for down",
         {{P "mlp.experts.down_proj", "U8", "[2,3,8]", NULL, 48},
          {P "mlp.experts.down_proj_scale", "F8_E4M3", "[2,3,1]", NULL, 6},
          {P "mlp.experts.down_proj_scale_2", "F32", "[2,2]", NULL, 16}},
         3,
         "layers.0.experts.0.down",
         E_SHAPE,
         "[experts, 1], found F32 [2, 2]"},
        {"FP4 stack, scalar 0",
         {{P "mlp.experts.down_proj", "U8", "[2,3,8]", NULL, 48},
          {P "mlp.experts.down_proj_scale", "F8_E4M3", "[2,3,1]", NULL, 6},
          {P "mlp.experts.down_proj_scale_2", "F32", "[2]", NULL, 8}},
         3,
         "layers.0.experts.1.down",
         E_FORMAT,
         "found 0 at element 1"},
        {"FP8 stack without scales",
         {{P "mlp.experts.down_proj", "F8_E4M3", "[2,3,8]", NULL, 48}},
         1,
         "layers.0.experts.0.down",
         E_MISSING,
         "_scale_inv are missing"},
        {"FP8 stack that splits a block",
         {{P "mlp.experts.gate_up_proj", "F8_E4M3", "[2,128,8]", NULL, 2048},
          {P "mlp.experts.gate_up_proj_scale_inv", "F32", "[2,1,1]", NULL, 8}},
         2,
         "layers.0.experts.0.up",
         E_UNSUPPORTED,
         "begin at row 64, inside a block of 128 rows"},
        {"FP8 stack, scales of one expert",
         {{P "mlp.experts.down_proj", "F8_E4M3", "[2,3,8]", NULL, 48},
          {P "mlp.experts.down_proj_scale_inv", "F32", "[1,1,1]", NULL, 4}},
         2,
         "layers.0.experts.1.down",
         E_SHAPE,
         "as many matrices of scales as experts"},
        {"conv in another order",
         {{P "linear_attn.conv1d.weight", "BF16", "[8,4,1]", NULL, 64}},
         1,
         "layers.0.gdn.conv",
         E_SHAPE,
         "expected F32, BF16 or F16 [channels, 1, width], found BF16 [8, 4, 1]"},
        {"norm is a matrix",
         {{"model.norm.weight", "BF16", "[8,4]", NULL, 64}},
         1,
         "final_norm",
         E_SHAPE,
         "expected F32, BF16 or F16 [n], found BF16 [8, 4]"},
        {"no such name",
         {{"model.norm.weight", "BF16", "[8]", NULL, 16}},
         1,
         "final_nrom",
         E_MISSING,
         "\"final_nrom\" is not the name of a weight"},
        {"no expert",
         {{"model.norm.weight", "BF16", "[8]", NULL, 16}},
         1,
         "mtp.0.experts.5.up",
         E_MISSING,
         "mtp.layers.0.mlp.experts.5.up_proj.weight_packed and mtp.layers.0.mlp.experts.gate_up_proj, found none"},
        {"no a_log",
         {{"model.norm.weight", "BF16", "[8]", NULL, 16}},
         1,
         "layers.12.gdn.a_log",
         E_MISSING,
         "looked for model.layers.12.linear_attn.A_log, found none"},
    };
    folder_text(folder, "config.json", "{}");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        folder_tensors(folder, "model.safetensors", rows[i].t, rows[i].n);
        Checkpoint *c = open_good();
        expect_no_weight(c, rows[i].what, rows[i].logical, rows[i].kind, rows[i].words);
        checkpoint_close(c);
    }
}

/* The parts of a folder; NULL: the good one. */
typedef struct BadFolder {
    const char *what;
    const char *config, *quant, *index; /* "": absent */
    const TestTensor *one, *two;        /* a tensor of each file; name NULL: the file is absent */
    ErrKind kind;
    const char *words;
} BadFolder;

static const char good_index[] =
    "{\"metadata\":{\"total_size\":5},\"weight_map\":{\"a\":\"" FILE1 "\",\"b\":\"" FILE2 "\"}}";
static const TestTensor tensor_a = {"a", "U8", "[2]", "xy", 2},
                        tensor_b = {"b", "U8", "[3]", "xyz", 3},
                        tensor_bad = {"b", "U8", "[4]", "xyz", 3},
                        tensor_none = {NULL, NULL, NULL, NULL, 0};

static const BadFolder bad_folders[] = {
    {"no config", "", NULL, NULL, NULL, NULL, E_MISSING,
     "expected config.json in a checkpoint folder, found none"},
    {"config is empty", "\n", NULL, NULL, NULL, NULL, E_FORMAT, "config.json: line "},
    {"config is cut", "{\"a\":", NULL, NULL, NULL, NULL, E_FORMAT, "config.json: line 1, column 5"},
    {"config is a list", "[]", NULL, NULL, NULL, NULL, E_FORMAT,
     "config.json: expected a JSON object"},
    {"config has a key twice", "{\"a\":1,\"a\":2}", NULL, NULL, NULL, NULL, E_FORMAT,
     "duplicate object key"},
    {"config is not UTF-8", "{\"a\":\"\xff\"}", NULL, NULL, NULL, NULL, E_FORMAT,
     "config.json: line 1"},
    {"text_config is a string", "{\"text_config\":\"x\"}", NULL, NULL, NULL, NULL, E_FORMAT,
     "config.json: expected an object under \"text_config\""},
    {"quantization_config is a list", "{\"quantization_config\":[]}", NULL, NULL, NULL, NULL,
     E_FORMAT, "expected an object under \"quantization_config\""},
    {"quant_method is a number", "{\"quantization_config\":{\"quant_method\":4}}", NULL, NULL, NULL,
     NULL, E_FORMAT, "expected a string under \"quant_method\""},
    {"block of one number", "{\"quantization_config\":{\"weight_block_size\":[128]}}", NULL, NULL,
     NULL, NULL, E_FORMAT, "two positive integers under \"weight_block_size\""},
    {"block of 0", "{\"quantization_config\":{\"weight_block_size\":[0,128]}}", NULL, NULL, NULL,
     NULL, E_FORMAT, "two positive integers"},
    {"block of three", "{\"quantization_config\":{\"weight_block_size\":[1,128,1]}}", NULL, NULL,
     NULL, NULL, E_FORMAT, "two positive integers"},
    {"hf_quant_config is cut", NULL, "{", NULL, NULL, NULL, E_FORMAT,
     "hf_quant_config.json: line 1"},
    {"hf_quant_config of numbers", NULL, "{\"quantization\":{\"kv_cache_quant_algo\":8}}", NULL,
     NULL, NULL, E_FORMAT, "hf_quant_config.json: expected a string under \"kv_cache_quant_algo\""},
    {"nothing but config", NULL, NULL, "", &tensor_none, &tensor_none, E_MISSING,
     "or at least one *.safetensors, found none"},
    {"index is empty", NULL, NULL, "\n", NULL, NULL, E_FORMAT,
     INDEX ": byte 1: expected '{' of the index, found the end"},
    {"index without map", NULL, NULL, "{\"metadata\":{}}", NULL, NULL, E_FORMAT,
     "\"weight_map\" with the file of every tensor, found none"},
    {"map is empty", NULL, NULL, "{\"weight_map\":{}}", NULL, NULL, E_FORMAT, "found an empty one"},
    {"map is a list", NULL, NULL, "{\"weight_map\":[]}", NULL, NULL, E_FORMAT,
     "expected '{' of weight_map"},
    {"map twice", NULL, NULL, "{\"weight_map\":{},\"weight_map\":{}}", NULL, NULL, E_FORMAT,
     "stands there twice"},
    {"file is a number", NULL, NULL, "{\"weight_map\":{\"a\":1}}", NULL, NULL, E_FORMAT,
     "expected the name of a file, found '1'"},
    {"file in the folder above", NULL, NULL, "{\"weight_map\":{\"a\":\"../x.safetensors\"}}", NULL,
     NULL, E_FORMAT, "expected the plain name of a file in the folder, found \"../x.safetensors\""},
    {"file with an absolute path", NULL, NULL, "{\"weight_map\":{\"a\":\"/etc/x.safetensors\"}}",
     NULL, NULL, E_FORMAT, "plain name of a file"},
    {"file in a folder below", NULL, NULL, "{\"weight_map\":{\"a\":\"sub/x.safetensors\"}}", NULL,
     NULL, E_FORMAT, "plain name of a file"},
    {"escaped slash", NULL, NULL, "{\"weight_map\":{\"a\":\"..\\u002fx.safetensors\"}}", NULL, NULL,
     E_FORMAT, "plain name of a file"},
    {"the folder itself", NULL, NULL, "{\"weight_map\":{\"a\":\"..\"}}", NULL, NULL, E_FORMAT,
     "plain name of a file"},
    {"file without name", NULL, NULL, "{\"weight_map\":{\"a\":\"\"}}", NULL, NULL, E_FORMAT,
     "plain name of a file"},
    {"file of pickles", NULL, NULL, "{\"weight_map\":{\"a\":\"model.bin\"}}", NULL, NULL, E_FORMAT,
     "ends in .safetensors, found \"model.bin\""},
    {"listed file is absent", NULL, NULL, NULL, NULL, &tensor_none, E_MISSING,
     "names the file " FILE2 ", which is not in the folder"},
    {"listed tensor is absent", NULL, NULL,
     "{\"weight_map\":{\"a\":\"" FILE1 "\",\"b\":\"" FILE2 "\",\"c\":\"" FILE2 "\"}}", NULL, NULL,
     E_MISSING, "places tensor c in " FILE2 ", which does not hold it"},
    {"tensor in the other file", NULL, NULL,
     "{\"weight_map\":{\"a\":\"" FILE2 "\",\"b\":\"" FILE1 "\"}}", NULL, NULL, E_MISSING,
     "places tensor a in " FILE2 ", it is in"},
    {"tensor listed twice", NULL, NULL,
     "{\"weight_map\":{\"a\":\"" FILE1 "\",\"b\":\"" FILE2 "\",\"a\":\"" FILE1 "\"}}", NULL, NULL,
     E_FORMAT, "tensor a stands there twice"},
    {"tensor in two files", NULL, NULL, NULL, NULL, &tensor_a, E_FORMAT,
     "tensor a is stored twice: in "},
    {"tensor in two files, no index", NULL, NULL, "", NULL, &tensor_a, E_FORMAT,
     "tensor a is stored twice: in "},
    {"one bad file", NULL, NULL, NULL, NULL, &tensor_bad, E_FORMAT,
     FILE2 ": tensor b: its shape and dtype U8 need 4 bytes, data_offsets hold 3"},
};

static void write_part(const char *name, const char *text, const char *good)
{
    char path[512];
    text = text ? text : good;
    folder_path(path, sizeof path, folder, name);
    unlink(path);
    if (*text)
        folder_text(folder, name, text);
}

static void write_file(const char *name, const TestTensor *t, const TestTensor *good)
{
    char path[512];
    t = t ? t : good;
    folder_path(path, sizeof path, folder, name);
    unlink(path);
    if (t->name)
        folder_tensors(folder, name, t, 1);
}

static void write_folder(const BadFolder *b)
{
    write_part("config.json", b->config, "{}");
    write_part("hf_quant_config.json", b->quant, "");
    write_part(INDEX, b->index, good_index);
    write_file(FILE1, b->one, &tensor_a);
    write_file(FILE2, b->two, &tensor_b);
    write_file("model.safetensors", NULL, &tensor_none);
}

static void bad_folders_are_refused(void **state)
{
    (void)state;
    static const BadFolder good = {0};
    size_t handles = folder_handles();
    for (size_t i = 0; i < sizeof bad_folders / sizeof *bad_folders; i++) {
        const BadFolder *b = &bad_folders[i];
        write_folder(&good);
        checkpoint_close(open_good());
        write_folder(b);
        Err err = {0};
        Checkpoint *c = checkpoint_open(folder, &err);
        if (c || err.kind != b->kind || !strstr(err.text, b->words) || !strstr(err.text, folder))
            fail_msg("%s: want %s with \"%s\", got %s: %s", b->what, err_name(b->kind), b->words,
                     c ? "a checkpoint" : err_name(err.kind), err.text);
        assert_int_equal(folder_handles(), handles);
    }
    char path[512];
    Err err = {0};
    write_folder(&good);
    folder_path(path, sizeof path, folder, "config.json");
    assert_null(checkpoint_open(path, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "expected the folder of a checkpoint, found a file"));
    folder_path(path, sizeof path, folder, "absent");
    assert_null(checkpoint_open(path, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "No such file"));
    write_part("config.json", "", "");
    folder_path(path, sizeof path, folder, "config.json");
    assert_int_equal(mkdir(path, 0700), 0);
    assert_null(checkpoint_open(folder, &err));
    assert_int_equal(err.kind, E_IO);
    assert_non_null(strstr(err.text, "config.json: expected a file, found a folder"));
    assert_int_equal(rmdir(path), 0);
    checkpoint_close(NULL);
}

/* Without an index every *.safetensors counts, hidden ones and others do not; the identity does not
 * depend on the sharding's order. */
static void files_are_found(void **state)
{
    (void)state;
    write_folder(&(BadFolder){.index = ""});
    folder_text(folder, ".hidden.safetensors", "junk");
    folder_text(folder, "model.bin", "junk");
    folder_text(folder, "safetensors", "junk");
    Checkpoint *c = open_good();
    assert_int_equal(checkpoint_count(c), 2);
    assert_string_equal(checkpoint_entry(c, 0)->name, "a");
    assert_string_equal(checkpoint_entry(c, 1)->name, "b");
    assert_int_equal(checkpoint_format(c), CHECKPOINT_BF16);
    char id[2][33];
    checkpoint_id(c, id[0]);
    checkpoint_close(c);
    write_part(INDEX, "{\"weight_map\":{\"b\":\"" FILE2 "\",\"a\":\"" FILE1 "\"}}", "");
    c = open_good();
    checkpoint_id(c, id[1]);
    assert_string_equal(id[0], id[1]);
    checkpoint_close(c);
    folder_tensors(folder, FILE2, &(TestTensor){"b", "U8", "[3]", "xyw", 3}, 1);
    c = open_good();
    checkpoint_id(c, id[1]);
    assert_string_not_equal(id[0], id[1]);
    checkpoint_close(c);
    write_part(INDEX, "{\"weight_map\":{\"a\":\"" FILE1 "\"}}",
               ""); /* files outside the index are not looked at */
    c = open_good();
    assert_int_equal(checkpoint_count(c), 1);
    assert_null(checkpoint_find(c, "b", NULL));
    checkpoint_close(c);
}

/* Label, then content. */
static void format_by_label_or_content(void **state)
{
    (void)state;
    static const struct {
        const char *config, *quant, *tensor;
        CheckpointFormat want;
        bool kv_is_fp8;
    } rows[] = {
        {"{}", "", "x.weight", CHECKPOINT_BF16, false},
        {"{}", "", "x.weight_scale_2", CHECKPOINT_MODELOPT, false},
        {"{}", "", "experts.gate_up_proj_scale_2", CHECKPOINT_MODELOPT, false},
        {"{}", "", "x.weight_packed", CHECKPOINT_COMPRESSED_TENSORS, false},
        {"{}", "", "x.weight_scale_inv", CHECKPOINT_FP8_BLOCK, false},
        {"{\"quantization_config\":null}", "", "x.weight_packed", CHECKPOINT_COMPRESSED_TENSORS,
         false},
        {"{\"quantization_config\":{\"quant_method\":\"gptq\"}}", "", "x.weight", CHECKPOINT_BF16,
         false},
        {"{\"quantization_config\":{\"quant_method\":\"modelopt_fp4\"}}", "", "x.weight_packed",
         CHECKPOINT_MODELOPT, false},
        {"{}", "{\"quantization\":{\"kv_cache_quant_algo\":\"FP8\"}}", "x.weight",
         CHECKPOINT_MODELOPT, true},
        {"{}", "{\"quantization\":{\"kv_cache_quant_algo\":null}}", "x.weight", CHECKPOINT_MODELOPT,
         false},
        {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"kv_cache_scheme\":{\"num_bits\":8}}}",
         "", "x", CHECKPOINT_COMPRESSED_TENSORS, true},
        {"{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"kv_cache_scheme\":{\"num_bits\":4}}}",
         "", "x", CHECKPOINT_COMPRESSED_TENSORS, false},
        {"{\"quantization_config\":{\"quant_method\":\"modelopt\",\"kv_cache_quant_algo\":\"FP8\"}}",
         "", "x", CHECKPOINT_MODELOPT, true},
        {"{\"quantization_config\":{\"quant_method\":\"fp8\"}}", "", "x", CHECKPOINT_FP8_BLOCK,
         false},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        TestTensor t = {rows[i].tensor, "U8", "[1]", NULL, 1};
        write_folder(&(BadFolder){.config = rows[i].config,
                                  .quant = rows[i].quant,
                                  .index = "",
                                  .one = &t,
                                  .two = &tensor_none});
        Checkpoint *c = open_good();
        if (checkpoint_format(c) != rows[i].want || checkpoint_kv_is_fp8(c) != rows[i].kv_is_fp8)
            fail_msg("row %zu: got %s, fp8 cache %d", i,
                     checkpoint_format_name(checkpoint_format(c)), checkpoint_kv_is_fp8(c));
        assert_string_equal(checkpoint_config(c), rows[i].config);
        if (*rows[i].quant)
            assert_string_equal(checkpoint_quant_config(c), rows[i].quant);
        else
            assert_null(checkpoint_quant_config(c));
        checkpoint_close(c);
    }
}

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* Appends n tensors of one kind for every expert matrix of the 35B model, in the order in which
 * writers store them. */
static char *put_kind(char *at, const char *suffix, const char *dtype, int divide_k, size_t bytes,
                      size_t *offset, size_t *count)
{
    static const char *const parts[] = {"down", "gate", "up"};
    for (int l = 0; l < 40; l++)
        for (int e = 0; e < 256; e++)
            for (int p = 0; p < 3; p++) {
                int n = p == 0 ? 2048 : 512, k = p == 0 ? 512 : 2048;
                char shape[32] = "";
                size_t size = bytes;
                if (divide_k) {
                    snprintf(shape, sizeof shape, "%d,%d", n, k / divide_k);
                    size *= (size_t)n * (size_t)k / (size_t)divide_k;
                }
                at += sprintf(
                    at,
                    "%s\"model.language_model.layers.%d.mlp.experts.%d.%s_proj.%s\":{\"dtype\":\"%s\",\"shape\":[%s],"
                    "\"data_offsets\":[%zu,%zu]}",
                    *count ? "," : "", l, e, parts[p], suffix, dtype, shape, *offset,
                    *offset + size);
                *offset += size;
                ++*count;
            }
    return at;
}

/* 124,880 tensors in a sparse file of 24 GB: DESIGN wants it open in well under half a second. */
static void full_size_folder_opens_fast(void **state)
{
    (void)state;
    enum { OTHERS = 2000 };
    char *header = malloc(160u * 125000u), *at = header, path[512];
    size_t offset = 0, count = 0;
    assert_non_null(header);
    *at++ = '{';
    at = put_kind(at, "input_scale", "F32", 0, 4, &offset, &count);
    at = put_kind(at, "weight_scale_2", "F32", 0, 4, &offset, &count);
    for (int i = 0; i < OTHERS; i++, count++, offset += 3000000)
        at += sprintf(
            at,
            ",\"model.language_model.other.%d.weight\":{\"dtype\":\"BF16\",\"shape\":[1500000],\"data_offsets\":[%zu,%zu]}",
            i, offset, offset + 3000000);
    at = put_kind(at, "weight_scale", "F8_E4M3", 16, 1, &offset, &count);
    at = put_kind(at, "weight", "U8", 2, 1, &offset, &count);
    strcpy(at, "}");
    size_t n;
    unsigned char *bytes = folder_frame(header, 0, &n);
    folder_write(folder, "model.safetensors", bytes, n);
    free(bytes);
    free(header);
    folder_text(folder, "config.json", "{}");
    folder_path(path, sizeof path, folder, "model.safetensors");
    if (truncate(path, (off_t)(n + offset)) != 0)
        skip();
    double best = 1e9;
    for (int i = 0; i < 3; i++) {
        double start = seconds();
        Checkpoint *c = open_good();
        double took = seconds() - start;
        best = took < best ? took : best;
        assert_int_equal(checkpoint_count(c), count);
        assert_true(checkpoint_has(c, "layers.39.experts.255.up"));
        checkpoint_close(c);
    }
    print_message("%zu tensors, %.1f GB, open in %.3f s\n", count, (double)(n + offset) / 1e9,
                  best);
#ifndef __SANITIZE_ADDRESS__
    assert_true(best < 0.5);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(fused_fp4_is_the_same_in_every_spelling, setup, teardown),
        cmocka_unit_test_setup_teardown(scalars_may_be_0d_or_1d, setup, teardown),
        cmocka_unit_test_setup_teardown(block_fp8_in_every_form, setup, teardown),
        cmocka_unit_test_setup_teardown(other_forms, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_weights_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_stacks_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(bad_folders_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(files_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(format_by_label_or_content, setup, teardown),
        cmocka_unit_test_setup_teardown(full_size_folder_opens_fast, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
