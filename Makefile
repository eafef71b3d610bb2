# librediscluster.  `make` builds, `make demo` shows it, `make test` tests it, `make help` lists the rest.

CARGO  ?= cargo
CC     ?= cc
CXX    ?= c++
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
DESTDIR ?=

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# Where the built library lies.  BUILD=target/debug/deps installs the one that `cargo test` built.
BUILD ?= $(TARGET)/release
# A private installation, for what here uses the library as its users do: demo and bindings.
STAGE := $(TARGET)/stage

# The one place that knows the version; the soname carries its first number.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
SO      := librediscluster.so
# For C; for C++17; for what reads declarations but has no preprocessor.
HEADERS := rediscluster.h rediscluster.hpp rediscluster.cdef.h

C_FLAGS   := -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude
CXX_FLAGS := -std=c++17 -pedantic -Wall -Wextra -Werror -Iinclude
# What a static link needs besides, as `rustc --print native-static-libs` says (a test compares).
STATIC_LIBS := -lgcc_s -lutil -lrt -lpthread -lm -ldl -lc

# Runs the command that follows in a cluster of its own, unless one is running already (RDC_URL names it).
IN_CLUSTER = $(if $(RDC_URL),,$(CARGO) run -q -p support --bin cluster -- run --)

.PHONY: build help demo test test-c asan tsan soak gates test-go test-ruby test-python test-examples bench bench-bindings header lint
.PHONY: check unit scripted fuzz leaks wheel gem stage install uninstall clean setup-demo setup-test setup-bench

build: ## the shared and the static library, optimised, in target/release
	$(CARGO) build --release --lib

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: setup-demo stage ## start a cluster of six, run the C example in it, stop it
	$(CC) $(C_FLAGS) examples-c/readonly.c -o $(TARGET)/demo -L$(STAGE)/lib -Wl,-rpath,$(STAGE)/lib -lrediscluster
	$(IN_CLUSTER) $(TARGET)/demo

test: setup-test check build ## everything: Rust, C, installation, Go, Ruby, Python, examples (installs what is missing)
	CARGO_TARGET_DIR=$(TARGET) CARGO=$(CARGO) tools/test.sh
	$(MAKE) --no-print-directory stage
	$(IN_CLUSTER) $(MAKE) --no-print-directory test-go test-ruby test-python test-examples

soak: ## random simulated runs, then 64 threads on a cluster that fails and recovers, SOAK_SECONDS (600) each
	SIMULATION_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --lib simulation::random_faults -- --nocapture
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --test faults soak:: -- --nocapture

test-c: ## the C tests and examples, also under valgrind, and the installation
	$(CARGO) test --test c_programs

asan: ## the C programs under AddressSanitizer: what is freed, lost or overrun
	$(CARGO) test --test sanitizers address

tsan: ## the C programs under ThreadSanitizer: what threads share without order
	$(CARGO) test --test sanitizers thread

gates: build ## what an operation may cost: instructions, system calls, allocations, memory
	$(CARGO) test --test cost_limits

# How the bindings find the library that was just built: Go by the first, the others by the last.
test-go test-ruby test-python test-examples: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
test-go test-ruby test-python test-examples: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
test-go test-ruby test-python test-examples: export RDC_LIBRARY := $(STAGE)/lib/$(SO)

test-go: stage ## the Go binding's tests, also with the race detector; so test-ruby, test-python, test-examples
	cd bindings/go && test -z "$$(gofmt -l .)" && go vet ./... && $(IN_CLUSTER) sh -ec ' \
		go test -count=1 ./...; \
		GODEBUG=cgocheck=1 go test -race -count=1 ./...; \
		env -u LD_LIBRARY_PATH go test -tags static -count=1 -run Example ./...'

test-ruby: stage
	cd bindings/ruby && $(IN_CLUSTER) \
		ruby -w -Ilib -Itest -e 'Dir["test/*_test.rb"].sort.each { |file| require File.expand_path(file) }'

test-python: setup-test stage
	cd bindings/python && PYTHONPATH=. $(IN_CLUSTER) $(TARGET)/venv/bin/python -W error -m pytest -q
	cd bindings/python && PYTHONPATH=.:$(TARGET)/venv/old $(IN_CLUSTER) \
		$(TARGET)/venv/bin/python -W error -m pytest -q \
		tests/test_client.py tests/test_pipeline.py tests/test_redis_py_cluster.py tests/test_signals.py

test-examples: export RDC_CDEF := $(STAGE)/include/rediscluster.cdef.h
test-examples: export RDC_SCRATCH := $(TARGET)/examples
test-examples: setup-test stage
	$(IN_CLUSTER) bindings/examples/run.sh

fuzz: ## run the coverage-guided fuzzer on each parser for FUZZ_SECONDS (60)
	tools/fuzz.sh $(or $(FUZZ_SECONDS),60)

# Tens of thousands of calls, whose memory is counted afterwards; they are part of the tests above.
leaks: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
leaks: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
leaks: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
leaks: setup-test stage ## what Go, Ruby and Python leave behind of many calls, and the C examples under valgrind
	$(CARGO) test --test c_programs examples
	cd bindings/go && $(IN_CLUSTER) go test -count=1 -v -run 'Memory|Bounded' ./...
	cd bindings/ruby && $(IN_CLUSTER) ruby -w -Ilib -Itest test/process_test.rb -n /memory/
	cd bindings/python && PYTHONPATH=. $(IN_CLUSTER) $(TARGET)/venv/bin/python -W error -m pytest -q -k memory

PACKAGES := $(TARGET)/packages

