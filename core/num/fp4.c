#include "core/num/fp4.h"

#include <string.h>

float fp4_to_f32(uint8_t code)
{
    static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    return values[code & 15];
}

/* Index of the magnitude nearest to |x|, whose bits these are: how many bounds it is beyond. A bound belongs to the side with the
 * even index, so it is compared by its own bits or by those just above. NaN is beyond all of them. */
static inline uint32_t nearest(uint32_t magnitude)
{
    return (uint32_t)(magnitude > 0x3E800000) + (uint32_t)(magnitude >= 0x3F400000) + (uint32_t)(magnitude > 0x3FA00000) +
           (uint32_t)(magnitude >= 0x3FE00000) + (uint32_t)(magnitude > 0x40200000) + (uint32_t)(magnitude >= 0x40600000) +
           (uint32_t)(magnitude > 0x40A00000);
}

/* least_negative: the bits from which on a number has its sign, that of -0.0 or that of the one after it. NaN has none. */
static inline uint32_t encode(float x, uint32_t least_negative)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    uint32_t is_negative = (uint32_t)(u >= least_negative) & (uint32_t)(u <= 0xFF800000);
    return nearest(u & 0x7FFFFFFF) | is_negative << 3;
}

static const uint32_t TOOLS = 0x80000001, INSTRUCTION = 0x80000000;

uint8_t fp4_from_f32(float x)
{
    return (uint8_t)encode(x, TOOLS);
}

uint8_t fp4_from_f32_hw(float x)
{
    return (uint8_t)encode(x, INSTRUCTION);
}

/* Codes first, then bytes: the first loop becomes vector code. */
static inline void pack(const float *x, uint32_t least_negative, uint8_t *packed)
{
    uint32_t code[16];
    for (int i = 0; i < 16; i++)
        code[i] = encode(x[i], least_negative);
    for (int i = 0; i < 8; i++)
        packed[i] = (uint8_t)(code[2 * i] | code[2 * i + 1] << 4);
}

void fp4_pack(const float x[16], uint8_t packed[8])
{
    pack(x, TOOLS, packed);
}

void fp4_pack_hw(const float x[16], uint8_t packed[8])
{
    pack(x, INSTRUCTION, packed);
}
