#include "tests/test.h"

#include <math.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"
#include "core/tensor/op.h"

static void a_row_is_read_into_its_parts(void **unused)
{
    (void)unused;
    OpArgSpec s;
    Err err;
    assert_true(op_parse_arg("x_up: in? act|nvfp4[rows,slots_up,h]", &s, &err));
    assert_string_equal(s.name, "x_up");
    assert_int_equal(s.direction, OP_IN);
    assert_true(s.is_optional);
    assert_int_equal(s.types, 1u << OP_ACT | 1u << OP_NVFP4);
    assert_int_equal(s.rank, 3);
    assert_string_equal(s.extents[1], "slots_up");
    assert_true(op_parse_arg("down: weights any[e][h,i]", &s, &err));
    assert_int_equal(s.direction, OP_WEIGHTS);
    assert_false(s.is_optional);
    assert_int_equal(s.rank, 3);
    assert_string_equal(s.extents[0], "e");
    assert_string_equal(s.extents[2], "i");
    assert_true(op_parse_arg("n: in i32", &s, &err));
    assert_int_equal(s.rank, 0);
}

static void a_bad_row_is_quoted(void **unused)
{
    (void)unused;
    static const char *const rows[] = {
        "", "x", "x:in act[rows]", "x: into act[rows]", "x: in", "x: in f64[rows]", "x: in act|[rows]", "x: in act[]", "x: in act[rows",
        "x: in act[rows,]", "x: in act[rows] ", "x: in act[a,b,c,d,e,f]", "x: in act[a b]", "X: in act[rows]", "x: in?", "x: in,act[rows]", "x: in?|act[rows]",
        "a_name_that_is_longer_than_names_may_be: in act[rows]",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        OpArgSpec s;
        Err err;
        if (op_parse_arg(rows[i], &s, &err))
            fail_msg("\"%s\" was accepted", rows[i]);
        assert_int_equal(err.kind, E_FORMAT);
        assert_non_null(strstr(err.text, rows[i]));
    }
}

static void a_signature_has_names_of_its_own(void **unused)
{
    (void)unused;
    OpSignature s;
    Err err;
    const char *rows[OP_ARGS_MAX + 1] = {"x: in act[rows,h]", "y: out act[rows,h]"};
    assert_true(op_parse_signature("copy", rows, 2, &s, &err));
    assert_int_equal(s.args_n, 2);
    rows[1] = "x: out act[rows,h]";
    assert_false(op_parse_signature("copy", rows, 2, &s, &err));
    assert_non_null(strstr(err.text, "two arguments are named \"x\""));
    assert_false(op_parse_signature("copy", rows, OP_ARGS_MAX + 1, &s, &err));
    assert_int_equal(err.kind, E_FORMAT);
    assert_false(op_parse_signature("a_family_of_far_too_long_a_name", rows, 1, &s, &err));
    rows[1] = "y: out nonsense[rows]";
    assert_false(op_parse_signature("copy", rows, 2, &s, &err));
    assert_non_null(strstr(err.text, "copy: signature row"));
}

/* A call with one argument of every kind; each test of op_check spoils one thing in it. */
typedef struct Fixture {
    OpSignature signature;
    OpCall call;
    Step step;
    int seq_start[3], slot[2], pos[4], back[2], out_row[2];
    Weight weight, experts[2], quantizer[2];
    float x[64], y[256], state[1024];
    uint8_t codes[64], scales[16];
} Fixture;

enum { X, Q, W, EXPERTS, STATE, Y, LOGITS, OPTIONAL };

