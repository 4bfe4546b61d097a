/* Per row and value head: q̂ = q · rsqrt(Σq² + eps) · dk^-½, k̂ = k · rsqrt(Σk² + eps), decay α = exp(-exp(a_log) ·
 * softplus(a + dt_bias)), β = sigmoid(b); S ← αS; d = β(v - k̂S); S ← S + k̂dᵀ; y = q̂S. The state is stored as f32
 * after every row, so that rows in one step and the same rows one by one give the same bits.
 * Source: model-qwen3_5_moe specification §3.3.3-3.3.5.
 * Magnitude, by running error analysis per column of S with e the 2-norm of its error: S ← (I - β k̂k̂ᵀ) αS + β k̂v,
 * and that matrix has norm <= 1 (|k̂| <= 1, 0 <= β <= 1), so an old error shrinks by α and a row adds what is rounded
 * in it (units of c · 2^-23; ρ: relative error of α, from exp, softplus and the exponent's size):
 *     e ← α e + |αS| (1 + ρ) + β Σ|k̂_i αS_i| + |d| + |S'|
 *     y: |q̂| e + Σ|q̂_i S'_i|
 * An element of the state has its column's e, a version that only moved has 0. Errors are of first order; c has
 * room for the second. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/families.h"

/* Head-rows below which starting threads costs more than it saves. */
static const double parallel_work_min = 2e5;

typedef struct Delta {
    const OpCall *call;
    const OpArg *qkv, *a, *b, *state, *y, *rejected;
    const float *a_log, *dt_bias;
    size_t hk, hv, dk, dv, versions;
    double eps;
} Delta;

/* Memory of one head's run. */
typedef struct Scratch {
    double *q, *k, *read, *out; /* [dk] [dk] [dv] [dv] */
    float *now;                 /* [dk][dv] */
    double *error, *decayed, *updated, *reads; /* [dv] each: e; |αS|², |S'|² of a column; Σ|k̂ αS| and then Σ|q̂ S'| */
} Scratch;

static void l2norm(const float *x, size_t n, double eps, double factor, double *y)
{
    double squares = 0;
    for (size_t i = 0; i < n; i++)
        squares += (double)x[i] * (double)x[i];
    double scale = factor / sqrt(squares + eps);
    for (size_t i = 0; i < n; i++)
        y[i] = (double)x[i] * scale;
}

static double softplus(double x) { return x > 20.0 ? x : log1p(exp(x)); }

/* Columns of the decayed state before they are corrected: |αS|² and Σ|k̂_i αS_i|. */
static void measure_decay(Scratch *s, size_t dk, size_t dv, double alpha)
{
    memset(s->decayed, 0, dv * sizeof *s->decayed);
    memset(s->reads, 0, dv * sizeof *s->reads);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++) {
            double x = alpha * (double)s->now[i * dv + j];
            s->decayed[j] += x * x;
            s->reads[j] += fabs(s->k[i] * x);
        }
}

/* ρ: softplus(x) errs by sigmoid(x) (|x| / 2 + 2) + 2 softplus(x) units, exp(a_log) and the product by 3, exp of it
 * all by 2. */
static double decay_error(const Delta *d, size_t row, size_t head)
{
    double x = (double)op_row(d->a, row)[head] + (double)d->dt_bias[head], rate = exp((double)d->a_log[head]);
    return rate * ((fabs(x) / 2 + 2) / (1.0 + exp(-x)) + 5 * softplus(x)) + 2;
}

/* Moves the errors of all columns over one row; s->read holds d, s->now the new state. */
static void measure_row(Scratch *s, size_t dk, size_t dv, double alpha, double beta, double rho, float *magnitude)
{
    double q_norm = 0;
    memset(s->updated, 0, dv * sizeof *s->updated);
    for (size_t j = 0; j < dv; j++)
        s->error[j] = alpha * s->error[j] + sqrt(s->decayed[j]) * (1 + rho) + beta * s->reads[j] + fabs(s->read[j]);
    memset(s->reads, 0, dv * sizeof *s->reads);
    for (size_t i = 0; i < dk; i++) {
        q_norm += s->q[i] * s->q[i];
        for (size_t j = 0; j < dv; j++) {
            double x = (double)s->now[i * dv + j];
            s->updated[j] += x * x;
            s->reads[j] += fabs(s->q[i] * x);
        }
    }
    for (size_t j = 0; j < dv; j++) {
        s->error[j] += sqrt(s->updated[j]);
        if (magnitude)
            magnitude[j] = (float)(sqrt(q_norm) * s->error[j] + s->reads[j]);
    }
}

