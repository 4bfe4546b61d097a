-- Root-mean-square norm over the last extent, with the residual addition in front of it.
-- numbers: eps; plus = 1: multiply by 1 + w, 0: by w.
return {
  name = "rmsnorm",
  args = {
    "x: in act[rows,groups,h]", "delta: in? act[rows,groups,h]", "w: weight any[one,h]",
    "sum: out? act[rows,groups,h]", "y: out act[rows,groups,h]",
  },
  numbers = { "eps", "plus" },
  bake = { "groups", "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512, 1024 } } },
  first = function(s) return { threads = s.h <= 128 and 32 or s.h <= 512 and 128 or 256 } end,
  rules = { { "a thread holds at most 32 elements", function(v, s) return s.h <= 32 * v.threads end } },
  program = function(v, s) return { { entry = "rmsnorm", grid = s.rows * s.groups, block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 4 * s.rows * s.groups * s.h,
    bytes = 2 * s.rows * s.groups * s.h * (s.has.delta and 4 or 2) } end,
  accept = {   -- half the squares' additions, halved again by the root; root, division, products and 1 + w
    ulp = 0.5, sums = function(v, s, order) return order.block(s.h, v.threads) / 4 + 4 end,
  },
  example = { eps = 1e-6, plus = 1 },
  cases = {
    { "smallest", rows = 1, groups = 1, h = 1 }, { "ragged", rows = 5, groups = 3, h = 37, with = { "delta", "sum" } },
    { "decode", rows = 1, groups = 1, h = 2048, with = { "delta", "sum" } },
    { "prefill", rows = 128, groups = 1, h = 2048, with = { "delta", "sum" } },
  },
}
