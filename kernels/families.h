/* Declares <family>_ref of every family: computes the op's outputs and states from its inputs (core/tensor/op.h,
 * kernels/README.md). */
#ifndef KERNELS_FAMILIES_H
#define KERNELS_FAMILIES_H
#include "core/tensor/op.h"

#define FAMILY(name) bool name##_ref(const OpCall *call, Err *err);
#include "kernels/families.def"
#undef FAMILY

#endif
