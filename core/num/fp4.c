#include "core/num/fp4.h"

#include <math.h>

float fp4_to_f32(uint8_t code)
{
    static const float values[16] = {0.0f,  0.5f,  1.0f,  1.5f,  2.0f,  3.0f,  4.0f,  6.0f,
                                     -0.0f, -0.5f, -1.0f, -1.5f, -2.0f, -3.0f, -4.0f, -6.0f};
    return values[code & 15];
}

/* Index of the magnitude nearest to a >= 0. A bound belongs to the side with the even index; NaN is 7. */
static unsigned nearest(float a)
{
    return (unsigned)((a > 0.25f) + (a >= 0.75f) + (a > 1.25f) + (a >= 1.75f) + (a > 2.5f) + (a >= 3.5f) + (a > 5.0f)) |
           (unsigned)(a != a ? 7 : 0);
}

uint8_t fp4_from_f32(float x)
{
    return (uint8_t)(nearest(fabsf(x)) | (x < 0 ? 8u : 0u));
}

uint8_t fp4_from_f32_hw(float x)
{
    return (uint8_t)(nearest(fabsf(x)) | (signbit(x) && x == x ? 8u : 0u));
}
