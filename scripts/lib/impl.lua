-- impl: who computes an op, and in which numerics: the text of --impl.
--   [EXEC:]NUM or EXEC                     for every op: EXEC kernel or ref; NUM one of qwen.numerics
--   [EXEC:]NUM,GLOB=[EXEC:]NUM,…           and for the ops with a name that GLOB (* and ?) fits; the last one that fits counts
--   kernel:stored,layer03/*=ref,moe_fc1=ref:w4a16
-- An op's names: its taps, layer and buffer (layer03/shared_g), family (moe_fc1), layer and family (layer03/moe_fc1), the logical
-- name of a linear's weight (layers.3.gdn.out). Numerics say whether a linear's activations are quantized in front of it: they are a
-- linear's or an expert op's choice.
--   local impl = impl.parse(text, is_host)         raises E_USAGE
--   impl:exec(names) → "kernel" or "ref"           impl:numerics(names) → one of qwen.numerics
--   impl:check(ops)                                raises E_MISSING when a GLOB fits no op
--   impl.default = { exec =, num = }, impl.text = all of it in full
local args, trace = require "scripts.lib.args", require "scripts.lib.trace"
local impl = {}

impl.numerics = { "stored", "w4a4", "w4a16", "w8a16", "bf16" }
local execs = { "ref", "kernel" }

local Impl = {}
Impl.__index = Impl

-- "ref:w4a16" → "ref", "w4a16"; a part left out is taken from `default`.
local function parse_one(text, default)
  local exec, num = text:match "^(%a+):(%w+)$"
  if not exec then
    if text == "ref" or text == "kernel" then exec, num = text, default.num else exec, num = default.exec, text end
  end
  return { exec = args.one_of("impl", exec, execs), num = args.one_of("impl", num, impl.numerics) }
end

function impl.parse(text, is_host)
  local default, rules = { exec = is_host and "ref" or "kernel", num = "stored" }, {}
  for part in ((text or default.exec) .. ","):gmatch "([^,]*)," do
    local glob, choice = part:match "^(.-)=(.*)$"
    if not glob then
      if #rules > 0 or default.is_given then
        args.usage(("--impl: expected GLOB=[EXEC:]NUM after the first part, found \"%s\""):format(part))
      end
      default = parse_one(part, default)
      default.is_given = true
    else
      if glob == "" then args.usage(("--impl: expected a pattern in front of \"=%s\""):format(choice)) end
      rules[#rules + 1] = parse_one(choice, default)
      rules[#rules].glob, rules[#rules].fits = glob, trace.matcher(glob)
    end
  end
  local self, parts = setmetatable({ default = default, rules = rules }, Impl), { default.exec .. ":" .. default.num }
  for i, r in ipairs(rules) do parts[i + 1] = ("%s=%s:%s"):format(r.glob, r.exec, r.num) end
  self.text = table.concat(parts, ",")
  if is_host then
    for _, r in ipairs { default, table.unpack(rules) } do
      if r.exec == "kernel" then args.usage "--impl kernel needs --device: the host runs references" end
    end
  end
  return self
end

function Impl:of(names)
  local found = self.default
  for _, rule in ipairs(self.rules) do
    for _, name in ipairs(names) do
      if rule.fits(name) then found, rule.is_used = rule, true end
    end
  end
  return found
end

function Impl:exec(names) return self:of(names).exec end
function Impl:numerics(names) return self:of(names).num end

function Impl:check(ops)
  for _, op in ipairs(ops) do self:of(op.names) end
  for _, rule in ipairs(self.rules) do
    if not rule.is_used then
      args.fail("E_MISSING", "--impl: no op has a name like \"%s\"; the first is \"%s\" (nibble plan CKPT --ops lists them)",
        rule.glob, ops[1].name)
    end
  end
end

return impl
