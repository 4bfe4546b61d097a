/* y = Σ_t softmax_t(q · k_t · d^-½) v_t · sigmoid(gate), t = 0 .. pos. Keys and values of one sequence and kv head
 * are widened to f32 once per call; scores, softmax and sums are f64.
 * Magnitude of y[i]: an error of score t is a relative error of p_t, and p_t acts on y[i] as p_t (|v_t[i]| +
 * |y0[i]|), y0 = y without gate:
 *     M = sigmoid(gate) · Σ_t p_t (|v_t[i]| + |y0[i]|) (A_t + R_t + 1 + 2 len / d) / Σ p,   A_t = Σ|q·k_t| d^-½,
 *     R_t = largest score - score t
 * A_t for the sum of d products, R_t for the rounded difference in front of exp, 1 for exp, division and gate, 2
 * len / d for an addition and a rescaling of both sums a key (c >= d / 2). Softmax does not see an error that all
 * scores share. 2^-96 |y0|: the gate underflows. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "core/num/bf16.h"
#include "core/num/fp8.h"
#include "core/tensor/gemm.h"
#include "kernels/families.h"

static const double parallel_work_min = 2e5;

typedef struct Attend {
    const OpCall *call;
    const OpArg *q, *gate, *y, *keys, *values, *taken;
    size_t heads, kv_heads, d, max_len;
    float k_scale, v_scale;
} Attend;

/* Memory for one sequence and kv head: keys, values f32[len][d], and per query scores f64[len], q f64[d], sums
 * f64[2][d]. */
typedef struct Scratch {
    float *keys, *values;
    double *scores, *q, *sum;
} Scratch;

static void widen(const Attend *a, const OpArg *cache, size_t at, size_t n, float scale, float *out)
{
    for (size_t i = 0; i < n; i++)
        switch (a->call->kv) {
        case KV_F32: out[i] = ((const float *)cache->data)[at + i]; break;
        case KV_BF16: out[i] = bf16_to_f32(((const uint16_t *)cache->data)[at + i]); break;
        case KV_FP8: out[i] = fp8_e4m3_to_f32(((const uint8_t *)cache->data)[at + i]) * scale; break;
        }
}

/* Of one head's y, from the finished scores and sums. */
static void put_magnitudes(const Attend *a, const Scratch *s, size_t len, double largest, double total, const float *y,
                           const float *gate, float *magnitude)
{
    size_t d = a->d;
    double *of_values = s->sum + d, all = 0;
    memset(of_values, 0, d * sizeof *of_values);
    for (size_t t = 0; t < len; t++) {
        double absolute = 0, p = exp(s->scores[t] - largest) / total;
        for (size_t i = 0; i < d; i++)
            absolute += fabs(s->q[i] * (double)s->keys[t * d + i]);
        double reach = p * (absolute / sqrt((double)d) + (largest - s->scores[t]) + 1 + 2.0 * (double)len / (double)d);
        all += reach;
        for (size_t i = 0; i < d; i++)
            of_values[i] += reach * fabs((double)s->values[t * d + i]);
    }
    for (size_t i = 0; i < d; i++) {
        double opened = 1.0 / (1.0 + exp(-(double)gate[i]));
        magnitude[i] = (float)(opened * of_values[i] + fabs((double)y[i]) * all + 0x1p-96 * fabs(s->sum[i] / total));
    }
}

static void attend_row(const Attend *a, const Scratch *s, size_t row, size_t len, size_t head)
{
    size_t d = a->d;
    const float *q = op_row(a->q, row) + head * d, *gate = op_row(a->gate, row) + head * 2 * d + d;
    float *y = op_row(a->y, row) + head * d;
    double largest = -INFINITY, total = 0;
    memset(s->sum, 0, d * sizeof *s->sum);
    for (size_t i = 0; i < d; i++)
        s->q[i] = (double)q[i];
    for (size_t t = 0; t < len; t++) {
        s->scores[t] = gemm_dot(s->q, s->keys + t * d, d) / sqrt((double)d);
        largest = s->scores[t] > largest ? s->scores[t] : largest;
    }
    for (size_t t = 0; t < len; t++) {
        double p = exp(s->scores[t] - largest);
        total += p;
        for (size_t i = 0; i < d; i++)
            s->sum[i] += p * (double)s->values[t * d + i];
    }
    for (size_t i = 0; i < d; i++)
        y[i] = (float)(s->sum[i] / total / (1.0 + exp(-(double)gate[i])));
    if (a->y->magnitude)
        put_magnitudes(a, s, len, largest, total, y, gate, op_magnitude(a->y, row) + head * d);
    op_round_out(a->call, a->y, y, d);
}

