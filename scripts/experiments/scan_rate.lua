-- scan_rate: how fast does doctor's scan read tensors from the page cache?
-- needs: 2.5 GB of disk under --dir, as much free memory; writes one file there and removes it
-- prints: GB/s per element type and for the mixture of an NVFP4 checkpoint (codes 8 : block scales 1 :
-- BF16 2), best of --runs
local nb, args, luv = require "nibble", require "scripts.lib.args", require "luv"
local opt = args.parse({ name = "scripts/experiments/scan_rate.lua",
  summary = "Measures the rate of doctor's scan.",
  options = { { "dir", "/tmp", "where the file goes" }, { "runs", 3, "runs of each" } } }, ...)

local BLOCK, BLOCKS = 16 << 20, 150
local path = opt.dir .. "/nibble-scan-rate.bin"
local file = assert(io.open(path, "wb"))
local words, state = {}, 1
for i = 1, BLOCK // 8 do   -- neither NaN nor zero in any of the types
  state = state * 6364136223846793005 + 1442695040888963407
  words[i] = string.pack("<I8", (state & 0x3F3F3F3F3F3F3F3F) | 0x0101010101010101)
end
local block = table.concat(words)
for _ = 1, BLOCKS do file:write(block) end
file:close()

local scan <close> = assert(nb.scan.open(path))
local function now() return luv.hrtime() * 1e-9 end

local function measure(name, dtypes)
  local items = {}
  for i = 0, BLOCKS - 1 do
    items[#items + 1] = { file = scan, dtype = dtypes[i % #dtypes + 1], offset = i * BLOCK, bytes = BLOCK }
  end
  local best = math.huge
  for _ = 1, opt.runs do
    local start = now()
    assert(nb.scan.run(items, "scan_rate"))
    best = math.min(best, now() - start)
  end
  local rate = BLOCK * BLOCKS / best * 1e-9
  print(("%-22s %6.2f GB/s"):format(name, rate))
  return rate
end

print(("%.2f GB, best of %d"):format(BLOCK * BLOCKS * 1e-9, opt.runs))
local rates = { U8 = measure("U8 codes", { "U8" }), F8_E4M3 = measure("F8_E4M3", { "F8_E4M3" }),
  BF16 = measure("BF16", { "BF16" }), F32 = measure("F32", { "F32" }) }
rates.mixture = measure("mixture", { "U8", "U8", "U8", "U8", "U8", "U8", "U8", "U8", "F8_E4M3", "BF16", "BF16" })
os.remove(path)
if opt.json then args.print_json(rates) end
