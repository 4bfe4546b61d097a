/* n = the largest number <= drafts with token[o + i] = ids[r + i + 1] for all i < n, where r is the row in front of the
 * sequence's newest `drafts` rows and o its place among the wanted ones. accepted = n, rejected = drafts - n,
 * followed = ids[r + 1 .. r + n], token[o + n], -1 …; taken grows by the rows less the rejected ones. With drafts:
 * mtp_taken = taken before, mtp_ids[row] = ids[row + 1] for row < r + n, then token[o + n]; ids[r] = token[o + n].
 * Whole numbers: no magnitudes. */
#include "kernels/families.h"

typedef struct Accept {
    const Step *step;
    const OpArg *ids, *token, *drafts, *accepted, *rejected, *followed, *taken, *mtp_taken, *mtp_ids;
} Accept;

/* Place of a row among the wanted ones, -1 when it is not. */
static int place_of(const Step *step, int row)
{
    for (int o = 0; o < step->outs; o++)
        if (step->out_row[o] == row)
            return o;
    return -1;
}

/* Sequences with drafts: fewer than rows and versions, the row in front of them and they wanted side by side. */
static bool check_drafts(const Accept *a, int seq, int drafts, int out, Err *err)
{
    const Step *step = a->step;
    int rows = step->seq_start[seq + 1] - step->seq_start[seq], row = step->seq_start[seq + 1] - 1 - drafts;
    int most = rows < (int)a->followed->extent[1] ? rows - 1 : (int)a->followed->extent[1] - 1;
    if (drafts < 0 || drafts > most)
        return fail(err, E_VALUE, "draft_accept: sequence %d: expected 0 to %d drafts, found %d", seq, most, drafts);
    for (int i = 0; drafts > 0 && i <= drafts; i++)
        if (out < 0 || out + i >= step->outs || step->out_row[out + i] != row + i)
            return fail(err, E_VALUE, "draft_accept: sequence %d: expected rows %d to %d wanted side by side", seq, row,
                        row + drafts);
    return true;
}

static int *at(const OpArg *arg, int row)
{
    return op_row_i32(arg, (size_t)row);
}

/* For what runs next: the draft head over the same rows, and a step laid out like this one. */
static void hand_on(const Accept *a, int seq, int row, int accepted, int next, int before)
{
    *at(a->mtp_taken, a->step->slot[seq]) = before;
    for (int r = a->step->seq_start[seq]; r < a->step->seq_start[seq + 1]; r++)
        *at(a->mtp_ids, r) = r < row + accepted ? *at(a->ids, r + 1) : next;
    *at(a->ids, row) = next;
}

static bool accept_sequence(const Accept *a, int seq, Err *err)
{
    const Step *step = a->step;
    int slot = step->slot[seq], first = step->seq_start[seq], end = step->seq_start[seq + 1], n = 0;
    int drafts = *at(a->drafts, slot), row = end - 1 - drafts, out = place_of(step, row);
    int before = step->pos[first] == 0 ? 0 : *at(a->taken, slot);
    if (!check_drafts(a, seq, drafts, out, err))
        return false;
    while (n < drafts && *at(a->token, out + n) == *at(a->ids, row + n + 1))
        n++;
    int next = out < 0 ? -1 : *at(a->token, out + n);
    for (int i = 0; i < (int)a->followed->extent[1]; i++)
        at(a->followed, slot)[i] = i < n ? *at(a->ids, row + i + 1) : i == n ? next : -1;
    *at(a->accepted, slot) = n;
    *at(a->rejected, slot) = drafts - n;
    *at(a->taken, slot) = before + end - first - (drafts - n);
    if (drafts > 0)
        hand_on(a, seq, row, n, next, before);
    return true;
}

bool draft_accept_ref(const OpCall *call, Err *err)
{
    Accept a = {call->step, op_arg(call, "ids"), op_arg(call, "token"), op_arg(call, "drafts"), op_arg(call, "accepted"),
                op_arg(call, "rejected"), op_arg(call, "followed"), op_arg(call, "taken"), op_arg(call, "mtp_taken"),
                op_arg(call, "mtp_ids")};
    for (int s = 0; s < call->step->seqs; s++) {
        int slot = call->step->slot[s];
        if (slot < 0 || (size_t)slot >= a.drafts->extent[0])
            return fail(err, E_VALUE, "draft_accept: sequence %d: expected a slot below %zu, found %d", s,
                        a.drafts->extent[0], slot);
        if (call->step->seq_start[s] < call->step->seq_start[s + 1] && !accept_sequence(&a, s, err))
            return false;
    }
    return true;
}
