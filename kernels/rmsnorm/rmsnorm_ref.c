/* t = stored(x + delta) → sum; y = t · rsqrt(mean(t²) + eps) · (plus + w), over each vector of h; y_codes: NVFP4 of y.
 * The norm reads the stored sum: the residual stream that later layers see is the one that is normed.
 * Magnitude: |y| (the squares are positive, so every operation adds a relative error only). The sum is two
 * roundings of x + delta in any arithmetic, f32 and storage: it is always rounded, its magnitude is 0. */
#include <math.h>
#include <stdlib.h>

#include "kernels/families.h"

typedef struct Norm {
    const OpCall *call;
    const float *w;
    size_t h;
    double eps, plus;
} Norm;

static void norm_vector(const Norm *norm, const float *x, const float *delta, float *sum, float *y, float *magnitude)
{
    double squares = 0;
    for (size_t i = 0; i < norm->h; i++) {
        float t = delta ? op_store(norm->call, (double)x[i] + (double)delta[i]) : x[i];
        y[i] = t;
        squares += (double)t * (double)t;
    }
    double scale = 1.0 / sqrt(squares / (double)norm->h + norm->eps);
    for (size_t i = 0; i < norm->h; i++) {
        if (sum)
            sum[i] = y[i];
        y[i] = (float)((double)y[i] * scale * (norm->plus + (double)norm->w[i]));
        if (magnitude)
            magnitude[i] = fabsf(y[i]);
    }
    if (!magnitude)
        op_round(norm->call, y, norm->h);
}

bool rmsnorm_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *delta = op_arg(call, "delta"), *sum = op_arg(call, "sum"),
        *y = op_arg(call, "y"), *codes = op_arg(call, "y_codes");
    const Weight *weight = op_arg(call, "w")->weight;
    float *w = malloc((weight->k + 1) * sizeof *w);
    if (!w)
        return fail(err, E_MEMORY, "rmsnorm: no memory for %zu weights", weight->k);
    weight_row(weight, 0, w);
    Norm norm = {call, w, weight->k, op_number(call, "eps"), op_number(call, "plus")};
    for (size_t row = 0; row < (size_t)call->step->rows; row++)
        for (size_t at = 0; at < op_row_size(x); at += norm.h)
            norm_vector(&norm, op_row(x, row) + at, delta->spec ? op_row(delta, row) + at : NULL,
                        sum->spec ? op_row(sum, row) + at : NULL, op_row(y, row) + at,
                        y->magnitude ? op_magnitude(y, row) + at : NULL);
    for (size_t row = 0; codes->spec && row < (size_t)call->step->rows; row++)
        for (size_t group = 0; group < y->extent[1]; group++)
            op_quantize(codes, row, group, 0, op_row(y, row) + group * norm.h);
    free(w);
    return true;
}
