-- margin: may greedy tokens of two runs of one model differ, and where? Orders of summation and storage types move logits a
-- little, so tokens must agree only up to the first position where the reference itself nearly ties.
--   margin.deviation(got, want) → largest |got - want| of two tensors of logits of the same rows, infinite with anything not
--                                 finite
--   margin.judge(got, want, logits, deviation)
--       got, want: lists of tokens, the reference's want[i] the largest of row i-1 of `logits` [≥ n,V] (lowest index among
--       equals), as long as the tokens before are the same
--       → { ok =, agree = tokens that are equal from the start, free = first position (from 1) whose margin is below the
--           deviation, nil if there is none, margin = the reference's at the first difference, nil if there is none }
-- ok: the first difference, if any, is not in front of `free`.
local nb = require "nibble"
local margin = {}

function margin.deviation(got, want) return assert(nb.compare(got, want)).max_abs end

-- The largest value of a row less the second largest.
local function top2(logits, row)
  local list, first, second = logits:rows(row, 1):list(), -math.huge, -math.huge
  for _, x in ipairs(list) do
    if x > first then first, second = x, first elseif x > second then second = x end
  end
  return first - second
end

function margin.judge(got, want, logits, deviation)
  local v = { agree = 0 }
  for i = 1, math.min(#got, #want) do
    local m = top2(logits, i - 1)
    -- NaN is no licence, nor is a run whose logits are not finite
    if not v.free and m < deviation and deviation < math.huge then v.free = i end
    if got[i] ~= want[i] then
      v.margin = m
      break
    end
    v.agree = i
  end
  local is_whole = v.agree == #want and #got == #want
  v.ok = is_whole or v.free ~= nil and v.free <= v.agree + 1
  return v
end

return margin
