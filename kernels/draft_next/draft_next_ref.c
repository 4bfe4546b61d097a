/* Of a sequence with n rows in the step the row i = min(accepted, n - 1) counts: hidden[seq] = x[i], mtp_ids[seq] = its
 * token, mtp_taken grows by i + 1; the token is draft d = mtp_taken - taken + 1 of the next step, where the sequence
 * begins behind drafts + 1 rows of each one before it: ids[begin + d], unless d > drafts. Copies: magnitudes 0. */
#include <string.h>

#include "kernels/families.h"

static int *at(const OpArg *arg, int row)
{
    return op_row_i32(arg, (size_t)row);
}

static int place_of(const Step *step, int row)
{
    for (int o = 0; o < step->outs; o++)
        if (step->out_row[o] == row)
            return o;
    return -1;
}

static bool check_sequence(const OpCall *call, int seq, int out, int begin, int draft, Err *err)
{
    int slot = call->step->slot[seq], drafts = *at(op_arg(call, "drafts"), slot);
    if (*at(op_arg(call, "accepted"), slot) < 0 || drafts < 1)
        return fail(err, E_VALUE, "draft_next: sequence %d: expected drafts, found %d, %d accepted", seq, drafts,
                    *at(op_arg(call, "accepted"), slot));
    if (out < 0)
        return fail(err, E_VALUE, "draft_next: sequence %d: expected its last accepted row among the wanted ones", seq);
    if (draft < 1 || (size_t)(begin + drafts) >= op_arg(call, "ids")->extent[0])
        return fail(err, E_VALUE, "draft_next: sequence %d: draft %d at row %d of %zu", seq, draft, begin + draft,
                    op_arg(call, "ids")->extent[0]);
    return true;
}

static bool next_of(const OpCall *call, int seq, int begin, Err *err)
{
    const Step *step = call->step;
    const OpArg *x = op_arg(call, "x"), *hidden = op_arg(call, "hidden");
    int slot = step->slot[seq], first = step->seq_start[seq], last = step->seq_start[seq + 1] - first - 1;
    int accepted = *at(op_arg(call, "accepted"), slot), i = accepted < last ? accepted : last;
    int out = place_of(step, first + i), *mtp_taken = at(op_arg(call, "mtp_taken"), slot);
    int behind = (step->pos[first] == 0 ? 0 : *mtp_taken) + i + 1, draft = behind - *at(op_arg(call, "taken"), slot) + 1;
    if (!check_sequence(call, seq, out, begin, draft, err))
        return false;
    memcpy(op_row(hidden, (size_t)seq), op_row(x, (size_t)(first + i)), op_row_size(x) * sizeof(float));
    int token = *at(op_arg(call, "token"), out);
    if (draft <= *at(op_arg(call, "drafts"), slot))
        *at(op_arg(call, "ids"), begin + draft) = token;
    *at(op_arg(call, "mtp_ids"), seq) = token;
    *mtp_taken = behind;
    return true;
}

bool draft_next_ref(const OpCall *call, Err *err)
{
    int begin = 0;
    for (int s = 0; s < call->step->seqs; s++) {
        int slot = call->step->slot[s];
        if (slot < 0 || (size_t)slot >= op_arg(call, "drafts")->extent[0])
            return fail(err, E_VALUE, "draft_next: sequence %d: expected a slot below %zu, found %d", s,
                        op_arg(call, "drafts")->extent[0], slot);
        if (call->step->seq_start[s] == call->step->seq_start[s + 1])
            return fail(err, E_VALUE, "draft_next: sequence %d: expected a row", s);
        if (!next_of(call, s, begin, err))
            return false;
        begin += *at(op_arg(call, "drafts"), slot) + 1;
    }
    return true;
}
