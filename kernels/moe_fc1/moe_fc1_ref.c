/* y[row][j] = silu(gate[e] · x) · (up[e] · x), e = experts[row][j]: one rounding, at the end. */
#include <math.h>
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "core/tensor/routes.h"
#include "kernels/families.h"

static const double parallel_work_min = 2e5;

typedef struct Fc1 {
    const OpCall *call;
    const OpArg *x, *x_up, *gate, *up, *y;
    Routes routes;
    size_t h, i;
} Fc1;

static bool check_slots(const OpArg *x, size_t top_k, Err *err)
{
    size_t slots = x->extent[1];
    if (slots != 1 && slots != top_k)
        return fail(err, E_SHAPE, "moe_fc1: argument %s: expected 1 or %zu slots, found %zu", x->spec->name, top_k, slots);
    if (slots == 1 && x->type == OP_NVFP4 && x->quantizer_n != 1)
        return fail(err, E_SHAPE, "moe_fc1: argument %s: one slot for all experts cannot have an input scale for each", x->spec->name);
    return true;
}

/* Rows of an expert's pairs, multiplied by its weight. */
static bool project(const Fc1 *f, const OpArg *x, const OpArg *weights, size_t expert, double *wide, double *sums, Err *err)
{
    const size_t *pair = f->routes.pair + f->routes.start[expert];
    size_t n = f->routes.start[expert + 1] - f->routes.start[expert], top_k = f->routes.top_k, ld = gemm_ld(f->h);
    for (size_t p = 0; p < n; p++)
        op_read_vector(x, pair[p] / top_k, x->extent[1] == 1 ? 0 : pair[p] % top_k, expert, wide + p * ld);
    return gemm_ref(wide, n, &weights->weight[expert], sums, f->i, err);
}

static bool run_expert(const Fc1 *f, size_t expert, Err *err)
{
    const size_t *pair = f->routes.pair + f->routes.start[expert];
    size_t n = f->routes.start[expert + 1] - f->routes.start[expert], top_k = f->routes.top_k;
    double *wide = calloc(n * gemm_ld(f->h) + 1, sizeof *wide), *sums = malloc((2 * n * f->i + 1) * sizeof *sums);
    double *up = sums + n * f->i;
    bool ok = wide && sums;
    if (!ok)
        fail(err, E_MEMORY, "moe_fc1: no memory for %zu rows of expert %zu", n, expert);
    ok = ok && project(f, f->x, f->gate, expert, wide, sums, err) && project(f, f->x_up, f->up, expert, wide, up, err);
    for (size_t p = 0; ok && p < n; p++) {
        float *y = op_row(f->y, pair[p] / top_k) + pair[p] % top_k * f->i;
        for (size_t c = 0; c < f->i; c++) {
            double g = sums[p * f->i + c];
            y[c] = (float)(g / (1.0 + exp(-g)) * up[p * f->i + c]);
        }
        op_round(f->call, y, f->i);
    }
    free(sums);
    free(wide);
    return ok;
}

bool moe_fc1_ref(const OpCall *call, Err *err)
{
    const OpArg *experts = op_arg(call, "experts"), *gate = op_arg(call, "gate"), *x_up = op_arg(call, "x_up");
    size_t rows = (size_t)call->step->rows, experts_n = gate->extent[0];
    Fc1 f = {.call = call, .x = op_arg(call, "x"), .gate = gate, .up = op_arg(call, "up"), .y = op_arg(call, "y"),
             .h = gate->weight[0].k, .i = gate->weight[0].n};
    f.x_up = x_up->spec ? x_up : f.x;
    if (!check_slots(f.x, experts->extent[1], err) || !check_slots(f.x_up, experts->extent[1], err))
        return false;
    if (!routes_init(&f.routes, experts, rows, experts_n, err))
        return err_in(err, "moe_fc1");
    bool ok = true;
    double work = 2.0 * (double)(rows * f.routes.top_k) * (double)f.h * (double)f.i;
    /* Few large experts share the threads inside the product, many small ones are spread over them. */
#pragma omp parallel for schedule(dynamic) if (work > parallel_work_min && rows * f.routes.top_k >= experts_n)
    for (size_t e = 0; e < experts_n; e++) {
        Err one = {0};
        if (f.routes.start[e] == f.routes.start[e + 1] || run_expert(&f, e, &one))
            continue;
#pragma omp critical(moe_fc1_error)
        {
            *err = one;
            ok = false;
        }
    }
    routes_deinit(&f.routes);
    return ok;
}
