-- progress: one line on a terminal with count, rate and time left; silent when stderr is not a terminal.
--   local line = progress.new("eval", total, "tokens")   line:advance(n) … line:finish()
local uv = require "luv"
local progress = {}
progress.__index = progress

function progress.new(what, total, unit)
  local is_tty = uv.guess_handle(2) == "tty"
  return setmetatable({ what = what, total = total, unit = unit, done = 0, start = uv.hrtime(), shown = 0, is_tty = is_tty },
    progress)
end

function progress:advance(n)
  self.done = self.done + n
  local now = uv.hrtime()
  if not self.is_tty or now - self.shown < 2e8 then return end
  self.shown = now
  local rate = self.done / ((now - self.start) / 1e9)
  io.stderr:write(("\r\27[K%s  %d of %d %s  %.0f/s  %.0f s left"):format(self.what, self.done, self.total, self.unit, rate,
    (self.total - self.done) / rate))
end

function progress:finish()
  if self.is_tty then io.stderr:write "\r\27[K" end
end

return progress
