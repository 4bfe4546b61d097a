-- patterns: the pattern languages of exclude lists. glob(p) is Python's fnmatch (whole name), regex(p)
-- Python's re.match (from the start); both return a function name → boolean, regex also nil and a reason.
-- A regex gives up (false) after STEPS_MAX steps, so that a hostile pattern costs little.
local patterns = {}

local STEPS_MAX = 20000

-- A glob without ? and [: the literal pieces between its stars, found one after the other.
local function glob_of_pieces(p)
  local pieces = {}
  for piece in (p .. "*"):gmatch "([^*]*)%*" do pieces[#pieces + 1] = piece end
  local first, last = pieces[1], pieces[#pieces]
  return function(name)
    if #pieces == 1 then return name == p end
    if #name < #first + #last or name:sub(1, #first) ~= first or name:sub(#name - #last + 1) ~= last then
      return false
    end
    local at, stop = #first + 1, #name - #last
    for i = 2, #pieces - 1 do
      local from, to = name:find(pieces[i], at, true)
      if not from or to > stop then return false end
      at = to + 1
    end
    return true
  end
end

local function glob_set(body)
  local is_not = body:sub(1, 1) == "!"
  local ranges, i = {}, is_not and 2 or 1
  while i <= #body do
    local from = body:sub(i, i)
    local to = body:sub(i + 1, i + 1) == "-" and i + 2 <= #body and body:sub(i + 2, i + 2) or from
    ranges[#ranges + 1] = { from, to }
    i = i + (body:sub(i + 1, i + 1) == "-" and i + 2 <= #body and 3 or 1)
  end
  return function(c)
    for _, r in ipairs(ranges) do if c >= r[1] and c <= r[2] then return not is_not end end
    return is_not
  end
end

-- The general glob: tokens, with one place to come back to (the last star), so never more than #name *
-- #tokens steps.
local function glob_of_tokens(p)
  local tokens, i = {}, 1
  while i <= #p do
    local c = p:sub(i, i)
    local close = c == "[" and p:find("]", i + (p:sub(i + 1, i + 1) == "!" and 3 or 2), true)
    if c == "*" then tokens[#tokens + 1] = "*"
    elseif c == "?" then tokens[#tokens + 1] = function() return true end
    elseif close then
      tokens[#tokens + 1] = glob_set(p:sub(i + 1, close - 1))
      i = close
    else tokens[#tokens + 1] = function(x) return x == c end end
    i = i + 1
  end
  return function(name)
    local at, token, star, back = 1, 1, nil, nil
    while at <= #name do
      local t = tokens[token]
      if t == "*" then star, back, token = token, at, token + 1
      elseif t and t(name:sub(at, at)) then at, token = at + 1, token + 1
      elseif star then back = back + 1; at, token = back, star + 1
      else return false end
    end
    while tokens[token] == "*" do token = token + 1 end
    return token > #tokens
  end
end

function patterns.glob(p) return p:find "[%?%[]" and glob_of_tokens(p) or glob_of_pieces(p) end

-- A regular expression as a tree: { "char", set }, { "any" }, { "start" }, { "end" }, { "seq", … }, {
-- "alt", … }, { "rep", node, min, max }.
local CLASSES = { d = "%d", w = "[%w_]", s = "%s", D = "%D", W = "[^%w_]", S = "%S" }
local ENDS = { n = "\n", t = "\t", r = "\r" }

local Parser = {}
Parser.__index = Parser

function Parser:peek() return self.p:sub(self.i, self.i) end
function Parser:next()
  local c = self:peek()
  if c == "" then error({ "ends too early" }, 0) end
  self.i = self.i + 1
  return c
end

function Parser:set()
  local items, is_not = {}, false
  if self:peek() == "^" then self.i, is_not = self.i + 1, true end
  local first = true
  while first or self:peek() ~= "]" do
    first = false
    local c = self:next()
    if c == "\\" then
      local e = self:next()
      items[#items + 1] = CLASSES[e] and { class = CLASSES[e] } or { from = ENDS[e] or e, to = ENDS[e] or e }
    elseif self:peek() == "-" and self.p:sub(self.i + 1, self.i + 1) ~= "]" then
      self.i = self.i + 1
      items[#items + 1] = { from = c, to = self:next() }
    else items[#items + 1] = { from = c, to = c } end
  end
  self.i = self.i + 1
  return { "char", function(c)
    for _, item in ipairs(items) do
      if item.class and c:find(item.class) or item.from and c >= item.from and c <= item.to then
        return not is_not
      end
    end
    return is_not
  end }
end

local function literal(c) return { "char", function(x) return x == c end } end

function Parser:atom()
  local c = self:next()
  if c == "." then return { "char", function(x) return x ~= "\n" end } end
  if c == "^" then return { "start" } end
  if c == "$" then return { "end" } end
  if c == "[" then return self:set() end
  if c == "(" then
    if self.p:sub(self.i, self.i + 1) == "?:" then self.i = self.i + 2
    elseif self:peek() == "?" then error({ "has a group this reader does not know" }, 0) end
    self.depth = self.depth + 1
    if self.depth > 50 then error({ "nests too deep" }, 0) end
    local node = self:alternatives()
    self.depth = self.depth - 1
    if self:next() ~= ")" then error({ "has an open group" }, 0) end
    return node
  end
  if c == "\\" then
    local e = self:next()
    if CLASSES[e] then return { "char", function(x) return x:find(CLASSES[e]) ~= nil end } end
    if e == "b" or e == "B" or e:find "%d" then error({ "has an escape this reader does not know" }, 0) end
    return literal(ENDS[e] or e)
  end
  if c == "*" or c == "+" or c == "?" then error({ "repeats nothing" }, 0) end
  return literal(c)
end

function Parser:repeated()
  local node = self:atom()
  while true do
    local c = self:peek()
    local low, high = self.p:match("^{(%d*),?(%d*)}", self.i)
    if c == "*" then node = { "rep", node, 0, math.huge }
    elseif c == "+" then node = { "rep", node, 1, math.huge }
    elseif c == "?" then node = { "rep", node, 0, 1 }
    elseif c == "{" and low then
      local body = self.p:match("^{[%d,]*}", self.i)
      local min = tonumber(low) or 0
      node = { "rep", node, min, body:find "," and (tonumber(high) or math.huge) or min }
      self.i = self.i + #body - 1
    else return node end
    self.i = self.i + 1
    if self:peek() == "?" then self.i = self.i + 1 end   -- a lazy repeat matches the same names
  end
end

function Parser:alternatives()
  local alt = { "alt" }
  repeat
    local seq = { "seq" }
    while self:peek() ~= "" and self:peek() ~= "|" and self:peek() ~= ")" do seq[#seq + 1] = self:repeated() end
    alt[#alt + 1] = seq
    local more = self:peek() == "|"
    if more then self.i = self.i + 1 end
  until not more
  return alt
end

-- Matches node at i of s and calls on with the position after it, in every way, until on is true.
local function match(node, s, i, on, budget)
  budget.left = budget.left - 1
  if budget.left < 0 then error(budget, 0) end
  local kind = node[1]
  if kind == "char" then return i <= #s and node[2](s:sub(i, i)) and on(i + 1) end
  if kind == "start" then return i == 1 and on(i) end
  if kind == "end" then return i == #s + 1 and on(i) end
  if kind == "alt" then
    for k = 2, #node do if match(node[k], s, i, on, budget) then return true end end
    return false
  end
  if kind == "seq" then
    local function step(k, at)
      if k > #node then return on(at) end
      return match(node[k], s, at, function(after) return step(k + 1, after) end, budget)
    end
    return step(2, i)
  end
  if node[2][1] == "char" then   -- repeats of one character need no recursion
    local last = i
    while last - i < node[4] and last <= #s and node[2][2](s:sub(last, last)) do last = last + 1 end
    for at = last, i + node[3], -1 do
      budget.left = budget.left - 1
      if budget.left < 0 then error(budget, 0) end
      if on(at) then return true end
    end
    return false
  end
  local function again(count, at)
    if count < node[4] and match(node[2], s, at, function(after) return after > at
        and again(count + 1, after) end, budget) then
      return true
    end
    return count >= node[3] and on(at)
  end
  return again(0, i)
end

function patterns.regex(p)
  if #p > 1000 then return nil, "is too long" end
  local parser = setmetatable({ p = p, i = 1, depth = 0 }, Parser)
  local ok, tree = pcall(parser.alternatives, parser)
  if not ok then return nil, type(tree) == "table" and tree[1] or tostring(tree) end
  if parser.i <= #p then return nil, "has a closing parenthesis too many" end
  return function(name)
    local fine, matched = pcall(match, tree, name, 1, function() return true end, { left = STEPS_MAX })
    return fine and matched or false
  end
end

return patterns
