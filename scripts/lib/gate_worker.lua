-- gate_worker: the process that runs mutants for `nibble gate`: nibble scripts/lib/gate_worker.lua [cache folder]. Reads requests from
-- stdin, a JSON object a line,
--   { arch =, family =, case =, schedules = n, mutants = { numbers } } or { arch =, family =, case =, first =, last = } (seeds)
-- and answers a line for each mutant, { mutant =, outcome =, why =, runs = }, or one for the seeds, { runs =, failed = { { seed =,
-- why = }, … } }; then ".". What went wrong is { error =, code = }, the last line.
local nb = require "nibble"
local families, gate, launches = require "scripts.lib.families", require "scripts.lib.gate", require "scripts.lib.launches"
local cache = ...
local jit <close> = launches.jit(cache)
local devices, open, open_name = {}, nil, nil

local function answer(text)
  assert(io.write(text, "\n"))
  assert(io.stdout:flush())
end

-- The case of a request, compiled and its right kernel run; requests for one case mostly follow each other.
local function prepared(request)
  local name = ("%s %s %s"):format(request.arch, request.family, request.case)
  if open_name == name then return open end
  devices[request.arch] = devices[request.arch] or assert(nb.device("emu:" .. request.arch))
  local spec = families.load(request.family)
  for _, case in ipairs(gate.cases(spec)) do
    if case[1] == request.case then open = { spec = spec, case = case, arch = request.arch, device = devices[request.arch] } end
  end
  gate.compile({ open }, jit)
  gate.begin(open.trial, open.device)
  open_name = name
  return open
end

local function serve(request)
  local w, failed = prepared(request), {}
  for _, i in ipairs(request.mutants or {}) do
    local outcome, why, runs = gate.try_mutant(w.trial, w.device, w.mutants[i], request.schedules)
    answer(nb.json.encode { mutant = i, outcome = outcome, why = why, runs = runs })
  end
  for seed = request.first or 0, request.last or -1 do
    local outcome, why = gate.try_schedule(w.trial, w.device, seed)
    if outcome ~= "right" then failed[#failed + 1] = { seed = seed, why = why } end
  end
  if request.first then answer(nb.json.encode { runs = request.last - request.first + 1, failed = nb.json.array(failed) }) end
end

for line in io.lines() do
  local ok, problem = pcall(serve, assert(nb.json.decode(line)))
  if not ok then
    return answer(nb.json.encode { error = tostring(problem), code = type(problem) == "table" and problem.code or nil })
  end
  answer "."
end
