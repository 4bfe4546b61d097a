-- nibble try and sass as a user runs them: every exit status, broken kernels from NIBBLE_PATH, every family for
-- every architecture. What needs NVRTC skips without it, with the reason.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command = require "tests.scripts.command"
local families, trial = require "scripts.lib.families", require "scripts.lib.trial"
TestTry = {}

local root = os.tmpname()
os.remove(root)
assert(uv.fs_mkdir(root, 448))
local cache = root .. "/cache"

local function need_compiler()
  local jit <close> = assert(nb.jit { cache = cache, include = NIBBLE_ROOT .. "/kernels/include" })
  local version, why = jit:compiler()
  if not version then lu.skip(why) end
end

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

-- A copy of a family under NIBBLE_PATH with one piece of its source (".cu"), its spec (".lua") or a header that it includes
-- replaced; returns the folder for NIBBLE_PATH.
local copies = 0
local function changed(family, part, old, new)
  copies = copies + 1
  local folder = ("%s/%d"):format(root, copies)
  assert(uv.fs_mkdir(folder, 448))
  assert(uv.fs_mkdir(folder .. "/" .. family, 448))
  local files = { [".lua"] = ("%s/%s.lua"):format(family, family), [".cu"] = ("%s/%s.cu"):format(family, family) }
  if not files[part] then files[part] = "include/" .. part end
  for name, path in pairs(files) do
    local text = read(("%s/kernels/%s"):format(NIBBLE_ROOT, path))
    if name == part then
      local first, last = text:find(old, 1, true)
      assert(first, ("%s has no \"%s\""):format(path, old))
      text = text:sub(1, first - 1) .. new .. text:sub(last + 1)
    end
    local file <close> = assert(io.open(("%s/%s/%s"):format(folder, family, path:match "[^/]+$"), "wb"))
    file:write(text)
  end
  return folder
end

local function try(path, ...)
  uv.os_setenv("NIBBLE_PATH", path or "")
  local status, out, err = command.run("try", "--cache", cache, ...)
  uv.os_unsetenv "NIBBLE_PATH"
  return status, out, err
end

local function last_object(out) return assert(nb.json.decode(out:match "([^\n]+)\n$")) end

local EMULATOR = "emu:sm_120a"
local function need_emulator()
  need_compiler()
  local device <close>, why = nb.device(EMULATOR)
  if not device then lu.skip(why) end
end

