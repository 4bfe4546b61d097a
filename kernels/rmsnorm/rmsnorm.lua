-- Root-mean-square norm over the last extent, with the residual addition in front of it.
-- y_codes: y as NVFP4 as well, as quantize_nvfp4 makes it of the stored y.
-- numbers: eps; plus = 1: multiply by 1 + w, 0: by w.
return {
  name = "rmsnorm",
  args = {
    "x: in act[rows,groups,h]", "delta: in? act[rows,groups,h]", "w: weight any[one,h]",
    "sum: out? act[rows,groups,h]", "y: out act[rows,groups,h]",
    "y_codes: out? nvfp4[rows,groups,h]",
  },
  numbers = { "eps", "plus" },
  bake = { "groups", "h" },
  tune = { { "threads", "t", { 32, 64, 128, 256, 512, 1024 } } },
  first = function(s) return { threads = s.h <= 128 and 32 or s.h <= 512 and 128 or 256 } end,
  rules = { { "a thread holds at most 32 elements", function(v, s) return s.h <= 32 * v.threads end } },
  program = function(v, s) return { { entry = "rmsnorm", grid = s.rows * s.groups, block = v.threads, smem = 0 } } end,
  cost = function(s) return { flop = 4 * s.rows * s.groups * s.h,
    bytes = s.rows * s.groups * s.h * ((s.has.delta and 8 or 4) + (s.has.y_codes and 0.5625 or 0)) } end,
  accept = {   -- half the squares' additions, halved again by the root; root, division, products and 1 + w
    ulp = 0.5, sums = function(v, s, order) return order.block(s.h, v.threads) / 4 + 4 end,
    codes = { y_codes = "y" }, exact = true,   -- of the kernel's own y
  },
  example = { eps = 1e-6, plus = 1 },
  cases = {
    { "smallest", rows = 1, groups = 1, h = 1 }, { "ragged", rows = 5, groups = 3, h = 37, with = { "delta", "sum" } },
    { "ragged_codes", rows = 5, groups = 3, h = 80, with = { "delta", "sum", "y_codes" } },
    { "decode_codes", rows = 1, groups = 1, h = 2048, with = { "delta", "sum", "y_codes" } },
    { "decode", rows = 1, groups = 1, h = 2048, with = { "delta", "sum" } },
    { "prefill", rows = 128, groups = 1, h = 2048, with = { "delta", "sum" } },
  },
}
