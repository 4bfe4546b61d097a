-- Logits of the rows that are wanted (the step's out_row) and the greedy token of each, the lowest index among equals.
local tiled = require "kernels.include.tiles"
local function product(s)
  return { format = s.format.w, coded = s.type.x == "nvfp4", n = s.v, k = s.h, ld = s.ld.x, rows = s.outs, mats = 1, inputs = 1 }
end
return {
  name = "lm_head_sample",
  args = { "x: in act|nvfp4[rows,h]", "w: weight any[v,h]", "logits: out f32[outs,v]", "token: out i32[outs]" },
  numbers = {},
  bake = { "v", "h" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } }, { "split", "s", { 1, 2, 4, 8 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } }, { "top_part", "q", { 1024, 2048, 4096, 8192 } }, table.unpack(tiled.tune) },
  first = function(s, arch)
    local many, v = s.outs > 8, nil
    if many and tiled.covers(product(s)) then v = tiled.first(product(s), arch) else
      v = tiled.direct { warps = 4, split = many and 1 or 4, tiles = many and math.min(8, (s.outs + 7) // 8) or 1,
        ahead = many and 1 or 2 }
    end
    v.top_part = 4096
    return v
  end,
  rules = {
    { "quantized activations meet NVFP4 weights", function(_, s) return s.type.x == "act"
      or s.format.w == "nvfp4" end },
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "scale blocks are whole chunks", function(_, s) return s.format.w ~= "fp8_block" or s.block.w.k % 64 == 0 end },
    table.unpack(tiled.rules(product)),
  },
  program = function(v, s)
    local parts = (s.v + v.top_part - 1) // v.top_part
    return { scratch = 8 * s.outs * parts, stages = {
      tiled.launch("lm_head_sample", v, product(s)),
      { entry = "lm_head_part", grid = { parts, s.outs }, block = 256, smem = 0 },
      { entry = "lm_head_top", grid = s.outs, block = 32, smem = 0 },
    } }
  end,
  cost = function(s)
    return { flop = 2 * s.outs * s.v * s.h, bytes = s.weight_bytes.w * s.v * s.h + s.outs * (s.act_bytes.x * s.h + 8 * s.v + 4) }
  end,
  accept = {
    ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.w, s.h, v.split, s.type.x) end,
    choose = { token = { of = "logits" } },   -- of the logits as stored, exactly
  },
  cases = {
    { "smallest", rows = 1, outs = 1, v = 1, h = 1 }, { "ragged", rows = 6, outs = 3, v = 77, h = 48 },
    { "ragged_nvfp4", rows = 12, outs = 10, v = 5000, h = 144, format = { w = "nvfp4" } },
    { "ragged_tiles", rows = 24, outs = 19, v = 300, h = 136 },
    { "ragged_w4a4", rows = 12, outs = 10, v = 300, h = 144, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode_w4a4", rows = 1, outs = 1, v = 248320, h = 2048, format = { x = "nvfp4", w = "nvfp4" } },
    { "decode", rows = 1, outs = 1, v = 248320, h = 2048, format = { w = "nvfp4" } },
  },
}
