/* Mutated config.json and hf_quant_config.json: refused with a message, or settings inside their
 * ranges. */
#include <stdbool.h>

#include "core/file/checkpoint_config.h"
#include "tests/file/mutate.h"

static const char *const bases[] = {
    "{\"architectures\":[\"Qwen3_5MoeForConditionalGeneration\"],"
    "\"text_config\":{\"hidden_size\":128,\"tie_word_embeddings\":true},"
    "\"quantization_config\":{\"quant_method\":\"fp8\",\"weight_block_size\":[128,128],\"fmt\":\"e4m3\"}}",
    "{\"tie_word_embeddings\":false,\"quantization_config\":{\"quant_method\":\"modelopt\",\"quant_algo\":\"NVFP4\","
    "\"kv_cache_scheme\":{\"dynamic\":false,\"num_bits\":8,\"type\":\"float\"},\"ignore\":[\"lm_head\"]}}",
    "{\"quantization_config\":{\"quant_method\":\"compressed-tensors\",\"kv_cache_scheme\":null,\"config_groups\":{}}}",
};
static const char quant_base[] =
    "{\"producer\":{\"name\":\"modelopt\",\"version\":\"0.47.0\"},"
    "\"quantization\":{\"quant_algo\":\"NVFP4\",\"kv_cache_quant_algo\":\"FP8\",\"group_size\":16}}";

static bool one(Mutant *m)
{
    Err err = {0};
    CheckpointConfig c;
    unsigned char *quant = NULL;
    size_t quant_n = 0;
    if (mutate_below(m, 2)) {
        mutate(m, quant_base);
        quant_n = m->n;
        quant = mutate_exact(m->text, m->n);
    }
    mutate(m, bases[mutate_below(m, sizeof bases / sizeof *bases)]);
    unsigned char *text = mutate_exact(m->text, m->n);
    bool is_good = checkpoint_config_parse((char *)text, m->n, (char *)quant, quant_n, &c, &err);
    if (is_good) {
        assert(c.block_n >= 1 && c.block_n <= 1u << 20 && c.block_k >= 1 && c.block_k <= 1u << 20);
        assert(!c.has_label || (c.label > CHECKPOINT_BF16 && c.label <= CHECKPOINT_FP8_BLOCK));
        assert(!quant || c.has_label);
    } else {
        assert(err.kind == E_FORMAT);
        assert(strstr(err.text, "config.json: "));
    }
    free(text);
    free(quant);
    return is_good;
}

int main(int argc, char **argv)
{
    return mutate_main(argc, argv, "checkpoint_config", one);
}
