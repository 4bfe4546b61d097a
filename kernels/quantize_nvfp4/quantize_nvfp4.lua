-- Activations to NVFP4 codes and block scales, with the input scale of the weights that will read them.
-- slots = slots_in, or slots_in = 1 and slots = top_k: then every routed slot is quantized with its own expert's
-- input scale.
return {
  name = "quantize_nvfp4",
  args = { "x: in act[rows,slots_in,k]", "experts: in? i32[rows,top_k]", "y: out nvfp4[rows,slots,k]" },
  numbers = {},
  bake = { "slots_in", "top_k", "slots", "k" },
  cost = function(s) return { flop = 4 * s.rows * s.slots * s.k,
    bytes = s.rows * (2 * s.slots_in * s.k + s.slots * s.k * 0.5625) } end,
  -- δ: product, division and inverse of the quotient may each round, twice over (s and the scale)
  accept = { tie = 2.0 ^ -21 },
  cases = {
    { "smallest", rows = 1, slots_in = 1, slots = 1, k = 16 }, { "ragged", rows = 5, slots_in = 3, slots = 3, k = 48 },
    { "decode", rows = 1, slots_in = 1, slots = 1, k = 2048 },
    { "prefill", rows = 128, slots_in = 1, slots = 1, k = 2048 },
  },
}
