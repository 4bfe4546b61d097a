/* logits[o] = w · x[out_row[o]] (stored f32); token[o] = argmax of the stored logits. Magnitude: Σ|x·w|. */
#include <math.h>
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "kernels/families.h"

static bool store_row(const OpCall *call, size_t out, const double *sums, size_t v, Err *err)
{
    float *logits = op_row(op_arg(call, "logits"), out);
    size_t best = 0;
    for (size_t i = 0; i < v; i++) {
        logits[i] = (float)sums[i];
        if (isnan(logits[i]))
            return fail(err, E_VALUE, "lm_head_sample: row %d: the logit of token %zu is not a number",
                        call->step->out_row[out], i);
        if (logits[i] > logits[best])
            best = i;
    }
    op_row_i32(op_arg(call, "token"), out)[0] = (int32_t)best;
    return true;
}

bool lm_head_sample_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *logits = op_arg(call, "logits");
    const Weight *w = op_arg(call, "w")->weight;
    size_t outs = (size_t)call->step->outs, ld = gemm_ld(w->k);
    double *wide = calloc(outs * ld + 1, sizeof *wide), *sums = malloc((outs * w->n + 1) * sizeof *sums);
    double *magnitudes = logits->magnitude ? malloc((outs * w->n + 1) * sizeof *magnitudes) : NULL;
    bool ok = wide && sums && (magnitudes || !logits->magnitude);
    if (!ok)
        fail(err, E_MEMORY, "lm_head_sample: no memory for %zu rows of %zu logits", outs, w->n);
    for (size_t out = 0; ok && out < outs; out++)
        op_read_vector(x, (size_t)call->step->out_row[out], 0, 0, wide + out * ld);
    ok = ok && gemm_ref(wide, outs, w, sums, w->n, err);
    ok = ok && (!magnitudes || gemm_magnitude(wide, outs, w, magnitudes, w->n, err));
    for (size_t i = 0; ok && magnitudes && i < outs * w->n; i++)
        logits->magnitude[i] = (float)magnitudes[i];
    for (size_t out = 0; ok && out < outs; out++)
        ok = store_row(call, out, sums + out * w->n, w->n, err);
    free(magnitudes);
    free(sums);
    free(wide);
    return ok;
}
