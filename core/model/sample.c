#include "core/model/sample.h"

#include <math.h>
#include <stdlib.h>

typedef struct Candidate {
    double p;
    int token;
} Candidate;

/* By probability descending, then by token ascending. */
static int compare_candidates(const void *a, const void *b)
{
    const Candidate *x = a, *y = b;
    if (x->p != y->p)
        return x->p < y->p ? 1 : -1;
    return (x->token > y->token) - (x->token < y->token);
}

/* How many of the n sorted candidates stay, and the sum of their weights. */
static size_t keep(const SampleDesc *desc, const Candidate *c, size_t n, double *sum)
{
    if (desc->top_k > 0 && (size_t)desc->top_k < n)
        n = (size_t)desc->top_k;
    double all = 0, mass = 0;
    for (size_t i = 0; i < n; i++)
        all += c[i].p;
    for (size_t i = 0; i < n; i++) {
        mass += c[i].p;
        if (mass >= desc->top_p * all) {
            *sum = mass;
            return i + 1;
        }
    }
    *sum = mass;
    return n;
}

bool sample_pick(const SampleDesc *desc, const float *logits, size_t n, Prng *prng, int *token, Err *err)
{
    size_t best = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(logits[i]))
            return fail(err, E_VALUE, "logit %zu is NaN", i);
        if (logits[i] > logits[best])
            best = i;
    }
    if (n == 0 || isinf(logits[best]))
        return fail(err, E_VALUE, "no finite logit among %zu", n);
    *token = (int)best;
    if (desc->temperature <= 0)
        return true;
    Candidate *c = malloc(n * sizeof *c);
    if (!c)
        return fail(err, E_MEMORY, "no memory to sample from %zu logits", n);
    for (size_t i = 0; i < n; i++)
        c[i] = (Candidate){exp(((double)logits[i] - (double)logits[best]) / desc->temperature), (int)i};
    qsort(c, n, sizeof *c, compare_candidates);
    double sum;
    size_t kept = keep(desc, c, n, &sum);
    double at = prng_uniform(prng) * sum;
    size_t i = 0;
    while (i + 1 < kept && at >= c[i].p)
        at -= c[i++].p;
    *token = c[i].token;
    free(c);
    return true;
}
