-- counts: numbers for the arguments that count by slot on the device (`taken`, `rejected`: kernels/draft_accept), for specs whose
-- kernels read them. The step itself is made wrong where they say otherwise, so that a kernel that reads the step is found out.
--   counts.taken(s, step, with) → { taken = {…} }          as a spec's `integers`; {} where the argument is not there
--   counts.rejected(s, step, with) → { rejected = {…} }
local counts = {}

function counts.taken(s, step, with)
  if not with.taken then return {} end
  local taken = {}
  for slot = 1, s.slots do taken[slot] = 1 end
  for i, slot in ipairs(step.slot) do
    local first = step.seq_start[i] + 1
    taken[slot + 1] = step.pos[first] > 0 and step.pos[first] or 3   -- of a sequence that starts over: stale
    for row = first, step.pos[first] > 0 and step.seq_start[i + 1] or 0 do step.pos[row] = 1 + row - first end
  end
  return { taken = taken }
end

function counts.rejected(s, step, with)
  if not with.rejected then return {} end
  local rejected = {}
  for slot = 1, s.slots do rejected[slot] = s.versions - 1 end
  for i, slot in ipairs(step.slot) do rejected[slot + 1], step.back[i] = step.back[i], 0 end
  return { rejected = rejected }
end

return counts
