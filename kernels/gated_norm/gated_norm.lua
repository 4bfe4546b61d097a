-- Norm of the DeltaNet output per value head, times its gate. The weight is used as it is.
-- numbers: eps.
return {
  name = "gated_norm",
  args = { "x: in act[rows,hv,dv]", "z: in act[rows,hv,dv]", "w: weight any[one,dv]", "y: out act[rows,hv,dv]" },
  numbers = { "eps" },
  bake = { "hv", "dv" },
  tune = { { "warps", "w", { 1, 2, 4, 8 } } },
  first = { warps = 4 },
  program = function(v, s) return { { entry = "gated_norm", grid = (s.rows * s.hv + v.warps - 1) // v.warps, block = 32 * v.warps, smem = 0 } } end,
}
