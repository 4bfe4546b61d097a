-- Second half of the routed experts: one output per row and chosen expert; combine weighs and adds them.
local tiled = require "kernels.include.tiles"
local function product(s)
  return { format = s.format.down, coded = s.type.x == "nvfp4", n = s.h, k = s.i, ld = s.ld.x, rows = s.rows, mats = 1, inputs = 1,
    own = 2 * s.rows * s.top_k + 256 }
end
return {
  name = "moe_fc2",
  args = { "x: in act|nvfp4[rows,top_k,i]", "experts: in i32[rows,top_k]", "down: weights any[e][h,i]",
    "y: out act[rows,top_k,h]" },
  numbers = {},
  bake = { "top_k", "e", "i", "h" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } }, { "by_pair", "e", { false, true } }, table.unpack(tiled.tune) },
  first = function(s, arch)
    local many = s.rows > 8
    if many and tiled.covers(product(s)) then return tiled.grouped(product(s), arch, s.rows * s.top_k / s.e) end
    return tiled.direct { warps = 4, split = many and 1 or 2, tiles = many and 4 or 1, ahead = many and 1 or 2, by_pair = not many }
  end,
  rules = {
    { "quantized activations meet NVFP4 weights", function(_, s) return s.type.x == "act"
      or s.format.down == "nvfp4" end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "a pair fits 16 bits and the list shared memory", function(_, s) return s.rows * s.top_k <= 16384 end },
    { "scale blocks are whole chunks", function(_, s) return s.format.down ~= "fp8_block"
      or s.block.down.k % 64 == 0 end },
    { "by tiles: an expert a block", function(v) return v.stages == 0 or not v.by_pair end },
    table.unpack(tiled.rules(product)),
  },
  program = function(v, s)
    local rows_n = v.stages > 0 and tiled.n(v) or 16 * (v.warps // v.split)
    return { { entry = "moe_fc2", grid = { (s.h + rows_n - 1) // rows_n,
      v.by_pair and s.rows * s.top_k or s.e }, block = 32 * v.warps, smem = tiled.smem(v, product(s)) } }
  end,
  cost = function(s)
    local pairs_n = s.rows * s.top_k
    return { flop = 2 * pairs_n * s.i * s.h, bytes = s.weight_bytes.down * math.min(s.e,
      pairs_n) * s.i * s.h + pairs_n * (s.act_bytes.x * s.i + 2 * s.h) }
  end,
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.down, s.i, v.split, s.type.x) end },
  cases = {
    { "smallest", rows = 1, top_k = 1, e = 1, i = 1, h = 1 }, { "ragged", rows = 5, top_k = 3, e = 7, i = 99, h = 37 },
    { "ragged_nvfp4", rows = 13, top_k = 3, e = 7, i = 144, h = 37, format = { down = "nvfp4" } },
    { "smallest_w4a4", rows = 1, top_k = 1, e = 1, i = 16, h = 1, format = { x = "nvfp4", down = "nvfp4" } },
    { "ragged_w4a4", rows = 13, top_k = 3, e = 7, i = 144, h = 37, format = { x = "nvfp4", down = "nvfp4" } },
    { "each_expert", rows = 6, top_k = 3, e = 7, i = 272, h = 37, format = { x = "nvfp4", down = "nvfp4" },
      quantizers = { x = 7 } },
    { "decode_w4a4", rows = 1, top_k = 8, e = 256, i = 512, h = 2048, format = { x = "nvfp4", down = "nvfp4" } },
    { "prefill_w4a4", rows = 128, top_k = 8, e = 256, i = 512, h = 2048, format = { x = "nvfp4", down = "nvfp4" } },
    { "decode", rows = 1, top_k = 8, e = 256, i = 512, h = 2048, format = { down = "nvfp4" } },
    { "prefill", rows = 128, top_k = 8, e = 256, i = 512, h = 2048, format = { down = "nvfp4" } },
  },
}
