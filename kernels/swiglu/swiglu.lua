-- The gated activation of the shared expert.
return {
  name = "swiglu",
  args = { "gate: in act[rows,i]", "up: in act[rows,i]", "y: out act[rows,i]" },
  numbers = {},
  bake = { "i" },
}
