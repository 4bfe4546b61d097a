-- Second half of the routed experts: one output per row and chosen expert; combine weighs and adds them.
return {
  name = "moe_fc2",
  args = { "x: in act|nvfp4[rows,top_k,i]", "experts: in i32[rows,top_k]", "down: weights any[e][h,i]", "y: out act[rows,top_k,h]" },
  numbers = {},
  bake = { "top_k", "e", "i", "h" },
}
