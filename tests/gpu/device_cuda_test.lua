-- What the program says where no GPU can be used: no driver, an old one, a broken one, no GPU, kernels that never end, and where
-- there is no compiler or no place for its results. Drivers are built from fake_driver.c.
local lu, nb = require "luaunit", require "nibble"
local command = require "tests.scripts.command"
local folder = command.folder()

-- A folder with a libcuda.so.1 that answers so.
local function driver(name, answers)
  local dir = folder .. "/" .. name
  local words = { "mkdir -p", dir, "&& cc -shared -fPIC -w -I", NIBBLE_ROOT }
  for key, value in pairs { FAKE_VERSION = 13000, FAKE_INIT = 0, FAKE_GPUS = 1, FAKE_QUERY = 0 } do
    words[#words + 1] = ("-D%s=%d"):format(key, answers[key] or value)
  end
  words[#words + 1] = ("%s/tests/gpu/fake_driver.c -o %s/libcuda.so.1"):format(NIBBLE_ROOT, dir)
  lu.assertTrue(os.execute(table.concat(words, " ")))
  return dir
end

-- `try` of a small family with an environment of its own: status, stdout, stderr.
local function try(environment, ...)
  local program = os.getenv "PATH"
  local script = folder .. "/run.sh"
  local f = assert(io.open(script, "w"))
  f:write("#!/bin/sh\n", environment, ' exec "$NIBBLE" "$@"\n')
  f:close()
  local out, err = os.tmpname(), os.tmpname()
  local line = ("NIBBLE='%s' PATH='%s' sh %s try swiglu --case smallest %s >%s 2>%s </dev/null"):format(require "luv".exepath(),
    program, script, table.concat({ ... }, " "), out, err)
  local _, _, status = os.execute(line)
  local texts = {}
  for i, path in ipairs { out, err } do
    local file = assert(io.open(path))
    texts[i] = file:read "a"
    file:close()
    os.remove(path)
  end
  return status, texts[1], texts[2]
end

local function with(dir) return ("LD_LIBRARY_PATH='%s' NIBBLE_HANG_SECONDS=0.2"):format(dir) end

TestDriver = {}
function TestDriver:test_each_lack_has_its_sentence()
  for _, c in ipairs {
    { "old", { FAKE_VERSION = 12040 }, "the NVIDIA driver is too old: expected CUDA 13.0 or newer, found 12.4" },
    { "broken", { FAKE_INIT = 999 }, "the NVIDIA driver does not start: unknown internal error" },
    { "empty", { FAKE_GPUS = 0 }, "the NVIDIA driver sees no GPU" },
  } do
    local status, out, err = try(with(driver(c[1], c[2])), "--device", "cuda:0")
    lu.assertEquals(status, 7, out .. err)
    lu.assertStrContains(err, "nibble: cuda:0: " .. c[3] .. "; --device emu:sm_120a runs without a GPU")
  end
  local status, _, err = try(with(driver("one", {})), "--device", "cuda:1")
  lu.assertEquals(status, 7)
  lu.assertStrContains(err, "cuda:1: expected a number below 1")
end

function TestDriver:test_a_library_that_is_no_driver()
  os.execute(("mkdir -p %s/none && echo 'int nothing;' | cc -shared -fPIC -x c - -o %s/none/libcuda.so.1"):format(folder, folder))
  local status, _, err = try(with(folder .. "/none"), "--device", "cuda:0")
  lu.assertEquals(status, 7)
  lu.assertStrContains(err, "the NVIDIA driver is too old: it has no cuInit")
end

function TestDriver:test_no_driver()
  local device, why = nb.device "cuda:0"
  lu.skipIf(device, "a GPU is here")
  lu.assertStrContains(why, "cuda:0: ")
  lu.assertStrContains(why, "; --device emu:sm_120a runs without a GPU")
end

-- The driver's own wait would never return.
function TestDriver:test_kernels_that_never_end()
  local jit <close> = require("scripts.lib.launches").jit()
  lu.skipIf(not jit:compiler(), "no compiler")
  local dir = driver("hang", { FAKE_QUERY = 600 })
  local status, out, err = try(with(dir), "--device", "cuda:0")
  lu.assertEquals(status, 1, out .. err)
  lu.assertStrContains(out .. err, "kernels have not ended after 0 s and count as hanging; newest launch: ")
end

TestCompiler = {}
function TestCompiler:test_no_compiler()
  local status, out, err = try "NIBBLE_NVRTC=/nowhere/libnvrtc.so.13"
  lu.assertEquals(status, 7, out .. err)
  lu.assertStrContains(err, "NVRTC: NIBBLE_NVRTC names /nowhere/libnvrtc.so.13, which cannot be opened")
end

-- Nothing is lost but the next start's time, and it is said once.
function TestCompiler:test_a_cache_that_cannot_be_written()
  local jit <close> = require("scripts.lib.launches").jit()
  lu.skipIf(not jit:compiler(), "no compiler")
  local status, out, err = try("NIBBLE_CACHE_DIR=/proc/version/cache", "--device", "emu:sm_120a")
  lu.assertEquals(status, 0, out .. err)
  local _, said = err:gsub("cache folder /proc/version/cache: Not a directory: compiled kernels are not kept", "")
  lu.assertEquals(said, 1, err)
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
