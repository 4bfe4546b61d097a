-- nibble new, plan and the watching try, as a user runs them.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command = require "tests.scripts.command"
TestNew = {}

local root = os.tmpname()
os.remove(root)
assert(uv.fs_mkdir(root, 448))

local function last_object(out) return assert(nb.json.decode(out:match "([^\n]+)\n$")) end

local function need(device)
  local jit <close> = assert(nb.jit { cache = root .. "/cache", include = NIBBLE_ROOT .. "/kernels/include" })
  local version, why = jit:compiler()
  if not version then lu.skip(why) end
  local d <close>, message = nb.device(device)
  if not d then lu.skip(message) end
end

function TestNew:test_a_new_family_is_right_at_once()
  local status, out, err = command.run("new", "my_norm", "--like", "rmsnorm", "--path", root, "--json")
  lu.assertEquals(status, 0, err)
  lu.assertEquals(#last_object(out).files, 2)
  status, out, err = command.run("new", "my_norm", "--like", "rmsnorm", "--path", root)
  lu.assertEquals(status, 8, out .. err)
  need "emu:sm_120a"
  status, out, err = command.run("try", root .. "/my_norm", "--case", "ragged", "--device", "emu:sm_120a", "--cache",
    root .. "/cache")
  lu.assertEquals(status, 0, out .. err)
  lu.assertStrContains(out, "my_norm/t")
end

function TestNew:test_names_and_models_that_are_none()
  lu.assertEquals((command.run("new", "Capital", "--path", root)), 2)
  lu.assertEquals((command.run("new", "a_name_of_more_than_23_let", "--path", root)), 2)
  lu.assertEquals((command.run("new", "other", "--like", "nothing", "--path", root)), 6)
  lu.assertEquals((command.run("new", "other", "--path", root .. "/absent")), 3)
end

-- Saved twice: wrong after the first time, right after the second.
function TestNew:test_watching_runs_again_on_save()
  need "emu:sm_120a"
  lu.assertEquals((command.run("new", "seen", "--path", root)), 0)
  local path = root .. "/seen/seen.cu"
  local file <close> = assert(io.open(path, "rb"))
  local right = file:read "a"
  local function save(text)
    local f <close> = assert(io.open(path, "wb"))
    f:write(text)
  end
  local pipe, text, verdicts = uv.new_pipe(), "", {}
  local process
  process = assert(uv.spawn(uv.exepath(), {
    args = { "try", root .. "/seen", "--case", "ragged", "--device", "emu:sm_120a", "--cache", root .. "/cache",
      "--watch" }, stdio = { nil, pipe, nil },
  }, function() process:close() end))
  local limit = uv.new_timer()
  limit:start(20000, 0, function() process:kill "sigkill" end)
  pipe:read_start(function(_, chunk)
    if not chunk then return end
    text = text .. chunk
    while true do
      local verdict, rest = text:match "\n(%u*%l*)\nwatching\n(.*)$"
      if not verdict then return end
      text, verdicts[#verdicts + 1] = rest, verdict
      if #verdicts == 1 then save((right:gsub("bf16_put%(silu", "bf16_put(2.0f * silu")))
      elseif #verdicts == 2 then save(right)
      else process:kill "sigterm" end
    end
  end)
  while process:is_active() do uv.run "once" end
  limit:close()
  pipe:close()
  lu.assertEquals(verdicts, { "right", "WRONG", "right" }, text)
end

function TestNew:test_a_plan_adds_up()
  local dir = NIBBLE_ROOT .. "/build/golden/tiny/modelopt/nvfp4_experts_only-kv_fp8_cast"
  local status, out, err = command.run("plan", dir, "--json", "--rows", 4)
  lu.assertEquals(status, 0, err)
  local r = last_object(out)
  local ops, launches, bytes, weights = 0, 0, 0, 0
  for _, f in ipairs(r.families) do
    ops, launches, bytes, weights = ops + f.ops, launches + f.launches, bytes + f.bytes, weights + f.weights
  end
  lu.assertEquals(ops, #r.ops)
  lu.assertEquals({ ops, launches }, { r.total.ops, r.total.launches })
  lu.assertAlmostEquals(bytes, r.total.bytes, 1)
  lu.assertAlmostEquals(weights, r.total.weights, 1)
  lu.assertTrue(r.total.host == 0 and r.total.compilations > 10 and r.total.compilations <= r.total.launches * 2)
  lu.assertEquals(r.kv, "fp8")
  local _, one = command.run("plan", dir, "--json")
  lu.assertTrue(last_object(one).total.flop < r.total.flop)
  -- Activations quantized: every op still has a kernel.
  status, out = command.run("plan", NIBBLE_ROOT .. "/build/golden/tiny/modelopt/nvfp4_default-kv_fp8", "--impl",
    "stored", "--json")
  lu.assertEquals(status, 0)
  r = last_object(out)
  lu.assertTrue(r.total.host == 0 and next(r.refused) == nil, out)
  local quantizers = 0
  for _, f in ipairs(r.families) do quantizers = quantizers + (f.family == "quantize_nvfp4" and f.launches or 0) end
  -- of 8 layers the input of gdn.out or attn.o; norms, the experts' and the shared expert's activation write their own
  lu.assertEquals(quantizers, 8)
  lu.assertEquals((command.run("plan", root .. "/absent")), 3)
  lu.assertEquals((command.run("plan", dir, "--device", "emu:sm_70")), 2)
end

local status = lu.LuaUnit.run()
os.execute(("rm -rf '%s'"):format(root))
os.exit(status)
