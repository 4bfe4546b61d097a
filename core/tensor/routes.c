#include "core/tensor/routes.h"

#include <stdlib.h>

static bool check_ids(const OpArg *experts, size_t rows, size_t experts_n, Err *err)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < experts->extent[1]; j++) {
            int id = op_row_i32(experts, row)[j];
            if (id < 0 || (size_t)id >= experts_n)
                return fail(err, E_VALUE, "row %zu, slot %zu: expected an expert below %zu, found %d", row, j, experts_n, id);
        }
    return true;
}

bool routes_init(Routes *r, const OpArg *experts, size_t rows, size_t experts_n, Err *err)
{
    size_t top_k = experts->extent[1];
    *r = (Routes){.experts_n = experts_n, .top_k = top_k};
    if (!check_ids(experts, rows, experts_n, err))
        return false;
    r->start = calloc(experts_n + 2, sizeof *r->start);
    r->pair = calloc(rows * top_k + 1, sizeof *r->pair);
    if (!r->start || !r->pair) {
        routes_deinit(r);
        return fail(err, E_MEMORY, "no memory to group %zu rows by expert", rows);
    }
    /* start[e + 2] counts, start[e + 1] then moves from the first pair of e to the first of e + 1. */
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < top_k; j++)
            r->start[op_row_i32(experts, row)[j] + 2]++;
    for (size_t e = 2; e <= experts_n; e++)
        r->start[e] += r->start[e - 1];
    for (size_t row = 0; row < rows; row++)
        for (size_t j = 0; j < top_k; j++)
            r->pair[r->start[op_row_i32(experts, row)[j] + 1]++] = row * top_k + j;
    return true;
}

void routes_deinit(Routes *r)
{
    free(r->pair);
    free(r->start);
    *r = (Routes){0};
}
