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
}
