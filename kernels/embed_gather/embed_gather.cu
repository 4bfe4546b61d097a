// embed_gather: y[row] = w[ids[row]]. An id outside of the table gives NaN: hosts check ids before they send them.
#include "tune.cuh"
#include "op.cuh"
#include "mma.cuh"
#include "weight.cuh"

static_assert(FORMAT_W == FORMAT_BF16, "the table is bf16");

extern "C" __global__ void __launch_bounds__(THREADS)
embed_gather(const int *g_ids, const u8 *g_w, const u8 *, const float *, bf16 *g_y, const int *g_step, void *) {
    const StepView step{g_step};
    const int row = blockIdx.x;
    if (row >= step.rows()) return;
    const int id = g_ids[row];
    const bool is_inside = id >= 0 && id < V;
    const bf16 *from = (const bf16 *)g_w + (long long)(is_inside ? id : 0) * Packed<FORMAT_BF16>::row(H);
    for (int h = threadIdx.x; h < H; h += THREADS) g_y[(long long)row * LD_Y + h] = is_inside ? from[h] : bf16{0x7FFF};
}
