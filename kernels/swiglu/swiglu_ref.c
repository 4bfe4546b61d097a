/* y = silu(gate) · up. */
#include <math.h>

#include "kernels/families.h"

bool swiglu_ref(const OpCall *call, Err *err)
{
    (void)err;
    const OpArg *gate = op_arg(call, "gate"), *up = op_arg(call, "up"), *y = op_arg(call, "y");
    size_t n = op_row_size(y);
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        for (size_t i = 0; i < n; i++) {
            double g = (double)op_row(gate, row)[i];
            op_row(y, row)[i] = (float)(g / (1.0 + exp(-g)) * (double)op_row(up, row)[i]);
        }
        op_round(call, op_row(y, row), n);
    }
    return true;
}
