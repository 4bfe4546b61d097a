/* y[row][j] = down[experts[row][j]] · x[row][j]. Magnitude: Σ|x·w|. */
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "core/tensor/routes.h"
#include "kernels/families.h"

static const double parallel_work_min = 2e5;

static bool run_expert(const OpCall *call, const Routes *routes, size_t expert, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *y = op_arg(call, "y");
    const Weight *w = &op_arg(call, "down")->weight[expert];
    const size_t *pair = routes->pair + routes->start[expert];
    size_t n = routes->start[expert + 1] - routes->start[expert], top_k = routes->top_k, ld = gemm_ld(w->k);
    double *wide = calloc(n * ld + 1, sizeof *wide), *sums = malloc((n * w->n + 1) * sizeof *sums);
    double *magnitudes = y->magnitude ? malloc((n * w->n + 1) * sizeof *magnitudes) : NULL;
    bool ok = wide && sums && (magnitudes || !y->magnitude);
    if (!ok)
        fail(err, E_MEMORY, "moe_fc2: no memory for %zu rows of expert %zu", n, expert);
    for (size_t p = 0; ok && p < n; p++)
        op_read_vector(x, pair[p] / top_k, pair[p] % top_k, expert, wide + p * ld);
    ok = ok && gemm_ref(wide, n, w, sums, w->n, err);
    ok = ok && (!magnitudes || gemm_magnitude(wide, n, w, magnitudes, w->n, err));
    for (size_t p = 0; ok && p < n; p++) {
        float *out = op_row(y, pair[p] / top_k) + pair[p] % top_k * w->n;
        for (size_t c = 0; c < w->n; c++)
            out[c] = (float)sums[p * w->n + c];
        float *magnitude = magnitudes ? op_magnitude(y, pair[p] / top_k) + pair[p] % top_k * w->n : NULL;
        for (size_t c = 0; magnitude && c < w->n; c++)
            magnitude[c] = (float)magnitudes[p * w->n + c];
        op_round_out(call, y, out, w->n);
    }
    free(magnitudes);
    free(sums);
    free(wide);
    return ok;
}

bool moe_fc2_ref(const OpCall *call, Err *err)
{
    const OpArg *down = op_arg(call, "down");
    size_t rows = (size_t)call->step->rows, experts_n = down->extent[0];
    Routes routes;
    if (!routes_init(&routes, op_arg(call, "experts"), rows, experts_n, err))
        return err_in(err, "moe_fc2");
    bool ok = true;
    double work = (double)(rows * routes.top_k) * (double)down->weight[0].n * (double)down->weight[0].k;
    /* As in moe_fc1: many small experts are spread over the threads, few large ones share them inside the product. */
#pragma omp parallel for schedule(dynamic) if (work > parallel_work_min && rows * routes.top_k >= experts_n)
    for (size_t e = 0; e < experts_n; e++) {
        Err one = {0};
        if (routes.start[e] == routes.start[e + 1] || run_expert(call, &routes, e, &one))
            continue;
#pragma omp critical(moe_fc2_error)
        {
            *err = one;
            ok = false;
        }
    }
    routes_deinit(&routes);
    return ok;
}
