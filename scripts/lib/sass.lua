-- sass: names and kinds of machine instructions, by the lower nine bits of their opcode (the upper ones say what
-- the operands are).
--   sass.mix(ops) → { { name=, kind=, n= }, … } largest first, and sums by kind        ops: of nb.cubin
--   sass.disassemble(cubin) → { [kernel] = { { name, n }, … } } by nvdisasm, or nil and why
-- The table was made from cubins of this repository for sm_80 to sm_121a, disassembled by nvdisasm 13.
local tool = require "scripts.lib.tool"
local sass = {}

local table_of = {
  mma = { [0x3c] = "HMMA", [0x37] = "IMMA", [0x7a] = "QMMA", [0x7f] = "OMMA" },
  ldsm = { [0x3b] = "LDSM" },
  global = { [0x180] = "LD", [0x181] = "LDG", [0x185] = "ST", [0x186] = "STG", [0x1ae] = "LDGSTS", [0x1a8] = "ATOMG",
    [0x18e] = "RED", [0x1af] = "LDGDEPBAR" },
  shared = { [0x184] = "LDS", [0x188] = "STS", [0x18c] = "ATOMS" },
  stack = { [0x183] = "LDL", [0x187] = "STL" },
  constant = { [0x182] = "LDC", [0xb9] = "ULDC", [0x1ac] = "LDCU" },
  float = { [0x20] = "FMUL", [0x21] = "FADD", [0x23] = "FFMA", [0x9] = "FMNMX", [0xb] = "FSETP", [0x8] = "FSEL",
    [0x102] = "FCHK", [0x55] = "UFFMA" },
  half = { [0x30] = "HADD2", [0x31] = "HFMA2", [0x32] = "HMUL2" },
  special = { [0x108] = "MUFU" },
  convert = { [0x3e] = "F2FP", [0x45] = "I2FP", [0x104] = "F2F", [0x105] = "F2I", [0x106] = "I2F", [0x107] = "FRND" },
  integer = {
    [0x10] = "IADD3", [0x11] = "LEA", [0x12] = "LOP3", [0x16] = "PRMT", [0x17] = "IMNMX", [0x19] = "SHF",
      [0x24] = "IMAD", [0x25] = "IMAD.WIDE",
    [0x27] = "IMAD.HI", [0x35] = "IADD", [0x36] = "VIADD", [0x46] = "VIADDMNMX", [0x48] = "VIMNMX", [0x109] = "POPC",
      [0xc] = "ISETP",
  },
  uniform = {
    [0x82] = "UMOV", [0x87] = "USEL", [0x8c] = "UISETP", [0x90] = "UIADD3", [0x91] = "ULEA", [0x92] = "ULOP3",
      [0x97] = "UIADD3.64", [0x99] = "USHF",
    [0xa4] = "UIMAD", [0xa5] = "UIMAD.WIDE", [0xca] = "R2UR", [0x1c3] = "S2UR",
  },
  move = { [0x2] = "MOV", [0x5] = "CS2R", [0x7] = "SEL", [0x1c] = "PLOP3", [0x119] = "S2R" },
  warp = { [0x6] = "VOTE", [0x189] = "SHFL", [0x148] = "WARPSYNC", [0x11b] = "ENDCOLLECTIVE" },
  barrier = { [0x11d] = "BAR", [0x11a] = "DEPBAR" },
  branch = { [0x141] = "BSYNC", [0x142] = "BREAK", [0x144] = "CALL", [0x145] = "BSSY", [0x147] = "BRA", [0x14d] = "EXIT",
    [0x150] = "RET" },
  nop = { [0x118] = "NOP" },
}

local names, kinds = {}, {}
for kind, list in pairs(table_of) do
  for opcode, name in pairs(list) do names[opcode], kinds[opcode] = name, kind end
end

function sass.name(opcode) return names[opcode] or ("0x%03x"):format(opcode), kinds[opcode] or "unknown" end

function sass.mix(ops)
  local mix, by_kind = {}, {}
  for opcode, n in pairs(ops) do
    local name, kind = sass.name(opcode)
    mix[#mix + 1] = { name = name, kind = kind, n = n }
    by_kind[kind] = (by_kind[kind] or 0) + n
  end
  table.sort(mix, function(a, b) return a.n > b.n or (a.n == b.n and a.name < b.name) end)
  return mix, by_kind
end

function sass.disassemble(cubin)
  local path_of_tool, why = tool.find "nvdisasm"
  if not path_of_tool then return nil, why .. ": opcodes are named by this program's own table" end
  local path = os.tmpname()
  local file <close> = assert(io.open(path, "wb"))
  file:write(cubin)
  file:close()
  local pipe <close> = assert(io.popen(("'%s' -c '%s' 2>/dev/null"):format(path_of_tool, path)))
  local kernels, kernel = {}, nil
  for line in pipe:lines() do
    local section = line:match "^%s*%.section%s+(%S+)" or line:match "^(%.text%.%S+):"
    if section then
      kernel = section:match "^%.text%.([%w_$]+)"
      if kernel then kernels[kernel] = kernels[kernel] or {} end
    end
    local text = kernel and line:match "/%*%x+%*/%s+(.*)"
    local op = text and text:gsub("^@!?U?P%w+%s+", ""):match "^([%u][%w_%.]*)"
    if op then
      op = op:match "^[^%.]+"
      kernels[kernel][op] = (kernels[kernel][op] or 0) + 1
    end
  end
  os.remove(path)
  if not next(kernels) then return nil,
    path_of_tool .. " could not read the cubin: opcodes are named by this program's own table" end
  return kernels
end

return sass
