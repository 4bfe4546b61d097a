/* routed = Σ_j weights[j] · y[j]; sum = routed + sigmoid(shared_gate) · shared, from the unrounded routed.
 * Magnitude: Σ|weight·y|, for sum with |share·shared| more. */
#include <math.h>

#include "kernels/families.h"

/* One row; y [top_k][h]. */
static void combine_row(const float *y, const float *weights, const float *shared, double share, size_t top_k, size_t h,
    float *routed,
                        float *sum, float *routed_magnitude, float *sum_magnitude)
{
    for (size_t c = 0; c < h; c++) {
        double total = 0, magnitude = 0;
        for (size_t j = 0; j < top_k; j++) {
            total += (double)weights[j] * (double)y[j * h + c];
            magnitude += fabs((double)weights[j] * (double)y[j * h + c]);
        }
        routed[c] = (float)total;
        sum[c] = (float)(total + share * (double)shared[c]);
        if (routed_magnitude)
            routed_magnitude[c] = (float)magnitude;
        if (sum_magnitude)
            sum_magnitude[c] = (float)(magnitude + fabs(share * (double)shared[c]));
    }
}

bool combine_ref(const OpCall *call, Err *err)
{
    (void)err;
    const OpArg *y = op_arg(call, "y"), *weights = op_arg(call, "weights"), *shared = op_arg(call, "shared");
    const OpArg *routed = op_arg(call, "routed"), *sum = op_arg(call, "sum"), *gate = op_arg(call, "shared_gate");
    size_t top_k = y->extent[1], h = y->extent[2];
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        double share = 1.0 / (1.0 + exp(-(double)op_row(gate, row)[0]));
        combine_row(op_row(y, row), op_row(weights, row), op_row(shared, row), share, top_k, h, op_row(routed, row),
            op_row(sum, row),
                    op_magnitude(routed, row), op_magnitude(sum, row));
        op_round_out(call, routed, op_row(routed, row), h);
        op_round_out(call, sum, op_row(sum, row), h);
    }
    return true;
}
