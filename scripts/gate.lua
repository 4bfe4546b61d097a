-- gate: breaks kernel families on purpose and sees whether it shows: every barrier, wait, commit, fence and shuffle deleted, every
-- shared offset shifted, scale operands exchanged, in the PTX of each family's first variants
-- needs: NVRTC; runs in checked mode on the emulator, under several schedules, against the families' references, on all processors
-- writes: with --out a line of JSON for each mutant as it ends; what is there is not run again. Killed, or ended by --seconds, it
-- goes on from there; parts (--shard 1/4 … 4/4, on any machines) are put together by --merge A.jsonl,B.jsonl
-- prints: a line a family, what survived, the sums; with --json one object. Ends with 1 when a survivor has no reason, a reason
-- explains nothing, a right kernel fails under some schedule, or merged stores lack something; a part alone is not judged
local nb, args, uv = require "nibble", require "scripts.lib.args", require "luv"
local families, gate, gate_store = require "scripts.lib.families", require "scripts.lib.gate", require "scripts.lib.gate_store"
local trial, jobs = require "scripts.lib.trial", require "scripts.lib.jobs"
local launches, progress = require "scripts.lib.launches", require "scripts.lib.progress"
local MUTANTS_AT_ONCE, SEEDS_AT_ONCE = 8, 25   -- of one request: a few seconds of a worker

local opt = args.parse({
  name = "gate", summary = "Mutation gate: would the checker and the tests see a fault in these kernels?",
  positional = { { "family", "names of families, or all", many = true } },
  options = {
    { "arch", "sm_120a", "architectures, sm_120a,sm_90" },
    { "seeds", 4, "schedules that a mutant has to survive", min = 1 },
    { "schedules", 0, "instead of mutants: the right kernels under so many schedules a case", min = 0 },
    { "quick", false, "one case a family" }, { "list", false, "every mutant that was caught, too" },
    { "cache", "string?", "folder of compiled kernels" },
    { "jobs", 0, "processes, 0: one a processor", min = 0, max = 512 },
    { "out", "string?", "store of results, a JSON line each: appended to, not run again" },
    { "seconds", 0, "begin nothing new after so long, 0: no limit", min = 0 },
    { "shard", "1/1", "only the i-th of n parts, i/n" },
    { "merge", "string?", "runs nothing: sums up these stores, A.jsonl,B.jsonl (and keeps all in --out)" },
  },
}, ...)

local function shard_of(text)
  local i, n = text:match "^(%d+)/(%d+)$"
  i, n = tonumber(i), tonumber(n)
  if not i or i < 1 or i > n then args.usage(("--shard: expected i/n with 1 ≤ i ≤ n, found \"%s\""):format(text)) end
  return i, n
end