static void set_up(Fixture *f)
{
    static const char *const rows[] = {
        "x: in act[rows,h]", "q: in act|nvfp4[rows,h]", "w: weight any[one,h]", "experts: weights any[e][i,h]",
        "state: state f32[slots,versions,h]", "y: out act[rows,e,i]", "logits: out f32[outs,i]", "delta: in? act[rows,h]",
    };
    Err err;
    *f = (Fixture){.seq_start = {0, 3, 4}, .slot = {1, 0}, .pos = {0, 1, 2, 9}, .back = {0, 1}, .out_row = {2, 3}};
    f->step = (Step){4, 2, 2, f->seq_start, f->slot, f->pos, f->back, f->out_row};
    f->weight = (Weight){.n = 1, .k = 16};
    f->quantizer[0] = f->quantizer[1] = (Weight){.has_input_scale = true, .input_scale = 0.5f};
    for (int e = 0; e < 2; e++)
        f->experts[e] = (Weight){.n = 3, .k = 16};
    assert_true(op_parse_signature("sample", rows, 8, &f->signature, &err));
    const OpArgSpec *s = f->signature.args;
    f->call = (OpCall){.signature = &f->signature, .step = &f->step};
    f->call.args[X] = (OpArg){.spec = &s[X], .type = OP_ACT, .extent = {4, 16}, .ld = 16, .data = f->x};
    f->call.args[Q] = (OpArg){.spec = &s[Q], .type = OP_NVFP4, .extent = {4, 16}, .ld = 16, .data = f->codes, .scales = f->scales,
                              .quantizer = f->quantizer, .quantizer_n = 2};
    f->call.args[W] = (OpArg){.spec = &s[W], .type = OP_ANY, .extent = {1, 16}, .weight = &f->weight};
    f->call.args[EXPERTS] = (OpArg){.spec = &s[EXPERTS], .type = OP_ANY, .extent = {2, 3, 16}, .weight = f->experts};
    f->call.args[STATE] = (OpArg){.spec = &s[STATE], .type = OP_F32, .extent = {2, 3, 16}, .ld = 48, .data = f->state};
    f->call.args[Y] = (OpArg){.spec = &s[Y], .type = OP_ACT, .extent = {8, 2, 3}, .ld = 6, .data = f->y};
    f->call.args[LOGITS] = (OpArg){.spec = &s[LOGITS], .type = OP_F32, .extent = {2, 3}, .ld = 3, .data = f->y};
}

static void expect(Fixture *f, ErrKind kind, const char *text)
{
    Err err;
    if (op_check(&f->call, &err))
        fail_msg("accepted, though \"%s\" was to be said", text);
    if (err.kind != kind || !strstr(err.text, text))
        fail_msg("expected %s \"%s\", found %s \"%s\"", err_name(kind), text, err_name(err.kind), err.text);
    set_up(f);
}

static void a_good_call_passes(void **unused)
{
    (void)unused;
    Fixture f;
    Err err;
    set_up(&f);
    assert_true(op_check(&f.call, &err));
    f.call.step = NULL; /* as a plan checks it when it binds buffers */
    assert_true(op_check(&f.call, &err));
}

static void what_is_wrong_with_an_argument_is_said(void **unused)
{
    (void)unused;
    Fixture f;
    set_up(&f);
    f.call.args[X].spec = NULL;
    expect(&f, E_MISSING, "argument x is absent");
    f.call.args[X].type = OP_NVFP4;
    expect(&f, E_SHAPE, "x: type nvfp4");
    f.call.args[X].extent[1] = 15;
    expect(&f, E_SHAPE, "q: expected h = 15 as in argument x, found 16");
    f.weight.n = 2;
    expect(&f, E_SHAPE, "w: expected extent 1, found 2");
    f.weight.k = 32;
    expect(&f, E_SHAPE, "w: expected h = 16");
    f.experts[1].n = 4;
    expect(&f, E_SHAPE, "experts: expected i = 3");
    f.call.args[Y].extent[1] = 3;
    expect(&f, E_SHAPE, "y: expected e = 2");
    f.call.args[X].ld = 15;
    expect(&f, E_SHAPE, "x: expected rows at least 16 elements apart, found 15");
    f.call.args[Y].extent[0] = 3;
    expect(&f, E_SHAPE, "y: expected room for 4 rows, found 3");
    f.call.args[LOGITS].extent[0] = 1;
    expect(&f, E_SHAPE, "logits: expected room for 2 outs");
}

static void what_is_wrong_with_quantized_activations_is_said(void **unused)
{
    (void)unused;
    Fixture f;
    set_up(&f);
    f.call.args[Q].ld = 24;
    expect(&f, E_SHAPE, "whole blocks of 16");
    f.call.args[Q].scales = NULL;
    expect(&f, E_MISSING, "needs block scales");
    f.call.args[Q].quantizer = NULL;
    expect(&f, E_MISSING, "needs block scales and an input scale");
    f.quantizer[1].has_input_scale = false;
    expect(&f, E_MISSING, "weight 1 has no input scale");
}

