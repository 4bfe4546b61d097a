-- trace: what scripts do with traces of runs: pick taps by pattern, bring two traces' rows together.
local trace = {}

-- A glob over the whole name as a Lua pattern: * any characters (slashes too), ? one character.
local function pattern(glob)
  local escaped = glob:gsub("[%^%$%(%)%%%.%[%]%+%-]", "%%%0")
  return "^" .. escaped:gsub("%*", ".*"):gsub("%?", ".") .. "$"
end

-- A function that says whether a name fits one of the comma-separated globs, and the list of the globs.
function trace.matcher(globs)
  local list, patterns = {}, {}
  for g in globs:gmatch "[^,]+" do
    list[#list + 1] = g
    patterns[#patterns + 1] = pattern(g)
  end
  return function(name, i)
    for j = i or 1, i or #patterns do if name:find(patterns[j]) then return true end end
    return false
  end, list
end

-- Done rows of an open trace by "seq:pos". A position computed again (a rejected draft) counts by its last row.
local function by_place(reader)
  local rows, places = reader:rows(), {}
  for i, row in ipairs(rows.row) do
    places[rows.seq[i] .. ":" .. rows.pos[i]] = { row = row, seq = rows.seq[i], pos = rows.pos[i], token = rows.token[i] }
  end
  return places
end

-- Pairs { seq, pos, a = row of a, b = row of b } of the places that both traces hold, by sequence and position. From the
-- first differing token of a sequence on its rows have different pasts and are left out.
-- Second result: how many rows only a has, only b has, and how many were left out.
function trace.align(a, b)
  local in_a, in_b, pairs_found, left, fork = by_place(a), by_place(b), {}, { a = 0, b = 0, tokens = 0 }, {}
  for place, x in pairs(in_a) do
    local y = in_b[place]
    if not y then left.a = left.a + 1
    else
      pairs_found[#pairs_found + 1] = { seq = x.seq, pos = x.pos, a = x.row, b = y.row }
      if x.token ~= y.token then fork[x.seq] = math.min(fork[x.seq] or x.pos, x.pos) end
    end
  end
  for place in pairs(in_b) do if not in_a[place] then left.b = left.b + 1 end end
  table.sort(pairs_found, function(p, q) return p.seq < q.seq or (p.seq == q.seq and p.pos < q.pos) end)
  local kept = {}
  for _, p in ipairs(pairs_found) do
    if fork[p.seq] and p.pos >= fork[p.seq] then left.tokens = left.tokens + 1 else kept[#kept + 1] = p end
  end
  return kept, left
end

-- Those of the aligned rows at which both traces have a value of the tap.
function trace.common(a, b, tap, rows)
  local function set(reader)
    local has, list, message, code = {}, reader:present(tap)
    for _, row in ipairs(assert(list, message, code)) do has[row] = true end
    return has
  end
  local in_a, in_b, kept = set(a), set(b), {}
  for _, p in ipairs(rows) do if in_a[p.a] and in_b[p.b] then kept[#kept + 1] = p end end
  return kept
end

return trace
