/* y = silu(gate) · up; y_codes: NVFP4 of y.
 * Magnitude: |y|, since exp, 1 + e, the division and the product each add a relative error only (4 · 2^-23 in all);
 * 2^-96 |up| where exp overflows in f32 and silu becomes 0. */
#include <math.h>

#include "kernels/families.h"

bool swiglu_ref(const OpCall *call, Err *err)
{
    (void)err;
    const OpArg *gate = op_arg(call, "gate"), *up = op_arg(call, "up"), *y = op_arg(call, "y"),
        *codes = op_arg(call, "y_codes");
    size_t n = op_row_size(y);
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        const float *g = op_row(gate, row), *u = op_row(up, row);
        float *out = op_row(y, row), *magnitude = op_magnitude(y, row);
        for (size_t i = 0; i < n; i++)
            out[i] = (float)((double)g[i] / (1.0 + exp(-(double)g[i])) * (double)u[i]);
        for (size_t i = 0; magnitude && i < n; i++)
            magnitude[i] = fabsf(out[i]) + 0x1p-96f * fabsf(u[i]);
        op_round_out(call, y, out, n);
        if (codes->spec)
            op_quantize(codes, row, 0, 0, out);
    }
    return true;
}
