-- Before attention: q and k norm per head (times 1 + w), rotary embedding, keys and values into the cache.
-- q holds per head the query and, behind it, the output gate (d2 = 2d). The first 2·half dims of a head turn, in pairs (i, i + half).
-- numbers: eps; rope_factor multiplies cos and sin; k_scale, v_scale: an fp8 cache holds value / scale.
return {
  name = "attn_prep",
  args = {
    "q: in act[rows,heads,d2]", "k: in act[rows,kv_heads,d]", "v: in act[rows,kv_heads,d]",
    "q_norm: weight any[one,d]", "k_norm: weight any[one,d]", "inv_freq: in f32[half]",
    "q_normed: out act[rows,heads,d]", "k_normed: out act[rows,kv_heads,d]", "q_rot: out act[rows,heads,d]",
    "keys: state kv[slots,kv_heads,max_len,d]", "values: state kv[slots,kv_heads,max_len,d]",
  },
  numbers = { "eps", "rope_factor", "k_scale", "v_scale" },
  bake = { "heads", "kv_heads", "d", "half" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  program = function(v, s)
    return { { entry = "attn_prep", grid = (s.rows * (s.heads + s.kv_heads) + v.warps - 1) // v.warps, block = 32 * v.warps, smem = 0 } }
  end,
}
