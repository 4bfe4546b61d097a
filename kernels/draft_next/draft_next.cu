// draft_next: the draft head's choice and hidden row move to where its next run and the next step read them; a block a sequence.
#include "tune.cuh"
#include "op.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
draft_next(const int *g_token, const bf16 *g_x, const int *g_drafts, const int *g_accepted, const int *g_taken, int *g_ids, int *g_mtp_ids,
           int *g_mtp_taken, bf16 *g_hidden, const int *g_step, void *) {
    const StepView step{g_step};
    const int seq = blockIdx.x;
    if (seq >= step.seqs()) return;
    const int slot = step.slot(seq), first = step.seq_start(seq), at = min(g_accepted[slot], step.seq_start(seq + 1) - first - 1), row = first + at;
    for (int i = threadIdx.x; i < H; i += THREADS) g_hidden[(long long)seq * LD_HIDDEN + i] = g_x[(long long)row * LD_X + i];
    if (threadIdx.x != 0) return;
    int out = 0, place = 0;
    while (out < step.outs() && step.out_row(out) != row) out++;
    for (int s = 0; s < seq; s++) place += g_drafts[step.slot(s)] + 1;
    const int token = out < step.outs() ? g_token[out] : -1, behind = (step.pos(first) == 0 ? 0 : g_mtp_taken[slot]) + at + 1;
    const int draft = behind - g_taken[slot] + 1;   // counted from 1
    if (draft <= g_drafts[slot]) g_ids[place + draft] = token;
    g_mtp_ids[seq] = token;
    g_mtp_taken[slot] = behind;
}
