#include "core/tensor/gemm.h"

#include <assert.h>
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* Below this many multiply-adds (some 20 us) waking threads costs more than it saves. */
static const double parallel_work_min = 2e5;

enum { BLOCK_M = 4 };

typedef double Lanes __attribute__((vector_size(GEMM_LANES * sizeof(double)), aligned(8), may_alias));

/* The same source for wider registers: products and sums are separate IEEE operations (the build forbids contraction), so only
 * the speed differs. Included twice because GCC lowers vector types before it clones functions for targets. */
#define GEMM_BLOCK block_any
#include "core/tensor/gemm_block.inc"
#undef GEMM_BLOCK

#ifdef __x86_64__
#pragma GCC push_options
#pragma GCC target("avx2")
#define GEMM_BLOCK block_avx2
#include "core/tensor/gemm_block.inc"
#undef GEMM_BLOCK
#pragma GCC pop_options
#endif

size_t gemm_ld(size_t k) { return (k + GEMM_LANES - 1) / GEMM_LANES * GEMM_LANES; }

double gemm_dot(const double *x, const float *w, size_t n)
{
    double sum[GEMM_LANES] = {0};
    size_t k = 0;
    for (; k + GEMM_LANES <= n; k += GEMM_LANES)
        for (size_t lane = 0; lane < GEMM_LANES; lane++)
            sum[lane] += x[k + lane] * (double)w[k + lane];
    for (size_t lane = 0; k + lane < n; lane++)
        sum[lane] += x[k + lane] * (double)w[k + lane];
    return (sum[0] + sum[2]) + (sum[1] + sum[3]);
}

static void block(const double *x, size_t m, size_t ld, const double *w, double *y, size_t ld_y, size_t n)
{
#ifdef __x86_64__
    if (__builtin_cpu_supports("avx2")) {
        block_avx2(x, m, ld, w, y, ld_y, n);
        return;
    }
#endif
    block_any(x, m, ld, w, y, ld_y, n);
}

static bool product(const double *x, size_t m, const Weight *w, bool of_magnitudes, double *y, size_t ld_y, Err *err)
{
    assert(ld_y >= w->n);
    size_t ld = gemm_ld(w->k), room = GEMM_ROWS * ld;
    bool is_parallel = (double)m * (double)w->n * (double)w->k > parallel_work_min && !omp_in_parallel();
    int threads = is_parallel ? omp_get_max_threads() : 1;
    double *wide = calloc((size_t)threads * room + 1, sizeof *wide);
    float *narrow = malloc(((size_t)threads * w->k + 1) * sizeof *narrow);
    bool ok = wide && narrow;
    long blocks = (long)((w->n + GEMM_ROWS - 1) / GEMM_ROWS);
#pragma omp parallel for schedule(static) num_threads(threads) if (is_parallel && ok)
    for (long i = 0; i < (ok ? blocks : 0); i++) {
        double *rows = wide + (size_t)omp_get_thread_num() * (is_parallel ? room : 0);
        float *row = narrow + (size_t)omp_get_thread_num() * (is_parallel ? w->k : 0);
        size_t first = (size_t)i * GEMM_ROWS, n = w->n - first < GEMM_ROWS ? w->n - first : GEMM_ROWS;
        for (size_t r = 0; r < n; r++) {
            weight_row(w, first + r, row);
            for (size_t k = 0; k < w->k; k++)
                rows[r * ld + k] = of_magnitudes ? fabs((double)row[k]) : (double)row[k];
        }
        block(x, m, ld, rows, y + first, ld_y, n);
    }
    free(narrow);
    free(wide);
    return ok || fail(err, E_MEMORY, "matrix product: no memory for %d rows of %zu weights", GEMM_ROWS, w->k);
}

bool gemm_ref(const double *x, size_t m, const Weight *w, double *y, size_t ld_y, Err *err)
{
    return product(x, m, w, false, y, ld_y, err);
}

bool gemm_magnitude(const double *x, size_t m, const Weight *w, double *y, size_t ld_y, Err *err)
{
    size_t n = m * gemm_ld(w->k);
    double *absolute = malloc((n + 1) * sizeof *absolute);
    for (size_t i = 0; absolute && i < n; i++)
        absolute[i] = fabs(x[i]);
    bool ok = absolute ? product(absolute, m, w, true, y, ld_y, err) : fail(err, E_MEMORY, "matrix product: no memory for %zu values", n);
    free(absolute);
    return ok;
}
