-- counters: what the emulator counted, in words. Numbers of one run, not times.
--   counters.lines(device:take_counts()) → lines of text       counters.line(c) → the gist in one
--   counters.entries(program) → the kernels of a program
local counters = {}

local function share(part, whole) return whole > 0 and 100 * part / whole or 0.0 end

-- Bytes that lanes asked for of those that the sectors hold, in percent.
function counters.efficiency(c) return share(c.global_bytes, 32 * c.global_sectors) end

function counters.line(c)
  local text = ("%d warp-instructions, %.1f lanes of 32"):format(c.instructions, c.instructions > 0 and c.lanes / c.instructions or 0)
  if c.global_requests > 0 then
    text = text .. ("; global %d sectors, %.0f %% of their bytes used"):format(c.global_sectors, counters.efficiency(c))
  end
  if c.shared_requests > 0 then
    text = text .. ("; shared %.2f wavefronts a request"):format(c.shared_wavefronts / c.shared_requests)
  end
  return text
end

function counters.lines(c)
  local lines = { ("%d launches, %d blocks, %d warp-instructions, %.1f of 32 lanes active"):format(c.launches, c.blocks,
    c.instructions, c.instructions > 0 and c.lanes / c.instructions or 0) }
  local names, parts = {}, {}
  for name, n in pairs(c.classes) do
    if n > 0 then names[#names + 1] = name end
  end
  table.sort(names, function(a, b)
    if c.classes[a] ~= c.classes[b] then return c.classes[a] > c.classes[b] end
    return a < b
  end)
  for i, name in ipairs(names) do
    parts[i] = ("%s %d (%.0f %%)"):format(name, c.classes[name], share(c.classes[name], c.instructions))
  end
  lines[#lines + 1] = "by class: " .. table.concat(parts, ", ")
  lines[#lines + 1] = ("global: %d requests, %d sectors of 32 bytes, %d bytes asked for, %.0f %% of the sectors' bytes used")
    :format(c.global_requests, c.global_sectors, c.global_bytes, counters.efficiency(c))
  lines[#lines + 1] = ("shared: %d requests, %d wavefronts, %.2f a request"):format(c.shared_requests, c.shared_wavefronts,
    c.shared_requests > 0 and c.shared_wavefronts / c.shared_requests or 0)
  return lines
end

function counters.entries(program)
  local list = {}
  for i, s in ipairs(program.stages) do list[i] = s.entry end
  return list
end

return counters
