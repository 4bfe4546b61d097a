-- Causal attention of each row over positions 0 .. pos of its slot's cache, times the sigmoid of its gate.
-- gate is the q projection: its halves behind the queries. Query head j reads kv head j / (heads / kv_heads).
-- numbers: k_scale, v_scale of an fp8 cache.
return {
  name = "attention",
  args = {
    "q: in act[rows,heads,d]", "gate: in act[rows,heads,d2]",
    "keys: state kv[slots,kv_heads,max_len,d]", "values: state kv[slots,kv_heads,max_len,d]", "y: out act[rows,heads,d]",
  },
  numbers = { "k_scale", "v_scale" },
  bake = { "heads", "kv_heads", "d" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  rules = { { "keys are read eight elements at a time", function(_, s) return s.d % 8 == 0 end } },
  program = function(v, s) return { { entry = "attention", grid = s.rows * s.heads, block = 32 * v.warps, smem = 0 } } end,
}
