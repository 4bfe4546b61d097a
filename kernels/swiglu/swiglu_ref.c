/* y = silu(gate) · up. */
#include <math.h>

#include "kernels/families.h"

bool swiglu_ref(const OpCall *call, Err *err)
{
    (void)err;
    const OpArg *gate = op_arg(call, "gate"), *up = op_arg(call, "up"), *y = op_arg(call, "y");
    size_t n = op_row_size(y);
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        const float *g = op_row(gate, row), *u = op_row(up, row);
        float *out = op_row(y, row);
        for (size_t i = 0; i < n; i++)
            out[i] = (float)((double)g[i] / (1.0 + exp(-(double)g[i])) * (double)u[i]);
        op_round(call, out, n);
    }
    return true;
}
