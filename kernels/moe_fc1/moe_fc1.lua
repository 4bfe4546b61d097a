-- First half of the routed experts. x has one slot for all experts of a row, or one per expert; x_up is what the up
-- projections read where it is not the same (unequal input scales of gate and up). y_codes: y as NVFP4 as well, as
-- quantize_nvfp4 makes it of the stored y.
local tiled = require "kernels.include.tiles"
local function product(s)
  local coded = s.type.x == "nvfp4"
  local p = { format = s.format.gate, coded = coded, n = s.i, k = s.h, ld = s.ld.x, rows = s.rows, mats = 2,
    inputs = s.has.x_up and 2 or 1, own = 2 * s.rows * s.top_k + 256 }
  if s.has.x_up and s.ld.x_up % (coded and 128 or 8) ~= 0 then p.ld = s.ld.x_up end
  return p
end
return {
  name = "moe_fc1",
  args = {
    "x: in act|nvfp4[rows,slots,h]", "x_up: in? act|nvfp4[rows,slots_up,h]", "experts: in i32[rows,top_k]",
    "gate: weights any[e][i,h]", "up: weights any[e][i,h]", "y: out act[rows,top_k,i]",
    "y_codes: out? nvfp4[rows,top_k,i]",
  },
  numbers = {},
  bake = { "slots", "slots_up", "top_k", "e", "i", "h" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } }, { "by_pair", "e", { false, true } }, table.unpack(tiled.tune) },
  first = function(s, arch)
    local many = s.rows > 8
    if many and tiled.covers(product(s)) then return tiled.grouped(product(s), arch, s.rows * s.top_k / s.e) end
    return tiled.direct { warps = 4, split = many and 1 or 4, tiles = many and 2 or 1, ahead = many and 1 or 2, by_pair = not many }
  end,
  rules = {
    { "quantized activations meet NVFP4 weights", function(_, s) return s.type.x == "act"
      or s.format.gate == "nvfp4" end },
    { "both inputs have one type", function(_, s) return not s.has.x_up or s.type.x == s.type.x_up end },
    { "gate and up have one format", function(_, s) return s.format.gate == s.format.up end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "partial sums fit static shared memory", function(v) return v.split == 1 or v.warps * v.tiles <= 32 end },
    { "a pair fits 16 bits and the list shared memory", function(_, s) return s.rows * s.top_k <= 16384 end },
    { "scale blocks are whole chunks", function(_, s) return s.format.gate ~= "fp8_block"
      or s.block.gate.k % 64 == 0 end },
    { "by tiles: an expert a block", function(v) return v.stages == 0 or not v.by_pair end },
    table.unpack(tiled.rules(product)),
  },
  program = function(v, s)
    local rows_n = v.stages > 0 and tiled.n(v) or 16 * (v.warps // v.split)
    return { { entry = "moe_fc1", grid = { (s.i + rows_n - 1) // rows_n,
      v.by_pair and s.rows * s.top_k or s.e }, block = 32 * v.warps, smem = tiled.smem(v, product(s)) } }
  end,
  cost = function(s)   -- every chosen expert is read once
    local pairs_n = s.rows * s.top_k
    return { flop = 4 * pairs_n * s.i * s.h, bytes = 2 * s.weight_bytes.gate * math.min(s.e,
      pairs_n) * s.i * s.h + s.act_bytes.x * s.rows * s.h + 2 * pairs_n * s.i }
  end,
  -- at least 4, for silu
  accept = { ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.gate, s.h, v.split, s.type.x) end,
    codes = { y_codes = "y" }, exact = true },   -- of the kernel's own y
  cases = {
    { "smallest", rows = 1, slots = 1, top_k = 1, e = 1, i = 1, h = 1 },
    { "ragged", rows = 5, slots = 1, top_k = 3, e = 7, i = 37, h = 99 },
    { "ragged_nvfp4", rows = 13, slots = 1, top_k = 3, e = 7, i = 37, h = 144,
      format = { gate = "nvfp4", up = "nvfp4" } },
    { "ragged_fp8_block", rows = 3, slots = 1, top_k = 2, e = 3, i = 130, h = 200,
      format = { gate = "fp8_block", up = "fp8_block" } },
    { "smallest_w4a4", rows = 1, slots = 1, top_k = 1, e = 1, i = 1, h = 16,
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
    { "ragged_w4a4", rows = 13, slots = 1, top_k = 3, e = 7, i = 37, h = 144,
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
    { "each_expert", rows = 6, slots = 3, slots_up = 3, top_k = 3, e = 7, i = 37, h = 272, with = { "x_up" },
      format = { x = "nvfp4", x_up = "nvfp4", gate = "nvfp4", up = "nvfp4" }, quantizers = { x = 7, x_up = 7 } },
    { "ragged_codes", rows = 21, slots = 1, top_k = 3, e = 5, i = 80, h = 128, with = { "y_codes" },
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
    { "decode_codes", rows = 3, slots = 1, top_k = 3, e = 7, i = 48, h = 144, with = { "y_codes" },
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" }, quantizers = { y_codes = 7 } },
    { "decode_w4a4", rows = 1, slots = 1, top_k = 8, e = 256, i = 512, h = 2048,
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
    { "prefill_w4a4", rows = 128, slots = 1, top_k = 8, e = 256, i = 512, h = 2048,
      format = { x = "nvfp4", gate = "nvfp4", up = "nvfp4" } },
    { "decode", rows = 1, slots = 1, top_k = 8, e = 256, i = 512, h = 2048, format = { gate = "nvfp4", up = "nvfp4" } },
    { "prefill", rows = 128, slots = 1, top_k = 8, e = 256, i = 512, h = 2048,
      format = { gate = "nvfp4", up = "nvfp4" } },
  },
}
