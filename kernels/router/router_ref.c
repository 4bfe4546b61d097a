/* logits = w · x (stored f32); p = softmax(stored logits); experts = the top_k largest, descending; weights = p / Σ
 * p of the chosen. Magnitude of a logit: Σ|x·w|. Of a weight: a logit's error is a relative error of its p, and of
 * the sum of all p at most that of the worst logit, so w (2 max Σ|x·w| + (largest logit - smallest chosen one) +
 * 1), the last two for the rounded difference, exp and the division. */
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

/* Of one row's logits and weights. */
static void put_magnitudes(const OpCall *call, size_t row, const float *logits, const double *magnitudes,
    const float *weights,
                           const int32_t *experts)
{
    const OpArg *logits_arg = op_arg(call, "logits"), *weights_arg = op_arg(call, "weights");
    size_t experts_n = logits_arg->extent[1], top_k = weights_arg->extent[1];
    float *of_logits = op_magnitude(logits_arg, row), *of_weights = op_magnitude(weights_arg, row);
    double worst = 0, range = (double)logits[experts[0]] - (double)logits[experts[top_k - 1]];
    for (size_t e = 0; e < experts_n; e++) {
        worst = magnitudes[e] > worst ? magnitudes[e] : worst;
        if (of_logits)
            of_logits[e] = (float)magnitudes[e];
    }
    for (size_t j = 0; of_weights && j < top_k; j++)
        of_weights[j] = (float)((double)weights[j] * (2 * worst + range + 1));
}

static bool route_row(const OpCall *call, size_t row, const double *sums, const double *magnitudes, Err *err)
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
        weights[j] = (float)(exp((double)logits[experts[j]] - largest) / total);
    if (magnitudes)
        put_magnitudes(call, row, logits, magnitudes, weights, experts);
    op_round_out(call, op_arg(call, "weights"), weights, top_k);
    return true;
}

bool router_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x");
    const Weight *w = op_arg(call, "w")->weight;
    size_t rows = (size_t)call->step->rows, ld = gemm_ld(w->k), top_k = op_arg(call, "experts")->extent[1];
    if (top_k == 0 || top_k > w->n)
        return fail(err, E_SHAPE, "router: expected 1 to %zu experts per token, found %zu", w->n, top_k);
    bool has_magnitudes = op_arg(call, "logits")->magnitude || op_arg(call, "weights")->magnitude;
    double *wide = calloc(rows * ld + 1, sizeof *wide), *sums = malloc((rows * w->n + 1) * sizeof *sums);
    double *magnitudes = has_magnitudes ? malloc((rows * w->n + 1) * sizeof *magnitudes) : NULL;
    bool ok = wide && sums && (magnitudes || !has_magnitudes);
    if (!ok)
        fail(err, E_MEMORY, "router: no memory for %zu rows", rows);
    for (size_t row = 0; ok && row < rows; row++)
        op_read_vector(x, row, 0, 0, wide + row * ld);
    ok = ok && gemm_ref(wide, rows, w, sums, w->n, err);
    ok = ok && (!magnitudes || gemm_magnitude(wide, rows, w, magnitudes, w->n, err));
    for (size_t row = 0; ok && row < rows; row++)
        ok = route_row(call, row, sums + row * w->n, magnitudes ? magnitudes + row * w->n : NULL, err);
    free(magnitudes);
    free(sums);
    free(wide);
    return ok;
}
