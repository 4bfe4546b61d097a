/* logits = w · x (stored f32); p = softmax(stored logits); experts = the top_k largest, descending; weights = p / Σ p of the chosen. */
#include <math.h>
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "kernels/families.h"

/* Descending by logit, which is the order of p; a later equal one does not displace an earlier one. */
static void choose(const float *logits, size_t experts_n, size_t top_k, int32_t *experts)
{
    for (size_t j = 0; j < top_k; j++) {
        int32_t best = -1;
        for (size_t e = 0; e < experts_n; e++) {
            bool is_taken = false;
            for (size_t i = 0; i < j; i++)
                is_taken = is_taken || experts[i] == (int32_t)e;
            if (!is_taken && (best < 0 || logits[e] > logits[best]))
                best = (int32_t)e;
        }
        experts[j] = best;
    }
}

static bool route_row(const OpCall *call, size_t row, const double *sums, Err *err)
{
    const OpArg *logits_arg = op_arg(call, "logits");
    float *logits = op_row(logits_arg, row), *weights = op_row(op_arg(call, "weights"), row);
    int32_t *experts = op_row_i32(op_arg(call, "experts"), row);
    size_t experts_n = logits_arg->extent[1], top_k = op_arg(call, "experts")->extent[1];
    for (size_t e = 0; e < experts_n; e++) {
        logits[e] = (float)sums[e];
        if (isnan(logits[e]))
            return fail(err, E_VALUE, "router: row %zu: the logit of expert %zu is not a number", row, e);
    }
    choose(logits, experts_n, top_k, experts);
    double largest = (double)logits[experts[0]], total = 0;
    /* The softmax over all experts and the renormalisation share their denominator, which cancels. */
    for (size_t j = 0; j < top_k; j++)
        total += exp((double)logits[experts[j]] - largest);
    for (size_t j = 0; j < top_k; j++)
        weights[j] = op_store(call, exp((double)logits[experts[j]] - largest) / total);
    return true;
}

bool router_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x");
    const Weight *w = op_arg(call, "w")->weight;
    size_t rows = (size_t)call->step->rows, ld = gemm_ld(w->k), top_k = op_arg(call, "experts")->extent[1];
    if (top_k == 0 || top_k > w->n)
        return fail(err, E_SHAPE, "router: expected 1 to %zu experts per token, found %zu", w->n, top_k);
    double *wide = calloc(rows * ld + 1, sizeof *wide), *sums = malloc((rows * w->n + 1) * sizeof *sums);
    bool ok = wide && sums;
    if (!ok)
        fail(err, E_MEMORY, "router: no memory for %zu rows", rows);
    for (size_t row = 0; ok && row < rows; row++)
        op_read_vector(x, row, 0, 0, wide + row * ld);
    ok = ok && gemm_ref(wide, rows, w, sums, w->n, err);
    for (size_t row = 0; ok && row < rows; row++)
        ok = route_row(call, row, sums + row * w->n, err);
    free(sums);
    free(wide);
    return ok;
}
