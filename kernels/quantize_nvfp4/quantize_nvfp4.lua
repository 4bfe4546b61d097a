-- Activations to NVFP4 codes and block scales, with the input scale of the weights that will read them.
-- slots = slots_in, or slots_in = 1 and slots = top_k: then every routed slot is quantized with its own expert's input scale.
return {
  name = "quantize_nvfp4",
  args = { "x: in act[rows,slots_in,k]", "experts: in? i32[rows,top_k]", "y: out nvfp4[rows,slots,k]" },
  numbers = {},
  bake = { "slots_in", "top_k", "slots", "k" },
}
