-- Causal attention of each row over positions 0 .. pos of its slot's cache, times the sigmoid of its gate.
-- gate is the q projection: its halves behind the queries. Query head j reads kv head j / (heads / kv_heads).
-- A sequence goes on behind its taken[slot] rows, which are counted on the device, where that is there, else where the step puts it.
-- numbers: k_scale, v_scale of an fp8 cache.
return {
  name = "attention",
  args = {
    "q: in act[rows,heads,d]", "gate: in act[rows,heads,d2]",
    "keys: state kv[slots,kv_heads,max_len,d]", "values: state kv[slots,kv_heads,max_len,d]", "y: out act[rows,heads,d]",
    "taken: in? i32[slots]",
  },
  numbers = { "k_scale", "v_scale" },
  bake = { "heads", "kv_heads", "d" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  rules = { { "keys are read eight elements at a time", function(_, s) return s.d % 8 == 0 end } },
  program = function(v, s) return { { entry = "attention", grid = s.rows * s.heads, block = 32 * v.warps,
    smem = 0 } } end,
  cost = function(s)   -- len: keys behind the longest row
    return { flop = 4 * s.rows * s.heads * s.d * s.len,
      bytes = 2 * s.seqs * s.kv_heads * s.len * s.d * s.kv_width + 8 * s.rows * s.heads * s.d }
  end,
  accept = {   -- a score's products in order and q's scale; exp, the warps' merge, the gate
    ulp = 0.5, sums = function(v, s) return s.d / 2 + 2 * v.warps + 8 end,
    scale = { keys = "k_scale", values = "v_scale" },
  },
  example = { k_scale = 0.25, v_scale = 0.125 },
  integers = function(s, step, with)   -- where the step itself puts a sequence is wrong then
    if not with.taken then return {} end
    local taken = {}
    for slot = 1, s.slots do taken[slot] = 1 end
    for i, slot in ipairs(step.slot) do
      local first = step.seq_start[i] + 1
      taken[slot + 1] = step.pos[first] > 0 and step.pos[first] or 3   -- of a sequence that starts over: stale
      for row = first, step.pos[first] > 0 and step.seq_start[i + 1] or 0 do step.pos[row] = 1 + row - first end
    end
    return { taken = taken }
  end,
  cases = {
    { "smallest", rows = 1, heads = 1, kv_heads = 1, d = 8, d2 = 16, past = 0 },
    { "ragged", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50 },
    { "ragged_taken", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50, with = { "taken" } },
    { "ragged_fp8", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50, kv = "fp8" },
    { "decode", rows = 1, heads = 16, kv_heads = 2, d = 256, d2 = 512, past = 1000 },
    { "prefill", rows = 128, heads = 16, kv_heads = 2, d = 256, d2 = 512 },
  },
}
