# make                 build/alula, the program
# make demo            from two bundled folders to a faster answer, in under a minute
# make check           every test; the last line is "N passed, N failed"
# make SAN=asan check | SAN=tsan check | CC=clang check    the same under sanitizers, or by clang
# make fuzz            libFuzzer on what strangers send, FUZZ_SECONDS=60 for each target; needs clang
# make lint            layers, headers that stand alone, shell scripts
# make format          clang-format over what was written by hand
# make install         to $(DESTDIR)$(PREFIX) with man page, completion and systemd unit
# make deps            installs the packages that are missing (demo and check do it by themselves)
# make clean
# make V=1 ...         shows the commands
#
# Checks that need more, and say SKIPPED where it cannot be had:
# make check-kernels   every kernel against the scalar one, here and for ARM under an emulator
# make check-interop   mlx-lm and MTPLX from PyPI read what alula forges, python-jsonschema judges what it writes under
#                      schemas
# make check-clients   the SDKs of OpenAI and Anthropic, LangChain, and the page in Chromium
#
# Measurements, for a quiet machine:
# make bench           the bundled model (exact and fast, one thread) and 4 layers in the shape of a 35B
# make bench-kernels   GB/s of the kernels beside the machine's read limit
# make bench-gain      what drafting gains on kinds of text, and what it ought to gain
# make bench-batch     sessions that share a batch beside one alone, on random weights (5 GB of memory)
# make bench-cache     what the prompt cache saves, on 8 layers in the shape of a 35B
#
# Each variant builds in its own folder, so they never mix:  build/, build/asan/, build/clang/ ...
# A file named kern_ISA.c is compiled for exactly that instruction set; everything else is baseline, so one
# binary runs everywhere and picks its kernels at start.

# make itself predefines CC as cc.
ifeq ($(origin CC),default)
CC := gcc
endif
PREFIX ?= /usr/local
SAN    ?=
B      ?= build$(if $(SAN),/$(SAN))$(if $(findstring clang,$(CC)),/clang)$(if $(findstring aarch64,$(CC)),/aarch64)

ARCH := $(firstword $(subst -, ,$(shell $(CC) -dumpmachine 2>/dev/null)))
ISA_x86_64   := avx2 avx512
ISA_aarch64  := neon
FLAGS_avx2   := -mavx2 -mfma -mf16c
FLAGS_avx512 := -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512vnni -mavx2 -mfma -mf16c
FLAGS_neon   := -march=armv8.2-a+dotprod
# The instruction sets that this compiler's target has; the others' files are left out.
SKIP := $(foreach i,$(filter-out $(ISA_$(ARCH)),avx2 avx512 neon),src/kern/kern_$(i).c)

WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wformat=2 -Wundef
WERROR  ?=
OPT_     := -O2
OPT_asan := -O1 -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
OPT_tsan := -O1 -fsanitize=thread
OPT_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
# At -O1 gcc knows less about the ranges of values and suspects texts of being cut that are not.
ifeq ($(findstring clang,$(CC)),)
OPT_asan += -Wno-format-truncation
OPT_tsan += -Wno-format-truncation
endif
CFLAGS  ?= -g
LANG_CFLAGS = -std=c11 -D_GNU_SOURCE -Iinclude -Isrc -I. $(WARN) $(WERROR)
ALL_CFLAGS = $(LANG_CFLAGS) $(OPT_$(SAN)) $(CFLAGS) -fno-math-errno -fno-trapping-math -ffp-contract=off \
             -pthread -MMD -MP
LIBS = -lmicrohttpd -ljansson -lm -pthread

