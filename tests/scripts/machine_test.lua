-- What the machine lacks, through the commands as a user runs them: no compiler, no driver, no GPU, an old driver, a cache that
-- keeps nothing, a disk without room; and kernels that the emulator does not know or that never end. Each has its own sentence.
local lu, nb, uv = require "luaunit", require "nibble", require "luv"
local command, mutate = require "tests.scripts.command", require "tests.scripts.mutate"

local UNSUPPORTED, TINY = 7, command.tiny .. "/bf16"
local folder = command.folder()
local function at(name) return folder .. "/" .. name end

local function has_compiler()
  local jit <close> = assert(nb.jit { cache = at "cache", include = NIBBLE_ROOT .. "/kernels/include" })
  return jit:compiler()
end
local function need_compiler()
  local version, why = has_compiler()
  if not version then lu.skip(why) end
end

-- Runs a command with variables of the environment changed.
local function with(variables, ...)
  for name, value in pairs(variables) do uv.os_setenv(name, value) end
  local status, out, err = command.run(...)
  for name in pairs(variables) do uv.os_unsetenv(name) end
  return status, out, err
end

local function try(variables, ...)
  return with(variables, "try", "swiglu", "--case", "ragged", ...)
end

-- A driver that answers what it is told; every other function of the list is there and fails.
local function fake_driver(name, answers, but)
  local lines, dir = {}, at(name)
  assert(uv.fs_mkdir(dir, 493))
  for symbol in mutate.read(NIBBLE_ROOT .. "/core/gpu/cuda_api.def"):gmatch "API%(%w+, (cu[%w_]+)," do
    if symbol ~= but then
      lines[#lines + 1] = answers[symbol] or ("int %s(void) { return 1; }"):format(symbol)
    end
  end
  assert(#lines > 20)
  mutate.write(dir .. "/driver.c", table.concat(lines, "\n") .. "\n")
  local is_made = os.execute(("cc -w -shared -fPIC '%s/driver.c' -o '%s/libcuda.so.1' 2>/dev/null"):format(dir, dir))
  if not is_made then lu.skip "no C compiler to make a driver with" end
  return { LD_LIBRARY_PATH = dir }
end
local function answers(version, init, gpus)
  return {
    cuInit = ("int cuInit(unsigned flags) { return %d; }"):format(init),
    cuDriverGetVersion = ("int cuDriverGetVersion(int *version) { *version = %d; return 0; }"):format(version),
    cuDeviceGetCount = ("int cuDeviceGetCount(int *n) { *n = %d; return 0; }"):format(gpus),
    cuGetErrorString = [[int cuGetErrorString(int code, const char **text) { *text = "no CUDA-capable device is detected"; return 0; }]],
  }
end

TestCompiler = {}

function TestCompiler:test_no_compiler()
  local variables = { NIBBLE_NVRTC = at "absent.so" }
  local status, _, err = try(variables, "--device", "none", "--cache", at "fresh")
  lu.assertEquals(status, UNSUPPORTED)
  lu.assertStrMatches(err, "nibble: [^\n]*NVRTC[^\n]*make deps[^\n]*NIBBLE_NVRTC[^\n]*\n")
  variables.NIBBLE_CACHE_DIR = at "fresh"
  status, _, err = with(variables, "generate", TINY, "--ids", "1", "--n", "1", "--device", "emu:sm_120a")
  lu.assertEquals(status, UNSUPPORTED, err)
  lu.assertStrMatches(err, "nibble: [^\n]*NVRTC[^\n]*make deps[^\n]*\n")
end

-- A library that is none of NVIDIA's.
function TestCompiler:test_a_library_without_its_functions()
  local variables = fake_driver("other", answers(13000, 0, 0))
  local library = variables.LD_LIBRARY_PATH .. "/libcuda.so.1"
  local status, _, err = try({ NIBBLE_NVRTC = library }, "--device", "none", "--cache", at "fresh")
  lu.assertEquals(status, UNSUPPORTED)
  lu.assertStrContains(err, "NVRTC: the library has no function", false, false, err)
end

TestDriver = {}

local function check_driver(variables, ...)
  local status, out, err = with(variables, "generate", TINY, "--ids", "1", "--n", "1", "--device", "cuda:0")
  lu.assertEquals(status, UNSUPPORTED, out .. err)
  lu.assertEquals(out, "")
  lu.assertStrMatches(err, "nibble: cuda:0: [^\n]+\n")
  for _, part in ipairs { ... } do lu.assertStrContains(err, part) end
end

function TestDriver:test_no_driver()
  local d <close> = nb.device "cuda:0"
  lu.skipIf(d, "there is a GPU")
  check_driver({}, "driver", "--device emu:sm_120a")
end

function TestDriver:test_an_old_driver()
  check_driver(fake_driver("old", answers(11000, 0, 1)), "too old", "expected CUDA 13.0", "found 11.0")
  check_driver(fake_driver("older", answers(10000, 0, 1), "cuGraphLaunch"), "too old", "cuGraphLaunch")
end

function TestDriver:test_a_driver_without_a_gpu()
  check_driver(fake_driver("none", answers(13000, 0, 0)), "sees no GPU")
  check_driver(fake_driver("dead", answers(13000, 100, 0)), "does not start", "no CUDA-capable device")
end

TestCache = {}

-- Works all the same, and says that nothing is kept.
local function check_unkept(dir, ...)
  local status, out, err = try({}, "--device", "emu:sm_120a", "--cache", dir)
  lu.assertEquals(status, 0, out .. err)
  lu.assertStrMatches(err, "nibble: [^\n]+\n")
  for _, part in ipairs { dir, "not kept", ... } do lu.assertStrContains(err, part) end
end

function TestCache:test_a_file_in_the_way()
  need_compiler()
  mutate.write(at "file", "x")
  check_unkept(at "file")
  check_unkept("/proc/nibble")
end

function TestCache:test_a_read_only_file_system_and_a_full_one()
  need_compiler()
  for options, says in pairs { ro = "ead-only", ["size=16k"] = "No space left" } do
    local dir = at "mounted"
    assert(uv.fs_mkdir(dir, 493))
    if not os.execute(("mount -t tmpfs -o %s tmpfs %s 2>/dev/null"):format(options, dir)) then
      uv.fs_rmdir(dir)
      lu.skip "mounting a tmpfs is not allowed here"
    end
    local ok, message = pcall(check_unkept, dir, says)
    os.execute("umount " .. dir)
    uv.fs_rmdir(dir)
    if not ok then error(message, 0) end
  end
end

TestKernels = {}

-- A copy of swiglu with a statement before its result.
local function spoiled(name, statement)
  local dir = at(name)
  assert(uv.fs_mkdir(dir, 493) and uv.fs_mkdir(dir .. "/swiglu", 493))
  local source, n = mutate.read(NIBBLE_ROOT .. "/kernels/swiglu/swiglu.cu"):gsub("const bf16 y = ", statement .. "\n    %0", 1)
  lu.assertEquals(n, 1)
  mutate.write(dir .. "/swiglu/swiglu.cu", source)
  mutate.write(dir .. "/swiglu/swiglu.lua", mutate.read(NIBBLE_ROOT .. "/kernels/swiglu/swiglu.lua"))
  return { NIBBLE_PATH = dir }
end

function TestKernels:test_an_instruction_the_emulator_does_not_know()
  need_compiler()
  local foreign = {
    clock = { [[long long t; asm volatile("mov.u64 %%0, %%%%clock64;" : "=l"(t)); if (t == 1) return;]], "%clock64" },
    priority = { [[asm volatile("applypriority.global.L2::evict_normal [%%0], 128;" :: "l"(g_y));]], "applypriority" },
  }
  for name, row in pairs(foreign) do
    local status, out, err = try(spoiled(name, row[1]), "--device", "emu:sm_120a", "--cache", at "cache")
    lu.assertEquals(status, UNSUPPORTED, out .. err)
    lu.assertStrMatches(err, "nibble: swiglu/[^\n]*PTX line %d+: [^\n]+\n")
    lu.assertStrContains(err, row[2])
  end
end

function TestKernels:test_a_kernel_that_never_ends()
  need_compiler()
  local variables = spoiled("hang", "for (volatile int n = 0; n < 1;);")
  local status, out, err = try(variables, "--device", "emu:sm_120a", "--cache", at "cache")
  lu.assertEquals(status, 1, out .. err)
  lu.assertStrMatches(out, ".*hang: the block does not end [^\n]*kernel swiglu, PTX line %d+ %(swiglu%.cu:%d+%)[^\n]*\n.*WRONG\n")
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
