-- tool: NVIDIA's command-line tools that this program calls.
--   tool.find "nvdisasm" → its path, or nil and a sentence. The wheel that `make deps` fetches, a toolkit, or the path.
local tool = {}

function tool.find(name)
  local paths = { NIBBLE_ROOT .. "/.deps/cuda/nvidia/cu13/bin/" .. name, "/usr/local/cuda/bin/" .. name }
  for folder in (os.getenv "PATH" or ""):gmatch "[^:]+" do paths[#paths + 1] = folder .. "/" .. name end
  for _, path in ipairs(paths) do
    local file <close> = io.open(path, "rb")
    if file then return path end
  end
  return nil, ("no %s in .deps/cuda, /usr/local/cuda or the path"):format(name)
end

return tool
