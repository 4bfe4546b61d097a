local lu, op = require "luaunit", require "tests.lib.op"
local spec = op.family "swiglu"
TestSwiglu = {}

function TestSwiglu:test_definition()
  for _, shape in ipairs { { 1, 1 }, { 3, 17 } } do
    local rng = op.random(shape[2])
    local gate, up, y = op.f32(shape, rng), op.f32(shape, rng), op.poison(shape[1], shape[2])
    op.run(spec, { args = { gate = gate, up = up, y = y } })
    local g, u, want = gate:list(), up:list(), {}
    for i = 1, #g do want[i] = g[i] / (1 + math.exp(-g[i])) * u[i] end
    op.same(y, want, "y")
    op.run(spec, { args = { gate = gate, up = up, y = y }, round = "bf16" })
    for i = 1, #g do want[i] = op.to_bf16(want[i]) end
    op.same(y, want, "bf16", 0, 0)
  end
end

function TestSwiglu:test_ends()
  local y = op.poison(1, 4)
  op.run(spec, { args = { gate = op.f32({ 1, 4 }, { 0, -1000, 1000, 1 }), up = op.f32({ 1, 4 }, { 5, 5, 5, 0 }), y = y } })
  op.same(y, { 0, 0, 5000, 0 }, "y", 0, 0)
end

-- The quantized form is that of y as it is stored.
function TestSwiglu:test_codes_of_y()
  local y = op.poison(3, 48)
  local codes = { codes = op.tensor("U8", { 3, 24 }, 255), scales = op.tensor("U8", { 3, 3 }, 255), input_scale = 0.003 }
  op.run(spec, { args = { gate = op.f32({ 3, 48 }, op.random(11)), up = op.f32({ 3, 48 }, op.random(12)), y = y, y_codes = codes },
                 round = "bf16" })
  op.same_codes(y:reshape { 3, 1, 48 }, codes)
end

os.exit(lu.LuaUnit.run())
