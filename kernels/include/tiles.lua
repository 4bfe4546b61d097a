-- tiles: what a spec says of the product through shared memory (kernels/include/tiles.cuh): its tunables, rules, shared memory,
-- and a first choice. A variant has `stages` = 0 where its rows go straight from global memory (rows.cuh) instead.
--   tiles.tune                                          rows for spec.tune
--   tiles.direct(values) → values                       of a variant without
--   tiles.rules(of) → rules for spec.rules              of(s) → what is multiplied:
--     { format =, coded =, n =, k =, ld =, rows =, mats =, inputs = }   ld: elements from row to row of activations; mats: matrices
--     side by side (2 for gate and up), inputs: activations of their own for each; own: bytes of shared memory besides
--   tiles.covers(p) → boolean                           whether rows of activations are whole vectors; p as `of` returns it
--   tiles.smem(v, p) → bytes                            of shared memory of a variant
--   tiles.grouped(p, arch, pairs) → values                    for experts, one a block
--   tiles.launch(entry, v, p) → a launch                one product, tiled or direct
--   tiles.first(p, arch) → values                       the largest tile that still makes enough blocks for a GPU
local tiles = {}

tiles.tune = { { "across", "c", { 1, 2, 4 } }, { "blocks", "b", { 1, 2, 4 } }, { "stages", "p", { 0, 2, 3, 4 } } }

local values = { bf16 = 8, f32 = 8, f16 = 8, fp8 = 16, fp8_block = 16, nvfp4 = 32 }   -- of k in 16 bytes of weights

function tiles.direct(v)
  v.across, v.blocks, v.stages = 1, 1, 0
  return v
end

-- NVFP4 activations are copied by whole chunks, their scales by eights.
function tiles.covers(p)
  local unit = p.coded and 128 or 8
  return p.k % unit == 0 and p.ld % unit == 0
end

-- Weight rows and activation rows of a block.
function tiles.n(v) return 16 * v.blocks * (v.warps // v.across) end
function tiles.rows(v) return 8 * v.tiles * v.across end

function tiles.smem(v, p)
  local w, x = p.mats * tiles.n(v), p.inputs * tiles.rows(v)
  return v.stages * (w * (64 + (p.format == "nvfp4" and 8 or 0)) + x * (p.coded and 72 or 8 * values[p.format]))
end

function tiles.rules(of)
  return {
    { "through shared memory: rows of activations are whole vectors", function(v, s) return v.stages == 0
      or tiles.covers(of(s)) end },
    { "through shared memory: whole warps, k is not split", function(v) return v.stages == 0
      or (v.warps % v.across == 0 and v.split == 1 and v.ahead == 1) end },
    { "through shared memory: a ring of two chunks or more", function(v) return v.stages ~= 1 end },
    { "through shared memory: the ring fits", function(v, s, arch) return v.stages == 0
      or tiles.smem(v, of(s)) + (of(s).own or 0) <= arch.smem_block_max end },
    { "straight from memory: one block of weight rows a warp", function(v) return v.stages > 0
      or (v.across == 1 and v.blocks == 1) end },
  }
end

-- Large tiles read least, many blocks keep a GPU busy: the largest first.
local ENOUGH, ROOM = 128, 49152   -- blocks; bytes, so that two blocks fit an SM of 100 KB
local small = { { 4, 2, 2, 4 }, { 4, 2, 2, 2 }, { 4, 2, 1, 2 }, { 4, 4, 1, 1 }, { 4, 2, 1, 1 } }   -- warps, across, blocks, tiles
-- A warp that decodes weights does so for many tiles of activations; one that decodes both is soon busy with that (and its PTX long).
local large = { plain = { { 4, 2, 4, 8 }, { 4, 2, 4, 4 } }, decoded = { { 8, 1, 2, 8 } }, both = {} }

local function kind(p, arch)
  if p.format ~= "nvfp4" or (p.coded and arch.caps.fp4_mma) then return "plain" end
  return p.coded and "both" or "decoded"
end

-- All tunables of a shape, with as many chunks in the ring as leave room for two blocks an SM.
local function values_of(p, warps, across, blocks, tiles_n)
  local v = { warps = warps, split = 1, ahead = 1, across = across, blocks = blocks, tiles = tiles_n, stages = 1 }
  v.stages = math.max(2, math.min(4, (ROOM - (p.own or 0)) // tiles.smem(v, p)))
  return v
end

function tiles.first(p, arch)
  local best, shapes = nil, {}
  for _, list in ipairs { large[kind(p, arch)], small } do table.move(list, 1, #list, #shapes + 1, shapes) end
  for _, shape in ipairs(shapes) do
    local v = values_of(p, table.unpack(shape))
    local fits = tiles.rows(v) < p.rows + 16 and v.blocks * v.tiles * p.mats <= (p.format == "fp8_block" and 16 or 32)
    local grid = (p.n + tiles.n(v) - 1) // tiles.n(v) * ((p.rows + tiles.rows(v) - 1) // tiles.rows(v))
    if fits or not best then best = v end
    if fits and grid >= ENOUGH then break end
  end
  return best
end

-- Of many small products of `pairs` rows on average each: most groups' rows in one tile where that is not too many.
function tiles.grouped(p, arch, pairs)
  local tiles_n, most = 1, ({ both = 1, decoded = 4 })[kind(p, arch)] or p.format == "fp8_block" and 4 or 8
  while tiles_n < most and 8 * tiles_n < pairs do tiles_n = 2 * tiles_n end
  local v = values_of(p, 8, 1, p.mats == 1 and 2 or 1, tiles_n)
  v.by_pair = false
  return v
end

-- The launch of each_product (tiles.cuh), either way.
function tiles.launch(entry, v, p)
  local n, rows = 16 * (v.warps // v.split), 8 * v.tiles
  if v.stages > 0 then n, rows = tiles.n(v), tiles.rows(v) end
  return { entry = entry, grid = { (p.n + n - 1) // n, (p.rows + rows - 1) // rows }, block = 32 * v.warps, smem = tiles.smem(v, p) }
end

return tiles
