-- Logits of the rows that are wanted (the step's out_row) and the greedy token of each, the lowest index among equals.
return {
  name = "lm_head_sample",
  args = { "x: in act[rows,h]", "w: weight any[v,h]", "logits: out f32[outs,v]", "token: out i32[outs]" },
  numbers = {},
  bake = { "v", "h" },
}
