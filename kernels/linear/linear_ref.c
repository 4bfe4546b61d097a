/* y[row] = w · x[row]. Magnitude: Σ|x·w|. */
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "kernels/families.h"

bool linear_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *y = op_arg(call, "y");
    const Weight *w = op_arg(call, "w")->weight;
    size_t rows = (size_t)call->step->rows, ld = gemm_ld(w->k);
    double *wide = calloc(rows * ld + 1, sizeof *wide), *sums = malloc((rows * w->n + 1) * sizeof *sums);
    double *magnitudes = y->magnitude ? malloc((rows * w->n + 1) * sizeof *magnitudes) : NULL;
    bool ok = wide && sums && (magnitudes || !y->magnitude);
    if (!ok)
        fail(err, E_MEMORY, "linear: no memory for %zu rows", rows);
    for (size_t row = 0; ok && row < rows; row++)
        op_read_vector(x, row, 0, 0, wide + row * ld);
    ok = ok && gemm_ref(wide, rows, w, sums, w->n, err);
    ok = ok && (!magnitudes || gemm_magnitude(wide, rows, w, magnitudes, w->n, err));
    for (size_t i = 0; ok && magnitudes && i < rows * w->n; i++)
        y->magnitude[i] = (float)magnitudes[i];
    for (size_t row = 0; ok && row < rows; row++) {
        float *out = op_row(y, row);
        for (size_t i = 0; i < w->n; i++)
            out[i] = (float)sums[row * w->n + i];
        op_round_out(call, y, out, w->n);
    }
    free(magnitudes);
    free(sums);
    free(wide);
    return ok;
}
