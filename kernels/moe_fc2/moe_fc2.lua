-- Second half of the routed experts: one output per row and chosen expert; combine weighs and adds them.
return {
  name = "moe_fc2",
  args = { "x: in act|nvfp4[rows,top_k,i]", "experts: in i32[rows,top_k]", "down: weights any[e][h,i]",
    "y: out act[rows,top_k,h]" },
  numbers = {},
  bake = { "top_k", "e", "i", "h" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } } },
  first = function(s)
    local many = s.rows > 8
    return { warps = 4, split = many and 1 or 4, tiles = many and 4 or 1 }
  end,
  rules = {
    { "activations are bf16", function(_, s) return s.type.x == "act" end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "a pair fits 16 bits and the list shared memory", function(_, s) return s.rows * s.top_k <= 16384 end },
    { "scale blocks are whole chunks", function(_, s) return s.format.down ~= "fp8_block"
      or s.block.down.k % 64 == 0 end },
  },
  program = function(v, s)
    local rows_n = 16 * (v.warps // v.split)
    return { { entry = "moe_fc2", grid = { (s.h + rows_n - 1) // rows_n, s.e }, block = 32 * v.warps, smem = 0 } }
  end,
  cost = function(s)
    local pairs_n = s.rows * s.top_k
    return { flop = 2 * pairs_n * s.i * s.h, bytes = s.weight_bytes.down * math.min(s.e,
      pairs_n) * s.i * s.h + 2 * pairs_n * (s.i + s.h) }
  end,
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.down, s.i, v.split) end },
  cases = {
    { "smallest", rows = 1, top_k = 1, e = 1, i = 1, h = 1 }, { "ragged", rows = 5, top_k = 3, e = 7, i = 99, h = 37 },
    { "ragged_nvfp4", rows = 13, top_k = 3, e = 7, i = 144, h = 37, format = { down = "nvfp4" } },
    { "decode", rows = 1, top_k = 8, e = 256, i = 512, h = 2048, format = { down = "nvfp4" } },
    { "prefill", rows = 128, top_k = 8, e = 256, i = 512, h = 2048, format = { down = "nvfp4" } },
  },
}
