/* accepted = the largest n <= drafts with token[o + i] = ids[r + i + 1] for all i < n, where r is the row in front of
 * the sequence's newest `drafts` rows and o its place among the wanted ones; next = token[o + accepted], -1 where row
 * r is not wanted (then there may be no drafts); rejected = drafts - accepted. Whole numbers: no magnitudes. */
#include "kernels/families.h"

/* Place of a row among the wanted ones, -1 when it is not. */
static int place_of(const Step *step, int row)
{
    for (int o = 0; o < step->outs; o++)
        if (step->out_row[o] == row)
            return o;
    return -1;
}

/* Sequences with drafts: fewer than rows, the row in front of them and they wanted side by side. */
static bool check_drafts(const Step *step, int seq, int drafts, int out, Err *err)
{
    int rows = step->seq_start[seq + 1] - step->seq_start[seq], row = step->seq_start[seq + 1] - 1 - drafts;
    if (drafts < 0 || drafts >= rows)
        return fail(err, E_VALUE, "draft_accept: sequence %d: expected 0 to %d drafts among %d rows, found %d", seq,
                    rows - 1, rows, drafts);
    for (int i = 0; drafts > 0 && i <= drafts; i++)
        if (out < 0 || out + i >= step->outs || step->out_row[out + i] != row + i)
            return fail(err, E_VALUE, "draft_accept: sequence %d: expected rows %d to %d wanted side by side", seq, row,
                        row + drafts);
    return true;
}

bool draft_accept_ref(const OpCall *call, Err *err)
{
    const Step *step = call->step;
    const OpArg *ids = op_arg(call, "ids"), *token = op_arg(call, "token"), *drafts = op_arg(call, "drafts");
    const OpArg *accepted = op_arg(call, "accepted"), *next = op_arg(call, "next"), *rejected = op_arg(call, "rejected");
    for (int s = 0; s < step->seqs; s++) {
        size_t slot = (size_t)step->slot[s];
        if (step->slot[s] < 0 || slot >= drafts->extent[0])
            return fail(err, E_VALUE, "draft_accept: sequence %d: expected a slot below %zu, found %d", s,
                        drafts->extent[0], step->slot[s]);
        if (step->seq_start[s] == step->seq_start[s + 1])
            continue;
        int n = op_row_i32(drafts, slot)[0], row = step->seq_start[s + 1] - 1 - n, out = place_of(step, row), i = 0;
        if (!check_drafts(step, s, n, out, err))
            return false;
        while (i < n && op_row_i32(token, (size_t)(out + i))[0] == op_row_i32(ids, (size_t)(row + i + 1))[0])
            i++;
        op_row_i32(accepted, slot)[0] = i;
        op_row_i32(next, slot)[0] = out < 0 ? -1 : op_row_i32(token, (size_t)(out + i))[0];
        op_row_i32(rejected, slot)[0] = n - i;
    }
    return true;
}
