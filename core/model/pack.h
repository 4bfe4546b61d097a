/* Weights in the form kernels read: one packed form per device, made at load, shared by all kernels.
 *   plain  data bf16[n][kp], kp = k padded to 8 with zeros (stored f32 and f16 are rounded to bf16)
 *   nvfp4  data u8[n][kp/2] codes, scales e4m3[n][kp/16], kp = k padded to 128 with zero codes and scales; row_scale f32[n]
 *   fp8    data e4m3[n][kp], kp = k padded to 16; row_scale f32[n]
 *   fp8_block  as fp8, scales f32[ceil(n/bn)][ceil(k/bk)], row_scale absent
 * A value is code · scale · row_scale. Matrices of one argument (experts) follow each other without gaps. Vectors are f32[k] in
 * data. */
#ifndef CORE_MODEL_PACK_H
#define CORE_MODEL_PACK_H
#include "core/gpu/device.h"
#include "core/tensor/weight.h"

typedef struct PackedWeight {
    DevicePtr data, scales, row_scale; /* 0 where the format has none */
    size_t bytes;
} PackedWeight;

/* Elements from one row to the next for a format and k. */
size_t pack_row(WeightFormat format, size_t k);
/* Packs n matrices of one format and shape (is_vector: one row of a norm or a gate vector, widened to f32) onto the device.
 * E_UNSUPPORTED when formats are mixed or a block scale is NaN; E_MEMORY. */
bool pack_weights(Device *d, const Weight *w, size_t n, bool is_vector, PackedWeight *out, Err *err);
void pack_free(Device *d, PackedWeight *w);

#endif
