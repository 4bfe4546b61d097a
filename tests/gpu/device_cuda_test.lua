-- Kernels that never end on a GPU: the driver's own wait would not return, the device's does. The driver is built from
-- fake_driver.c. (What the machine may lack besides: tests/scripts/machine_test.lua.)
local lu = require "luaunit"
local command, uv = require "tests.scripts.command", require "luv"
local folder = command.folder()

-- `try` on a driver that answers so.
local function try(answers, ...)
  local words = { "cc -shared -fPIC -w -I", NIBBLE_ROOT }
  for key, value in pairs(answers) do words[#words + 1] = ("-D%s=%d"):format(key, value) end
  words[#words + 1] = ("%s/tests/gpu/fake_driver.c -o %s/libcuda.so.1"):format(NIBBLE_ROOT, folder)
  if not os.execute(table.concat(words, " ")) then lu.skip "no C compiler to make a driver with" end
  uv.os_setenv("LD_LIBRARY_PATH", folder)
  uv.os_setenv("NIBBLE_HANG_SECONDS", "0.2")
  -- a cache of its own: the compiler has to run beside this driver, which it looks into
  local status, out, err = command.run("try", "swiglu", "--case", "smallest", "--cache", folder .. "/cache", ...)
  uv.os_unsetenv "LD_LIBRARY_PATH"
  uv.os_unsetenv "NIBBLE_HANG_SECONDS"
  return status, out, err
end

TestDeviceCuda = {}
function TestDeviceCuda:test_kernels_that_never_end()
  local jit <close> = require("scripts.lib.launches").jit()
  lu.skipIf(not jit:compiler(), "no compiler")
  local status, out, err = try({ FAKE_QUERY = 600 }, "--device", "cuda:0")
  lu.assertEquals(status, 1, out .. err)
  lu.assertStrContains(out .. err, "kernels have not ended after 0.2 s and count as hanging; newest launch: ")
end

-- A driver that computes nothing: its outputs are what they were poisoned with or zero, and no verdict lets them pass.
function TestDeviceCuda:test_nothing_computed_is_wrong()
  local jit <close> = require("scripts.lib.launches").jit()
  lu.skipIf(not jit:compiler(), "no compiler")
  local status, out, err = try({ FAKE_QUERY = 0 }, "--device", "cuda:0")
  lu.assertEquals(status, 1, out .. err)
  lu.assertStrContains(out, "WRONG")
end

function TestDeviceCuda:test_a_number_beyond_the_gpus()
  local status, _, err = try({ FAKE_QUERY = 0 }, "--device", "cuda:1")
  lu.assertEquals(status, 7)
  lu.assertStrContains(err, "cuda:1: expected a number below 1, found 1")
end

local status = lu.LuaUnit.run()
command.remove(folder)
os.exit(status)
