-- order: what the order of sums costs, in units of 2^-23 of a magnitude (core/tensor/op.h); handed to `accept.sums`
-- of the specs.
--   order.mma(format, k, split, x)   a product over k by mma.m16n8k16 with f32 sums, chunks of k shared by `split`
--   warps (weight.cuh, rows.cuh)
local order = {}

local chunk = { bf16 = 32, f32 = 32, f16 = 32, fp8 = 64, fp8_block = 64, nvfp4 = 128 }

-- One mma aligns 16 products and the accumulator to the largest of them and may cut each off: 17 units. After them
-- an addition a split, and 3 for the reference's rounded code · scale, the row's scale behind the sum and its
-- product; a scaled partial sum a chunk where blocks have scales.
-- x = "nvfp4": the block-scaled mma aligns 64 products and the accumulator, 65 units, which 4 · 17 cover; and the input
-- scale is rounded once and multiplied once more.
function order.mma(format, k, split, x)
  local size = chunk[format]
  local chunks = ((k + size - 1) // size + split - 1) // split
  return 17 * (chunks * size // 16) + (format == "fp8_block" and 2 * chunks or 0) + split + (x == "nvfp4" and 5 or 3)
end

-- Additions behind an element when `threads` threads share n terms: their own ones, a shuffle tree, the warps' parts.
function order.block(n, threads) return (n + threads - 1) // threads + 5 + (threads > 32 and threads // 32 or 0) end

return order
