-- Before attention: q and k norm per head (times 1 + w), rotary embedding, keys and values into the cache.
-- q holds per head the query and, behind it, the output gate (d2 = 2d). The first 2·half dims of a head turn, in
-- pairs (i, i + half).
-- A sequence goes on behind its taken[slot] rows, which are counted on the device, where that is there, else where the step puts it.
-- numbers: eps; rope_factor multiplies cos and sin; k_scale, v_scale: an fp8 cache holds value / scale.
local counts = require "kernels.include.counts"
return {
  name = "attn_prep",
  args = {
    "q: in act[rows,heads,d2]", "k: in act[rows,kv_heads,d]", "v: in act[rows,kv_heads,d]",
    "q_norm: weight any[one,d]", "k_norm: weight any[one,d]", "inv_freq: in f32[half]",
    "q_normed: out act[rows,heads,d]", "k_normed: out act[rows,kv_heads,d]", "q_rot: out act[rows,heads,d]",
    "keys: state kv[slots,kv_heads,max_len,d]", "values: state kv[slots,kv_heads,max_len,d]",
    "taken: in? i32[slots]",
  },
  numbers = { "eps", "rope_factor", "k_scale", "v_scale" },
  bake = { "heads", "kv_heads", "d", "half" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  program = function(v, s)
    return { { entry = "attn_prep", grid = (s.rows * (s.heads + s.kv_heads) + v.warps - 1) // v.warps,
      block = 32 * v.warps,
      smem = 0 } }
  end,
  cost = function(s)
    local vectors = s.rows * s.d
    return { flop = 10 * vectors * (s.heads + s.kv_heads),
      bytes = vectors * (8 * s.heads + 6 * s.kv_heads + 2 * s.kv_width * s.kv_heads) }
  end,
  accept = {   -- the norm as in rmsnorm; angle 6, cos and sin 2, the turn 2, rope_factor, rounded up
    ulp = 0.5, sums = function(_, s, order) return order.block(s.d, 32) / 4 + 16 end,
    scale = { keys = "k_scale", values = "v_scale" },
  },
  example = { eps = 1e-6, rope_factor = 1, k_scale = 0.25, v_scale = 0.125 },
  integers = counts.taken,
  cases = {
    { "smallest", rows = 1, heads = 1, kv_heads = 1, d = 8, d2 = 16, half = 1 },
    { "ragged", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, half = 5 },
    { "ragged_taken", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, half = 5, past = 50, with = { "taken" } },
    { "ragged_fp8", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, half = 5, kv = "fp8" },
    { "decode", rows = 1, heads = 16, kv_heads = 2, d = 256, d2 = 512, half = 32, past = 4000 },
    { "prefill", rows = 128, heads = 16, kv_heads = 2, d = 256, d2 = 512, half = 32 },
  },
}
