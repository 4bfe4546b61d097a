-- demo: everything once on the tiny NVFP4 checkpoint: doctor, text, activations compared with the BF16 model's, perplexity
-- needs: `make golden` (recorded checkpoints in build/golden); any x86-64 Linux machine, no GPU
-- writes: build/demo/{nvfp4,bf16,kernels,w4a16}.h5
local nb, args, uv = require "nibble", require "scripts.lib.args", require "luv"

local opt = args.parse({ name = "demo", summary = "Shows on a tiny trained checkpoint what nibble does." }, ...)

local nvfp4 = "build/golden/tiny/modelopt/nvfp4_experts_only-kv_fp8_cast"
local bf16 = "build/golden/tiny/bf16"
assert(uv.chdir(NIBBLE_ROOT))
if not uv.fs_stat(bf16) then
  args.fail("E_MISSING", "%s: expected the recorded checkpoints there; `make golden` unpacks them", bf16)
end
os.execute "mkdir -p build/demo"

local failed, ended = 0, {}
local function quote(word) return word:match "^[%w%-_./:,=]+$" and word or "'" .. word:gsub("'", "'\\''") .. "'" end

-- Runs one command as a user would; `allowed` lists the exit statuses that are a result and not an error.
local function show(title, words, allowed)
  for i, w in ipairs(words) do words[i] = quote(w) end
  print(("\n== %s\n$ nibble %s"):format(title, table.concat(words, " ")))
  io.flush()
  local start = uv.hrtime()
  local _, _, status = os.execute(quote(uv.exepath()) .. " " .. table.concat(words, " "))
  local good = false
  for _, s in ipairs(allowed or { 0 }) do good = good or s == status end
  if not good then
    failed = failed + 1
    print(("demo: that command ended with status %d"):format(status))
  end
  local seconds = (uv.hrtime() - start) / 1e9
  ended[#ended + 1] = { command = table.concat(words, " "), status = status, seconds = seconds }
  print(("   %.1f s"):format(seconds))
end

local tokens = "build/golden/tiny/eval.h5:/prose_eval"
local text = "In the beginning God created the heaven and the earth."
show("What is wrong with this checkpoint, and which stack would load it?", { "doctor", nvfp4 }, { 0, 1 })
show("The model, assembled from the file and run on dequantized weights", { "generate", nvfp4, text, "--n", "40" })
show("The BF16 model with its draft head: the same tokens as without, in fewer steps",
  { "generate", bf16, text, "--n", "40", "--mtp", "2" })
show("Every layer's activations, of the quantized model …", { "trace", nvfp4, "build/demo/nvfp4.h5", "--text", text })
show("… and of the BF16 model", { "trace", bf16, "build/demo/bf16.h5", "--text", text })
show("Where do they part?", { "compare", "build/demo/nvfp4.h5", "build/demo/bf16.h5", "--taps",
  "layer*/output,final_norm,logits" }, { 0, 1 })
show("Is our BF16 run right? Against transformers' recorded activations", { "golden", bf16, "build/golden/tiny/golden.h5" })
show("Perplexity of BF16, keeping its logits …", { "eval", bf16, "--tokens", tokens, "--windows", "8", "--save",
  "build/demo/base.h5" })
show("… and of the NVFP4 file as stored, with its divergence", { "eval", nvfp4, "--tokens", tokens, "--windows", "8", "--base",
  "build/demo/base.h5" })
os.remove "build/demo/base.h5"
local compiler, why = require("scripts.lib.launches").jit():compiler()
if compiler then
  show("The same model from kernels that NVRTC compiles now, on a GPU or on the PTX emulator",
    { "generate", nvfp4, text, "--n", "8", "--device", "auto" })
  show("Every layer of that run dumped, and every op held against its reference on the inputs the device had",
    { "trace", nvfp4, "build/demo/kernels.h5", "--text", text, "--device", "auto", "--check" })
  show("The same with activations left in 16 bits …",
    { "trace", nvfp4, "build/demo/w4a16.h5", "--text", text, "--device", "auto", "--impl", "w4a16" })
  show("… and what quantized activations cost, tap by tap (kernel: error / bound of the op itself in the first run)",
    { "compare", "build/demo/kernels.h5", "build/demo/w4a16.h5", "--taps", "layer*/output,final_norm,logits" }, { 0, 1 })
  show("One of those kernels by itself, every element held against its bound", { "try", "rmsnorm", "--device", "auto" })
else
  print("\nkernels left out: " .. why)
end
if opt.json then args.print_json { failed = failed, commands = ended } end
return failed == 0 and 0 or 1
