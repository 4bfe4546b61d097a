/* bf16 as bits in a uint16_t. Rounds to nearest, ties to even; NaN stays NaN (quiet), infinities stay. */
#ifndef CORE_NUM_BF16_H
#define CORE_NUM_BF16_H
#include <stddef.h>
#include <stdint.h>

float bf16_to_f32(uint16_t bits);
/* n of them, which need no alignment. */
void bf16_row_to_f32(const void *bits, size_t n, float *y);
uint16_t bf16_from_f32(float x);
/* x rounded to bf16 and widened again. */
float bf16_round(float x);
/* The same in place. */
void bf16_round_row(float *x, size_t n);

#endif
