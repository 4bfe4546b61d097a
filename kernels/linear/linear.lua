-- y = x · wᵀ, whatever the weight is stored as; x plain or NVFP4.
return {
  name = "linear",
  args = { "x: in act|nvfp4[rows,k]", "w: weight any[n,k]", "y: out act[rows,n]" },
  numbers = {},
  bake = { "n", "k" },
}
