-- Programs side by side: all are run, what they wrote and how they ended comes back; workers answer each their own requests.
local lu, jobs = require "luaunit", require "scripts.lib.jobs"
TestJobs = {}

local function sh(text) return { file = "/bin/sh", args = { "-c", text } } end

function TestJobs:test_output_and_status()
  local list = { sh "echo one; echo two >&2; exit 3", sh "kill -9 $$", { file = "/no/such/program" }, sh "sleep 0.1; printf x" }
  local ended = {}
  jobs.run(list, 2, function(i, status, output) ended[i] = { status, output } end)
  lu.assertEquals(ended[1][1], 3)
  lu.assertItemsEquals({ ended[1][2]:match "(%a+)\n(%a+)\n" }, { "one", "two" })
  lu.assertEquals(ended[2], { 137, "" })
  lu.assertEquals(ended[3][1], 127)
  lu.assertStrContains(ended[3][2], "ENOENT")
  lu.assertEquals(ended[4], { 0, "x" })
end

-- No more at once than asked for: each notes how many lie in a folder while it runs.
function TestJobs:test_so_many_at_a_time()
  local list, most, folder = {}, 0, os.tmpname()
  os.remove(folder)
  os.execute("mkdir " .. folder)
  for i = 1, 9 do list[i] = sh(("cd %s; : >%d; ls | wc -l; sleep 0.02; rm %d"):format(folder, i, i)) end
  jobs.run(list, 3, function(_, status, output)
    lu.assertEquals(status, 0)
    most = math.max(most, tonumber(output))
  end)
  os.execute("rmdir " .. folder)
  lu.assertEquals(most, 3)
  lu.assertTrue(jobs.processors() >= 1)
end

local ECHO = sh "while read -r line; do echo \"$$ $line\"; echo again $line; echo .; done"

local function requests(n)
  local i = 0
  return function()
    i = i + 1
    if i <= n then return "request " .. i, i end
  end
end

function TestJobs:test_workers_answer()
  local seen, workers, n = {}, {}, 0
  jobs.serve(3, ECHO, requests(40), function(what, line)
    local pid, i = line:match "^(%d+) request (%d+)$"
    if pid then workers[pid], seen[tonumber(i)] = true, what else lu.assertEquals(line, "again request " .. what) end
    n = n + 1
  end)
  for i = 1, 40 do lu.assertEquals(seen[i], i) end
  lu.assertEquals(n, 80)
  local count = 0
  for _ in pairs(workers) do count = count + 1 end
  lu.assertTrue(count >= 1 and count <= 3)
  jobs.serve(2, ECHO, requests(0), error)
end

function TestJobs:test_what_goes_wrong_is_raised()
  local ok, why = pcall(jobs.serve, 2, ECHO, requests(9), function(what) if what == 4 then error({ code = "E_SPACE" }, 0) end end)
  lu.assertTrue(not ok and why.code == "E_SPACE")
  ok, why = pcall(jobs.serve, 2, ECHO, function() error("no request", 0) end, print)
  lu.assertTrue(not ok and why == "no request")
  ok, why = pcall(jobs.serve, 2, sh "read -r line; exit 5", requests(9), print)
  lu.assertTrue(not ok and why:find "^a worker ended with status 5 at: request %d$" ~= nil, why)
  ok, why = pcall(jobs.serve, 2, sh "read -r line; kill -11 $$", requests(9), print)
  lu.assertTrue(not ok and why:find "^a worker ended with signal 11 at: request %d$" ~= nil, why)
  ok, why = pcall(jobs.serve, 2, { file = "/no/such/program" }, requests(9), print)
  lu.assertTrue(not ok and why:find "^/no/such/program: cannot be started: ENOENT" ~= nil, why)
end

os.exit(lu.LuaUnit.run())