function TestTry:test_right_is_0()
  need_emulator()
  local status, out, err = try(nil, "combine", "--case", "ragged", "--device", EMULATOR, "--json")
  lu.assertEquals(status, 0, out .. err)
  local r = last_object(out)
  lu.assertTrue(r.ok)
  lu.assertEquals(r.device, EMULATOR)
  local case = r.cases[1]
  lu.assertTrue(case.ptx_bytes > 1000 and case.kernels[1].registers > 0 and case.kernels[1].spills == 0
    and case.floor_us_predicted > 0)
  lu.assertTrue(#case.outputs == 2 and case.outputs[1].ratio <= 1 and case.time_us == nil)
end

-- Fewer rows than the constants were made for: right, and the rows beyond are left alone.
function TestTry:test_a_step_smaller_than_its_capacity()
  need_emulator()
  local status, out, err = try(nil, "linear", "--shape", "rows=8,live=5,n=37,k=64", "--device", EMULATOR, "--checked")
  lu.assertEquals(status, 0, out .. err)
  local folder = changed("linear", ".cu", "w, step.rows(), [](int row)", "w, ROWS, [](int row)")
  status, out = try(folder, "linear", "--shape", "rows=8,live=5,n=37,k=64", "--device", EMULATOR)
  lu.assertEquals(status, 1, out)
  lu.assertStrContains(out, "rows beyond the step were written")
end

-- One fault each in a copy of a family: caught, with status 1.
function TestTry:test_wrong_is_1()
  need_emulator()
  local faults = {
    { "swiglu", ".cu", "bf16_put(silu(", "bf16_put(1.01f * silu(" },
    { "combine", ".cu", "k < TOP_K", "k < TOP_K - 1" },
    { "rmsnorm", ".cu", "/ H + eps)", "/ H + eps + 1e-3f)" },
    { "gdn_conv", ".cu", ": step.back(seq))", ": 0)" },
    { "router", ".cu", "k == 0) largest = best", "k == 1) largest = best" },
    { "attention", ".cu", "step.pos(row)) + 1", "step.pos(row))" },
  }
  for _, family in ipairs { "gdn_conv", "gdn_delta" } do   -- what is taken back is what the device says, not the step
    faults[#faults + 1] = { family, ".cu", "g_rejected[step.slot(seq)]", "step.back(seq)", case = "ragged_rejected" }
    faults[#faults + 1] = { family, ".cu", "g_rejected[step.slot(seq)]", "g_rejected[seq]", case = "ragged_rejected" }
  end
  for _, change in ipairs { { "accepted < drafts && ", "" }, { "row + accepted + 1", "row + accepted" }, { "end - 1 - drafts", "end - drafts" },
    { "g_rejected[slot] = drafts - accepted", "g_rejected[slot] = accepted" }, { "g_token[out + accepted] :", "g_token[out + drafts] :" },
    { "i > accepted ? -1", "i > drafts ? -1" }, { "first - (drafts - accepted)", "first" }, { "= before;", "= g_taken[slot];" },
    { "r < row + accepted", "r <= row + accepted" }, { "g_ids[row] = next", "g_ids[first + 1] = next" } } do
    faults[#faults + 1] = { "draft_accept", ".cu", table.unpack(change) }
  end
  for _, change in ipairs { { "min(g_accepted[slot],", "min(0," }, { "+ at + 1", "+ at" }, { "g_drafts[step.slot(s)] + 1", "g_drafts[step.slot(s)]" },
    { "g_mtp_ids[seq]", "g_mtp_ids[first]" }, { "g_hidden[(long long)seq", "g_hidden[(long long)first" }, { "i < H", "i < H - 1" },
    { "g_ids[place + draft]", "g_ids[place + 1]", case = "later" } } do
    faults[#faults + 1] = { "draft_next", ".cu", change[1], change[2], case = change.case }
  end
  for _, family in ipairs { "attention", "attn_prep" } do
    faults[#faults + 1] = { family, ".cu", "step.pos(row, g_taken) : step.pos(row)", "step.pos(row) : step.pos(row)", case = "ragged_taken" }
    faults[#faults + 1] = { family, "op.cuh", "taken[slot(s)]", "taken[s]", case = "ragged_taken" }
    faults[#faults + 1] = { family, "op.cuh", "pos(first) == 0 ? 0 : ", "", case = "ragged_taken" }
  end
  for _, f in ipairs(faults) do
    local status, out, err = try(changed(table.unpack(f)), f[1], "--case", f.case or "ragged", "--device", EMULATOR)
    lu.assertEquals(status, 1, f[1] .. "\n" .. out .. err)
    lu.assertStrContains(out, "WRONG")
  end
end

-- Quantized activations: one input scale or one per expert, by the block-scaled product and by bf16 products.
local w4a4 = { { "quantize_nvfp4", "each_expert" }, { "linear", "ragged_w4a4" }, { "moe_fc1", "ragged_w4a4" },
  { "moe_fc1", "each_expert" }, { "moe_fc2", "each_expert" }, { "rmsnorm", "ragged_codes" }, { "swiglu", "ragged_codes" },
  { "moe_fc1", "ragged_codes" }, { "moe_fc1", "decode_codes" } }

function TestTry:test_w4a4_is_right()
  need_emulator()
  for _, device in ipairs { EMULATOR, "emu:sm_90" } do
    for _, c in ipairs(w4a4) do
      local status, out, err = try(nil, c[1], "--case", c[2], "--device", device, "--checked")
      lu.assertEquals(status, 0, device .. "\n" .. out .. err)
    end
  end
end

-- What only W4A4 can get wrong: one fault each, on the architecture whose path it is in.
function TestTry:test_w4a4_faults_are_1()
  need_emulator()
  local faults = {
    { EMULATOR, "ragged_w4a4", "linear", ".cu", "g_x_input->x", "g_x_input->y" },
    { EMULATOR, "ragged_w4a4", "linear", "weight.cuh", "0x7351 : 0x6240", "0x7351 : 0x6420" },
    { EMULATOR, "ragged_w4a4", "linear", "weight.cuh", "is_odd ? w.z : w.w", "is_odd ? w.w : w.z" },
    { EMULATOR, "ragged_w4a4", "linear", "weight.cuh", "lane & 1 ? row[1] : row[0]", "row[0]" },
    { "emu:sm_90", "ragged_w4a4", "linear", "weight.cuh", "4 * first >> 8 * (i / 2)", "4 * first >> 0 * (i / 2)" },
    { EMULATOR, "each_expert", "moe_fc1", ".cu", "input[QUANTIZERS > 1 ? e : 0]", "input[0]" },
    { EMULATOR, "each_expert", "moe_fc1", ".cu", "HAS_X_UP ? input_of<QUANTIZERS_X_UP>(g_x_up_input, e) : input", "2 * input" },
    { EMULATOR, "each_expert", "moe_fc1", "weight.cuh", "fp4_words(x.codes(in, t)", "fp4_words(x.codes(0, t)" },
    { "emu:sm_90", "each_expert", "moe_fc1", ".cu", "pair % TOP_K * H", "0" },
    { "emu:sm_90", "each_expert", "moe_fc2", ".cu", "QUANTIZERS_X > 1 ? e : 0", "0" },
    { EMULATOR, "each_expert", "quantize_nvfp4", ".cu", "QUANTIZERS_Y > 1 ? g_experts", "QUANTIZERS_Y > 9 ? g_experts" },
    { EMULATOR, "ragged_codes", "rmsnorm", ".cu", "nvfp4_lanes(bf16_get(y),", "nvfp4_lanes(1.01f * bf16_get(y)," },
    { "emu:sm_90", "ragged_codes", "swiglu", "fp4.cuh", "int d = 8; d > 0", "int d = 4; d > 0" },
    { EMULATOR, "decode_codes", "moe_fc1", "fp4.cuh", "{(two & 15) << 4 * g, two >> 4 << 4 * g}", "{two >> 4 << 4 * g, (two & 15) << 4 * g}" },
    { EMULATOR, "decode_codes", "moe_fc1", ".cu", "QUANTIZERS_Y_CODES > 1 ? e : 0", "0" },
    { "emu:sm_90", "ragged", "quantize_nvfp4", "fp4.cuh", "0x1FFFFF", "0x3FFFFF" },
  }
  for _, f in ipairs(faults) do
    local status, out, err = try(changed(table.unpack(f, 3)), f[3], "--case", f[2], "--device", f[1])
    lu.assertEquals(status, 1, table.concat(f, " ") .. "\n" .. out .. err)
    lu.assertStrContains(out, "WRONG")
  end
end

-- Every bf16 number there is, in blocks of neighbours and in blocks of all sizes, NaN and infinities among them: the
-- instruction's and the integer conversion make the exact build's codes and scales.
function TestTry:test_every_bf16_number_is_quantized_exactly()
  need_emulator()
  local spec, jit <close> = families.load "quantize_nvfp4", assert(nb.jit { cache = cache,
    include = NIBBLE_ROOT .. "/kernels/include" })
  for _, arch in ipairs { "sm_120a", "sm_90", "sm_80" } do
    local t = trial.prepare(spec, { "all", rows = 32, slots_in = 1, slots = 1, k = 4096 }, { arch = trial.arch(arch) })
    local values = {}
    for i = 0, 0xFFFF do
      values[i + 1] = string.unpack("<f", string.pack("<I4", i << 16))
      values[0x10000 + i + 1] = string.unpack("<f", string.pack("<I4", (i * 40503 & 0xFFFF) << 16))
    end
    t.call.args.x = assert(nb.tensor("F32", { 32, 1, 4096 }, values))
    trial.compile({ t }, jit)
    local device <close> = assert(nb.device("emu:" .. arch))
    for _, input_scale in ipairs { 0.0037, 2.0 ^ -7 } do   -- with a power of two exact ties are met
      t.call.args.y.input_scale = input_scale
      trial.run(t, device, {})
      lu.assertNil(t.error)
      lu.assertTrue(t.verdict.ok and t.verdict.outputs[1].n == 0x20000, t.verdict.outputs[1].problem)
    end
  end
end

function TestTry:test_a_finding_is_1()
  need_emulator()
  local folder = changed("swiglu", ".cu", "|| i >= I) return;", "|| i >= I + 40000) return;")
  local status, out = try(folder, "swiglu", "--case", "ragged", "--device", EMULATOR, "--checked")
  lu.assertEquals(status, 1, out)
end

-- A kernel that never ends is stopped by the emulator's instruction limit, and its place is named.
function TestTry:test_a_hang_ends_and_is_1()
  need_emulator()
  local folder = changed("swiglu", ".cu", "|| i >= I) return;",
    "|| i >= I) return;\n    for (volatile int turn = 1; turn;) {}")
  local start = uv.hrtime()
  local status, out, err = try(folder, "swiglu", "--case", "smallest", "--device", EMULATOR)
  lu.assertEquals(status, 1, out .. err)
  lu.assertStrContains(out, "hang: the block does not end within its instruction limit: warp 0 lanes 00000001 at line ")
  lu.assertStrContains(out, "kernel swiglu, PTX line ")
  lu.assertTrue(uv.hrtime() - start < 60e9)
end

function TestTry:test_other_ends_have_their_kinds_status()
  local status, out, err = try(nil, "nothing_of_that_name")
  lu.assertEquals(status, 6, out .. err)
  lu.assertStrContains(err, "there are attention")
  for _, bad in ipairs { { "--case", "none" }, { "--shape", "rows" }, { "--shape", "nonsense=3" },
    { "--set", "threads=fast" }, { "--set", "speed=9" },
                         { "--format", "w=int4" }, { "--arch", "sm_70" }, { "--product", "abacus" },
                         { "--kv", "int8" } } do
    status, out, err = try(nil, "linear", "--device", "none", table.unpack(bad))
    lu.assertEquals(status, 2, bad[1] .. " " .. bad[2] .. out .. err)
    lu.assertStrContains(err, "nibble: ")
  end
  status, _, err = try(nil, "linear", "--device", "none", "--set", "warps=2,split=4", "--case", "ragged")
  lu.assertEquals(status, 7)
  lu.assertStrContains(err, "splits are whole warps")
  status, _, err = try(changed("swiglu", ".lua", "return {", "return {{"), "swiglu", "--device", "none")
  lu.assertEquals(status, 4, err)
end

function TestTry:test_a_source_that_does_not_compile()
  need_compiler()
  local status, out, err = try(changed("swiglu", ".cu", "const int row", "const float *row"), "swiglu", "--case",
    "ragged", "--device", "none")
  lu.assertEquals(status, 11, out .. err)
  lu.assertStrContains(err, "does not compile")
end

function TestTry:test_without_a_device_it_compiles()
  need_compiler()
  local status, out = try(nil, "swiglu", "--device", "none", "--arch", "sm_80", "--json", "--case", "ragged")
  lu.assertEquals(status, 0)
  local r = last_object(out)
  lu.assertEquals(r.arch, "sm_80")
  lu.assertNil(r.ok)
  lu.assertStrContains(out, "compiled, not run")
end

local BLOCK_SCALED = "kind::mxf4nvf4.block_scale.scale_vec::4X.f32.e2m1.e2m1.f32.ue4m3"

-- Names of the matrix instructions in the machine code of a trial's kernels.
local function products_of(t)
  local names = {}
  for _, k in ipairs(t.kernels) do
    for _, m in ipairs((require("scripts.lib.sass").mix(k.ops))) do
      if m.kind == "mma" then names[#names + 1] = m.name end
    end
  end
  return table.concat(names, " ")
end

-- Every family that has a kernel, its ragged and its largest cases, for every architecture: no spills, at most
-- 100,000 bytes of PTX (a quarter of which are lines that name sources), shared memory within the smallest
-- architecture's; W4A4 where there is a block-scaled product by that and nothing else.
function TestTry:test_every_family_for_every_architecture()
  need_compiler()
  local jit <close> = assert(nb.jit { cache = cache, include = NIBBLE_ROOT .. "/kernels/include" })
  local list, small = {}, { e = 32, v = 4096 }   -- extents that only cost memory here
  for _, name in ipairs(nb.op.families()) do
    local spec = families.load(name)
    for _, case in ipairs(spec.program and spec.cases or {}) do
      local shape = {}
      for k, v in pairs(case) do shape[k] = math.type(v) == "integer" and small[k] and math.min(v, small[k]) or v end
      local is_last = case == spec.cases[#spec.cases]
      for _, arch in ipairs(nb.archs()) do
        -- all for the native path, the largest for every one of them, the longest text of the portable path
        local is_native = arch.name == "sm_120a" and case[1] ~= "smallest"
        local is_longest = arch.name == "sm_90" and case[1]:match "^%l+code_w4a4$" or case[1] == "prefill_w4a4"
        if is_last or is_native or is_longest then list[#list + 1] = trial.prepare(spec, shape, { arch = arch }) end
      end
    end
  end
  trial.compile(list, jit)
  local bad = {}
  for _, t in ipairs(list) do
    local who = ("%s %s %s: "):format(t.name, t.case, t.arch.name)
    if t.error then bad[#bad + 1] = who .. t.error else
      if #t.result.ptx > 100000 then bad[#bad + 1] = who .. #t.result.ptx .. " bytes of PTX" end
      if t.s.type.x == "nvfp4" then
        local want = t.arch.caps.fp4_mma and "OMMA" or "HMMA"
        if products_of(t) ~= want then bad[#bad + 1] = ("%sproducts by %s, not %s"):format(who, products_of(t), want) end
        if t.result.ptx:find(BLOCK_SCALED, 1, true) ~= nil ~= t.arch.caps.fp4_mma then
          bad[#bad + 1] = who .. "block-scaled product in the PTX or not"
        end
      end
      for _, k in ipairs(t.kernels) do
        if k.spills > 0 then bad[#bad + 1] = who .. k.spills .. " bytes spilled" end
        if k.blocks_sm < 1 or k.shared + k.dynamic > 101376 then bad[#bad + 1] = who .. "does not fit an SM" end
      end
    end
  end
  lu.assertEquals(bad, {})
  lu.assertTrue(#list >= 60, #list)
end

function TestTry:test_sass_agrees_with_the_disassembler()
  need_compiler()
  local sass = require "scripts.lib.sass"
  local jit <close> = assert(nb.jit { cache = cache, include = NIBBLE_ROOT .. "/kernels/include" })
  local spec = families.load "router"
  for _, arch in ipairs(nb.archs()) do
    local t = trial.prepare(spec, spec.cases[2], { arch = arch })
    trial.compile({ t }, jit)
    for _, k in ipairs(t.kernels) do
      local _, kinds = sass.mix(k.ops)
      lu.assertNil(kinds.unknown, arch.name)
      lu.assertEquals(kinds.mma ~= nil, k.entry == "router")
    end
    local listed, why = sass.disassemble(t.result.cubin)
    if not listed then lu.skip(why) end
    for _, k in ipairs(t.kernels) do
      for _, m in ipairs((sass.mix(k.ops))) do
        if m.kind == "mma" or m.kind == "global" or m.kind == "shared" or m.kind == "special" then
          lu.assertEquals(listed[k.name][m.name], m.n, ("%s %s %s"):format(arch.name, k.name, m.name))
        end
      end
    end
  end
end

function TestTry:test_sass_command()
  need_compiler()
  local status, out, err = command.run("sass", "linear", "--case", "ragged", "--cache", cache, "--json", "--arch",
    "sm_90,sm_121a", "--table")
  lu.assertEquals(status, 0, out .. err)
  local r = last_object(out)
  lu.assertEquals(#r.targets, 2)
  lu.assertEquals(r.targets[2].arch, "sm_121a")
  lu.assertTrue(r.targets[1].kernels[1].kinds.mma >= 2)
  lu.assertStrContains(r.note, "own table")
end

-------------------------------------------------------------------------------------- --like
local capture, session = require "scripts.lib.capture", require "scripts.lib.session"
local CKPT, IDS = command.golden .. "/sib_a/modelopt", "3,1,4,1,5,9,2,6,5,3,5;2,7,1"

-- A trace of two sequences, three steps of 8, 6 and 2 rows, then 2 decoded tokens each; recorded once.
local recorded_path
local function trace_path()
  need_emulator()
  if not recorded_path then
    recorded_path = root .. "/run.h5"
    local status, out, err = command.run("trace", CKPT, recorded_path, "--ids", IDS, "--n", "2", "--chunk", "8", "--device", EMULATOR)
    lu.assertEquals(status, 0, out .. err)
  end
  return recorded_path
end

-- The same trace again with other attributes or values. change(meta, tap name, list of values or nil) alters in place.
local function rewritten(change)
  local from <close> = assert(nb.trace.open(trace_path()))
  local meta, taps, rows = from:meta(), from:taps(), from:rows()
  for _, key in ipairs { "format", "version", "taps", "finished" } do meta[key] = nil end
  change(meta)
  local path = os.tmpname() .. ".h5"
  local to <close> = assert(nb.trace.create(path, { capacity = #rows.row, taps = taps, meta = meta }))
  for _, tap in ipairs(taps) do
    local t = assert(from:read(tap.name, rows.row))
    change(meta, tap.name, t)
    assert(to:write(tap.name, 0, t))
  end
  assert(to:rows(0, rows))
  assert(to:close {})
  return path
end

-- What an op of the device read, beside what the capture says it did: all that has a tap, and codes of it, bit by bit; what was
-- computed again within storage. Every op of the model at its last step, all steps of one op.
function TestTry:test_like_hands_over_what_the_device_had()
  local run <close> = capture.open(trace_path(), {})
  local model <close> = session.open(CKPT, { device = EMULATOR, slots = 2, max_len = 13, chunk = 8 })
  local last, compared, exact = run.list[#run.list].number, 0, 0
  local function like(op, number, got, step)
    local call = run:call(run.model.ops[op.index], number)
    lu.assertEquals(call.step, step)
    for _, a in ipairs(run.model.ops[op.index].parsed) do
      local mine, theirs = call.args[a.name], got[a.name]
      if theirs and (a.direction == "in" or a.direction == "state") then
        local what = ("%s, %s at step %d"):format(op.name, a.name, number)
        if mine.codes then
          for _, part in ipairs { "codes", "scales" } do
            local x, y = mine[part]:rows(0, step.rows):raw(), theirs[part]:rows(0, step.rows):raw()
            if x == y then exact = exact + 0.5 else lu.assertStrMatches(op.name, "layer%d+/shared_expert") end   -- gate and up have no tap
          end
          lu.assertEquals(mine.input_scale, theirs.input_scale)
        else
          if a.direction == "in" and a.name ~= "inv_freq" then mine, theirs = mine:rows(0, step.rows), theirs:rows(0, step.rows) end
          local d = assert(nb.compare(mine, theirs))
          lu.assertTrue(d.nmse <= 1e-5, what)
          if d.max_abs == 0 then exact = exact + 1 end
        end
        compared = compared + 1
      end
    end
  end
  local number, spare = -1, model.plan
  function model.run(m, program, plain)
    local step = { rows = 0, seq_start = { 0 }, slot = {}, pos = {}, back = {}, out_row = plain.outs }
    for i, s in ipairs(plain.seqs) do
      step.rows = step.rows + s.n
      step.seq_start[i + 1], step.slot[i], step.back[i] = step.rows, s.slot, 0
      for t = 0, s.n - 1 do step.pos[#step.pos + 1] = s.pos + t end
    end
    if program == "embed" then number = number + 1 end
    for i, op in ipairs(m.ops) do
      op.index = i
      if op.program == program then
        if number == last or op.name == "layer01/gdn_delta" then like(op, number, assert(spare:peek(op.id, step.rows)), step) end
        assert(spare:run_op(op.id, plain))
      end
    end
  end
  local items, sampler = {}, nb.sampler {}
  for ids in IDS:gmatch "[^;]+" do
    items[#items + 1] = { seq = model:sequence(), ids = {} }
    for id in ids:gmatch "%d+" do table.insert(items[#items].ids, math.tointeger(tonumber(id))) end
  end
  for _ = 1, 3 do
    local logits = model:feed(items, { outs = "all" })
    for i, item in ipairs(items) do item.ids = { assert(sampler:pick(logits[i], 0)) } end
  end
  lu.assertEquals(number, last)
  lu.assertTrue(compared > 120 and exact > 0.9 * compared, ("%g of %d equal"):format(exact, compared))
  print(("# --like: %g of %d inputs of the device bit by bit"):format(exact, compared))
end

-- One op of every family, its steps of both capacities: right, and the trace's own outputs too.
function TestTry:test_like_tries_every_family()
  local run <close> = capture.open(trace_path(), {})
  local jit <close> = assert(nb.jit { cache = cache, include = NIBBLE_ROOT .. "/kernels/include" })
  local device <close> = assert(nb.device(EMULATOR))
  local seen = {}
  for _, op in ipairs(run.model.ops) do
    if op.layer ~= "layer00" and not seen[op.spec.name] then
      seen[op.spec.name] = true
      for _, word in ipairs { "prefill", "decode" } do
        local call = run:call(op, run:steps(word)[1])
        local t = trial.prepare(families.load(op.spec.name), call.shape, { arch = device:arch(), call = call })
        trial.compile({ t }, jit)
        trial.run(t, device, {})
        lu.assertNil(t.error)
        lu.assertTrue(t.verdict.ok, call.shape[1])
        local was = trial.recorded(t)
        lu.assertTrue(not was or was.ok, call.shape[1])
        lu.assertTrue(not call.reruns or call.reruns.nmse <= 1e-5, call.shape[1])
      end
    end
  end
  for name in pairs { linear = 1, moe_fc1 = 1, moe_fc2 = 1, gdn_conv = 1, gdn_delta = 1, attn_prep = 1, attention = 1, router = 1 } do
    lu.assertTrue(seen[name], name)
  end
end

function TestTry:test_like_from_the_command_line()
  local like = trace_path() .. ":layer03/experts_fc1"
  local status, out, err = try(nil, "moe_fc1", "--like", like, "--device", EMULATOR, "--json")
  lu.assertEquals(status, 0, out .. err)
  local cases = last_object(out).cases
  lu.assertEquals({ #cases, cases[1].case, cases[1].like.recorded.ok }, { 1, "layer03/experts_fc1@0", true })   -- 8 rows: one capacity
  lu.assertStrContains(out, "the trace's own outputs are right")
  status, out, err = try(nil, "gdn_delta", "--like", trace_path() .. ":layer01/gdn_delta@decode", "--device", EMULATOR, "--json")
  lu.assertEquals(status, 0, out .. err)
  local r = last_object(out).cases[1].like.reruns
  lu.assertTrue(r.steps == 3 and r.taps == 3 and r.nmse <= 1e-5)
  -- what is tried is the edited kernel, and it is wrong
  local folder = changed("moe_fc1", ".cu", "bf16_put(silu(", "bf16_put(1.02f * silu(")
  status, out = try(folder, "moe_fc1", "--like", like, "--device", EMULATOR)
  lu.assertEquals(status, 1, out)
  lu.assertStrContains(out, "y         WRONG")
  lu.assertStrContains(out, "the trace's own outputs are right")
end

-- A trace that is not of these weights and steps is told from a kernel that is wrong.
function TestTry:test_like_says_when_the_trace_itself_does_not_fit()
  local path = rewritten(function(_, tap, t)
    if tap == "layer01/mixer" then t:set(5, t:get(5) * 1.25 + 1) end
    if tap == "layer01/gdn_delta" then for i = 0, #t - 1 do t:set(i, 1.1 * t:get(i)) end end
  end)
  local status, out = try(nil, "linear", "--like", path .. ":layer01/mixer@0", "--device", EMULATOR, "--json")
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "NOT what the reference makes")
  lu.assertFalse(last_object(out).cases[1].like.recorded.ok)
  status, out = try(nil, "gdn_delta", "--like", path .. ":layer01/gdn_delta@decode", "--device", EMULATOR)
  lu.assertEquals(status, 0)
  lu.assertStrContains(out, "recorded outputs DISAGREE")
  os.remove(path)
end

function TestTry:test_like_refuses_what_it_cannot_do()
  local path = trace_path()
  local unnamed = rewritten(function(meta) meta.checkpoint_id = nil end)
  local old = rewritten(function(meta) meta.capacities = nil end)
  local moved = rewritten(function(meta) meta.checkpoint = root .. "/nowhere" end)
  for _, c in ipairs {
    { 6, "linear", path .. ":layer3/mixer", "near it: layer03/mixer" },
    { 2, "swiglu", path .. ":layer03/mixer", "is an op of linear, not of swiglu" },
    { 2, "linear", path .. ":layer03/linear", "is %d+ ops: layer03/" },
    { 2, "linear", path, "expected TRACE:OP" },
    { 8, "linear", path .. ":layer03/mixer@99", "has no step 99: expected 0 to 3" },
    { 2, "linear", path .. ":layer03/mixer@late", "expected a step's number, prefill or decode" },
    { 6, "linear", unnamed .. ":layer03/mixer", "names no checkpoint_id" },
    { 6, "linear", old .. ":layer03/mixer", "record it again" },
    { 3, "linear", moved .. ":layer03/mixer", "--ckpt DIR names where it is now" },
    { 8, "linear", path .. ":layer03/mixer", "recorded from a checkpoint with the hash", "--ckpt", command.golden .. "/sib_b/bf16" },
    { 2, "linear", path .. ":layer03/mixer", "--like takes it from the trace", "--case", "ragged" },
    { 3, "linear", root .. "/none.h5:layer03/mixer", "none.h5" },
  } do
    local status, out, err = try(nil, c[2], "--like", c[3], "--device", EMULATOR, table.unpack(c, 5))
    lu.assertEquals(status, c[1], c[4] .. "\n" .. out .. err)
    lu.assertStrMatches(err, ".*" .. c[4]:gsub("%-", "%%-") .. ".*\n")
  end
  lu.assertEquals((try(nil, "linear", "--like", moved .. ":layer03/mixer@0", "--ckpt", CKPT, "--device", EMULATOR)), 0)
  for _, file in ipairs { unnamed, old, moved } do os.remove(file) end
end

-- Saved twice, tried twice; the second time without the trace, whose op was captured once.
function TestTry:test_like_watches()
  local path, folder = rewritten(function() end), changed("linear", ".cu", "", "")
  local out, text, process = uv.new_pipe(), "", nil
  process = assert(uv.spawn(uv.exepath(), { args = { "try", folder .. "/linear", "--like", path .. ":layer03/mixer@0", "--device",
    EMULATOR, "--cache", cache, "--watch" }, stdio = { nil, out, nil } }, function() end))
  local edits = 0
  local timer = uv.new_timer()
  local function stop()
    process:kill "sigterm"
    out:close()
    timer:close()
  end
  uv.update_time()   -- the loop's clock stood still through the tests before
  timer:start(60000, 0, stop)
  out:read_start(function(_, chunk)
    text = text .. (chunk or "")
    local _, turns = text:gsub("watching\n", "")
    if turns == 1 and edits == 0 then
      edits = 1
      os.remove(path)
      local file <close> = assert(io.open(folder .. "/linear/linear.cu", "ab"))
      file:write "// saved\n"
    elseif turns >= 2 or not chunk then stop() end
  end)
  uv.run()
  local _, right = text:gsub("\nright\n", "")
  lu.assertEquals(right, 2, text)
end

local status = lu.LuaUnit.run()
os.execute(("rm -rf '%s'"):format(root))
os.exit(status)