static void delta_row(const Delta *d, size_t row, size_t head, Scratch *s)
{
    size_t dk = d->dk, dv = d->dv, key_head = head / (d->hv / d->hk);
    const float *qkv = op_row(d->qkv, row), *v = qkv + 2 * d->hk * dk + head * dv;
    l2norm(qkv + key_head * dk, dk, d->eps, 1.0 / sqrt((double)dk), s->q);
    l2norm(qkv + (d->hk + key_head) * dk, dk, d->eps, 1.0, s->k);
    double rate = softplus((double)op_row(d->a, row)[head] + (double)d->dt_bias[head]);
    double alpha = exp(-exp((double)d->a_log[head]) * rate);
    double beta = 1.0 / (1.0 + exp(-(double)op_row(d->b, row)[head]));
    if (d->y->magnitude || d->state->magnitude)
        measure_decay(s, dk, dv, alpha);
    memset(s->read, 0, dv * sizeof *s->read);
    memset(s->out, 0, dv * sizeof *s->out);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++)
            s->read[j] += s->k[i] * (alpha * (double)s->now[i * dv + j]);
    for (size_t j = 0; j < dv; j++)
        s->read[j] = beta * ((double)v[j] - s->read[j]);
    for (size_t i = 0; i < dk; i++)
        for (size_t j = 0; j < dv; j++) {
            double updated = alpha * (double)s->now[i * dv + j] + s->k[i] * s->read[j];
            s->out[j] += s->q[i] * updated;
            s->now[i * dv + j] = (float)updated;
        }
    float *y = op_row(d->y, row) + head * dv;
    for (size_t j = 0; j < dv; j++)
        y[j] = (float)s->out[j];
    if (d->y->magnitude || d->state->magnitude)
        measure_row(s, dk, dv, alpha, beta, decay_error(d, row, head),
            d->y->magnitude ? op_magnitude(d->y, row) + head * dv : NULL);
    op_round_out(d->call, d->y, y, dv);
}

static size_t version_at(const Delta *d, int slot, size_t v, size_t head)
{
    return (((size_t)slot * d->versions + v) * d->hv + head) * d->dk * d->dv;
}

static float *version(const Delta *d, int slot, size_t v, size_t head)
{
    return (float *)d->state->data + version_at(d, slot, v, head);
}

/* Versions that this step's rows do not overwrite: version v becomes the old version back + v - count, zeros where
 * there is none. */
static void shift_versions(const Delta *d, int slot, size_t head, size_t count, size_t back, bool is_fresh)
{
    size_t bytes = d->dk * d->dv * sizeof(float);
    for (size_t i = count; i < d->versions; i++) {
        size_t v = back > count ? i : d->versions - 1 - (i - count); /* never over a version still to be moved */
        size_t from = back + v - count;
        if (is_fresh || from >= d->versions)
            memset(version(d, slot, v, head), 0, bytes);
        else
            memmove(version(d, slot, v, head), version(d, slot, from, head), bytes);
    }
}

static void delta_head(const Delta *d, int seq, size_t head, Scratch *s)
{
    const Step *step = d->call->step;
    size_t first = (size_t)step->seq_start[seq], count = (size_t)step->seq_start[seq + 1] - first;
    size_t bytes = d->dk * d->dv * sizeof(float);
    size_t back = (size_t)op_back(d->call, d->rejected, seq);
    bool is_fresh = count && step->pos[first] == 0;
    memset(s->error, 0, d->dv * sizeof *s->error);
    if (is_fresh)
        memset(s->now, 0, bytes);
    else
        memcpy(s->now, version(d, step->slot[seq], back, head), bytes);
    shift_versions(d, step->slot[seq], head, count, back, is_fresh);
    for (size_t t = 0; t < count; t++) {
        delta_row(d, first + t, head, s);
        if (count - 1 - t >= d->versions)
            continue;
        memcpy(version(d, step->slot[seq], count - 1 - t, head), s->now, bytes);
        float *magnitude = d->state->magnitude ? d->state->magnitude + version_at(d, step->slot[seq], count - 1 - t,
            head) : NULL;
        for (size_t i = 0; magnitude && i < d->dk * d->dv; i++)
            magnitude[i] = (float)s->error[i % d->dv];
    }
}

