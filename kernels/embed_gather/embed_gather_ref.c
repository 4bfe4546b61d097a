/* y[row] = w[ids[row]]. Magnitude: 0, nothing is computed. */
#include "kernels/families.h"

bool embed_gather_ref(const OpCall *call, Err *err)
{
    const OpArg *ids = op_arg(call, "ids"), *y = op_arg(call, "y");
    const Weight *w = op_arg(call, "w")->weight;
    for (int row = 0; row < call->step->rows; row++) {
        int id = op_row_i32(ids, (size_t)row)[0];
        if (id < 0 || (size_t)id >= w->n)
            return fail(err, E_VALUE, "embed_gather: row %d: expected a token id below %zu, found %d", row, w->n, id);
        weight_row(w, (size_t)id, op_row(y, (size_t)row));
        op_round(call, op_row(y, (size_t)row), w->k);
    }
    return true;
}
