-- jobs: programs side by side.
--   jobs.processors() → how many run well at once
--   jobs.run({ { file =, args = { … }, env = { "NAME=value", … } or nil }, … }, n, function(i, status, output) … end)
--     runs them in order, n at a time; on_end gets what each wrote to stdout and stderr together, as it ends. A program that a
--     signal ended has the status 128 + its number; one that cannot be started has 127 and the reason as its output.
--   jobs.serve(n, { file =, args =, env = }, next_request, on_line)
--     n of one program, which reads requests from stdin, a line each, and answers with lines, the last of them "."; next_request()
--     gives the next request (a line, and anything that on_line is to get) or nil; on_line(what, line) gets the other lines. An error
--     of either, or a program that ends too early, ends all of them and is raised.
local uv = require "luv"
local jobs = {}

function jobs.processors()
  return uv.available_parallelism and uv.available_parallelism() or #uv.cpu_info()
end

-- Starts one; `on_end` comes when it has ended and all it wrote has been read.
local function start(job, on_end)
  local out, err, text, status, open = uv.new_pipe(), uv.new_pipe(), {}, nil, 3
  local function part_ended()
    open = open - 1
    if open == 0 then on_end(status, table.concat(text)) end
  end
  local process, why
  process, why = uv.spawn(job.file, { args = job.args, env = job.env, stdio = { nil, out, err } }, function(code, signal)
    status = signal ~= 0 and 128 + signal or code
    process:close()
    part_ended()
  end)
  if not process then
    out:close()
    err:close()
    return on_end(127, tostring(why))
  end
  for _, pipe in ipairs { out, err } do
    pipe:read_start(function(_, data)
      if data then text[#text + 1] = data else
        pipe:close()
        part_ended()
      end
    end)
  end
end

function jobs.run(list, n, on_end)
  local next_one, running = 1, 0
  local function fill()
    while running < n and next_one <= #list do
      local i = next_one
      next_one, running = next_one + 1, running + 1
      start(list[i], function(status, output)
        running = running - 1
        on_end(i, status, output)
        fill()
      end)
    end
  end
  fill()
  uv.run()
end

-- Calls f with the lines of a pipe as they come.
local function each_line(pipe, f)
  local rest = ""
  pipe:read_start(function(_, data)
    if not data then return pipe:close() end
    rest = rest .. data
    for line in rest:gmatch "([^\n]*)\n" do f(line) end
    rest = rest:match "[^\n]*$"
  end)
end

function jobs.serve(n, job, next_request, on_line)
  local workers, problem = {}, nil
  local function stop(why)
    problem = problem or why
    for _, w in ipairs(workers) do
      if not w.has_ended then w.process:kill "sigkill" end
    end
  end
  -- Lua's own errors must not get lost in the loop that calls back.
  local function guarded(f, ...)
    local ok, a, b = pcall(f, ...)
    if ok then return a, b end
    stop(a)
  end
  local function ask(w)
    local request, what
    if not problem then request, what = guarded(next_request) end
    w.request, w.what = request, what
    if request then w.stdin:write(request .. "\n") else w.stdin:close() end
  end
  for i = 1, n do
    local w = { stdin = uv.new_pipe() }
    local stdout = uv.new_pipe()
    local process, why = uv.spawn(job.file, { args = job.args, env = job.env, stdio = { w.stdin, stdout, 2 } }, function(code, signal)
      w.has_ended = true
      w.process:close()
      if w.request then
        stop(("a worker ended with %s at: %s"):format(signal ~= 0 and "signal " .. signal or "status " .. code, w.request))
      end
    end)
    if not process then
      w.stdin:close()
      stdout:close()
      stop(("%s: cannot be started: %s"):format(job.file, why))
      break
    end
    w.process, workers[i] = process, w
    each_line(stdout, function(line)
      if line == "." then return ask(w) end
      guarded(on_line, w.what, line)
    end)
    ask(w)
  end
  uv.run()
  if problem then error(problem, 0) end
end

return jobs
