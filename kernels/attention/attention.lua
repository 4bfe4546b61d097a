-- Causal attention of each row over positions 0 .. pos of its slot's cache, times the sigmoid of its gate.
-- gate is the q projection: its halves behind the queries. Query head j reads kv head j / (heads / kv_heads).
-- A sequence goes on behind its taken[slot] rows, which are counted on the device, where that is there, else where the step puts it.
-- numbers: k_scale, v_scale of an fp8 cache.
local counts = require "kernels.include.counts"
return {
  name = "attention",
  args = {
    "q: in act[rows,heads,d]", "gate: in act[rows,heads,d2]",
    "keys: state kv[slots,kv_heads,max_len,d]", "values: state kv[slots,kv_heads,max_len,d]", "y: out act[rows,heads,d]",
    "taken: in? i32[slots]",
  },
  numbers = { "k_scale", "v_scale" },
  bake = { "heads", "kv_heads", "d" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "segment", "s", { 0, 32, 64, 128, 256, 512 } },
    { "dims", "d", { 64, 128, 256 } } },
  -- Few rows: as many warps as there are keys for, in at most 128 parts a row. It depends on the cache's length alone, so a row's
  -- bits do not on how many rows there are.
  first = function(s)
    local segment = 64
    while s.max_len > 128 * segment do segment = 2 * segment end
    return { warps = 4, segment = s.rows <= 8 and segment or 0, dims = s.rows <= 8 and 64 or 128 }
  end,
  rules = {
    { "keys are read eight elements at a time", function(_, s) return s.d % 8 == 0 end },
    { "segments are whole tiles of 32 keys", function(v) return v.segment % 32 == 0 end },
    { "slices are whole parts of 64 dimensions", function(v) return v.dims % 64 == 0 end },
    { "queries fit static shared memory", function(v, s) return v.warps * 16 * (2 * s.d + 256) <= 49152 end },
  },
  program = function(v, s)
    local pairs_n, segments = s.rows * (s.heads // s.kv_heads), v.segment > 0 and (s.max_len + v.segment - 1) // v.segment or 1
    local tiles, y = (pairs_n + 15) // 16, s.kv_heads * ((s.d + v.dims - 1) // v.dims)
    if v.segment == 0 then
      return { { entry = "attention", grid = { (tiles + v.warps - 1) // v.warps, y }, block = 32 * v.warps, smem = 0 } }
    end
    return { scratch = 4 * s.rows * s.heads * segments * (s.d + 2), stages = {
      { entry = "attention", grid = { tiles, y, (segments + v.warps - 1) // v.warps }, block = 32 * v.warps, smem = 0 },
      { entry = "attention_merge", grid = s.rows * s.heads, block = 128, smem = 0 },
    } }
  end,
  cost = function(s)   -- len: keys behind the longest row
    return { flop = 4 * s.rows * s.heads * s.d * s.len,
      bytes = 2 * s.seqs * s.kv_heads * s.len * s.d * s.kv_width + 8 * s.rows * s.heads * s.d }
  end,
  -- A score: mma's 17 units for 16 products, and its scale. A sum over keys: 2 · 17 for 16 keys and a rescaling of 32, of which the
  -- magnitude has 2 len / d times this; a weight of two bf16 misses 64; exp, the segments' merge, the gate.
  accept = {
    ulp = 0.5, sums = function(_, s) return 17 * ((s.d + 15) // 16) + s.d // 32 + 64 + 16 end,
    scale = { keys = "k_scale", values = "v_scale" },
  },
  example = { k_scale = 0.25, v_scale = 0.125 },
  integers = counts.taken,
  cases = {
    { "smallest", rows = 1, heads = 1, kv_heads = 1, d = 8, d2 = 16, past = 0 },
    { "ragged", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50 },
    { "ragged_taken", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50, with = { "taken" } },
    { "ragged_fp8", rows = 7, heads = 6, kv_heads = 2, d = 24, d2 = 48, past = 50, kv = "fp8" },
    { "ragged_many", rows = 21, heads = 6, kv_heads = 2, d = 40, d2 = 80, past = 50 },
    { "ragged_many_fp8", rows = 21, heads = 6, kv_heads = 2, d = 136, d2 = 272, past = 50, kv = "fp8" },
    { "decode", rows = 1, heads = 16, kv_heads = 2, d = 256, d2 = 512, past = 1000 },
    { "prefill", rows = 128, heads = 16, kv_heads = 2, d = 256, d2 = 512 },
  },
}
