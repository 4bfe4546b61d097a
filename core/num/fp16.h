/* fp16 as bits in a uint16_t. Rounds to nearest, ties to even; NaN stays NaN (quiet), infinities stay. */
#ifndef CORE_NUM_FP16_H
#define CORE_NUM_FP16_H
#include <stddef.h>
#include <stdint.h>

float fp16_to_f32(uint16_t bits);
/* n of them, which need no alignment. */
void fp16_row_to_f32(const void *bits, size_t n, float *y);
uint16_t fp16_from_f32(float x);
/* x rounded to fp16 and widened again. */
float fp16_round(float x);

#endif
