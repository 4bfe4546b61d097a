#include "core/tensor/clipping.h"

#include <assert.h>
#include <math.h>
#include <stdint.h>

#include "core/num/nvfp4.h"

static const float largest = 6 * 448; /* e2m1 times e4m3 */

static void add_block(const float *x, float s, Clipping *c)
{
    uint8_t codes[NVFP4_BLOCK / 2], scale;
    nvfp4_quantize_activation(x, NVFP4_BLOCK, s, codes, &scale);
    for (int i = 0; i < NVFP4_BLOCK; i++) {
        float size = fabsf(x[i]);
        int code = codes[i / 2] >> (i % 2 ? 4 : 0) & 7;
        c->nonzero += size != 0;
        c->clipped += size * s > largest;
        c->underflowed += size != 0 && scale == 0;
        c->zeroed += size != 0 && (code == 0 || scale == 0);
        if (size > c->amax || isnan(size))
            c->amax = size;
    }
    c->n += NVFP4_BLOCK;
}

void clipping_add(const float *x, size_t k, float s, Clipping *c)
{
    assert(k % NVFP4_BLOCK == 0);
    for (size_t i = 0; i < k; i += NVFP4_BLOCK)
        add_block(x + i, s, c);
}
