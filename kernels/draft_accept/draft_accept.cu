// draft_accept: the longest accepted run of drafts and what follows from it, a thread a sequence. Wanted rows of a sequence that has drafts stand side by
// side in token.
#include "tune.cuh"
#include "op.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
draft_accept(int *g_ids, const int *g_token, const int *g_drafts, int *g_accepted, int *g_rejected, int *g_followed, int *g_taken, int *g_mtp_taken,
             int *g_mtp_ids, const int *g_step, void *) {
    const StepView step{g_step};
    const int seq = blockIdx.x * THREADS + threadIdx.x;
    if (seq >= step.seqs()) return;
    const int slot = step.slot(seq), first = step.seq_start(seq), end = step.seq_start(seq + 1), drafts = g_drafts[slot], row = end - 1 - drafts;
    const int before = step.pos(first) == 0 ? 0 : g_taken[slot];
    int out = 0;
    while (out < step.outs() && step.out_row(out) != row) out++;
    const bool is_wanted = out < step.outs();   // a step of a prefill need not want its last row
    int accepted = 0;
    while (is_wanted && accepted < drafts && g_token[out + accepted] == g_ids[row + accepted + 1]) accepted++;
    const int next = is_wanted ? g_token[out + accepted] : -1;
    for (int i = 0; i < VERSIONS; i++) g_followed[slot * VERSIONS + i] = !is_wanted || i > accepted ? -1 : i < accepted ? g_ids[row + i + 1] : next;
    g_accepted[slot] = accepted;
    g_rejected[slot] = drafts - accepted;
    g_taken[slot] = before + end - first - (drafts - accepted);
    if (drafts == 0) return;
    g_mtp_taken[slot] = before;
    for (int r = first; r < end; r++) g_mtp_ids[r] = r < row + accepted ? g_ids[r + 1] : next;
    g_ids[row] = next;
}
