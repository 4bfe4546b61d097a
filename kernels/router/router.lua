-- Which experts a token goes to: softmax over all, the top_k largest, renormalised. Ties go to the lower index.
return {
  name = "router",
  args = {
    "x: in act[rows,h]", "w: weight any[e,h]", "logits: out f32[rows,e]", "weights: out act[rows,top_k]", "experts: out i32[rows,top_k]",
  },
  numbers = {},
  bake = { "e", "h", "top_k" },
}
