/* n = x · rsqrt(mean(x²) + eps) · (1 + w) per head of q and k; r = n turned by pos · inv_freq[i] in pairs (i, i +
 * half), other dims as they are; q_rot = r of q; keys[pos] = r of k, values[pos] = v, in the cache's type. r is
 * made from the unrounded n: one rounding an output. The angle is one f32 product, as in every implementation of
 * the family; cos and sin are taken of it in f64. Magnitude: of n, |n|. Of r in a turned pair, (|n_i| + |n_i'|) ·
 * rope_factor: errors of n come through |cos| and |sin| <= 1, errors of cos and sin (those of the angle's reduction
 * included) are absolute ones; beyond the pairs |n|. Keys as r, values are copied: 0. */
#include <math.h>
#include <stdlib.h>

#include "core/num/bf16.h"
#include "core/num/fp8.h"
#include "kernels/families.h"

typedef struct Prep {
    const OpCall *call;
    const OpArg *keys, *values;
    size_t d, half, kv_heads, max_len;
    double eps, rope_factor;
    float k_scale, v_scale;
    const float *inv_freq;
    const OpArg *q, *k, *v, *q_normed, *k_normed, *q_rot, *taken;
    float *q_norm, *k_norm; /* [d] each */
    double *head;           /* [d] normed, then turned */
    double *reach;          /* [d] magnitudes of head */
    double *turn;           /* [half][2] cos and sin of the row's angles */
} Prep;

static void norm_head(const Prep *p, const float *x, const float *w, const OpArg *out, size_t row, size_t head)
{
    float *normed = op_row(out, row) + head * p->d, *magnitude = out->magnitude ? op_magnitude(out,
        row) + head * p->d : NULL;
    double squares = 0;
    for (size_t i = 0; i < p->d; i++)
        squares += (double)x[i] * (double)x[i];
    double scale = 1.0 / sqrt(squares / (double)p->d + p->eps);
    for (size_t i = 0; i < p->d; i++) {
        p->head[i] = (double)x[i] * scale * (1.0 + (double)w[i]);
        p->reach[i] = fabs(p->head[i]);
        normed[i] = (float)p->head[i];
        if (magnitude)
            magnitude[i] = (float)p->reach[i];
    }
    op_round_out(p->call, out, normed, p->d);
}

static void set_turn(const Prep *p, int pos)
{
    for (size_t i = 0; i < p->half; i++) {
        double angle = (double)((float)pos * p->inv_freq[i]);
        p->turn[2 * i] = cos(angle) * p->rope_factor;
        p->turn[2 * i + 1] = sin(angle) * p->rope_factor;
    }
}

static void turn_head(const Prep *p)
{
    for (size_t i = 0; i < p->half; i++) {
        double c = p->turn[2 * i], s = p->turn[2 * i + 1], a = p->head[i], b = p->head[i + p->half];
        p->head[i] = a * c - b * s;
        p->head[i + p->half] = b * c + a * s;
        p->reach[i] = p->reach[i + p->half] = (p->reach[i] + p->reach[i + p->half]) * fabs(p->rope_factor);
    }
}

static void cache_store(const Prep *p, const OpArg *cache, size_t at, float x, float scale)
{
    switch (p->call->kv) {
    case KV_F32: ((float *)cache->data)[at] = x; return;
    case KV_BF16: ((uint16_t *)cache->data)[at] = bf16_from_f32(x); return;
    case KV_FP8: ((uint8_t *)cache->data)[at] = fp8_e4m3_from_f32_sat(x / scale); return;
    }
}