wheel: stage ## the Python package with the library in it, into target/packages
	test -x $(TARGET)/wheel/bin/pip || python3 -m venv $(TARGET)/wheel
	RDC_LIBRARY=$(STAGE)/lib/$(SO) $(TARGET)/wheel/bin/pip wheel -q --no-deps -w $(PACKAGES) bindings/python
	@ls $(PACKAGES)/*.whl

gem: stage ## the Ruby package with the library in it, into target/packages
	rm -rf $(TARGET)/gem
	mkdir -p $(PACKAGES)
	cp -r bindings/ruby $(TARGET)/gem
	strip --strip-debug -o $(TARGET)/gem/lib/rediscluster/$(SO).$(MAJOR) $(STAGE)/lib/$(SO)
	cd $(TARGET)/gem && gem build -q rediscluster.gemspec
	mv $(TARGET)/gem/*.gem $(PACKAGES)
	@ls $(PACKAGES)/*.gem

HIREDIS := 3.5.0

# The benchmarks are a workspace of their own, so that their peers cost nobody else anything.
BENCH = CARGO_TARGET_DIR=$(TARGET)/bench PYTHONPATH=bindings/python RDC_LIBRARY=$(STAGE)/lib/$(SO) \
	$(CARGO) run -q --release --manifest-path bench/Cargo.toml --bin bench --

bench: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
bench: setup-bench setup-test stage ## librediscluster beside its peers, into docs/benchmarks (QUICK=1: in 2 minutes instead of 8)
	bench/peers.sh $(TARGET)/bench/peers
	CARGO_TARGET_DIR=$(TARGET)/bench $(CARGO) build -q --release --manifest-path bench/Cargo.toml
	$(BENCH) $(if $(QUICK),--quick) . $(STAGE)/lib/$(SO) $(TARGET)/bench/peers
	$(MAKE) --no-print-directory bench-bindings

bench-bindings: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
bench-bindings: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
bench-bindings: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
bench-bindings: setup-bench setup-test stage ## Go, Ruby and Python beside their clients, into docs/benchmarks/bindings.md
	cd bindings/go/bench && go test -c -o $(TARGET)/bench/go.test .
	test -d $(TARGET)/bench/hiredis || $(TARGET)/venv/bin/pip install -q --no-deps --target $(TARGET)/bench/hiredis hiredis==$(HIREDIS)
	$(IN_CLUSTER) $(TARGET)/venv/bin/python bindings/bench/table.py \
		$(TARGET)/venv/bin/python $(TARGET)/bench/hiredis $(TARGET)/bench/go.test $(if $(QUICK),5,15)

header: ## write include/rediscluster.h and .cdef.h anew from the sources
	RDC_BLESS=1 $(CARGO) test -q --test repo abi::

check: ## formatting, clippy and cargo check: the first step of the inner loop
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --workspace --all-targets

unit: ## the unit tests: no server, no simulation
	$(CARGO) test --lib -- --skip simulation

scripted: ## the tests against scripted nodes: no server
	$(CARGO) test --test scripted

lint: check ## check, and the other workspaces, no default features, C and C++ warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings
	$(CARGO) fmt --manifest-path bench/Cargo.toml --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	set -e; for file in examples-c/*.c tests/c/*.c tests/c/gates/*.c; do $(CC) $(C_FLAGS) -fsyntax-only "$$file"; done
	set -e; for file in examples-c/*.cpp tests/c/*.cpp; do $(CXX) $(CXX_FLAGS) -fsyntax-only "$$file"; done

setup-demo setup-test setup-bench: setup-%:
	CARGO_TARGET_DIR=$(TARGET) tools/setup.sh $*

# Only what is not built is built, so that `make && sudo make install` runs no cargo as root.
$(BUILD)/%:
	$(CARGO) build --release --lib

stage: build
	@$(MAKE) --no-print-directory -s install DESTDIR= PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib INCLUDEDIR=$(STAGE)/include

install: $(BUILD)/$(SO) $(BUILD)/librediscluster.a ## into $(DESTDIR)$(PREFIX); also LIBDIR, INCLUDEDIR
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)
	install -m 755 $(BUILD)/$(SO) $(DESTDIR)$(LIBDIR)/$(SO).$(VERSION)
	ln -sf $(SO).$(VERSION) $(DESTDIR)$(LIBDIR)/$(SO).$(MAJOR)
	ln -sf $(SO).$(MAJOR) $(DESTDIR)$(LIBDIR)/$(SO)
	install -m 644 $(BUILD)/librediscluster.a $(DESTDIR)$(LIBDIR)/
	install -m 644 $(HEADERS:%=include/%) $(DESTDIR)$(INCLUDEDIR)/
	sed -e 's|@PREFIX@|$(PREFIX)|' -e 's|@LIBDIR@|$(LIBDIR)|' -e 's|@INCLUDEDIR@|$(INCLUDEDIR)|' \
	    -e 's|@VERSION@|$(VERSION)|' -e 's|@STATIC_LIBS@|$(STATIC_LIBS)|' dist/rediscluster.pc.in \
	    > $(DESTDIR)$(LIBDIR)/pkgconfig/rediscluster.pc
	chmod 644 $(DESTDIR)$(LIBDIR)/pkgconfig/rediscluster.pc

uninstall: ## takes out what install put there
	rm -f $(DESTDIR)$(LIBDIR)/$(SO) $(DESTDIR)$(LIBDIR)/$(SO).$(MAJOR) $(DESTDIR)$(LIBDIR)/$(SO).$(VERSION)
	rm -f $(DESTDIR)$(LIBDIR)/librediscluster.a $(DESTDIR)$(LIBDIR)/pkgconfig/rediscluster.pc
	rm -f $(HEADERS:%=$(DESTDIR)$(INCLUDEDIR)/%)

clean: ## remove what was built
	$(CARGO) clean
