// gdn_conv: causal depthwise convolution of each channel, then silu. A thread walks PART rows of a channel of one sequence; the one with the first rows,
// the only one that reads the channel's window, then rewrites it in place, so nothing is shared. History = the window without its newest `back` columns,
// then the step's rows.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"

static_assert(FORMAT_W == FORMAT_BF16, "filters are bf16");
static_assert(COLS >= WIDTH - 1, "the window holds a filter's history");
static_assert(PART >= WIDTH - 1, "only the first rows reach into the window");
static constexpr int AHEAD = PART < 8 ? PART : 8;   // rows whose inputs are on their way before the first is used

extern "C" __global__ void __launch_bounds__(THREADS)
gdn_conv(const bf16 *g_x, const u8 *g_w, const u8 *, const float *, bf16 *g_window, bf16 *g_y, const int *g_rejected, const int *g_step, void *) {
    const StepView step{g_step};
    const int seq = blockIdx.y, c = blockIdx.x * THREADS + threadIdx.x;
    if (seq >= step.seqs() || c >= CD) return;
    const int first = step.seq_start(seq), count = step.seq_start(seq + 1) - first;
    const bool is_fresh = step.pos(first) == 0;
    const int kept = is_fresh ? COLS : COLS - (HAS_REJECTED ? g_rejected[step.slot(seq)] : step.back(seq));
    const int begin = blockIdx.z * PART, end = min(begin + PART, count);
    if (begin >= count) return;
    bf16 *window = g_window + (long long)step.slot(seq) * COLS * CD + c;
    const bf16 *x = g_x + (long long)first * LD_X + c;
    float r_w[WIDTH], r_past[WIDTH];   // r_past[j]: the input WIDTH-1-j rows ago
#pragma unroll
    for (int j = 0; j < WIDTH; j++) {
        r_w[j] = bf16_get(((const bf16 *)g_w)[c * Packed<FORMAT_BF16>::row(WIDTH) + j]);
        if (begin > 0) r_past[j] = j > 0 ? bf16_get(x[(long long)(begin - WIDTH + j) * LD_X]) : 0.0f;
        else r_past[j] = j > 0 && !is_fresh ? bf16_get(window[(long long)(kept - WIDTH + j) * CD]) : 0.0f;
    }
#pragma unroll 1
    for (int t0 = begin; t0 < end; t0 += AHEAD) {
        bf16 next[AHEAD];
#pragma unroll
        for (int u = 0; u < AHEAD; u++)
            if (t0 + u < end) next[u] = x[(long long)(t0 + u) * LD_X];
#pragma unroll
        for (int u = 0; u < AHEAD && t0 + u < end; u++) {
#pragma unroll
            for (int j = 0; j + 1 < WIDTH; j++) r_past[j] = r_past[j + 1];
            r_past[WIDTH - 1] = bf16_get(next[u]);
            float sum = 0;
#pragma unroll
            for (int j = 0; j < WIDTH; j++) sum += r_w[j] * r_past[j];
            g_y[(long long)(first + t0 + u) * LD_Y + c] = bf16_put(silu(sum));
        }
    }
    if (begin > 0) return;
    // Column i of the new window is history[shift + i]. Ascending when the history moves down, descending when it moves up.
    const int shift = kept + count - COLS;
    for (int j = 0; j < COLS; j++) {
        const int i = shift >= 0 ? j : COLS - 1 - j, from = shift + i;
        bf16 value = {0};
        if (from >= kept) value = x[(long long)(from - kept) * LD_X];
        else if (from >= 0 && !is_fresh) value = window[(long long)from * CD];
        window[(long long)i * CD] = value;
    }
}