local function split(list)
  local parts = {}
  for part in (list or ""):gmatch "[^,]+" do parts[#parts + 1] = part end
  return parts
end

local function names_of(list)
  if #list == 1 and list[1] == "all" then return families.names() end
  return list
end

-- Everything that is to be run, { name = of its row in the store, w = case, mutant = number, or first =, last = seeds }, in order.
local function plan(jit)
  local cases, items = {}, {}
  for _, arch in ipairs(split(opt.arch)) do
    trial.arch(arch)
    for _, name in ipairs(names_of(opt.family)) do
      local spec = families.load(name)
      for _, case in ipairs(gate.cases(spec, opt.quick)) do cases[#cases + 1] = { spec = spec, case = case, arch = arch } end
    end
  end
  gate.compile(cases, jit)
  for _, w in ipairs(cases) do
    local stem = gate_store.stem(w)
    for i, m in ipairs(opt.schedules == 0 and w.mutants or {}) do
      items[#items + 1] = { name = ("%s line %d %s %s"):format(stem, m.line, m.kind, m.becomes), w = w, mutant = i, n = 1 }
    end
    for first = 0, opt.schedules - 1, SEEDS_AT_ONCE do
      local last = math.min(first + SEEDS_AT_ONCE, opt.schedules) - 1
      items[#items + 1] = { name = ("%s schedules %d to %d"):format(stem, first, last), w = w, first = first, last = last,
        n = last - first + 1 }
    end
    w.trial = nil   -- workers make their own
  end
  return items
end

-- Is there a result that answers it? A survivor of fewer schedules does not.
local function is_known(store, item)
  local row = store.rows[item.name]
  local has_survived = row and (row.outcome == "right" or row.outcome == "unused")
  return row and not (has_survived and row.runs < opt.seeds)
end

-- The items of this part that have no result yet.
local function missing_of(items, store, i, n)
  local missing = {}
  for k, item in ipairs(items) do
    if k % n == i % n and not is_known(store, item) then missing[#missing + 1] = item end
  end
  return missing
end

-- What a worker is asked at once: some mutants of one case, or the seeds of one item.
local function requests_of(items)
  local list, last = {}, nil
  for _, item in ipairs(items) do
    if item.mutant and last and last.w == item.w and #last.mutants < MUTANTS_AT_ONCE then
      last.items[item.mutant] = item
      table.insert(last.mutants, item.mutant)
    else
      last = { w = item.w, item = item, items = item.mutant and { [item.mutant] = item }, mutants = item.mutant and { item.mutant } }
      list[#list + 1] = last
    end
  end
  return list
end

local function words_of(request)
  local w, item = request.w, request.item
  return nb.json.encode { arch = w.arch, family = w.spec.name, case = w.case[1], schedules = opt.seeds, mutants = request.mutants,
    first = item.first, last = item.last }
end

-- Runs items on worker processes, each result put into the store as it comes.
local function run_all(items, store)
  local requests, total, next_one, start = requests_of(items), 0, 0, uv.hrtime()
  for _, item in ipairs(items) do total = total + item.n end
  local line = progress.new("gate", total, opt.schedules > 0 and "schedules" or "mutants")
  local env = { "OMP_NUM_THREADS=1" }
  for name, value in pairs(uv.os_environ()) do
    if name ~= "OMP_NUM_THREADS" then env[#env + 1] = name .. "=" .. value end
  end
  local n = math.min(opt.jobs > 0 and opt.jobs or jobs.processors(), #requests)
  jobs.serve(n, { file = uv.exepath(), args = { NIBBLE_ROOT .. "/scripts/lib/gate_worker.lua", opt.cache }, env = env }, function()
    next_one = next_one + 1
    local is_late = opt.seconds > 0 and (uv.hrtime() - start) / 1e9 > opt.seconds
    local request = not is_late and requests[next_one]
    if request then return words_of(request), request end
  end, function(request, text)
    local answer = assert(nb.json.decode(text))
    if answer.error then error(answer.code and { code = answer.code, message = answer.error } or answer.error, 0) end
    local item = answer.mutant and request.items[answer.mutant] or request.item
    store:put { name = item.name, outcome = answer.outcome, why = answer.why, runs = answer.runs, failed = answer.failed }
    line:advance(item.n)
  end)
  line:finish()
end

local function describe(m)
  return ("%s line %d: %s%s  (%s: %s)"):format(m.kind, m.line, m.text,
    m.becomes ~= "" and " → " .. m.becomes:gsub("%s+", " "):gsub("^ ", "") or "", m.source or "?", m.source_text or "")
end

local function print_mutants(r)
  print(("%-16s %6d mutants: %5d findings, %5d wrong results, %d refused; %d of no use, %d only elsewhere, %d explained, %d UNEXPLAINED")
    :format(r.family, r.mutants, r.finding, r.result, r.refused, r.unused, r.twin, r.explained, r.holes))
  for _, m in ipairs(r.survivors) do
    if not m.reason then print(("  survives %s: %s"):format(m.case, describe(m))) end
  end
  for _, row in ipairs(r.stale) do print(("  explains nothing: %s \"%s\""):format(row.kind, row.at)) end
end

-- What the store says of the mutants of a family on one architecture; of some of them nothing can be said: a survivor may be
-- harmless only in its case.
local function report_mutants(spec, arch, items, store, is_whole)
  local rows, runs = {}, 0
  for _, item in ipairs(items) do
    local row, m = store.rows[item.name], item.w.mutants[item.mutant]
    if row then
      m.case, m.outcome, m.why = item.w.case[1], row.outcome, row.why
      rows[#rows + 1], runs = m, runs + row.runs
      if opt.list and row.why then print(("  %s %s: %s — %s"):format(row.outcome, m.case, describe(m), row.why)) end
    end
  end
  local r = gate.judge(spec, arch, rows)
  r.runs = runs
  if opt.quick then r.stale = {} end
  if is_whole then print_mutants(r) end
  return r, is_whole and r.holes + #r.stale or 0
end

local function report_schedules(spec, items, store)
  local r = { family = spec.name, runs = 0, failed = {} }
  for _, item in ipairs(items) do
    local row = store.rows[item.name]
    r.runs = r.runs + (row and row.runs or 0)
    for _, f in ipairs(row and row.failed or {}) do
      r.failed[#r.failed + 1] = { case = item.w.case[1], seed = f.seed, why = f.why }
    end
  end
  print(("%-16s %6d runs, %d failed"):format(spec.name, r.runs, #r.failed))
  for _, f in ipairs(r.failed) do print(("  %s, schedule %d: %s"):format(f.case, f.seed, f.why)) end
  return r, #r.failed
end

local function report_arch(arch, items, store, is_whole)
  local list, bad, by_family = {}, 0, {}
  for _, item in ipairs(items) do
    local name = item.w.spec.name
    by_family[name] = by_family[name] or {}
    if item.w.arch == arch then table.insert(by_family[name], item) end
  end
  print("emu:" .. arch)
  for _, name in ipairs(names_of(opt.family)) do
    local spec, own, r, n = families.load(name), by_family[name] or {}, nil, nil
    if opt.schedules > 0 then r, n = report_schedules(spec, own, store) else r, n = report_mutants(spec, arch, own, store, is_whole) end
    list[#list + 1], bad = r, bad + n
  end
  return { arch = arch, families = list }, bad
end

-- Over all architectures and families.
local function print_sums(result)
  local sum = { mutants = 0, finding = 0, result = 0, refused = 0, unused = 0, twin = 0, explained = 0, holes = 0, runs = 0, failed = 0 }
  for _, a in ipairs(result.archs) do
    for _, f in ipairs(a.families) do
      for key, n in pairs(sum) do
        local own = f[key] or 0
        sum[key] = n + (type(own) == "table" and #own or own)
      end
    end
  end
  if opt.schedules > 0 then print(("%d schedules run, %d failed"):format(sum.runs, sum.failed)) else
    print(("%d mutants: %d caught (%d findings, %d wrong results, %d refused), %d survive (%d of no use, %d only elsewhere, %d explained, %s); " ..
      "%d runs under schedules"):format(sum.mutants, sum.finding + sum.result + sum.refused, sum.finding, sum.result, sum.refused,
      sum.unused + sum.twin + sum.explained + sum.holes, sum.unused, sum.twin, sum.explained,
      result.left == 0 and sum.holes .. " UNEXPLAINED" or sum.holes .. " not judged yet", sum.runs))
  end
  result.sums = sum
end

local i, n = shard_of(opt.shard)
local store = gate_store.open(opt.out, split(opt.merge))
local jit <close> = launches.jit(opt.cache)
local items = plan(jit)
local own = missing_of(items, store, i, n)
if not opt.merge and #own > 0 then run_all(own, store) end
store:close()

local left, result, bad = #missing_of(items, store, 1, 1), { archs = {} }, 0
result.left, result.planned = left, #items
for _, arch in ipairs(split(opt.arch)) do
  local r, failed = report_arch(arch, items, store, left == 0)
  bad = bad + failed
  table.insert(result.archs, r)
end
print_sums(result)
if store.others > 0 then print(("%d rows of other versions of this program count for nothing"):format(store.others)) end
if left > 0 then print(("%d of %d left"):format(left, #items)) end
if opt.merge then bad = bad + left end
result.ok = bad == 0
print(bad > 0 and ("OPEN: %d"):format(bad) or left > 0 and "not finished" or "closed")
if opt.json then args.print_json(result) end
if bad > 0 then os.exit(1, true) end
