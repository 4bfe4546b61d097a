/* fp4 e2m1 codes 0..15: bit 3 is the sign, magnitudes 0 0.5 1 1.5 2 3 4 6. Nearest, ties to the even index; saturates at 6.
 * Source: nvfp4-formats specification §1.1. */
#ifndef CORE_NUM_FP4_H
#define CORE_NUM_FP4_H
#include <stddef.h>
#include <stdint.h>

/* Value of code & 15; code 8 is -0. */
float fp4_to_f32(uint8_t code);
/* The tools' rule: the sign is (x < 0), so -0.0 gives code 0 and a small negative gives 8; NaN gives 7. */
uint8_t fp4_from_f32(float x);
/* The conversion instruction's rule: the sign bit is copied, so -0.0 gives code 8. */
uint8_t fp4_from_f32_hw(float x);
/* 16 codes of either rule, two a byte with the even element in the low nibble. */
void fp4_pack(const float x[16], uint8_t packed[8]);
void fp4_pack_hw(const float x[16], uint8_t packed[8]);

#endif