static void prep_row(const Prep *p, size_t row, int seq)
{
    int pos = op_pos(p->call, p->taken, seq, (int)row), slot = p->call->step->slot[seq];
    set_turn(p, pos);
    for (size_t head = 0; head < p->q->extent[1]; head++) {
        float *q_rot = op_row(p->q_rot, row) + head * p->d;
        float *magnitude = p->q_rot->magnitude ? op_magnitude(p->q_rot, row) + head * p->d : NULL;
        norm_head(p, op_row(p->q, row) + head * 2 * p->d, p->q_norm, p->q_normed, row, head);
        turn_head(p);
        for (size_t i = 0; i < p->d; i++) {
            q_rot[i] = (float)p->head[i];
            if (magnitude)
                magnitude[i] = (float)p->reach[i];
        }
        op_round_out(p->call, p->q_rot, q_rot, p->d);
    }
    for (size_t head = 0; head < p->kv_heads; head++) {
        size_t at = (((size_t)slot * p->kv_heads + head) * p->max_len + (size_t)pos) * p->d;
        const float *v = op_row(p->v, row) + head * p->d;
        norm_head(p, op_row(p->k, row) + head * p->d, p->k_norm, p->k_normed, row, head);
        turn_head(p);
        for (size_t i = 0; i < p->d; i++) {
            float key = (float)p->head[i];
            op_round_out(p->call, p->keys, &key, 1);
            if (p->keys->magnitude)
                p->keys->magnitude[at + i] = (float)p->reach[i];
            cache_store(p, p->keys, at + i, key, p->k_scale);
            cache_store(p, p->values, at + i, v[i], p->v_scale);
        }
    }
}

static bool check(const Prep *p, Err *err)
{
    const Step *step = p->call->step;
    size_t d2 = p->q->extent[2];
    if (d2 != 2 * p->d)
        return fail(err, E_SHAPE, "attn_prep: expected query and gate of %zu together per head, found %zu", 2 * p->d, d2);
    if (2 * p->half > p->d)
        return fail(err, E_SHAPE, "attn_prep: expected at most %zu frequencies for heads of %zu, found %zu", p->d / 2,
            p->d,
                    p->half);
    for (int s = 0; s < step->seqs; s++)
        for (int row = step->seq_start[s]; row < step->seq_start[s + 1]; row++) {
            int pos = op_pos(p->call, p->taken, s, row);
            if (pos < 0 || (size_t)pos >= p->max_len)
                return fail(err, E_VALUE, "attn_prep: row %d: expected a position below %zu, found %d", row, p->max_len, pos);
        }
    return true;
}

bool attn_prep_ref(const OpCall *call, Err *err)
{
    const OpArg *keys = op_arg(call, "keys"), *freq = op_arg(call, "inv_freq");
    Prep p = {.call = call, .keys = keys, .values = op_arg(call, "values"), .d = keys->extent[3], .half = freq->extent[0],
              .kv_heads = keys->extent[1], .max_len = keys->extent[2], .eps = op_number(call, "eps"),
              .rope_factor = op_number(call, "rope_factor"), .k_scale = (float)op_number(call, "k_scale"),
              .v_scale = (float)op_number(call, "v_scale"), .inv_freq = freq->data, .q = op_arg(call, "q"),
              .k = op_arg(call, "k"),
              .v = op_arg(call, "v"), .q_normed = op_arg(call, "q_normed"), .k_normed = op_arg(call, "k_normed"),
              .q_rot = op_arg(call, "q_rot"), .taken = op_arg(call, "taken")};
    if (!check(&p, err))
        return false;
    p.q_norm = malloc((p.d + 1) * sizeof *p.q_norm);
    p.k_norm = malloc((p.d + 1) * sizeof *p.k_norm);
    p.head = malloc((p.d + 1) * sizeof *p.head);
    p.reach = malloc((p.d + 1) * sizeof *p.reach);
    p.turn = malloc((2 * p.half + 1) * sizeof *p.turn);
    bool ok = p.q_norm && p.k_norm && p.head && p.reach && p.turn;
    if (ok) {
        weight_row(op_arg(call, "q_norm")->weight, 0, p.q_norm);
        weight_row(op_arg(call, "k_norm")->weight, 0, p.k_norm);
        for (int s = 0; s < call->step->seqs; s++)
            for (int row = call->step->seq_start[s]; row < call->step->seq_start[s + 1]; row++)
                prep_row(&p, (size_t)row, s);
    } else {
        fail(err, E_MEMORY, "attn_prep: no memory for one head of %zu", p.d);
    }
    free(p.turn);
    free(p.reach);
    free(p.head);
    free(p.k_norm);
    free(p.q_norm);
    return ok;
}
