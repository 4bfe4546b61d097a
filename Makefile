# nibble: the only build file. `make help` lists the targets; two commands do everything: `make demo` and `make test`.
MODE    ?= release
BUILD   := build/$(MODE)
CC      ?= cc
PKGS    := lua5.4 hdf5 jansson libpcre2-8 libutf8proc libxxhash
WARN    := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wno-format-truncation
# No contraction and no fast-math: references, codecs and quantizers promise bits (core/num/README.md).
CFLAGS_release := -O3 -g
CFLAGS_debug   := -O0 -g
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
CFLAGS  = -std=c11 -D_GNU_SOURCE -ffp-contract=off -fopenmp $(WARN) $(CFLAGS_$(MODE)) -I. \
          $(shell pkg-config --cflags $(PKGS)) -MMD -MP
# A bundle's libraries lie beside the program; RPATH (not RUNPATH) so that they find each other there too.
LDFLAGS = $(filter -fsanitize%,$(CFLAGS_$(MODE))) -fopenmp -Wl,-E -Wl,--disable-new-dtags -Wl,-rpath,'$$ORIGIN/lib'
LDLIBS  = $(shell pkg-config --libs $(PKGS)) -lm -ldl -lpthread

CORE_SRC := $(filter-out core/bind/%,$(wildcard core/*/*.c))
BIND_SRC := $(wildcard core/bind/*.c)
REF_SRC  := $(wildcard kernels/*/*_ref.c)
TEST_SRC := $(wildcard tests/*/*_test.c)
FUZZ_SRC := $(wildcard tests/*/*_fuzz.c)
LUA_TEST := $(wildcard tests/*_test.lua tests/*/*_test.lua kernels/*/*_test.lua)
obj       = $(patsubst %.c,$(BUILD)/%.o,$(1))
TESTS    := $(patsubst %.c,$(BUILD)/%,$(TEST_SRC))
FUZZERS  := $(patsubst %.c,$(BUILD)/%,$(FUZZ_SRC))

.PHONY: all help deps demo test fuzz tidy golden clean
.SECONDARY:

all: $(BUILD)/nibble ## build the `nibble` interpreter (MODE=release|debug|asan)

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

deps: ## install what the build needs (the only target that uses the network)
	@scripts/deps.sh

# As many jobs as processors for who did not say how many.
JOBS = $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(shell nproc))

demo: deps ## doctor, generate, trace, kernels and perplexity on the tiny NVFP4 checkpoint
	@$(MAKE) --no-print-directory $(JOBS) all golden
	@$(BUILD)/nibble demo

# NIBBLE_TEST_LONG=1: tests that have a long form run it (PTX texts, instructions, the model op by op): every case, every architecture.
test: deps ## every test, CPU only; T=<module> narrows; last line: N passed, N failed, N skipped
	@$(MAKE) --no-print-directory $(JOBS) check

.PHONY: check
check: all golden $(TESTS) $(FUZZERS) ## the same without `deps`
	@tests/run.sh $(BUILD) "$(T)" $(TESTS) $(FUZZERS) $(LUA_TEST)

.PHONY: test-gpu
test-gpu: all golden ## opcode cases and the model from kernels on a GPU (NIBBLE_TEST_DEVICE, default cuda:0)
	@export NIBBLE_TEST_DEVICE=$${NIBBLE_TEST_DEVICE:-cuda:0}; status=0; \
	for t in ptx/cases_gpu model/device model/oplocal; do $(BUILD)/nibble tests/$${t}_test.lua -o TAP || status=1; done; exit $$status

.PHONY: gate
gate: all ## every mutant of every family's PTX, and 1,000 schedules of the right ones: minutes; goes on where it was killed
	@$(BUILD)/nibble gate all --arch sm_120a,sm_90 --out $(BUILD)/gate.jsonl
	@$(BUILD)/nibble gate all --arch sm_120a,sm_90 --schedules 1000 --out $(BUILD)/gate.jsonl

fuzz: ## every fuzzer under ASAN and UBSAN, N=<executions> each (default 1000000)
	@$(MAKE) --no-print-directory MODE=asan fuzzers
	@for f in $(patsubst %.c,build/asan/%,$(FUZZ_SRC)); do $$f $(or $(N),1000000) || exit 1; done

.PHONY: fuzzers
fuzzers: $(FUZZERS)

tidy: all ## the checkable habits: includes, names, widths, headers that compile alone
	@$(BUILD)/nibble tests/tidy_test.lua

golden: build/golden/.unpacked ## unpack recorded data that tests and demo use
build/golden/.unpacked: $(wildcard tests/golden/*.tar.xz)
	@rm -rf build/golden && mkdir -p build/golden
	@for a in $^; do tar -xJf $$a -C build/golden || exit 1; done
	@touch $@

.PHONY: bundle
bundle: all ## the program with all it needs in build/bundle, for another Linux machine
	@scripts/bundle.sh $(BUILD)/nibble build/bundle

clean: ## remove build/
	rm -rf build

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -c $< -o $@

$(BUILD)/libcore.a: $(call obj,$(CORE_SRC))
	@rm -f $@
	@ar rcs $@ $^

$(BUILD)/nibble: $(call obj,$(BIND_SRC) $(REF_SRC)) $(BUILD)/libcore.a
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

$(BUILD)/tests/%_test: $(BUILD)/tests/%_test.o $(call obj,$(REF_SRC)) $(BUILD)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -lcrypto -o $@

$(BUILD)/tests/%_fuzz: $(BUILD)/tests/%_fuzz.o $(BUILD)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -o $@

# Speed: printed, judged against bars, no part of `test`.
BENCHES := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/*/*_bench.c))
.PHONY: bench
bench: $(BENCHES) ## speed of the emulator on the recorded kernels, scaled to the machine; `nibble bench` times a model
	@for b in $(BENCHES); do $$b || exit 1; done

$(BUILD)/tests/%_bench: $(BUILD)/tests/%_bench.o $(BUILD)/libcore.a
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) $^ $(LDLIBS) -lcmocka -o $@

.PHONY: headers
headers: $(addsuffix .ok,$(filter-out core/emu/emu_isa.h,$(wildcard core/*/*.h kernels/*.h tests/*.h tests/*/*.h)))

%.h.ok: %.h
	$(CC) $(filter-out -MMD -MP,$(CFLAGS)) -fsyntax-only -x c $<

-include $(patsubst %.o,%.d,$(call obj,$(CORE_SRC) $(BIND_SRC) $(REF_SRC) $(TEST_SRC) $(FUZZ_SRC)))
