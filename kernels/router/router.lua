-- Which experts a token goes to: softmax over all, the top_k largest, renormalised. Ties go to the lower index.
local tiled = require "kernels.include.tiles"
local function product(s)
  return { format = s.format.w, coded = false, n = s.e, k = s.h, ld = s.ld.x, rows = s.rows, mats = 1, inputs = 1 }
end
return {
  name = "router",
  args = {
    "x: in act[rows,h]", "w: weight any[e,h]", "logits: out f32[rows,e]", "weights: out act[rows,top_k]",
    "experts: out i32[rows,top_k]",
  },
  numbers = {},
  bake = { "e", "h", "top_k" },
  tune = { { "warps", "w", { 1, 2, 4, 8, 16 } }, { "split", "s", { 1, 2, 4, 8, 16 } }, { "tiles", "t", { 1, 2, 4, 8 } },
    { "ahead", "a", { 1, 2, 4 } }, table.unpack(tiled.tune) },
  first = function(s, arch)
    local many = s.rows > 8
    if many and tiled.covers(product(s)) then return tiled.first(product(s), arch) end
    local split = 4   -- few rows: few weight rows too, so k is split finely
    while not many and split < 16 and 32 * split < s.h do split = 2 * split end
    return tiled.direct { warps = many and 4 or split, split = many and 1 or split,
      tiles = many and math.min(8, (s.rows + 7) // 8) or 1, ahead = many and 1 or 4 }
  end,
  rules = {
    { "splits are whole warps", function(v) return v.warps % v.split == 0 end },
    { "partial sums fit static shared memory", function(v) return v.split == 1 or v.warps * v.tiles <= 64 end },
    table.unpack(tiled.rules(product)),
  },
  program = function(v, s)
    return {
      tiled.launch("router", v, product(s)),
      { entry = "router_top", grid = s.rows, block = 32, smem = 0 },
    }
  end,
  cost = function(s)
    return { flop = 2 * s.rows * s.e * s.h,
      bytes = s.weight_bytes.w * s.e * s.h + s.rows * (2 * s.h + 8 * s.e + 6 * s.top_k) }
  end,
  accept = {
    -- at least 6, which the weights' softmax needs
    ulp = 0.5, sums = function(v, s, order) return order.mma(s.format.w, s.h, v.split) end,
    choose = { experts = { of = "logits", weights = "weights" } },
  },
  cases = {
    { "smallest", rows = 1, e = 1, h = 1, top_k = 1 }, { "ragged", rows = 5, e = 37, h = 99, top_k = 5 },
    { "ragged_tiles", rows = 43, e = 37, h = 136, top_k = 5 },
    { "decode", rows = 1, e = 256, h = 2048, top_k = 8 }, { "prefill", rows = 128, e = 256, h = 2048, top_k = 8 },
  },
}
