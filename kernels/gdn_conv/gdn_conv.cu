// gdn_conv: causal depthwise convolution of each channel, then silu. A thread owns a channel of one sequence: it walks the rows and then rewrites the
// channel's window in place, so nothing is shared. History = the window without its newest `back` columns, then the step's rows.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"

static_assert(FORMAT_W == FORMAT_BF16, "filters are bf16");
static_assert(COLS >= WIDTH - 1, "the window holds a filter's history");

extern "C" __global__ void __launch_bounds__(THREADS)
gdn_conv(const bf16 *g_x, const u8 *g_w, const u8 *, const float *, bf16 *g_window, bf16 *g_y, const int *g_rejected, const int *g_step, void *) {
    const StepView step{g_step};
    const int seq = blockIdx.y, c = blockIdx.x * THREADS + threadIdx.x;
    if (seq >= step.seqs() || c >= CD) return;
    const int first = step.seq_start(seq), count = step.seq_start(seq + 1) - first;
    const bool is_fresh = step.pos(first) == 0;
    const int kept = is_fresh ? COLS : COLS - (HAS_REJECTED ? g_rejected[step.slot(seq)] : step.back(seq));
    bf16 *window = g_window + (long long)step.slot(seq) * COLS * CD + c;
    float r_w[WIDTH], r_past[WIDTH];   // r_past[j]: the input WIDTH-1-j rows ago
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
        r_w[j] = bf16_get(((const bf16 *)g_w)[c * Packed<FORMAT_BF16>::row(WIDTH) + j]);
        r_past[j] = j > 0 && !is_fresh ? bf16_get(window[(long long)(kept - WIDTH + j) * CD]) : 0.0f;
    }
    for (int t = 0; t < count; t++) {
#pragma unroll
        for (int j = 0; j + 1 < WIDTH; j++) r_past[j] = r_past[j + 1];
        r_past[WIDTH - 1] = bf16_get(g_x[(long long)(first + t) * LD_X + c]);
        float sum = 0;
#pragma unroll
        for (int j = 0; j < WIDTH; j++) sum += r_w[j] * r_past[j];
        g_y[(long long)(first + t) * LD_Y + c] = bf16_put(silu(sum));
    }
    // Column i of the new window is history[shift + i]. Ascending when the history moves down, descending when it moves up.
    const int shift = kept + count - COLS;
    for (int j = 0; j < COLS; j++) {
        const int i = shift >= 0 ? j : COLS - 1 - j, from = shift + i;
        bf16 value = {0};
        if (from >= kept) value = g_x[(long long)(first + from - kept) * LD_X + c];
        else if (from >= 0 && !is_fresh) value = window[(long long)from * CD];
        window[(long long)i * CD] = value;
    }
}
