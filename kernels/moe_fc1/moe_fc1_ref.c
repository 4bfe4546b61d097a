/* y[row][j] = silu(gate[e] · x) · (up[e] · x), e = experts[row][j]: one rounding, at the end; y_codes: NVFP4 of y.
 * Magnitude, with g and u the two sums and G, U their Σ|x·w|: |silu'| <= 1.1, so errors of g and u give 1.1 G|u| +
 * |silu(g)| U; the product of both errors is below 1.1 · 2^-10 G U while c · 2^-23 < 2^-10; silu and the last
 * product add relative errors, |y|; 2^-96 |u| where exp overflows in f32. */
#include <math.h>
#include <stdlib.h>

#include "core/tensor/gemm.h"
#include "core/tensor/routes.h"
#include "kernels/families.h"

static const double parallel_work_min = 2e5;

typedef struct Fc1 {
    const OpCall *call;
    const OpArg *x, *x_up, *gate, *up, *y, *y_codes;
    Routes routes;
    size_t h, i;
} Fc1;

static bool check_slots(const OpArg *x, size_t top_k, Err *err)
{
    size_t slots = x->extent[1];
    if (slots != 1 && slots != top_k)
        return fail(err, E_SHAPE, "moe_fc1: argument %s: expected 1 or %zu slots, found %zu", x->spec->name, top_k,
            slots);
    if (slots == 1 && x->type == OP_NVFP4 && x->quantizer_n != 1)
        return fail(err, E_SHAPE, "moe_fc1: argument %s: one slot for all experts cannot have an input scale for each",
                    x->spec->name);
    return true;
}

/* Rows of an expert's pairs, multiplied by its weight. */
static bool project(const Fc1 *f, const OpArg *x, const OpArg *weights, size_t expert, double *wide, double *sums,
                    double *magnitudes, Err *err)
{
    const size_t *pair = f->routes.pair + f->routes.start[expert];
    size_t n = f->routes.start[expert + 1] - f->routes.start[expert], top_k = f->routes.top_k, ld = gemm_ld(f->h);
    for (size_t p = 0; p < n; p++)
        op_read_vector(x, pair[p] / top_k, x->extent[1] == 1 ? 0 : pair[p] % top_k, expert, wide + p * ld);
    return gemm_ref(wide, n, &weights->weight[expert], sums, f->i, err) &&
           (!magnitudes || gemm_magnitude(wide, n, &weights->weight[expert], magnitudes, f->i, err));
}

/* Of n outputs from the sums g, u and their magnitudes. */
static void put_magnitudes(float *magnitude, size_t n, const double *g, const double *u, const double *gates,
    const double *ups)
{
    for (size_t c = 0; c < n; c++) {
        double silu = fabs(g[c] / (1.0 + exp(-g[c])));
        magnitude[c] = (float)(1.1 * gates[c] * fabs(u[c]) + silu * ups[c] + 1.1 * 0x1p-10 * gates[c] * ups[c] + silu * fabs(u[c]) +
                               0x1p-96 * fabs(u[c]));
    }
}

static bool run_expert(const Fc1 *f, size_t expert, Err *err)
{
    const size_t *pair = f->routes.pair + f->routes.start[expert];
    size_t n = f->routes.start[expert + 1] - f->routes.start[expert], top_k = f->routes.top_k;
    double *wide = calloc(n * gemm_ld(f->h) + 1, sizeof *wide), *sums = malloc((2 * n * f->i + 1) * sizeof *sums);
    double *up = sums + n * f->i;
    double *gates = f->y->magnitude ? malloc((2 * n * f->i + 1) * sizeof *gates) : NULL,
        *ups = gates ? gates + n * f->i : NULL;
    bool ok = wide && sums && (gates || !f->y->magnitude);
    if (!ok)
        fail(err, E_MEMORY, "moe_fc1: no memory for %zu rows of expert %zu", n, expert);
    ok = ok && project(f, f->x, f->gate, expert, wide, sums, gates, err) &&
        project(f, f->x_up, f->up, expert, wide, up, ups, err);
    for (size_t p = 0; ok && p < n; p++) {
        float *y = op_row(f->y, pair[p] / top_k) + pair[p] % top_k * f->i;
        for (size_t c = 0; c < f->i; c++) {
            double g = sums[p * f->i + c];
            y[c] = (float)(g / (1.0 + exp(-g)) * up[p * f->i + c]);
        }
        if (gates)
            put_magnitudes(op_magnitude(f->y, pair[p] / top_k) + pair[p] % top_k * f->i, f->i, sums + p * f->i,
                up + p * f->i,
                           gates + p * f->i, ups + p * f->i);
        op_round_out(f->call, f->y, y, f->i);
        if (f->y_codes->spec)
            op_quantize(f->y_codes, pair[p] / top_k, pair[p] % top_k, expert, y);
    }
    free(gates);
    free(sums);
    free(wide);
    return ok;
}

bool moe_fc1_ref(const OpCall *call, Err *err)
{
    const OpArg *experts = op_arg(call, "experts"), *gate = op_arg(call, "gate"), *x_up = op_arg(call, "x_up");
    size_t rows = (size_t)call->step->rows, experts_n = gate->extent[0];
    Fc1 f = {.call = call, .x = op_arg(call, "x"), .gate = gate, .up = op_arg(call, "up"), .y = op_arg(call, "y"),
             .y_codes = op_arg(call, "y_codes"),
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
