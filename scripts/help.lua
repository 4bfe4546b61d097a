-- help: the commands of `nibble`, one line each, read from the second comment line of every script.
local commands = {}
for path in io.popen('ls "' .. NIBBLE_ROOT .. '"/scripts/*.lua'):lines() do
  local file = assert(io.open(path))
  local name, what = (file:read "l" or ""):match "^%-%- ([%w_]+): (.+)$"
  file:close()
  if name and name ~= "help" then commands[#commands + 1] = ("  %-10s %s"):format(name, what) end
end
print "nibble COMMAND [options] · nibble SCRIPT.lua [options] · nibble (a REPL)\n\ncommands (each has --help and --json):"
print(table.concat(commands, "\n"))
