-- The codecs against other programs' bytes: formats.h5 holds 134 matrices and what ModelOpt and compressed-tensors, on CPU and CUDA,
-- wrote for each. Every byte must be equal.
local lu, nb = require "luaunit", require "nibble"
local file = assert(nb.h5.open(NIBBLE_ROOT .. "/build/golden/tiny/formats.h5"))

local matrices = {}
for _, entry in ipairs(assert(file:list "/")) do
  local name = entry.name
  matrices[#matrices + 1] = { name = name, weight = assert(nb.num.from_bits("BF16", assert(file:read(name .. "/weight_bf16")))) }
end

-- Group in the file, writer, names of its tensors.
local MODELOPT = { "weight", "weight_scale", "weight_scale_2" }
local PACKED = { "weight_packed", "weight_scale", "weight_global_scale" }
local WRITERS = {
  { "modelopt_cuda", "modelopt", MODELOPT }, { "modelopt_cpu", "modelopt-cpu", MODELOPT },
  { "ct_cpu_bf16", "ct-bf16", PACKED }, { "ct_cuda_bf16", "ct-bf16", PACKED },
  { "ct_cpu_fp32", "ct-fp32", PACKED }, { "ct_cuda_fp32", "ct-fp32", PACKED },
}

local function first_difference(a, b)
  if #a ~= #b then return ("%d bytes against %d"):format(#a, #b) end
  for i = 1, #a do
    if a:byte(i) ~= b:byte(i) then return ("byte %d: %02X, not %02X"):format(i - 1, a:byte(i), b:byte(i)) end
  end
  return "equal"
end

local function check_writer(group, writer, names)
  for _, m in ipairs(matrices) do
    local codes, scales, g = nb.num.nvfp4_encode(writer, m.weight)
    local at = m.name .. "/" .. group .. "/"
    local want_g = assert(file:read(at .. names[3])):get(0)
    lu.assertTrue(g == want_g, ("%s scalar %a, not %a"):format(at, g, want_g))
    for i, got in ipairs { codes, scales } do
      local want = assert(file:read(at .. names[i])):raw()
      local raw = got:raw()
      lu.assertTrue(raw == want, at .. names[i] .. " " .. first_difference(raw, want))
    end
  end
end

TestFormats = {}

function TestFormats:test_all_matrices_are_there()
  lu.assertEquals(#matrices, 134)
end

for _, w in ipairs(WRITERS) do
  TestFormats["test_bytes_of_" .. w[1]] = function() check_writer(table.unpack(w)) end
end

-- ModelOpt's division forms give other bytes in few matrices only, so a mixed-up pair of writers must be noticed here too.
function TestFormats:test_the_two_division_forms_differ()
  local different = 0
  for _, m in ipairs(matrices) do
    local a, b = assert(file:read(m.name .. "/modelopt_cpu/weight")):raw(), assert(file:read(m.name .. "/modelopt_cuda/weight")):raw()
    local c, d = assert(file:read(m.name .. "/modelopt_cpu/weight_scale")):raw(), assert(file:read(m.name .. "/modelopt_cuda/weight_scale")):raw()
    if a ~= b or c ~= d then different = different + 1 end
  end
  lu.assertEquals(different, 3)
end

-- Decoding is not the identity and not far from it: four-bit codes with one scale per 16 leave about 1 % of the energy as error.
function TestFormats:test_decoding_comes_back_near()
  for _, w in ipairs(WRITERS) do
    for _, name in ipairs { "gauss", "heavy", "mantissa", "ties" } do
      for _, m in ipairs(matrices) do
        if m.name == name then
          local codes, scales, g = nb.num.nvfp4_encode(w[2], m.weight)
          local diff = assert(nb.compare(assert(nb.num.nvfp4_decode(codes, scales, g, w[2]:match "^ct" ~= nil)), m.weight))
          lu.assertTrue(diff.finite and diff.nmse > 1e-4 and diff.nmse < 0.02, ("%s %s: nmse %g"):format(name, w[2], diff.nmse))
        end
      end
    end
  end
end

function TestFormats:test_wrong_use_is_a_sentence()
  local _, message, code = nb.num.nvfp4_encode("modelopt", nb.tensor("F32", { 2, 24 }))
  lu.assertEquals({ code, message }, { "E_SHAPE", "NVFP4 needs columns in blocks of 16, found f32[2,24]" })
  local w = nb.tensor("F32", { 1, 16 })
  w:set(3, 0 / 0)
  _, message, code = nb.num.nvfp4_encode("modelopt", w)
  lu.assertEquals(code, "E_VALUE")
  _, message, code = nb.num.nvfp4_encode("ct-fp32", nb.tensor("F32", { 1, 16 }), -1)
  lu.assertEquals(code, "E_VALUE")
  _, message, code = nb.num.quantize_activation(nb.tensor("F32", { 1, 16 }), 0)
  lu.assertEquals(code, "E_VALUE")
  _, message, code = nb.num.nvfp4_decode(nb.tensor("U8", { 2, 8 }), nb.tensor("F8_E4M3", { 2, 2 }), 1, false)
  lu.assertEquals(code, "E_SHAPE")
  lu.assertErrorMsgContains("no writer of that name", nb.num.nvfp4_encode, "modelopt-9", w)
end

os.exit(lu.LuaUnit.run())
