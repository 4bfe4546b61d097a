// draft_accept: the longest accepted run of drafts, a thread a sequence. The wanted rows of a sequence that has drafts stand side by side in token.
#include "tune.cuh"
#include "op.cuh"

extern "C" __global__ void __launch_bounds__(THREADS)
draft_accept(const int *g_ids, const int *g_token, const int *g_drafts, int *g_accepted, int *g_next, int *g_rejected, const int *g_step, void *) {
    const StepView step{g_step};
    const int seq = blockIdx.x * THREADS + threadIdx.x;
    if (seq >= step.seqs()) return;
    const int slot = step.slot(seq), end = step.seq_start(seq + 1), drafts = g_drafts[slot], row = end - 1 - drafts;
    int out = 0;
    while (out < step.outs() && step.out_row(out) != row) out++;
    const bool is_wanted = out < step.outs();   // a step of a prefill need not want its last row
    int accepted = 0;
    while (is_wanted && accepted < drafts && g_token[out + accepted] == g_ids[row + accepted + 1]) accepted++;
    g_accepted[slot] = accepted;
    g_next[slot] = is_wanted ? g_token[out + accepted] : -1;
    g_rejected[slot] = drafts - accepted;
}
