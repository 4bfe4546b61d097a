-- Norm of the DeltaNet output per value head, times its gate. The weight is used as it is.
-- numbers: eps.
return {
  name = "gated_norm",
  args = { "x: in act[rows,hv,dv]", "z: in act[rows,hv,dv]", "w: weight any[one,dv]", "y: out act[rows,hv,dv]" },
  numbers = { "eps" },
  bake = { "hv", "dv" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  program = function(v, s) return { { entry = "gated_norm", grid = (s.rows * s.hv + v.warps - 1) // v.warps,
    block = 32 * v.warps, smem = 0 } } end,
  cost = function(s) return { flop = 10 * s.rows * s.hv * s.dv, bytes = 6 * s.rows * s.hv * s.dv + 4 * s.dv } end,
  accept = {   -- as rmsnorm; silu 3, one more product
    ulp = 0.5, sums = function(_, s, order) return order.block(s.dv, 32) / 4 + 8 end,
  },
  example = { eps = 1e-6 },
  cases = {
    { "smallest", rows = 1, hv = 1, dv = 1 }, { "ragged", rows = 5, hv = 3, dv = 37 },
    { "decode", rows = 1, hv = 32, dv = 128 },
    { "prefill", rows = 128, hv = 32, dv = 128 },
  },
}