static bool scratch_init(Scratch *s, const Delta *d)
{
    *s = (Scratch){malloc((d->dk + 1) * sizeof(double)), malloc((d->dk + 1) * sizeof(double)),
        malloc((d->dv + 1) * sizeof(double)),
                   malloc((d->dv + 1) * sizeof(double)), malloc((d->dk * d->dv + 1) * sizeof(float)),
                   malloc((d->dv + 1) * sizeof(double)), malloc((d->dv + 1) * sizeof(double)),
                       malloc((d->dv + 1) * sizeof(double)),
                   malloc((d->dv + 1) * sizeof(double))};
    return s->q && s->k && s->read && s->out && s->now && s->error && s->decayed && s->updated && s->reads;
}

static void scratch_deinit(Scratch *s)
{
    free(s->reads);
    free(s->updated);
    free(s->decayed);
    free(s->error);
    free(s->now);
    free(s->out);
    free(s->read);
    free(s->k);
    free(s->q);
}

static bool run(const Delta *d, Err *err)
{
    const Step *step = d->call->step;
    bool ok = true;
    double work = (double)step->rows * (double)d->hv * (double)d->dk * (double)d->dv;
#pragma omp parallel if (work > parallel_work_min)
    {
        Scratch s;
        bool has_memory = scratch_init(&s, d);
#pragma omp for schedule(dynamic) collapse(2) reduction(&& : ok)
        for (int seq = 0; seq < step->seqs; seq++)
            for (size_t head = 0; head < d->hv; head++) {
                if (has_memory)
                    delta_head(d, seq, head, &s);
                ok = ok && has_memory;
            }
        scratch_deinit(&s);
    }
    return ok || fail(err, E_MEMORY, "gdn_delta: no memory for one head's state");
}

bool gdn_delta_ref(const OpCall *call, Err *err)
{
    const OpArg *state = op_arg(call, "state");
    Delta d = {.call = call, .qkv = op_arg(call, "qkv"), .a = op_arg(call, "a"), .b = op_arg(call, "b"), .state = state,
               .y = op_arg(call, "y"), .hk = (size_t)op_number(call, "hk"), .hv = state->extent[2],
                   .dk = state->extent[3],
               .dv = state->extent[4], .versions = state->extent[1], .eps = op_number(call, "eps"),
               .rejected = op_arg(call, "rejected")};
    size_t cd = 2 * d.hk * d.dk + d.hv * d.dv;
    if (d.hk == 0 || d.hv % d.hk)
        return fail(err, E_SHAPE, "gdn_delta: expected a multiple of %zu value heads, found %zu", d.hk, d.hv);
    if (d.qkv->extent[1] != cd)
        return fail(err, E_SHAPE, "gdn_delta: expected %zu channels for %zu key and %zu value heads, found %zu", cd,
            d.hk, d.hv,
                    d.qkv->extent[1]);
    for (int seq = 0; seq < call->step->seqs; seq++) {
        int back = op_back(call, d.rejected, seq);
        if (back < 0 || (size_t)back >= d.versions)
            return fail(err, E_VALUE, "gdn_delta: sequence %d: expected to go back less than %zu rows, found %d", seq,
                        d.versions, back);
    }
    float *gates = malloc((2 * d.hv + 1) * sizeof *gates);
    if (!gates)
        return fail(err, E_MEMORY, "gdn_delta: no memory for %zu heads", d.hv);
    weight_row(op_arg(call, "a_log")->weight, 0, gates);
    weight_row(op_arg(call, "dt_bias")->weight, 0, gates + d.hv);
    d.a_log = gates;
    d.dt_bias = gates + d.hv;
    bool ok = run(&d, err);
    free(gates);
    return ok;
}
