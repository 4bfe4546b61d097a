/* Logical names against the list of the model specification, §2.2 to §2.4. */
#include "tests/test.h"

#include <string.h>

#include "core/file/checkpoint_names.h"

static void every_name_of_the_specification(void **state)
{
    (void)state;
    static const struct {
        const char *logical, *stem, *stacked;
        CheckpointShape shape;
    } rows[] = {
        {"embed", "P.embed_tokens", "", CHECKPOINT_MATRIX},
        {"final_norm", "P.norm", "", CHECKPOINT_VECTOR},
        {"lm_head", "lm_head", "", CHECKPOINT_MATRIX},
        {"mtp.fc", "mtp.fc", "", CHECKPOINT_MATRIX},
        {"mtp.norm_embedding", "mtp.pre_fc_norm_embedding", "", CHECKPOINT_VECTOR},
        {"mtp.norm_hidden", "mtp.pre_fc_norm_hidden", "", CHECKPOINT_VECTOR},
        {"mtp.norm", "mtp.norm", "", CHECKPOINT_VECTOR},
        {"layers.0.input_norm", "P.layers.0.input_layernorm", "", CHECKPOINT_VECTOR},
        {"layers.39.post_norm", "P.layers.39.post_attention_layernorm", "", CHECKPOINT_VECTOR},
        {"layers.3.attn.q", "P.layers.3.self_attn.q_proj", "", CHECKPOINT_MATRIX},
        {"layers.3.attn.k", "P.layers.3.self_attn.k_proj", "", CHECKPOINT_MATRIX},
        {"layers.3.attn.v", "P.layers.3.self_attn.v_proj", "", CHECKPOINT_MATRIX},
        {"layers.3.attn.o", "P.layers.3.self_attn.o_proj", "", CHECKPOINT_MATRIX},
        {"layers.3.attn.q_norm", "P.layers.3.self_attn.q_norm", "", CHECKPOINT_VECTOR},
        {"layers.3.attn.k_norm", "P.layers.3.self_attn.k_norm", "", CHECKPOINT_VECTOR},
        {"layers.2.gdn.qkv", "P.layers.2.linear_attn.in_proj_qkv", "", CHECKPOINT_MATRIX},
        {"layers.2.gdn.z", "P.layers.2.linear_attn.in_proj_z", "", CHECKPOINT_MATRIX},
        {"layers.2.gdn.a", "P.layers.2.linear_attn.in_proj_a", "", CHECKPOINT_MATRIX},
        {"layers.2.gdn.b", "P.layers.2.linear_attn.in_proj_b", "", CHECKPOINT_MATRIX},
        {"layers.2.gdn.out", "P.layers.2.linear_attn.out_proj", "", CHECKPOINT_MATRIX},
        {"layers.2.gdn.conv", "P.layers.2.linear_attn.conv1d", "", CHECKPOINT_CONV},
        {"layers.2.gdn.a_log", "P.layers.2.linear_attn.A_log", "", CHECKPOINT_BARE},
        {"layers.2.gdn.dt_bias", "P.layers.2.linear_attn.dt_bias", "", CHECKPOINT_BARE},
        {"layers.2.gdn.norm", "P.layers.2.linear_attn.norm", "", CHECKPOINT_VECTOR},
        {"layers.7.router", "P.layers.7.mlp.gate", "", CHECKPOINT_MATRIX},
        {"layers.7.shared_gate", "P.layers.7.mlp.shared_expert_gate", "", CHECKPOINT_MATRIX},
        {"layers.7.shared.gate", "P.layers.7.mlp.shared_expert.gate_proj", "", CHECKPOINT_MATRIX},
        {"layers.7.shared.up", "P.layers.7.mlp.shared_expert.up_proj", "", CHECKPOINT_MATRIX},
        {"layers.7.shared.down", "P.layers.7.mlp.shared_expert.down_proj", "", CHECKPOINT_MATRIX},
        {"layers.7.experts.255.gate", "P.layers.7.mlp.experts.255.gate_proj",
         "P.layers.7.mlp.experts.gate_up_proj", CHECKPOINT_EXPERT},
        {"layers.7.experts.0.up", "P.layers.7.mlp.experts.0.up_proj",
         "P.layers.7.mlp.experts.gate_up_proj", CHECKPOINT_EXPERT},
        {"layers.7.experts.12.down", "P.layers.7.mlp.experts.12.down_proj",
         "P.layers.7.mlp.experts.down_proj", CHECKPOINT_EXPERT},
        {"mtp.0.attn.q", "mtp.layers.0.self_attn.q_proj", "", CHECKPOINT_MATRIX},
        {"mtp.0.shared_gate", "mtp.layers.0.mlp.shared_expert_gate", "", CHECKPOINT_MATRIX},
        {"mtp.0.experts.3.up", "mtp.layers.0.mlp.experts.3.up_proj",
         "mtp.layers.0.mlp.experts.gate_up_proj", CHECKPOINT_EXPERT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CheckpointName name;
        if (!checkpoint_names_resolve(rows[i].logical, "P.", &name))
            fail_msg("%s is not resolved", rows[i].logical);
        assert_string_equal(name.stem, rows[i].stem);
        assert_string_equal(name.stacked, rows[i].stacked);
        assert_int_equal(name.shape, rows[i].shape);
    }
    CheckpointName name;
    assert_true(checkpoint_names_resolve("layers.1.experts.17.up", "", &name));
    assert_true(name.expert == 17 && name.half == 1 && name.halves == 2);
    assert_true(checkpoint_names_resolve("layers.1.experts.17.gate", "", &name));
    assert_true(name.expert == 17 && name.half == 0 && name.halves == 2);
    assert_true(checkpoint_names_resolve("layers.1.experts.17.down", "", &name));
    assert_true(name.expert == 17 && name.half == 0 && name.halves == 1);
}

static void other_names_are_refused(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "",
        "embed.",
        "layers",
        "layers.",
        "layers.0",
        "layers.0.",
        "layers.x.router",
        "layers.00.router",
        "layers.-1.router",
        "layers.01.router",
        "layers.99999999.router",
        "layers.0.embed",
        "layers.0.attn",
        "layers.0.attn.q.weight",
        "layers.0.experts",
        "layers.0.experts.gate",
        "layers.0.experts.0",
        "layers.0.experts.00.up",
        "layers.0.experts.0.gate_up",
        "layers.0.experts.0.up.weight",
        "mtp.0",
        "mtp.layers.0.router",
        "visual.patch_embed",
        "model.norm",
        "~norm",
        "mtp.embed",
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        CheckpointName name;
        if (checkpoint_names_resolve(rows[i], "model.", &name))
            fail_msg("\"%s\" became %s", rows[i], name.stem);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_name_of_the_specification),
        cmocka_unit_test(other_names_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
