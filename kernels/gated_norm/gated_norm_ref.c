/* y = x · rsqrt(mean(x²) + eps) · w · silu(z) over each vector of dv: norm first, gate after, one rounding at the end.
 * Magnitude: |y| (all terms of the mean are positive, so every operation adds a relative error only), and 2^-96 of
 * y without the sigmoid, where exp overflows in f32 and the gate becomes 0. */
#include <math.h>
#include <stdlib.h>

#include "kernels/families.h"

static void norm_vector(double eps, const float *x, const float *z, const float *w, size_t dv, float *y, float *magnitude)
{
    double squares = 0;
    for (size_t i = 0; i < dv; i++)
        squares += (double)x[i] * (double)x[i];
    double scale = 1.0 / sqrt(squares / (double)dv + eps);
    for (size_t i = 0; i < dv; i++) {
        double normed = (double)x[i] * scale * (double)w[i];
        y[i] = (float)(normed * ((double)z[i] / (1.0 + exp(-(double)z[i]))));
        if (magnitude)
            magnitude[i] = (float)(fabs((double)y[i]) + 0x1p-96 * fabs(normed * (double)z[i]));
    }
}

bool gated_norm_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *z = op_arg(call, "z"), *y = op_arg(call, "y");
    const Weight *weight = op_arg(call, "w")->weight;
    size_t dv = weight->k;
    float *w = malloc((dv + 1) * sizeof *w);
    if (!w)
        return fail(err, E_MEMORY, "gated_norm: no memory for %zu weights", dv);
    weight_row(weight, 0, w);
    double eps = op_number(call, "eps");
    for (size_t row = 0; row < (size_t)call->step->rows; row++) {
        for (size_t at = 0; at < op_row_size(x); at += dv)
            norm_vector(eps, op_row(x, row) + at, op_row(z, row) + at, w, dv, op_row(y, row) + at,
                        y->magnitude ? op_magnitude(y, row) + at : NULL);
        op_round_out(call, y, op_row(y, row), op_row_size(y));
    }
    free(w);
    return true;
}
