-- patterns: globs as Python's fnmatch.fnmatchcase takes them, regular expressions as re.match does;
-- hostile ones end soon.
local lu = require "luaunit"
local patterns = require "scripts.lib.patterns"

TestGlob = {}
for i, row in ipairs {   -- pattern, name, matches
  { "a*b", "axxb", true }, { "a*b", "axxbc", false }, { "a*", "a", true }, { "*", "", true },
    { "", "", true }, { "", "a", false }, { "abc", "abc", true },
  { "abc", "abcd", false }, { "*gate", "mlp.gate", true }, { "*.gate", "xgate", false },
    { "a?c", "abc", true }, { "a?c", "ac", false }, { "[a-c]x", "bx", true },
  { "[!a]x", "ax", false }, { "[!a]x", "bx", true }, { "[]]x", "]x", true }, { "[a", "[a", true },
    { "*a*b*", "xxaxxbx", true }, { "*a*b*", "xxbxxax", false },
  { "ab*ab", "ab", false }, { "ab*ab", "abab", true }, { "a**b", "ab", true },
    { "layers.[0-9]*.mlp", "layers.12.mlp", true }, { "%d", "%d", true }, { "a.c", "abc", false },
  { "*shared_expert*", "model.layers.0.mlp.shared_expert.up_proj", true }, { "*?", "", false },
    { "*[xy]z", "aaxz", true },
} do
  TestGlob[("test_%02d"):format(i)] = function() lu.assertEquals(patterns.glob(row[1])(row[2]), row[3],
    row[1] .. " on " .. row[2]) end
end

TestRegex = {}
for i, row in ipairs {   -- pattern, name, matches from the start
  { ".*lm_head", "lm_head", true }, { "^mtp.*", "mtp.fc", true }, { ".*mlp.gate$", "x.mlp.gate", true },
    { ".*mlp.gate$", "x.mlp.gate_proj", false }, { "(a|b)+c", "ababc", true },
  { "[0-9]{2}", "12", true }, { "[0-9]{3}", "12", false }, { "visual.*", "model.visual", false },
    { "a.b", "axb", true }, { "\\.x", ".x", true }, { "\\.x", "ax", false },
  { "a|b", "b", true }, { "(?:ab)*c", "ababc", true }, { "ab", "abc", true }, { "a{0,1}b", "b", true },
    { "a{2,}b", "ab", false }, { "[^.]+\\.x", "ab.x", true },
  { ".*\\.(q|k|v)_proj$", "m.k_proj", true }, { ".*\\.(q|k|v)_proj$", "m.o_proj", false },
    { "\\d+", "12", true }, { "\\w+$", "a_1", true }, { "", "x", true }, { "a*?b", "aab", true },
} do
  TestRegex[("test_%02d"):format(i)] = function() lu.assertEquals(assert(patterns.regex(row[1]))(row[2]),
    row[3], row[1] .. " on " .. row[2]) end
end

function TestRegex.test_bad_ones_say_why()
  for _, p in ipairs { "(", "[", "a)", "*a", "(?=a)", "\\", ("("):rep(200), ("a"):rep(2000) } do
    local f, why = patterns.regex(p)
    lu.assertNil(f, p)
    lu.assertIsString(why)
  end
end

function TestRegex.test_hostile_ones_end()
  local start = os.clock()
  lu.assertFalse(patterns.regex "(a+)+$" (("a"):rep(60) .. "b"))
  lu.assertFalse(patterns.regex "(a|a)*$" (("a"):rep(60) .. "b"))
  lu.assertFalse(patterns.glob(("*a"):rep(30) .. "b") (("a"):rep(200)))
  lu.assertFalse(patterns.glob(("?*"):rep(30) .. "b") (("a"):rep(200)))
  lu.assertTrue(os.clock() - start < 1)
end

os.exit(lu.LuaUnit.run())