/* All query heads of kv head `kv_head` for all rows of a sequence. */
static bool attend_sequence(const Attend *a, int seq, size_t kv_head)
{
    const Step *step = a->call->step;
    int first = step->seq_start[seq], end = step->seq_start[seq + 1];
    if (first == end)
        return true;
    size_t d = a->d, len = (size_t)op_pos(a->call, a->taken, seq, end - 1) + 1, group = a->heads / a->kv_heads;
    Scratch s = {malloc((len * d + 1) * sizeof(float)), malloc((len * d + 1) * sizeof(float)),
        malloc(len * sizeof(double)),
                 malloc((d + 1) * sizeof(double)), malloc((2 * d + 1) * sizeof(double))};
    bool ok = s.keys && s.values && s.scores && s.q && s.sum;
    if (ok) {
        size_t at = ((size_t)step->slot[seq] * a->kv_heads + kv_head) * a->max_len * d;
        widen(a, a->keys, at, len * d, a->k_scale, s.keys);
        widen(a, a->values, at, len * d, a->v_scale, s.values);
        for (int row = first; row < end; row++)
            for (size_t j = 0; j < group; j++)
                attend_row(a, &s, (size_t)row, (size_t)op_pos(a->call, a->taken, seq, row) + 1, kv_head * group + j);
    }
    free(s.sum);
    free(s.q);
    free(s.scores);
    free(s.values);
    free(s.keys);
    return ok;
}

static bool check(const Attend *a, Err *err)
{
    const Step *step = a->call->step;
    if (a->gate->extent[2] != 2 * a->d)
        return fail(err, E_SHAPE, "attention: expected query and gate of %zu together per head, found %zu", 2 * a->d,
                    a->gate->extent[2]);
    if (a->kv_heads == 0 || a->heads % a->kv_heads)
        return fail(err, E_SHAPE, "attention: expected a multiple of %zu query heads, found %zu", a->kv_heads, a->heads);
    for (int s = 0; s < step->seqs; s++)
        for (int row = step->seq_start[s]; row < step->seq_start[s + 1]; row++) {
            int pos = op_pos(a->call, a->taken, s, row);
            if (pos < 0 || (size_t)pos >= a->max_len)
                return fail(err, E_VALUE, "attention: row %d: expected a position below %zu, found %d", row, a->max_len, pos);
            if (row > step->seq_start[s] && step->pos[row] != step->pos[row - 1] + 1)
                return fail(err, E_VALUE, "attention: row %d: expected position %d behind row %d, found %d", row,
                            step->pos[row - 1] + 1,
                            row - 1, step->pos[row]);
        }
    return true;
}

bool attention_ref(const OpCall *call, Err *err)
{
    const OpArg *q = op_arg(call, "q"), *keys = op_arg(call, "keys");
    Attend a = {.call = call, .q = q, .gate = op_arg(call, "gate"), .y = op_arg(call, "y"), .keys = keys,
                .values = op_arg(call, "values"), .heads = q->extent[1], .kv_heads = keys->extent[1], .d = q->extent[2],
                .max_len = keys->extent[2], .k_scale = (float)op_number(call, "k_scale"),
                    .v_scale = (float)op_number(call, "v_scale"), .taken = op_arg(call, "taken")};
    if (!check(&a, err))
        return false;
    double work = 0;
    for (int seq = 0; seq < call->step->seqs; seq++)
        for (int row = call->step->seq_start[seq]; row < call->step->seq_start[seq + 1]; row++)
            work += 2.0 * (double)a.heads * (double)a.d * (op_pos(call, a.taken, seq, row) + 1);
    bool ok = true;
#pragma omp parallel for schedule(dynamic) collapse(2) reduction(&& : ok) if (work > parallel_work_min)
    for (int seq = 0; seq < call->step->seqs; seq++)
        for (size_t kv_head = 0; kv_head < a.kv_heads; kv_head++)
            ok = attend_sequence(&a, seq, kv_head) && ok;
    return ok || fail(err, E_MEMORY, "attention: no memory for the keys and values of one head");
}
