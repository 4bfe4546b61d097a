-- Norm of the DeltaNet output per value head, times its gate. The weight is used as it is.
-- numbers: eps.
return {
  name = "gated_norm",
  args = { "x: in act[rows,hv,dv]", "z: in act[rows,hv,dv]", "w: weight any[one,dv]", "y: out act[rows,hv,dv]" },
  numbers = { "eps" },
  bake = { "hv", "dv" },
}
