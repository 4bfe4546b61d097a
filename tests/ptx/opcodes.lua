-- opcodes: the instructions of a PTX text, opcode with every modifier as it is written
--   opcodes.of(text) → { [opcode] = line of its first use }
--   opcodes.covered() → { [opcode] = file } of tests/ptx/cases
local uv = require "luv"
local opcodes = {}

-- Statements end in ";", stand behind labels, braces and guards; what begins with "." is a directive.
function opcodes.of(text)
  local found, number = {}, 0
  for line in (text:gsub("//[^\n]*", "") .. "\n"):gmatch "([^\n]*)\n" do
    number = number + 1
    for statement in line:gmatch "[^;{}]+" do
      local word = statement:gsub("^%s*[%w_$]+:%s+", ""):gsub("^%s*@!?[%w_%%$]+%s+", ""):match "^%s*(%l[%w_:]*[%w_%.:]*)"
      if word and (word:find "%." or word == "ret" or word == "exit") and not found[word] then found[word] = number end
    end
  end
  return found
end

function opcodes.covered()
  local folder, all = NIBBLE_ROOT .. "/tests/ptx/cases", {}
  local scan = assert(uv.fs_scandir(folder))
  for name in function() return uv.fs_scandir_next(scan) end do
    local file <close> = assert(io.open(folder .. "/" .. name, "rb"))
    for opcode in pairs(opcodes.of(file:read "a")) do all[opcode] = name end
  end
  return all
end

return opcodes
