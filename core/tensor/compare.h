/* How far two tensors, or two sets of logits, are apart. All sums in f64 and in a fixed order: the same bits on every run, with
 * any number of threads. What is not finite never passes: such an error is +infinity, such a likeness the least possible. */
#ifndef CORE_TENSOR_COMPARE_H
#define CORE_TENSOR_COMPARE_H
#include <stdint.h>

#include "core/tensor/tensor.h"

enum { COMPARE_ULP_BINS = 12 };

typedef struct Compare {
    size_t n, bad_got, bad_want; /* elements; how many of them are NaN or infinite on either side */
    double nmse;                 /* sum (got-want)^2 / sum want^2; 0 when both sums are 0 */
    double sqnr_db;              /* -10 log10 nmse */
    double cosine;               /* 1 when both are all zero, 0 when one is, -1 with anything not finite */
    double max_abs;              /* largest |got-want|; +infinity with anything not finite */
    size_t at;                   /* where: flat index of the first such element */
    double got, want;            /* the two values there */
    /* Elements by distance in bf16 ulps, both sides rounded to f32 and bf16: bin 0 holds 0 (0 and -0 are equal), bin b holds
     * 2^(b-2) < d <= 2^(b-1), the last one all above and what is not finite. */
    size_t ulps[COMPARE_ULP_BINS];
} Compare;

/* got and want have the same shape (E_SHAPE) and any numeric types; E_MEMORY. */
bool compare_tensors(const Tensor *got, const Tensor *want, Compare *out, Err *err);

/* Of logits [rows,v] (more dimensions in front count as rows): kl f64[rows] = KL(softmax(base) || softmax(other)) in nats,
 * top1 = share of rows with the same largest logit, topk = mean share of base's k largest that are among other's k largest.
 * Equal logits are ordered by index; a row with NaN has kl +infinity and agrees nowhere. E_SHAPE; E_VALUE unless 1 <= k <= v. */
bool compare_logits(const Tensor *other, const Tensor *base, size_t k, double *kl, double *top1, double *topk, Err *err);

/* nll f64[rows] of the targets i32[rows] under logits [rows,v]: log sum exp - logit. +infinity with NaN. E_VALUE: target outside
 * 0..v-1. */
bool compare_nll(const Tensor *logits, const int32_t *targets, double *nll, Err *err);

typedef struct CompareSets {
    size_t rows, equal_rows, first_bad_row; /* first_bad_row = rows when all are equal */
} CompareSets;

/* Rows of integers [rows,k] as sets: equal when they hold the same numbers, in any order. E_SHAPE; E_MEMORY. */
bool compare_sets(const Tensor *a, const Tensor *b, CompareSets *out, Err *err);

typedef struct Summary {
    size_t n, bad; /* elements; how many are NaN */
    double mean, median, p99, min, max;
} Summary;

/* Of all elements of t; p99 is the smallest element that 99 % do not exceed. NaN counts as +infinity. Empty: E_VALUE;
 * E_MEMORY. */
bool compare_summary(const Tensor *t, Summary *out, Err *err);

#endif
