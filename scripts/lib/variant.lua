-- variant: one way to run a family's op: values of its tunables → the generated constants, the launches, a name.
--   local values = variant.first(spec, what)                         before any tuning; raises with the rule that nothing
--                                                                    satisfies
--   variant.broken(spec, values, what, arch) → name of the first rule that does not hold | nil
--   variant.name(spec, values) → "linear/m16n64"
--   variant.constants(spec, values, what, arch) → text of tune.cuh
--   variant.program(spec, values, what, arch) → { stages = { {entry, grid, block, smem}, … }, scratch = bytes }
-- `what` describes the op (nb.op_describe, or a plan's): extents, ld, types, quantizers, formats, blocks, has, kv, and the capacities rows,
-- seqs, outs, slots, versions, max_len. A spec's functions see it as s: s.k (an extent), s.rows (capacity), s.format.w, s.type.x,
-- s.has.delta, s.ld.x, s.kv.
local nb, args = require "nibble", require "scripts.lib.args"
local variant = {}

local formats = { bf16 = "FORMAT_BF16", f32 = "FORMAT_BF16", f16 = "FORMAT_BF16", fp8 = "FORMAT_FP8",
  fp8_block = "FORMAT_FP8_BLOCK", nvfp4 = "FORMAT_NVFP4" }

local weight_bytes = { bf16 = 2, f32 = 2, f16 = 2, fp8 = 1, fp8_block = 1, nvfp4 = 0.5625 }   -- bytes a weight on the device

-- What a spec's functions are given. s.weight_bytes.w: bytes an element of w, s.act_bytes.x: of an activation, s.kv_width: of
-- the cache; s.len: the longest row's keys, where known. Live extents are the capacities'; an op that has an extent named as a
-- capacity of the plan has its own.
function variant.shape(what)
  local s = { format = what.formats, type = what.types, has = what.has, ld = what.ld, kv = what.kv, block = what.blocks }
  for name, n in pairs(what.extents) do s[name] = n end
  for _, name in ipairs { "rows", "seqs", "outs" } do s[name] = what[name] or s[name] end
  for _, name in ipairs { "slots", "versions", "max_len" } do s[name] = s[name] or what[name] end
  s.weight_bytes, s.act_bytes, s.kv_width, s.len = {}, {}, what.kv == "fp8" and 1 or 2, what.len or s.max_len
  for name, kind in pairs(what.types) do s.act_bytes[name] = kind == "nvfp4" and weight_bytes.nvfp4 or 2 end
  for name, format in pairs(what.formats) do s.weight_bytes[name] = weight_bytes[format] end
  return s
end

function variant.first(spec, what, arch)
  local values = spec.first
  if type(values) == "function" then values = values(variant.shape(what), arch) end
  local rule = variant.broken(spec, values, what, arch)
  if rule then args.fail("E_UNSUPPORTED", "%s: its first variant breaks the rule \"%s\"", spec.name, rule) end
  return values
end

function variant.broken(spec, values, what, arch)
  local s = variant.shape(what)
  for _, rule in ipairs(spec.rules or {}) do
    if not rule[2](values, s, arch) then return rule[1] end
  end
end

function variant.name(spec, values)
  local parts = {}
  for _, t in ipairs(spec.tune or {}) do
    local value = values[t[1]]
    parts[#parts + 1] = t[2] .. (value == true and 1 or value == false and 0 or value)
  end
  return spec.name .. "/" .. table.concat(parts)
end

local function sorted(t)
  local keys = {}
  for k in pairs(t) do keys[#keys + 1] = k end
  table.sort(keys)
  local i = 0
  return function()
    i = i + 1
    return keys[i], t[keys[i]]
  end
end

-- Extents and leading dimensions by upper-case name (slots, versions and max_len only of an op that has them: others need not be
-- compiled again where these differ), tunables likewise: int H = 128; LD_X = 128; FORMAT_W; HAS_DELTA; BLOCK_M =
-- 16; CAP_FP4_MMA.
function variant.constants(spec, values, what, arch)
  local lines = { "// generated: extents, formats and tunables of " .. variant.name(spec, values) }
  local function int(name, value) lines[#lines + 1] = ("constexpr int %s = %d;"):format(name:upper(), value) end
  local function bool(name, value) lines[#lines + 1] = ("constexpr bool %s = %s;"):format(name:upper(), tostring(value)) end
  lines[#lines + 1] = "enum { FORMAT_BF16, FORMAT_FP8, FORMAT_FP8_BLOCK, FORMAT_NVFP4 };"
  local s = variant.shape(what)
  local named = {}
  for name, n in sorted(what.extents) do
    if name ~= "one" then named[name] = n end
  end
  for _, name in ipairs { "rows", "seqs", "outs" } do named[name] = s[name] end
  for name, n in sorted(named) do int(name, n) end
  for name, n in sorted(what.ld) do int("ld_" .. name, n) end
  for name, kind in sorted(what.types) do
    if kind == "nvfp4" or kind == "act" then
      bool("is_nvfp4_" .. name, kind == "nvfp4")
      int("quantizers_" .. name, what.quantizers[name] or 0)
    end
  end
  for name, format in sorted(what.formats) do
    lines[#lines + 1] = ("constexpr int FORMAT_%s = %s;"):format(name:upper(), formats[format])
  end
  for name in sorted(what.formats) do   -- 128: any number, where there are no blocks
    local block = what.blocks[name] or { n = 128, k = 128 }
    int("scale_rows_" .. name, block.n)
    int("scale_cols_" .. name, block.k)
  end
  for name, has in sorted(what.has) do
    bool("has_" .. name, has)
    if not has then   -- the source may name it in the branch that is not taken
      int("ld_" .. name, 0)
      int("quantizers_" .. name, 0)
      bool("is_nvfp4_" .. name, false)
    end
  end
  for _, name in ipairs(spec.bake or {}) do
    if not named[name] then int(name, 0) end
  end
  bool("kv_is_fp8", what.kv == "fp8")
  for name, cap in sorted(arch.caps) do bool("cap_" .. name, cap) end
  for _, t in ipairs(spec.tune or {}) do
    if type(values[t[1]]) == "boolean" then bool(t[1], values[t[1]]) else int(t[1], values[t[1]]) end
  end
  return table.concat(lines, "\n") .. "\n"
end

function variant.program(spec, values, what, arch)
  local p = spec.program(values, variant.shape(what), arch)
  return { stages = p.stages or p, scratch = p.scratch or 0 }
end

-- What a compiler is asked for.
function variant.source(spec, values, what, arch)
  local folder = spec.folder or ("%s/kernels/%s"):format(NIBBLE_ROOT, spec.name)
  return { name = variant.name(spec, values), source = ("%s/%s.cu"):format(folder, spec.source or spec.name),
           constants = variant.constants(spec, values, what, arch), arch = arch.name }
end

return variant
