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
}
