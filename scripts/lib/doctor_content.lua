-- doctor_content: reads every byte once and judges what is there: zero and NaN tensors, block scales, FP8
-- scales, norms with +1 in them.
local nb = require "nibble"
local content = {}

local SATURATED_MAX = 0.25    -- share of block scales at 448; MSE-searched scales reach 0.07
-- 448/16: a tensor's largest block scale is near 448 by construction, 384 for four-over-six
local UNUSED_BELOW = 28
local SHIFTED_MEAN, SHIFTED_MIN = 0.75, 0.25

local SCANNED = { BF16 = 2, F16 = 2, F32 = 4, F8_E4M3 = 1, U8 = 1 }

-- What a column holds: "scale" block scales, "codes", "inverse" FP8 block scales, "matrix" (zero is an
-- error), "other".
local function roles(case)
  local role, codes = {}, {}
  for _, lin in ipairs(case.linears) do
    if lin.form == "nvfp4" then
      role[lin.w] = "codes"
      if lin.s and lin.has_scales then
        role[lin.s] = "scale"
        if case.bytes[lin.w] == 8 * case.bytes[lin.s] then codes[lin.s] = lin.w end
      end
    else
      role[lin.w] = "matrix"
      if lin.s then role[lin.s] = "inverse" end   -- FP8 with a scale a block or a row
    end
  end
  for _, i in ipairs(case.stacked) do role[i] = "stacked" end
  local embed = case.prefix and case.at[case.prefix .. "embed_tokens.weight"]
  if embed then role[embed] = "matrix" end
  for i, name in ipairs(case.names) do
    if not role[i] and case.dtypes[i] == "F8_E4M3" and name:find "scale$" then role[i] = "scale" end
  end
  return role, codes
end

local function items_of(case, role, codes)
  local items, whose = {}, {}
  local function add(i, offset, bytes, part)
    local j = codes[i]
    items[#items + 1] = { file = case.files[case.owner[i]].scan, dtype = case.dtypes[i], offset = offset,
      bytes = bytes,
      code_file = j and case.files[case.owner[j]].scan or nil, code_offset = j and case.offsets[j] or nil }
    whose[#whose + 1] = { i = i, name = part and ("%s[%d]"):format(case.names[i], part) or case.names[i] }
  end
  for i = 1, #case.names do
    local size, bytes = SCANNED[case.dtypes[i]], case.bytes[i]
    if size and (role[i] or bytes > 4) and bytes > 0 and bytes % size == 0 then
      local n = role[i] == "stacked" and math.tointeger(case.shapes[i]:match "^(%d+),") or 1
      if n > 1 and bytes % n == 0 and bytes // n % size == 0 then   -- a zero expert must not hide in its stack
        for e = 0, n - 1 do add(i, case.offsets[i] + e * (bytes // n), bytes // n, e) end
      else add(i, case.offsets[i], bytes) end
    end
  end
  return items, whose
end

local function judge_scales(found, name, s)
  if s.nans > 0 then found("block_scale_nan", name, ("%d of %d"):format(s.nans, s.count), "none") end
  if s.negatives > s.nans or (s.negatives > 0 and s.nans == 0) then
    found("block_scale_negative", name, ("%d of %d with the sign bit"):format(s.negatives, s.count), "none")
  end
  if s.zeros > 0 then
    found("block_scale_zero", name, ("%d of %d, %d of them over codes that are not zero"):format(s.zeros,
      s.count, s.lost), "none")
  end
  if s.saturated > SATURATED_MAX * s.count then
    found("block_scale_saturated", name, ("%.0f %% at 448"):format(100 * s.saturated / s.count),
      ("at most %.0f %%"):format(100 * SATURATED_MAX))
  end
end

local function judge(case, found, role, name, i, s)
  local kind = role[i]
  if kind == "scale" then return judge_scales(found, name, s) end
  local is_text = not name:find "^model%.visual%." and not name:find "^visual%."
  if s.nans + s.infs > 0 then
    if kind == "inverse" then
      return found("fp8_scale_value", name, ("%d NaN or infinite"):format(s.nans + s.infs), "positive numbers")
    end
    return found("tensor_nan", name, ("%d NaN, %d infinite of %d"):format(s.nans, s.infs, s.count), "none")
  end
  if kind == "inverse" then
    if s.zeros + s.negatives > 0 then
      found("fp8_scale_value", name, ("%d zero, %d negative"):format(s.zeros, s.negatives), "positive numbers")
    end
  elseif kind and is_text and s.zeros == s.count and s.count > 0 then
    found("tensor_zero", name, "all zero", "weights")
  end
end

-- The largest block scale of matrices that share a tensor scale must come near the top of E4M3.
local function check_range(case, found, top)
  local grouped = {}
  for _, group in ipairs(case.groups) do
    local g, best = nil, 0
    for _, lin in ipairs(group.members) do
      if lin.form == "nvfp4" then grouped[lin] = true end
      local v = lin.g and case.value[lin.g]
      g = g or v
      if lin.s and top[lin.s] then best = v == g and math.max(best, top[lin.s]) or math.huge end
    end
    local first = group.members[1]
    if first.s and best > 0 and best < UNUSED_BELOW then
      found("block_scale_unused", case.names[first.s], ("largest %g"):format(best), "near 448")
    end
  end
  for _, lin in ipairs(case.linears) do
    local best = lin.form == "nvfp4" and not grouped[lin] and lin.s and top[lin.s]
    if best and best > 0 and best < UNUSED_BELOW then
      found("block_scale_unused", case.names[lin.s], ("largest %g"):format(best), "near 448")
    end
  end
end

local function median(list)
  table.sort(list)
  return list[#list // 2 + 1]
end

local function check_norms(case, found, stats_of)
  local means, smallest, first = {}, {}, nil
  for _, v in ipairs(case.vectors) do
    local s = stats_of[v.i]
    if s and v.name:find "layernorm%.weight$" and not v.name:find "^mtp%." then
      means[#means + 1], smallest[#smallest + 1], first = s.mean, s.min, first or v.name
    end
  end
  if #means == 0 then return end
  local mean, min = median(means), median(smallest)
  if mean > SHIFTED_MEAN and min > SHIFTED_MIN then
    found("norm_shifted", first, ("median mean %.2f, smallest %.2f"):format(mean, min), "weights around 0")
  end
end

-- Returns the number of bytes read.
function content.check(case, found, label)
  local role, codes = roles(case)
  local items, whose = items_of(case, role, codes)
  local stats, why = nb.scan.run(items, label)
  if not stats then return found("file_unreadable", case.dir, why, "readable data") end
  local top, stats_of, bytes = {}, {}, 0
  for j, s in ipairs(stats) do
    local i = whose[j].i
    judge(case, found, role, whose[j].name, i, s)
    if role[i] == "scale" and s.nans == 0 then top[i] = s.amax end
    stats_of[i] = s
    bytes = bytes + items[j].bytes
  end
  check_range(case, found, top)
  check_norms(case, found, stats_of)
  return bytes
end

return content
