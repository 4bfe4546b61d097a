/* The one matrix product of the references: y[m][n] = sum over k of x[m][k] · w[n][k], f64 operands and sums.
 * The bits of an element depend on its row of x and its row of w alone: not on the number of rows, their neighbours, the number
 * of threads or the processor. Product k is added to partial sum k % GEMM_LANES, product and sum being two rounded operations,
 * and the result is (sum 0 + sum 2) + (sum 1 + sum 3). Rows of w are dequantized when needed, GEMM_ROWS at a time per thread, so
 * a weight of any size costs no memory.
 * Own loops instead of OpenBLAS, on purpose: there, results depend on shape, thread count and machine, and older builds choose
 * faulty kernels on some processors; a reference may not. */
#ifndef CORE_TENSOR_GEMM_H
#define CORE_TENSOR_GEMM_H
#include "core/base/err.h"
#include "core/tensor/weight.h"

enum { GEMM_LANES = 4, GEMM_ROWS = 4 };

/* Elements from one row of x to the next: k rounded up to whole groups of lanes. */
size_t gemm_ld(size_t k);
/* x f64[m][gemm_ld(w->k)], zero from k on · y f64[m][ld_y], ld_y >= w->n. E_MEMORY. */
bool gemm_ref(const double *x, size_t m, const Weight *w, double *y, size_t ld_y, Err *err);
/* y[m][n] = sum over k of |x[m][k] · w[n][k]|, for bounds of rounding errors. Arguments as above. */
bool gemm_magnitude(const double *x, size_t m, const Weight *w, double *y, size_t ld_y, Err *err);
/* The same sum for one pair of rows of n elements. */
double gemm_dot(const double *x, const float *w, size_t n);

#endif
