#include "core/num/nvfp4.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp4.h"
#include "core/num/fp8.h"

/* 2688 = 6 · 448, the largest code times the largest block scale. */
static const float LARGEST = 2688.0f;

static bool is_compressed_tensors(Nvfp4Writer writer)
{
    return writer == NVFP4_CT_BF16 || writer == NVFP4_CT_F32;
}

/* Rounds to the dtype in which that writer's program holds the model. */
static float to_model(Nvfp4Writer writer, float x)
{
    return writer == NVFP4_CT_BF16 ? bf16_round(x) : x;
}

float nvfp4_tensor_scale(Nvfp4Writer writer, float amax)
{
    if (is_compressed_tensors(writer)) {
        float inverse = to_model(writer, 1.0f / fmaxf(amax, 0x1p-126f));
        float g = to_model(writer, inverse * LARGEST);
        return isfinite(g) ? g : 1.0f;
    }
    if (amax == 0)
        amax = 1.0f;
    return writer == NVFP4_MODELOPT_CPU ? amax / LARGEST : amax * (1.0f / LARGEST);
}

/* NaN does not count. Four maxima side by side, because each waits for the one before it. */
static float block_amax(const float *x)
{
    float amax[4] = {0};
    for (int i = 0; i < NVFP4_BLOCK; i += 4)
        for (int j = 0; j < 4; j++)
            amax[j] = fabsf(x[i + j]) > amax[j] ? fabsf(x[i + j]) : amax[j];
    for (int j = 1; j < 4; j++)
        amax[0] = amax[j] > amax[0] ? amax[j] : amax[0];
    return amax[0];
}

static uint8_t modelopt_block_scale(Nvfp4Writer writer, float amax, float g)
{
    float s = amax / (6.0f * g);
    if (s == 0)
        s = 1.0f;
    if (writer != NVFP4_MODELOPT_043)
        s = fminf(fmaxf(s, 0x1p-9f), 448.0f);
    return fp8_e4m3_from_f32(s);
}

static uint8_t compressed_tensors_block_scale(Nvfp4Writer writer, float amax, float g)
{
    float s = to_model(writer, amax / 6.0f);
    uint8_t scale = fp8_e4m3_from_f32(fminf(g * s, 448.0f));
    return scale ? scale : 0x20;
}

void nvfp4_encode_row(Nvfp4Writer writer, const float *x, size_t k, float g, uint8_t *codes, uint8_t *scales)
{
    assert(k % NVFP4_BLOCK == 0);
    bool is_divisor = is_compressed_tensors(writer);
    for (size_t at = 0; at < k; at += NVFP4_BLOCK) {
        float amax = block_amax(x + at);
        uint8_t scale = is_divisor ? compressed_tensors_block_scale(writer, amax, g) : modelopt_block_scale(writer, amax, g);
        float d = nvfp4_block_scale(scale, g, is_divisor);
        float scaled[NVFP4_BLOCK];
        for (size_t i = 0; i < NVFP4_BLOCK; i++)
            scaled[i] = x[at + i] / d;
        fp4_pack(scaled, codes + at / 2);
        scales[at / NVFP4_BLOCK] = scale;
    }
}

float nvfp4_block_scale(uint8_t scale, float g, bool is_divisor)
{
    float s = fp8_e4m3_to_f32(scale);
    return scale == 0 ? 0.0f : is_divisor ? s / g : s * g;
}

/* The two values of a byte of codes, low nibble first: 256 pairs. */
#define PAIRS(high)                                                                                                     \
    {0.0f, high}, {0.5f, high}, {1.0f, high}, {1.5f, high}, {2.0f, high}, {3.0f, high}, {4.0f, high}, {6.0f, high},     \
        {-0.0f, high}, {-0.5f, high}, {-1.0f, high}, {-1.5f, high}, {-2.0f, high}, {-3.0f, high}, {-4.0f, high},        \
        {-6.0f, high}

static const float pairs[256][2] = {
    PAIRS(0.0f),  PAIRS(0.5f),  PAIRS(1.0f),  PAIRS(1.5f),  PAIRS(2.0f),  PAIRS(3.0f),  PAIRS(4.0f),  PAIRS(6.0f),
    PAIRS(-0.0f), PAIRS(-0.5f), PAIRS(-1.0f), PAIRS(-1.5f), PAIRS(-2.0f), PAIRS(-3.0f), PAIRS(-4.0f), PAIRS(-6.0f),
};

void nvfp4_decode_row(const uint8_t *codes, const uint8_t *scales, float g, bool is_divisor, size_t k, float *y)
{
    typedef float Pair __attribute__((vector_size(8))); /* a byte's two products in one instruction */
    assert(k % NVFP4_BLOCK == 0);
    for (size_t block = 0; block < k / NVFP4_BLOCK; block++) {
        float d = nvfp4_block_scale(scales[block], g, is_divisor);
        for (size_t i = 0; i < NVFP4_BLOCK / 2; i++) {
            Pair p;
            memcpy(&p, pairs[codes[block * 8 + i]], sizeof p);
            p *= d;
            memcpy(y + block * NVFP4_BLOCK + 2 * i, &p, sizeof p);
        }
    }
}

void nvfp4_quantize_activation(const float *x, size_t k, float s, uint8_t *codes, uint8_t *scales)
{
    assert(k % NVFP4_BLOCK == 0);
    float inverse = 1.0f / s;
    for (size_t at = 0; at < k; at += NVFP4_BLOCK) {
        float amax = block_amax(x + at);
        uint8_t scale = fp8_e4m3_from_f32_sat(s * (amax * (1.0f / 6.0f)));
        float m = scale == 0 ? 0.0f : 1.0f / (fp8_e4m3_to_f32(scale) * inverse);
        float scaled[NVFP4_BLOCK];
        for (size_t i = 0; i < NVFP4_BLOCK; i++)
            scaled[i] = x[at + i] * m;
        fp4_pack_hw(scaled, codes + at / 2);
        scales[at / NVFP4_BLOCK] = scale;
    }
}
