-- What the tests of op families share: inputs from a seed, poisoned outputs, number formats written out by definition, and a
-- comparison that NaN cannot pass. The definitions of the ops themselves are in each test.
local lu = require "luaunit"
local nb = require "nibble"
local op = {}

function op.family(name) return dofile(NIBBLE_ROOT .. "/kernels/" .. name .. "/" .. name .. ".lua") end

-- A generator of numbers, roughly normal with deviation 1, the same for a seed everywhere (a 31-bit linear congruence).
function op.random(seed)
  local state = seed * 2654435761 % 2147483648
  local function uniform()
    state = (state * 1103515245 + 12345) % 2147483648
    return state / 2147483648
  end
  return function() return (uniform() + uniform() + uniform() + uniform() - 2) * 1.7 end, uniform
end

function op.count(shape)
  local n = 1
  for _, extent in ipairs(shape) do n = n * extent end
  return n
end

-- A tensor whose values come from a list, a constant or a function of the index from 0.
function op.tensor(dtype, shape, from)
  local values = {}
  for i = 1, op.count(shape) do
    values[i] = type(from) == "table" and from[i] or type(from) == "function" and from(i - 1) or tonumber(from) or 0
  end
  return assert(nb.tensor(dtype, shape, values))
end

function op.f32(shape, from) return op.tensor("F32", shape, from) end
function op.bf16(shape, from) return op.tensor("BF16", shape, from) end
function op.i32(shape, from) return op.tensor("I32", shape, from) end
-- Outputs before they are written.
function op.poison(...) return op.f32({ ... }, 0 / 0) end

function op.run(spec, call) return assert(nb.op.run(spec, call)) end

-- The call must fail with that kind and a message that has `text` in it.
function op.fails(spec, call, code, text)
  local ok, message, found = nb.op.run(spec, call)
  lu.assertNil(ok)
  lu.assertEquals(found, code, message)
  lu.assertStrContains(message, text)
end

-- x as the nearest float.
function op.to_f32(x) return (string.unpack("<f", string.pack("<f", x))) end

-- The nearest bf16, ties to even, of a normal x: eight significant bits.
function op.to_bf16(x)
  x = op.to_f32(x)
  if x == 0 then return x end
  local exponent = (string.unpack("<I4", string.pack("<f", x)) >> 23 & 255) - 127
  local unit = 2.0 ^ (exponent - 7)
  local scaled = x / unit
  local low = math.floor(scaled)
  local up = scaled - low > 0.5 or (scaled - low == 0.5 and low % 2 == 1)
  return (low + (up and 1 or 0)) * unit
end

op.e2m1 = { [0] = 0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6 }

function op.e4m3(byte)
  local sign, exponent, mantissa = byte >= 128 and -1 or 1, byte // 8 % 16, byte % 8
  if exponent == 15 and mantissa == 7 then return 0 / 0 end
  return sign * (exponent == 0 and mantissa / 8 * 2.0 ^ -6 or (1 + mantissa / 8) * 2.0 ^ (exponent - 7))
end

-- Nearest e4m3 byte of x, ties to even, saturating: by search over all of them.
function op.to_e4m3(x)
  local best, best_distance
  for byte = 0, 126 do
    local distance = math.abs(math.abs(x) - op.e4m3(byte))
    if not best or distance < best_distance or (distance == best_distance and byte % 2 == 0) then
      best, best_distance = byte, distance
    end
  end
  return best + (x < 0 and 128 or 0)
end

-- A random NVFP4 matrix [n,k] as a weight table and as its list of values fl(code · fl(scale · g)).
function op.nvfp4_weight(n, k, seed, extra)
  local _, uniform = op.random(seed)
  local codes = op.tensor("U8", { n, k // 2 }, function() return math.floor(uniform() * 256) end)
  local scales = op.tensor("U8", { n, k // 16 }, function() return 40 + math.floor(uniform() * 30) end)
  local g, values, code, scale = op.to_f32(0.0123), {}, codes:list(), scales:list()
  for i = 0, n * k - 1 do
    local byte = code[i // 2 + 1]
    local value = op.e2m1[i % 2 == 0 and byte % 16 or byte // 16]
    values[i + 1] = op.to_f32(value * op.to_f32(op.e4m3(scale[i // 16 + 1]) * g))
  end
  local weight = { format = "nvfp4", data = codes, scales = scales, tensor_scale = g }
  for key, value in pairs(extra or {}) do weight[key] = value end
  return weight, values
end

-- Random NVFP4 activations [rows,slots,k] (or [rows,k]): codes, scales and the list of code · scale, input scale left out.
function op.nvfp4_act(shape, seed)
  local _, uniform = op.random(seed)
  local k, half, sixteenth = shape[#shape], {}, {}
  for i, extent in ipairs(shape) do half[i], sixteenth[i] = extent, extent end
  half[#half], sixteenth[#sixteenth] = k // 2, k // 16
  local codes = op.tensor("U8", half, function() return math.floor(uniform() * 256) end)
  local scales = op.tensor("U8", sixteenth, function() return 40 + math.floor(uniform() * 30) end)
  local values, code, scale = {}, codes:list(), scales:list()
  for i = 0, op.count(shape) - 1 do
    local byte = code[i // 2 + 1]
    values[i + 1] = op.e2m1[i % 2 == 0 and byte % 16 or byte // 16] * op.e4m3(scale[i // 16 + 1])
  end
  return codes, scales, values
end

-- Every element within half a unit in the last place of f32 (or `rel`) plus `abs` for the order of sums; NaN fails.
function op.same(got, want, label, rel, abs)
  got = type(got) == "table" and got or got:list()
  lu.assertEquals(#got, #want, label)
  for i = 1, #want do
    local bound = (rel or 6.1e-8) * math.abs(want[i]) + (abs or 1e-12)
    if not (math.abs(got[i] - want[i]) <= bound) then
      lu.fail(("%s: element %d: expected %.9g, found %.9g"):format(label or "values", i - 1, want[i], got[i]))
    end
  end
end

-- Bit for bit; neither may hold NaN.
function op.equal(a, b, label)
  for _, x in ipairs(a:list()) do lu.assertTrue(x == x, (label or "values") .. ": not a number") end
  lu.assertTrue(a:raw() == b:raw(), (label or "values") .. ": bits differ")
end

-- Room for the NVFP4 form of activations [rows,slots,k], poisoned.
function op.codes(rows, slots, k, input_scale)
  return { codes = op.tensor("U8", { rows, slots, k // 2 }, 255), scales = op.tensor("U8", { rows, slots, k // 16 }, 255),
           input_scale = input_scale }
end

-- An op's y_codes are what quantize_nvfp4 makes of its y [rows,slots,k], byte for byte.
function op.same_codes(y, y_codes, experts)
  local shape = y:shape()
  local own = op.codes(shape[1], shape[2], shape[3], y_codes.input_scale)
  op.run(op.family "quantize_nvfp4", { args = { x = y, experts = experts, y = own } })
  lu.assertTrue(own.codes:raw() == y_codes.codes:raw(), "codes")
  lu.assertTrue(own.scales:raw() == y_codes.scales:raw(), "scales")
end

function op.sigmoid(x) return 1 / (1 + math.exp(-x)) end
function op.silu(x) return x / (1 + math.exp(-x)) end

-- n values of a list from index `first` (from 0).
function op.slice(list, first, n) return table.move(list, first + 1, first + n, 1, {}) end

return op