SRC  := $(filter-out $(SKIP),$(sort $(wildcard src/*/*.c)))
LIB  := $(filter-out src/cli/%,$(SRC))
OBJ  := $(SRC:%.c=$(B)/%.o)
CLI  := $(filter $(B)/src/cli/%,$(OBJ))
TEST := $(patsubst tests/%.c,%,$(sort $(wildcard tests/test_*.c)))
# Bodies are included once for each variant and stand on what their includer defines.
HEADER := $(filter-out %_body.h,$(wildcard include/*.h src/*/*.h tests/*.h))
SCRIPT := $(wildcard tools/*.sh tools/*/*.sh tests/cli/*.sh .ci/run)

Q := $(if $(V),,@)

all: $(B)/alula
	@:

$(B)/alula: $(CLI) $(B)/libalula.a
	@echo "LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS) -ledit -lcurl

$(B)/libalula.a: $(LIB:%.c=$(B)/%.o)
	@rm -f $@
	@ar rcs $@ $^

$(B)/%.o: %.c
	@mkdir -p $(@D)
	@echo "CC   $@"
	$(Q)$(CC) $(ALL_CFLAGS) $(FLAGS_$(patsubst kern_%,%,$(filter kern_%,$(basename $(notdir $<))))) -c -o $@ $<

# The page's files are put into this one by the assembler, which the compiler's dependencies do not tell of.
$(B)/src/serve/webpage.o: $(wildcard src/serve/page/*)

# A test is one file tests/test_NAME.c, linked with the library and with what the tests share.
$(B)/tests/test_%: $(B)/tests/test_%.o $(B)/tests/support.o $(B)/libalula.a
	@echo "LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ -lcmocka $(LIBS)

# It runs the program.
$(B)/tests/test_wrong_pairs: | $(B)/alula

tests: $(TEST:%=$(B)/tests/%)

# On a fresh machine the compiler comes with deps, and this file has asked it questions before; hence the
# second make.
# tools/run_tests.sh runs unit tests and tests/cli/*.sh, adds up, and prints the closing line.
check: deps
	@$(MAKE) --no-print-directory all tests
	@tools/check_layers.sh
	@tools/run_tests.sh $(B)

FUZZ_SECONDS ?= 60
FUZZ := $(patsubst tests/fuzz/%.c,$(B)/tests/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))
$(B)/tests/fuzz/%: $(B)/tests/fuzz/%.o $(B)/libalula.a
	@echo "LINK $@"
	$(Q)$(CC) $(ALL_CFLAGS) -fsanitize=fuzzer -o $@ $^ $(LIBS)

fuzz: deps
	@$(MAKE) --no-print-directory CC=clang SAN=fuzz fuzz-run

fuzz-run: $(FUZZ)
	@tools/fuzz.sh $(B) $(FUZZ_SECONDS)

bench: all
	@rm -rf $(B)/bench-tiny
	$(Q)$(B)/alula forge --trunk models/tiny-trunk --mtp models/tiny-donor --out $(B)/bench-tiny >/dev/null
	$(B)/alula bench $(B)/bench-tiny --threads 1 --exact
	$(B)/alula bench $(B)/bench-tiny --threads 1
	$(B)/alula bench --synthetic qwen3.5-35b-a3b --layers 4 --draft-vocab 32768

check-kernels: $(B)/tests/test_kern $(B)/tests/test_kern_q8
	$(B)/tests/test_kern
	$(B)/tests/test_kern_q8
	@tools/check_neon.sh

bench-kernels: $(B)/tools/bench_kernels
	$(B)/tools/bench_kernels

bench-gain: all $(B)/tools/measure_gain
	@tools/measure_gain.sh $(B)

bench-batch: $(B)/tools/bench_batch
	$(B)/tools/bench_batch

bench-cache: $(B)/tools/bench_cache
	$(B)/tools/bench_cache

$(addprefix $(B)/tools/,bench_kernels bench_batch bench_cache measure_gain): %: %.o $(B)/libalula.a
	$(Q)$(CC) $(ALL_CFLAGS) -o $@ $^ $(LIBS)

check-interop: all
	@tools/interop/check.sh $(B)
	@tools/interop/check_schemas.sh $(B) 100

check-clients: all
	@tools/clients/check.sh $(B)

demo: deps
	@$(MAKE) --no-print-directory all
	@tools/demo.sh $(B)/alula

deps:
	@tools/install_deps.sh $(firstword $(CC))

lint:
	@tools/check_layers.sh
	@for h in $(HEADER); do $(CC) $(LANG_CFLAGS) -fsyntax-only -x c $$h || exit 1; done
	@if command -v shellcheck >/dev/null; then shellcheck $(SCRIPT); \
	else echo "shellcheck is not installed; scripts unchecked"; fi

# Tables stay as their generators write them.
format:
	clang-format -i $(filter-out %_data.c,$(wildcard include/*.h src/*/*.[ch] tests/*.[ch] tests/fuzz/*.c tools/*.c))

install: all
	install -D -m 755 $(B)/alula $(DESTDIR)$(PREFIX)/bin/alula
	$(B)/alula help --man >$(B)/alula.1
	$(B)/alula help --completion bash >$(B)/alula.bash
	install -D -m 644 $(B)/alula.1 $(DESTDIR)$(PREFIX)/share/man/man1/alula.1
	install -D -m 644 $(B)/alula.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/alula
	sed 's|@PREFIX@|$(PREFIX)|' share/alula@.service >$(B)/alula@.service
	install -D -m 644 $(B)/alula@.service $(DESTDIR)$(PREFIX)/lib/systemd/system/alula@.service

clean:
	rm -rf build

.SECONDARY:
.PHONY: all tests check check-kernels check-interop check-clients fuzz fuzz-run bench bench-kernels bench-gain bench-batch \
        bench-cache demo deps lint format install clean
-include $(wildcard $(B)/src/*/*.d $(B)/tests/*.d $(B)/tests/fuzz/*.d $(B)/tools/*.d)
