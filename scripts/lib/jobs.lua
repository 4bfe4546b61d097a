-- jobs: programs side by side.
--   jobs.processors() → how many run well at once
--   jobs.run({ { file =, args = { … }, env = { "NAME=value", … } or nil }, … }, n, function(i, status, output) … end)
--     runs them in order, n at a time; on_end gets what each wrote to stdout and stderr together, as it ends. A program that a
--     signal ended has the status 128 + its number; one that cannot be started has 127 and the reason as its output.
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

return jobs
