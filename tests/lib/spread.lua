-- spread: how far a reference moves by itself: runs whose embeddings are perturbed by 1e-6, the size of f32 sums taken in another
-- order; what storage in bf16, routers and quantizers make of that is the model's own uncertainty, and no kernel can be held to less.
--   spread.runs(n, run) → { run { perturb = 1e-6, seed = … }, … }, n of them      run gets the options for session.open
--   spread.deviation(numbers) → their standard deviation
-- A run is held against the unperturbed reference, not against these runs' mean: embeddings that are no bf16 numbers any more break
-- the exact ties that quantizing bf16 numbers is full of, and that every run of the model keeps. One W4A4 checkpoint (nvfp4_default)
-- has NLL 3.376 on prose in bf16 storage, the kernels 3.375, and 3.41 to 3.42 however little its embeddings are moved.
local spread = {}

function spread.runs(n, run)
  local results = {}
  for i = 1, n do results[i] = run { perturb = 1e-6, seed = 1000 * i } end
  return results
end

function spread.deviation(numbers)
  local mean, squares = 0.0, 0.0
  for _, x in ipairs(numbers) do mean = mean + x / #numbers end
  for _, x in ipairs(numbers) do squares = squares + (x - mean) ^ 2 end
  return math.sqrt(squares / (#numbers - 1))
end

return spread
