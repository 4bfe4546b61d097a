-- First half of the routed experts. x has one slot for all experts of a row, or one per expert; x_up is what the up projections read
-- where it is not the same (unequal input scales of gate and up).
return {
  name = "moe_fc1",
  args = {
    "x: in act|nvfp4[rows,slots,h]", "x_up: in? act|nvfp4[rows,slots_up,h]", "experts: in i32[rows,top_k]",
    "gate: weights any[e][i,h]", "up: weights any[e][i,h]", "y: out act[rows,top_k,i]",
  },
  numbers = {},
  bake = { "slots", "slots_up", "top_k", "e", "i", "h" },
}
