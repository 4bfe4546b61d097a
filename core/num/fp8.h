/* fp8: e4m3fn (1-4-3, bias 7, no infinities, 0x7F and 0xFF are NaN, largest 448) and reading of e5m2.
 * Source: nvfp4-formats specification §1.2 as confirmed against PyTorch and NVIDIA's headers. */
#ifndef CORE_NUM_FP8_H
#define CORE_NUM_FP8_H
#include <stddef.h>
#include <stdint.h>

float fp8_e4m3_to_f32(uint8_t bits);
/* n codes at once: y[i] = fl(value · scale). */
void fp8_e4m3_row_to_f32(const uint8_t *bits, size_t n, float scale, float *y);
float fp8_e5m2_to_f32(uint8_t bits);
/* As PyTorch casts: nearest even, NOT saturating: beyond the tie at 464 the result is NaN (0x7F | sign). */
uint8_t fp8_e4m3_from_f32(float x);
/* As cvt.rn.satfinite: beyond 448 the result is 0x7E | sign; NaN is 0x7F. */
uint8_t fp8_e4m3_from_f32_sat(float x);

#endif
