/* codes and scales of y[row][slot] = NVFP4 of x[row][slot or 0] with S of the slot's quantizer (core/num/nvfp4.h). */
#include "core/num/nvfp4.h"
#include "kernels/families.h"

/* Whose input scale slot j of a row takes; NULL for an expert that is not there. */
static const Weight *find_quantizer(const OpArg *y, const OpArg *experts, size_t row, size_t slot)
{
    if (y->quantizer_n == 1)
        return y->quantizer;
    int id = op_row_i32(experts, row)[slot];
    return id >= 0 && (size_t)id < y->quantizer_n ? y->quantizer + id : NULL;
}

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
    size_t k = op_vector_size(x), slots = y->extent[1];
    for (size_t row = 0; row < (size_t)call->step->rows; row++)
        for (size_t slot = 0; slot < slots; slot++) {
            const Weight *quantizer = find_quantizer(y, experts, row, slot);
            if (!quantizer)
                return fail(err, E_VALUE, "quantize_nvfp4: row %zu, slot %zu: expected an expert below %zu, found %d",
                    row, slot,
                            y->quantizer_n, op_row_i32(experts, row)[slot]);
            size_t at = row * y->ld + slot * k;
            nvfp4_quantize_activation(op_row(x, row) + (x->extent[1] == 1 ? 0 : slot * k), k,
                weight_input_inverse(quantizer),
                                      (uint8_t *)y->data + at / 2, y->scales + at / NVFP4_BLOCK);
        }
    return true;
}
