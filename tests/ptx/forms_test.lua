-- Every instruction, with all its modifiers, that the project's kernels use has a case in tests/ptx/cases. By default the PTX of the
-- families' small cases for sm_120a and sm_90; with NIBBLE_TEST_LONG=1 that of all their cases for every architecture.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local families, trial, launches = require "scripts.lib.families", require "scripts.lib.trial", require "scripts.lib.launches"
local folder, is_long = "tests/ptx/cases", os.getenv "NIBBLE_TEST_LONG" == "1"
local archs = is_long and { "sm_80", "sm_90", "sm_120a", "sm_121a" } or { "sm_120a", "sm_90" }
local bare = { bra = true, ret = true, exit = true, trap = true, brkpt = true }   -- the only ones without a modifier

-- Adds the instructions of a PTX text, as they are written, to a set.
local function add_forms(text, forms)
  for statement in text:gsub("//[^\n]*", ""):gmatch "[^;{}]+" do
    local rest = statement:gsub("^%s+", ""):gsub("^[%w_$]+:%s+", ""):gsub("^@!?%S+%s+", "")
    local form = rest:match "^%l[%w_.:]*"
    if form and (form:find(".", 1, true) or bare[form]) then forms[form] = true end
  end
end

local function forms_of_cases()
  local forms = {}
  for file in uv.fs_scandir_next, assert(uv.fs_scandir(folder)) do
    local f <close> = assert(io.open(folder .. "/" .. file, "rb"))
    add_forms(f:read "a", forms)
  end
  return forms
end

-- A family's cases for one architecture, not yet compiled.
local function trials_of(spec, arch)
  local list = {}
  for _, case in ipairs(spec.program and spec.cases or {}) do
    if is_long or not (case[1]:find "^decode" or case[1]:find "^prefill") then
      local shape = {}
      for k, v in pairs(case) do shape[k] = k ~= "set" and v or nil end
      list[#list + 1] = trial.prepare(spec, shape, { arch = trial.arch(arch), set = case.set })
    end
  end
  return list
end

TestForms = {}

function TestForms:test_instructions_are_read_from_text()
  local forms = {}
  add_forms("// mul.lo.u32\n$L__1:\n@!%p1 bra $L__2;\n  ld.global.nc.L1::no_allocate.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+16];\n" ..
    "{ .reg .pred p; wait: mbarrier.try_wait.parity.shared::cta.b64 p, [%r1], %r2; @p bra.uni done; }\nret;\n", forms)
  lu.assertEquals(forms, { ["ld.global.nc.L1::no_allocate.v4.u32"] = true, ["mbarrier.try_wait.parity.shared::cta.b64"] = true,
    bra = true, ["bra.uni"] = true, ret = true })
end

function TestForms:test_every_instruction_of_a_kernel_has_a_case()
  local jit <close> = launches.jit()
  local version, why = jit:compiler()
  lu.skipIf(not version, why)
  local has, missing, compiled = forms_of_cases(), {}, 0
  for _, arch in ipairs(archs) do
    for _, name in ipairs(families.names()) do
      local list = trials_of(families.load(name), arch)
      trial.compile(list, jit)
      for _, t in ipairs(list) do
        local forms = {}
        add_forms(assert(t.result, t.error).ptx, forms)
        compiled = compiled + 1
        for form in pairs(forms) do
          if not has[form] then missing[form] = ("%s of %s, case %s, for %s"):format(form, t.name, t.case, arch) end
        end
      end
    end
  end
  local list = {}
  for _, text in pairs(missing) do list[#list + 1] = text end
  table.sort(list)
  for _, text in ipairs(list) do print("# no case has a " .. text) end
  lu.assertEquals(#list, 0, list[1])
  lu.assertTrue(compiled >= 50)
end

os.exit(lu.LuaUnit.run())
