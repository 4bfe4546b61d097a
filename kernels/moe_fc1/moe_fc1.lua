-- First half of the routed experts. x has one slot for all experts of a row, or one per expert; x_up is what the up
-- projections read where it is not the same (unequal input scales of gate and up).
return {
  name = "moe_fc1",
  args = {
    "x: in act|nvfp4[rows,slots,h]", "x_up: in? act|nvfp4[rows,slots_up,h]", "experts: in i32[rows,top_k]",
    "gate: weights any[e][i,h]", "up: weights any[e][i,h]", "y: out act[rows,top_k,i]",
  },
  numbers = {},
  bake = { "slots", "slots_up", "top_k", "e", "i", "h" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } } },
  first = function(s)
    local many = s.rows > 8
    return { warps = 4, split = many and 1 or 4, tiles = many and 2 or 1 }
  end,
  rules = {
    { "activations are bf16", function(_, s) return s.type.x == "act" and not s.has.x_up end },
    { "gate and up have one format", function(_, s) return s.format.gate == s.format.up end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "a pair fits 16 bits and the list shared memory", function(_, s) return s.rows * s.top_k <= 16384 end },
    { "scale blocks are whole chunks", function(_, s) return s.format.gate ~= "fp8_block"
      or s.block.gate.k % 64 == 0 end },
  },
  program = function(v, s)
    local rows_n = 16 * (v.warps // v.split)
    return { { entry = "moe_fc1", grid = { (s.i + rows_n - 1) // rows_n, s.e }, block = 32 * v.warps, smem = 0 } }
  end,
  cost = function(s)   -- every chosen expert is read once
    local pairs_n = s.rows * s.top_k
    return { flop = 4 * pairs_n * s.i * s.h, bytes = 2 * s.weight_bytes.gate * math.min(s.e,
      pairs_n) * s.i * s.h + 2 * s.rows * s.h + 2 * pairs_n * s.i }
  end,
  -- at least 4, for silu
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.gate, s.h, v.split) end },
  cases = {
    { "smallest", rows = 1, slots = 1, top_k = 1, e = 1, i = 1, h = 1 },
    { "ragged", rows = 5, slots = 1, top_k = 3, e = 7, i = 37, h = 99 },
    { "ragged_nvfp4", rows = 13, slots = 1, top_k = 3, e = 7, i = 37, h = 144,
      format = { gate = "nvfp4", up = "nvfp4" } },
    { "ragged_fp8_block", rows = 3, slots = 1, top_k = 2, e = 3, i = 130, h = 200,
      format = { gate = "fp8_block", up = "fp8_block" } },
    { "decode", rows = 1, slots = 1, top_k = 8, e = 256, i = 512, h = 2048, format = { gate = "nvfp4", up = "nvfp4" } },
    { "prefill", rows = 128, slots = 1, top_k = 8, e = 256, i = 512, h = 2048,
      format = { gate = "nvfp4", up = "nvfp4" } },
  },
}
