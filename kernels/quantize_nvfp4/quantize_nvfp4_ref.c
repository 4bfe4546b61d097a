/* codes and scales of y[row][slot] = NVFP4 of x[row][slot or 0] with S of the slot's quantizer (core/num/nvfp4.h). */
#include "kernels/families.h"

static bool check_slots(const OpArg *x, const OpArg *experts, const OpArg *y, Err *err)
{
    size_t slots_in = x->extent[1], slots = y->extent[1];
    if (slots != slots_in && slots_in != 1)
        return fail(err, E_SHAPE, "quantize_nvfp4: expected %zu slots as in x, found %zu", slots_in, slots);
    if (y->quantizer_n > 1 && !experts->spec)
        return fail(err, E_MISSING, "quantize_nvfp4: one input scale per expert needs the argument experts");
    if (y->quantizer_n > 1 && experts->extent[1] != slots)
        return fail(err, E_SHAPE, "quantize_nvfp4: expected %zu slots as in experts, found %zu", experts->extent[1],
            slots);
    return true;
}

bool quantize_nvfp4_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *experts = op_arg(call, "experts"), *y = op_arg(call, "y");
    if (!check_slots(x, experts, y, err))
        return false;
    size_t k = op_vector_size(x), slots = y->extent[1], experts_n = y->quantizer_n;
    for (size_t row = 0; row < (size_t)call->step->rows; row++)
        for (size_t slot = 0; slot < slots; slot++) {
            int id = experts_n > 1 ? op_row_i32(experts, row)[slot] : 0;
            if (id < 0 || (size_t)id >= experts_n)
                return fail(err, E_VALUE, "quantize_nvfp4: row %zu, slot %zu: expected an expert below %zu, found %d",
                            row, slot, experts_n, id);
            op_quantize(y, row, slot, (size_t)id, op_row(x, row) + (x->extent[1] == 1 ? 0 : slot * k));
        }
    return true;
}
