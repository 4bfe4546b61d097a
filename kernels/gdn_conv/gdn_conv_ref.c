/* y[t][c] = silu(Σ_j w[c][j] · h[t - (width-1) + j][c]), where h is what the window keeps (all but its newest
 * `back` columns; zeros for a sequence that starts at position 0) followed by the new rows. Afterwards the window
 * is the last cols columns of h. Magnitude: |silu'| <= 1.1, so an error of the sum s reaches y with at most 1.1 of
 * it: 1.1 Σ|w·h|, which is more than |y| and covers the relative errors of silu; 2^-96 where exp overflows in f32.
 * The window is copied: 0. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "kernels/families.h"

/* One sequence's history: column i < kept is the window's, the others are new rows. */
typedef struct History {
    const float *window; /* [cols][cd]; NULL for zeros */
    const OpArg *x;
    size_t first_row, kept, cd;
} History;

/* Column i of the history, counted from its oldest; NULL stands for zeros. */
static const float *column(const History *h, size_t i)
{
    if (i >= h->kept)
        return op_row(h->x, h->first_row + i - h->kept);
    return h->window ? h->window + i * h->cd : NULL;
}

static void convolve(const OpCall *call, const History *h, size_t t, const float *w, size_t width, double *sum,
    double *absolute,
                     const OpArg *out, size_t row)
{
    float *y = op_row(out, row), *magnitude = op_magnitude(out, row);
    memset(sum, 0, h->cd * sizeof *sum);
    memset(absolute, 0, h->cd * sizeof *absolute);
    for (size_t j = 0; j < width; j++) {
        const float *x = column(h, h->kept + t + j - (width - 1));
        for (size_t c = 0; x && c < h->cd; c++) {
            double product = (double)w[c * width + j] * (double)x[c];
            sum[c] += product;
            absolute[c] += fabs(product);
        }
    }
    for (size_t c = 0; c < h->cd; c++)
        y[c] = (float)(sum[c] / (1.0 + exp(-sum[c])));
    for (size_t c = 0; magnitude && c < h->cd; c++)
        magnitude[c] = (float)(1.1 * absolute[c] + 0x1p-96);
    op_round_out(call, out, y, h->cd);
}

/* The last cols columns of the history into `next`, zeros in front of a shorter one. */
static void next_window(const History *h, size_t count, size_t cols, float *next)
{
    size_t length = h->kept + count;
    for (size_t i = 0; i < cols; i++) {
        const float *x = length + i >= cols ? column(h, length + i - cols) : NULL;
        if (x)
            memcpy(next + i * h->cd, x, h->cd * sizeof *next);
        else
            memset(next + i * h->cd, 0, h->cd * sizeof *next);
    }
}

static bool check_window(const OpCall *call, size_t cols, size_t width, Err *err)
{
    if (width == 0 || cols + 1 < width)
        return fail(err, E_SHAPE, "gdn_conv: expected a window of at least %zu columns, found %zu", width - 1, cols);
    for (int s = 0; s < call->step->seqs; s++) {
        int back = op_back(call, op_arg(call, "rejected"), s);
        if (back < 0 || (size_t)back + width > cols + 1)
            return fail(err, E_VALUE, "gdn_conv: sequence %d: expected to go back at most %zu rows, found %d", s,
                        cols + 1 - width, back);
    }
    return true;
}

bool gdn_conv_ref(const OpCall *call, Err *err)
{
    const OpArg *x = op_arg(call, "x"), *window = op_arg(call, "window"), *y = op_arg(call, "y"),
        *rejected = op_arg(call, "rejected");
    const Weight *weight = op_arg(call, "w")->weight;
    const Step *step = call->step;
    size_t cd = weight->n, width = weight->k, cols = window->extent[1];
    if (!check_window(call, cols, width, err))
        return false;
    float *w = malloc((cd * width + 1) * sizeof *w), *next = malloc((cols * cd + 1) * sizeof *next);
    double *sum = malloc((2 * cd + 1) * sizeof *sum);
    bool ok = w && next && sum;
    if (!ok)
        fail(err, E_MEMORY, "gdn_conv: no memory for %zu channels", cd);
    for (size_t c = 0; ok && c < cd; c++)
        weight_row(weight, c, w + c * width);
    for (int s = 0; ok && s < step->seqs; s++) {
        size_t first = (size_t)step->seq_start[s], count = (size_t)step->seq_start[s + 1] - first;
        float *slot = (float *)window->data + (size_t)step->slot[s] * cols * cd;
        bool is_fresh = count && step->pos[first] == 0;
        History h = {is_fresh ? NULL : slot, x, first, is_fresh ? cols : cols - (size_t)op_back(call, rejected, s), cd};
        for (size_t t = 0; t < count; t++)
            convolve(call, &h, t, w, width, sum, sum + cd, y, first + t);
        next_window(&h, count, cols, next);
        memcpy(slot, next, cols * cd * sizeof *next);
    }
    free(sum);
    free(next);
    free(w);
    return ok;
}
