/* routed = Σ_j weights[j] · y[j]; sum = routed + sigmoid(shared_gate) · shared, from the unrounded routed. */
#include <math.h>

#include "kernels/families.h"

bool combine_ref(const OpCall *call, Err *err)
{
    (void)err;
    const OpArg *y = op_arg(call, "y"), *weights = op_arg(call, "weights"), *shared = op_arg(call, "shared");
    const OpArg *routed = op_arg(call, "routed"), *sum = op_arg(call, "sum"), *gate = op_arg(call, "shared_gate");
    size_t top_k = y->extent[1], h = y->extent[2];
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        double share = 1.0 / (1.0 + exp(-(double)op_row(gate, row)[0]));
        for (size_t c = 0; c < h; c++) {
            double total = 0;
            for (size_t j = 0; j < top_k; j++)
                total += (double)op_row(weights, row)[j] * (double)op_row(y, row)[j * h + c];
            double whole = total + share * (double)op_row(shared, row)[c];
            op_row(routed, row)[c] = op_store(call, total);
            op_row(sum, row)[c] = op_store(call, whole);
        }
    }
    return true;
}