static void what_is_wrong_with_a_step_is_said(void **unused)
{
    (void)unused;
    Fixture f;
    set_up(&f);
    f.seq_start[2] = 3;
    expect(&f, E_VALUE, "expected sequences over rows 0 to 4, found 0 to 3");
    f.seq_start[0] = 1;
    expect(&f, E_VALUE, "found 1 to 4");
    f.seq_start[1] = 5;
    expect(&f, E_VALUE, "sequence 1 ends before it starts");
    f.slot[0] = 2;
    expect(&f, E_VALUE, "sequence 0: expected a slot below 2, found 2");
    f.slot[1] = -1;
    expect(&f, E_VALUE, "sequence 1: expected a slot below 2, found -1");
    f.slot[1] = 1;
    expect(&f, E_VALUE, "sequences 0 and 1 share slot 1");
    f.back[1] = 3;
    expect(&f, E_VALUE, "sequence 1: expected to go back less than 3 rows, found 3");
    f.back[0] = -1;
    expect(&f, E_VALUE, "found -1");
    f.out_row[1] = 4;
    expect(&f, E_VALUE, "output 1: expected a row below 4, found 4");
}

/* Code · block scale · input scale, all in f64, for every code and a scale of every size. */
static void quantized_vectors_are_read_as_defined(void **unused)
{
    (void)unused;
    enum { ROWS = 2, VECTORS = 2, K = 32, LD = 96 }; /* LD: a column view */
    static uint8_t codes[ROWS * LD / 2], scales[ROWS * LD / 16];
    for (size_t i = 0; i < sizeof codes; i++)
        codes[i] = (uint8_t)(i * 37);
    for (size_t i = 0; i < sizeof scales; i++)
        scales[i] = (uint8_t)(i * 29 % 127);
    OpArgSpec spec = {.name = "x", .rank = 3};
    Weight quantizer[3] = {{.input_scale = 0.3f, .has_input_scale = true},
                           {.input_scale = 3.7f, .has_input_scale = true, .is_divisor = true},
                           {.input_scale = 1.0f, .has_input_scale = true}};
    double factor[3] = {(double)0.3f, 1.0 / (double)3.7f, 1.0};
    OpArg arg = {.spec = &spec, .type = OP_NVFP4, .extent = {ROWS, VECTORS, K}, .ld = LD, .data = codes, .scales = scales,
                 .quantizer = quantizer, .quantizer_n = 3};
    for (size_t row = 0; row < ROWS; row++)
        for (size_t v = 0; v < VECTORS; v++)
            for (size_t expert = 0; expert < 3; expert++) {
                double got[K];
                op_read_vector(&arg, row, v, expert, got);
                for (size_t i = 0; i < K; i++) {
                    size_t at = row * LD + v * K + i;
                    uint8_t code = (uint8_t)(at % 2 ? codes[at / 2] >> 4 : codes[at / 2] & 15);
                    double want = (double)fp4_to_f32(code) * (double)fp8_e4m3_to_f32(scales[at / 16]) * factor[expert];
                    assert_true(got[i] == want);
                }
            }
}

static void activations_round_as_the_call_says(void **unused)
{
    (void)unused;
    OpCall call = {.round = ROUND_BF16};
    float x[] = {1.00390625f, -3.14159f, 1e-3f, INFINITY}, plain[4];
    memcpy(plain, x, sizeof x);
    op_round(&call, x, 4);
    for (int i = 0; i < 4; i++) {
        assert_true(x[i] == bf16_round(plain[i]));
        assert_true(op_store(&call, (double)plain[i]) == x[i]);
    }
    call.round = ROUND_F32;
    memcpy(x, plain, sizeof x);
    op_round(&call, x, 4);
    assert_memory_equal(x, plain, sizeof x);
    assert_true(op_store(&call, 0.1) == 0.1f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_row_is_read_into_its_parts),
        cmocka_unit_test(a_bad_row_is_quoted),
        cmocka_unit_test(a_signature_has_names_of_its_own),
        cmocka_unit_test(a_good_call_passes),
        cmocka_unit_test(what_is_wrong_with_an_argument_is_said),
        cmocka_unit_test(what_is_wrong_with_quantized_activations_is_said),
        cmocka_unit_test(what_is_wrong_with_a_step_is_said),
        cmocka_unit_test(quantized_vectors_are_read_as_defined),
        cmocka_unit_test(activations_round_as_the_call_says),
    };
    return cmocka_run_group_tests_name("op", tests, NULL, NULL);
}
