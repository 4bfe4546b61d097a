-- launches: gives the ops of a plan their kernels: picks a variant for each op and capacity, compiles what is distinct, loads it,
-- binds it.
--   local report = launches.bind(plan, ops, { device =, jit =, capacities =, exec = function(op) return "kernel" or "ref" end })
-- ops: { { id =, spec =, tap = }, … } as qwen.build returns them. Families without a kernel stay host ops and are listed in
-- report.host;
-- report.variants[op.id][capacity from 0] = { values =, s = } are the tunables and extents (variant.shape) of the others.
local nb, args, variant = require "nibble", require "scripts.lib.args", require "scripts.lib.variant"
local launches = {}

-- The compiler, with its cache in a folder of its own choice where `cache` is nil; says so when nothing can be kept there.
function launches.jit(cache)
  local jit = assert(nb.jit { cache = cache, include = NIBBLE_ROOT .. "/kernels/include" })
  local _, lost = jit:cache()
  if lost then io.stderr:write("nibble: ", lost, "\n") end
  return jit
end

-- The distinct compilations that ops × capacities need, each with the places that use it.
local function collect(plan, ops, opt, arch, report)
  local wanted, by_text = {}, {}
  for _, op in ipairs(ops) do
    if not op.spec.program or opt.exec(op) == "ref" then
      report.host[#report.host + 1] = op.name
    else
      for c = 0, #opt.capacities - 1 do
        local what = plan:describe(op.id, c)
        local values = variant.first(op.spec, what, arch)
        report.variants[op.id] = report.variants[op.id] or {}
        report.variants[op.id][c] = { values = values, s = variant.shape(what) }
        local source = variant.source(op.spec, values, what, arch)
        local text = source.source .. "\0" .. source.constants
        if not by_text[text] then
          by_text[text] = { source = source, uses = {} }
          wanted[#wanted + 1] = by_text[text]
        end
        table.insert(by_text[text].uses, { op = op, capacity = c, program = variant.program(op.spec, values, what, arch) })
      end
    end
  end
  return wanted
end

function launches.bind(plan, ops, opt)
  local arch = opt.device:arch()
  local report = { host = {}, variants = {}, compilations = 0, from_cache = 0, seconds = 0.0, launches = 0 }
  local wanted, sources = collect(plan, ops, opt, arch, report), {}
  for i, w in ipairs(wanted) do sources[i] = w.source end
  local results = opt.jit:compile(sources)
  report.compilations = #sources
  for i, r in ipairs(results) do
    if r.error then args.fail(r.code, "%s", r.error) end
    report.seconds = report.seconds + r.seconds
    if r.cached then report.from_cache = report.from_cache + 1 end
    local module = assert(opt.device:load(wanted[i].source.name, r.ptx, r.cubin))
    for _, use in ipairs(wanted[i].uses) do
      local stages = {}
      for k, s in ipairs(use.program.stages) do
        stages[k] = { module = module, entry = s.entry, grid = s.grid, block = s.block, smem = s.smem }
        report.launches = report.launches + 1
      end
      assert(plan:launch(use.op.id, use.capacity, use.op.spec, { stages = stages, scratch = use.program.scratch }))
    end
  end
  return report
end

return launches
