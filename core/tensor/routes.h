/* The (row, slot) pairs of a routed batch, grouped by expert: pairs of expert e are pair[start[e]] .. pair[start[e+1]-1], in
 * ascending order; a pair is row · top_k + slot. */
#ifndef CORE_TENSOR_ROUTES_H
#define CORE_TENSOR_ROUTES_H
#include "core/tensor/op.h"

typedef struct Routes {
    size_t experts_n, top_k;
    size_t *start; /* [experts_n + 1] */
    size_t *pair;  /* [rows · top_k] */
} Routes;

/* Groups the first `rows` rows of an i32[rows,top_k] argument. E_VALUE for an id outside [0, experts_n), E_MEMORY. */
bool routes_init(Routes *r, const OpArg *experts, size_t rows, size_t experts_n, Err *err);
void routes_deinit(Routes *r);

#endif
