# librediscluster.  `make` builds the library, `make demo` runs an example, `make test` runs the tests, `make help` lists
# all targets.

CARGO  ?= cargo
CC     ?= cc
CXX    ?= c++
PREFIX ?= /usr/local
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
BINDIR ?= $(PREFIX)/bin
MANDIR ?= $(PREFIX)/share/man
DESTDIR ?=

TARGET := $(abspath $(or $(CARGO_TARGET_DIR),target))
# The folder of the built library.  BUILD=target/debug/deps installs the one that `cargo test` has built.
BUILD ?= $(TARGET)/release
# A private installation, for the demo and the bindings.
STAGE := $(TARGET)/stage

# The version is defined in Cargo.toml only.  The soname contains its first number.
VERSION := $(shell sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
MAJOR   := $(firstword $(subst ., ,$(VERSION)))
# The system to build for: Linux, Darwin or FreeBSD.
SYSTEM  ?= $(shell uname -s)
ifeq ($(SYSTEM),Darwin)
SO         := librediscluster.dylib
SO_MAJOR   := librediscluster.$(MAJOR).dylib
SO_VERSION := librediscluster.$(VERSION).dylib
SO_NAME    := @rpath/$(SO_MAJOR)
STRIPPED   := -Wl,-dead_strip,-S,-x
else
SO         := librediscluster.so
SO_MAJOR   := $(SO).$(MAJOR)
SO_VERSION := $(SO).$(VERSION)
SO_NAME    := $(SO_MAJOR)
STRIPPED   := -s -Wl,--gc-sections
endif
# Made from dist/NAME.in, below LIBDIR. They find the other files relative to themselves, wherever those are moved.
CONFIGURED := pkgconfig/rediscluster.pc pkgconfig/rediscluster-static.pc \
	cmake/rediscluster/rediscluster-config.cmake cmake/rediscluster/rediscluster-config-version.cmake
space := $(subst ,, )
# $(call from,FOLDER,PATH): PATH relative to FOLDER.
from = $(shell realpath -m -s --relative-to='$(1)' '$(2)' 2>/dev/null || \
	python3 -c 'import os, sys; print(os.path.relpath(sys.argv[2], sys.argv[1]))' '$(1)' '$(2)')
# For C; for C++17; for parsers of declarations without a preprocessor.
HEADERS := rediscluster.h rediscluster.hpp rediscluster.cdef.h

C_FLAGS   := -std=c99 -pedantic -Wall -Wextra -Werror -Iinclude
CXX_FLAGS := -std=c++17 -pedantic -Wall -Wextra -Werror -Iinclude
# The libraries that a static link needs, as printed by `rustc --print native-static-libs` (a test compares them), but
# for -lgcc_s: C compilers add it themselves, or libgcc_eh with -static, where no static libgcc_s exists.
ifeq ($(SYSTEM),Darwin)
STATIC_LIBS := -Wl,-framework,Security -Wl,-framework,CoreFoundation -lm
else ifeq ($(SYSTEM),FreeBSD)
STATIC_LIBS := -lexecinfo -lpthread -lgcc_s -lm -lrt -lutil -lc
else
STATIC_LIBS := -lutil -lrt -lpthread -lm -ldl -lc
endif
.PHONY: static-libs
static-libs:
	@echo '$(STATIC_LIBS)'
# What this build links instead, if its compiler needs more than its users' compilers.
LINK_LIBS ?= $(STATIC_LIBS)

# Starts a cluster for the command that follows, unless RDC_URL names a running one.
IN_CLUSTER = $(if $(RDC_URL),,$(CARGO) run -q -p support --bin cluster -- run --)

.PHONY: build help demo test test-c asan tsan portable soak chaos chaos-messages gates test-go test-ruby test-python test-node test-examples bench bench-loops bench-messages bench-bindings bench-node header lint
.PHONY: rdc install-debug packages-roots cross sizes python-extension ruby-extension node-package node-addon check unit scripted fuzz leaks dist platforms sums stage site install uninstall clean setup-demo setup-node setup-bench-node setup-test setup-bench setup-dist setup-site

# Without the crate type rlib, whose public items the optimizer has to keep: docs/decisions/size.md.
CARGO_BUILD = CARGO_ENCODED_RUSTFLAGS="$$(CARGO='$(CARGO)' dist/rustflags.sh)" $(CARGO) rustc --release --lib --crate-type cdylib,staticlib

LINK = CC='$(CC)' SYSTEM='$(SYSTEM)' STATIC_LIBS='$(LINK_LIBS)' dist/link.sh

build: ## build the libraries, and the tool rdc, in target/release; stripped ones in target/release/stripped
	$(CARGO_BUILD) $(FEATURES)
	$(LINK) $(TARGET)/release $(VERSION)
	@$(MAKE) --no-print-directory rdc

help: ## print this list
	@sed -n 's/^\([a-z-]*\):.*## /\1	/p' $(MAKEFILE_LIST) | awk -F '\t' '{ printf "  make %-12s %s\n", $$1, $$2 }'

demo: setup-demo stage ## start a cluster of six nodes, run the C example and rdc topology, stop the cluster
	$(CC) $(C_FLAGS) examples-c/readonly.c -o $(TARGET)/demo -L$(STAGE)/lib -Wl,-rpath,$(STAGE)/lib -lrediscluster
	$(IN_CLUSTER) sh -ec '$(TARGET)/demo; $(BUILD)/rdc topology'

# The bindings' tests mostly wait, so two run at a time, each with a cluster of its own, or one at a time with that of
# RDC_URL.
test: setup-test check build ## run all tests: Rust, C, installation, Go, Ruby, Python, Node, examples (installs missing tools)
	CARGO_TARGET_DIR=$(TARGET) CARGO=$(CARGO) tools/test.sh env RDC_NO_TARGET=skip $(MAKE) --no-print-directory cross
	$(MAKE) --no-print-directory stage site
	$(MAKE) --no-print-directory --output-sync -j$(if $(RDC_URL),1,2) test-go test-ruby test-python test-node test-examples

soak: ## run random simulations, then 64 threads on a cluster with faults, for SOAK_SECONDS (600) each
	SIMULATION_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --lib simulation::random_faults -- --nocapture
	SOAK_SECONDS=$${SOAK_SECONDS:-600} $(CARGO) test --test faults soak:: -- --nocapture

chaos: ## break a cluster in many ways at once for CHAOS_SECONDS (600), and compare each command with the servers' files
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(CARGO) test --test faults chaos:: -- --nocapture

chaos-messages: ## break clusters of each server for MESSAGES_SECONDS (300) and MESSAGES_COUNT messages (0) while a subscriber checks them
	MESSAGES_SECONDS=$${MESSAGES_SECONDS:-300} $(CARGO) test --test faults messages:: -- --nocapture

test-c: ## run the C tests and examples, also under valgrind, and test the installation
	$(CARGO) test --test c_programs

asan: ## run the C programs under AddressSanitizer: memory errors and leaks
	$(CARGO) test --test sanitizers address

tsan: ## run the C programs under ThreadSanitizer: data races
	$(CARGO) test --test sanitizers thread

portable: ## run on Linux what macOS and FreeBSD compile instead of Linux's system calls
	$(CARGO) test --test portable -- --include-ignored

gates: build ## check the cost limits of operations: instructions, system calls, allocations, memory
	$(CARGO) test --test cost_limits

# Where the bindings find the staged library: Go uses PKG_CONFIG_PATH, the others use RDC_LIBRARY. Node's addon contains
# the library.
test-go test-ruby test-python test-examples: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
test-go test-ruby test-python test-examples: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
test-go test-ruby test-python test-examples: export RDC_LIBRARY := $(STAGE)/lib/$(SO)

GO_IS_FOR_GOREDIS = test "$$(go env GOVERSION | sed -n 's/^go1\.\([0-9]*\).*/\1/p')" -ge 21
# It needs a recent Go: tools/setup.sh says so where it is missing.
STATICCHECK = if test -x $(TARGET)/go/bin/staticcheck; then $(TARGET)/go/bin/staticcheck ./...; fi

test-go: stage ## test the Go binding, also with the race detector; likewise test-ruby, test-python, test-node, test-examples
	cd bindings/go && test -z "$$(gofmt -l .)" && go vet ./... && $(STATICCHECK) && $(IN_CLUSTER) sh -ec ' \
		go test -count=1 ./...; \
		GODEBUG=cgocheck=1 go test -race -count=1 ./...; \
		env -u LD_LIBRARY_PATH go test -tags static -count=1 -run Example ./...'
	cd bindings/go/goredis && if $(GO_IS_FOR_GOREDIS); then \
		go vet ./... && $(STATICCHECK) && $(IN_CLUSTER) sh -ec 'go test -count=1 ./programs; go test -race -count=1 .'; \
		else echo 'goredis is not tested: go-redis needs Go 1.21'; fi

# The C extension of the Ruby package, for its tests; the installation of the gem compiles another one.
RUBY_EXTENSION := $(TARGET)/ruby/extension.so
RUBY_TESTS = ruby -w -Ilib -Itest -e 'Dir["test/*_test.rb"].sort.each { |file| require File.expand_path(file) }'

ruby-extension: setup-test
	mkdir -p $(TARGET)/ruby
	cd $(TARGET)/ruby && RDC_RUBY_EXTENSION=yes ruby $(CURDIR)/bindings/ruby/ext/rediscluster/extconf.rb >extconf.txt && \
		$(MAKE) --no-print-directory -s >make.txt || { cat extconf.txt make.txt; exit 1; }

test-ruby: export RDC_RUBY_EXTENSION := $(RUBY_EXTENSION)
# redis-rb, Sidekiq and ActiveSupport, to compare with: see tools/setup.sh.
test-ruby: export RDC_RUBY_GEMS := $(TARGET)/ruby/gems
test-ruby: stage ruby-extension
	cd bindings/ruby && $(IN_CLUSTER) $(RUBY_TESTS)
	cd bindings/ruby && RDC_RUBY_EXTENSION=no $(IN_CLUSTER) $(RUBY_TESTS)

# The C extension of the Python package, for its tests; `make wheel` builds another one.
PYTHON_EXTENSION := $(TARGET)/python/rediscluster/_extension.abi3.so

python-extension: setup-test
	cd bindings/python && RDC_PYTHON_EXTENSION=yes $(TARGET)/venv/bin/python setup.py -q build_ext --force \
		--build-temp $(TARGET)/python/build --build-lib $(TARGET)/python

test-python: export RDC_PYTHON_EXTENSION := $(PYTHON_EXTENSION)
test-python: stage python-extension
	cd bindings/python && PYTHONPATH=. $(IN_CLUSTER) $(TARGET)/venv/bin/python -W error -m pytest -q
	cd bindings/python && RDC_PYTHON_EXTENSION=no PYTHONPATH=. $(IN_CLUSTER) \
		$(TARGET)/venv/bin/python -W error -m pytest -q
	cd bindings/python && PYTHONPATH=.:$(TARGET)/venv/old $(IN_CLUSTER) \
		$(TARGET)/venv/bin/python -W error -m pytest -q \
		tests/test_client.py tests/test_options.py tests/test_pipeline.py \
		tests/test_redis_py_cluster.py tests/test_signals.py

# The npm package as a folder: its files, and the addon that a program loads without a compiler.
NODE := $(TARGET)/node
NODE_PACKAGE := $(NODE)/rediscluster
NODE_FILES := lib index.d.ts commands.d.ts package.json README.md
# The addon is never unloaded, because a thread that ends later may still run its destructors.
# It takes the functions of Node-API from the process.
ifeq ($(SYSTEM),Darwin)
NODE_FLAGS := -O2 -fvisibility=hidden -bundle -undefined dynamic_lookup -Wl,-dead_strip,-S,-x \
	-Wl,-exported_symbol,_napi_register_module_v1 -Wl,-exported_symbol,_node_api_module_get_api_version_v1
else
NODE_FLAGS := -O2 -fPIC -fvisibility=hidden -shared -s \
	-Wl,--version-script=bindings/node/src/addon.map -Wl,--gc-sections -Wl,-z,nodelete -Wl,-z,relro -Wl,-z,now
endif
ADDON = $(NODE_PACKAGE)/prebuilds/$(shell node -p 'process.platform + "-" + process.arch')/rediscluster.node

node-package: setup-node build
	rm -rf $(NODE_PACKAGE)
	mkdir -p $(NODE_PACKAGE)
	cp -r $(NODE_FILES:%=bindings/node/%) LICENSE-MIT LICENSE-APACHE $(NODE_PACKAGE)
	@$(MAKE) --no-print-directory node-addon
	ln -sf $(ADDON) $(NODE)/rediscluster.node

node-addon:
	mkdir -p $(dir $(ADDON))
	$(CC) $(C_FLAGS) $(NODE_FLAGS) -I$(NODE)/node_modules/node-api-headers/include bindings/node/src/*.c \
		$(BUILD)/librediscluster.a $(LINK_LIBS) -o $(ADDON)

test-node leaks: export RDC_NODE_ADDON := $(NODE)/rediscluster.node
test-node: export RDC_NODE_PACKAGE := $(NODE_PACKAGE)
test-node: export RDC_NODE_TOOLS := $(NODE)
test-node: setup-test node-package
	cd bindings/node && $(IN_CLUSTER) node --test --test-concurrency=1 --test-reporter=spec test/*.test.js

test-examples: export RDC_CDEF := $(STAGE)/include/rediscluster.cdef.h
test-examples: export RDC_SCRATCH := $(TARGET)/examples
test-examples: setup-test stage
	$(IN_CLUSTER) bindings/examples/run.sh
	$(CARGO) run -q -p support --bin cluster -- places --servers $(TARGET)/venv/servers -- bindings/examples/anywhere.sh

fuzz: ## run the coverage-guided fuzzer on each parser for FUZZ_SECONDS (60)
	tools/fuzz.sh $(or $(FUZZ_SECONDS),60)

# Measures the memory after tens of thousands of calls.  These tests are part of the test targets above.
leaks: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
leaks: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
leaks: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
leaks: export RDC_PYTHON_EXTENSION := $(PYTHON_EXTENSION)
leaks: export RDC_RUBY_EXTENSION := $(RUBY_EXTENSION)
leaks: setup-test stage node-package python-extension ruby-extension ## check Go, Ruby, Python and Node for leaks over many calls, and the C examples under valgrind
	$(CARGO) test --test c_programs examples
	cd bindings/go && $(IN_CLUSTER) go test -count=1 -v -run 'Memory|Bounded' ./...
	cd bindings/ruby && $(IN_CLUSTER) ruby -w -Ilib -Itest -r./test/process_test.rb -r./test/extension_test.rb \
		test/fiber_test.rb -n /memory/
	cd bindings/python && PYTHONPATH=. $(IN_CLUSTER) $(TARGET)/venv/bin/python -W error -m pytest -q -k memory
	cd bindings/node && $(IN_CLUSTER) node --test --test-reporter=spec test/memory.test.js

PACKAGES ?= $(TARGET)/packages
# Platforms to make packages for, as Rust names them, in addition to this machine's: docs/packages.md.
PLATFORMS ?=
HOST := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
PACKAGE_KINDS := tarball deb wheel sdist gem npm go-module crate
.PHONY: $(PACKAGE_KINDS)
platforms $(PACKAGE_KINDS): export STATIC_LIBS := $(STATIC_LIBS)
platforms $(PACKAGE_KINDS): export FEATURES := $(FEATURES)
platforms $(PACKAGE_KINDS): export PACKAGES := $(PACKAGES)
platforms $(PACKAGE_KINDS): export NODE_FILES := $(NODE_FILES)

dist: setup-dist build ## build all packages in target/packages; likewise tarball, deb, wheel, sdist, gem, npm, go-module, crate
	rm -rf $(PACKAGES)
	@$(MAKE) --no-print-directory $(PACKAGE_KINDS)
	@$(MAKE) --no-print-directory sums
	@PACKAGES=$(PACKAGES) dist/packages/check.sh
	@set -e; for platform in $(PLATFORMS); do PACKAGES=$(PACKAGES) dist/packages/try.sh $$platform; done

# After `make dist` with this machine's platform and those of the roots: docs/packages.md says which.
packages-roots: ## install the packages of target/packages in fresh roots and use them there; ROOTS= names some: debian musl aarch64
	CARGO_TARGET_DIR=$(TARGET) PACKAGES=$(PACKAGES) dist/packages/roots.sh $(ROOTS)

# The files that packages contain, for each platform.
platforms: build
	set -e; for platform in $(HOST) $(PLATFORMS); do dist/packages/platform.sh $$platform; done

tarball wheel gem: platforms
	@set -e; for platform in $(HOST) $(PLATFORMS); do dist/packages/$@.sh $$platform; done

npm: platforms
	@dist/packages/npm.sh $(HOST) $(PLATFORMS)

go-module: platforms
	@dist/packages/go.sh $(HOST) $(PLATFORMS)

sdist:
	@dist/packages/wheel.sh sdist

deb: build
	@dist/packages/deb.sh

crate:
	@dist/packages/crate.sh

sums:
	cd $(PACKAGES) && find . -type f ! -name 'SHA256SUMS*' -printf '%P\0' | LC_ALL=C sort -z | xargs -0 sha256sum >SHA256SUMS.new
	mv $(PACKAGES)/SHA256SUMS.new $(PACKAGES)/SHA256SUMS

HIREDIS := 3.5.0

# The benchmarks are a separate workspace, so that other targets do not build the clients they compare with.
BENCH = CARGO_TARGET_DIR=$(TARGET)/bench PYTHONPATH=bindings/python RDC_LIBRARY=$(STAGE)/lib/$(SO) \
	$(CARGO) run -q --release --manifest-path bench/Cargo.toml --bin bench --

bench: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
bench: export RDC_PYTHON_EXTENSION := $(PYTHON_EXTENSION)
bench: setup-bench setup-test stage python-extension ## compare with other clients, and write docs/benchmarks (QUICK=1: 2 minutes instead of 8)
	bench/peers.sh $(TARGET)/bench/peers
	CARGO_TARGET_DIR=$(TARGET)/bench $(CARGO) build -q --release --manifest-path bench/Cargo.toml
	$(BENCH) $(if $(QUICK),--quick) . $(STAGE)/lib/$(SO) $(TARGET)/bench/peers
	$(MAKE) --no-print-directory bench-loops bench-messages bench-bindings

bench-loops: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
bench-loops: export PYTHONPATH := bindings/python
bench-loops: export RDC_PYTHON_EXTENSION := $(PYTHON_EXTENSION)
bench-loops: setup-bench setup-test stage python-extension ## compare queues with other clients for event loops, and write docs/benchmarks/event-loops.md
	bench/peers.sh $(TARGET)/bench/peers
	CARGO_TARGET_DIR=$(TARGET)/bench $(CARGO) run -q --release --manifest-path bench/Cargo.toml --bin event-loops -- \
		. $(STAGE)/lib/$(SO) $(TARGET)/bench/peers $(if $(QUICK),5)

bench-messages: setup-bench setup-test stage ## compare subscribers with those of other clients, and write docs/benchmarks/messages.md
	bench/peers.sh $(TARGET)/bench/peers
	CARGO_TARGET_DIR=$(TARGET)/bench $(CARGO) build -q --release --manifest-path bench/Cargo.toml --bins
	$(TARGET)/bench/release/messages . $(STAGE)/lib/$(SO) $(TARGET)/bench/peers $(if $(QUICK),5)

bench-bindings: export RDC_LIBRARY := $(STAGE)/lib/$(SO)
bench-bindings: export LD_LIBRARY_PATH := $(STAGE)/lib:$(LD_LIBRARY_PATH)
bench-bindings: export PKG_CONFIG_PATH := $(STAGE)/lib/pkgconfig
bench-bindings: export RDC_PYTHON_EXTENSION := $(PYTHON_EXTENSION)
bench-bindings: export RDC_RUBY_EXTENSION := $(RUBY_EXTENSION)
bench-bindings: setup-bench setup-test stage python-extension ruby-extension ## compare the bindings with other clients, and write docs/benchmarks/bindings.md
	cd bindings/go/bench && go build -o $(TARGET)/bench/go-clients .
	test -d $(TARGET)/bench/hiredis || $(TARGET)/venv/bin/pip install -q --no-deps --target $(TARGET)/bench/hiredis hiredis==$(HIREDIS)
	$(IN_CLUSTER) $(TARGET)/venv/bin/python bindings/bench/table.py \
		$(TARGET)/venv/bin/python $(TARGET)/bench/hiredis $(TARGET)/bench/go-clients $(if $(QUICK),5,15)

bench-node: export RDC_NODE_ADDON := $(NODE)/rediscluster.node
bench-node: export RDC_NODE_MODULES := $(TARGET)/bench/node
bench-node: setup-bench-node node-package ## compare Node with ioredis
	$(IN_CLUSTER) node bindings/node/bench/bench.js $(if $(QUICK),3,9)

header: ## generate include/rediscluster.h and .cdef.h from the sources
	RDC_BLESS=1 $(CARGO) test -q --test repo abi::

check: ## check formatting, and run clippy and cargo check
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) check --workspace --all-targets
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc -q --no-deps --lib

unit: ## run the unit tests: no server, no simulation
	$(CARGO) test --lib -- --skip simulation

scripted: ## run the tests against scripted nodes: no server
	$(CARGO) test --test scripted

lint: check ## run check, and check the other workspaces, a build without default features, and C and C++ warnings
	$(CARGO) clippy --lib --no-default-features -- -D warnings
	$(CARGO) fmt --manifest-path bench/Cargo.toml --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	set -e; for file in examples-c/*.c tests/c/*.c tests/c/gates/*.c $(RDC_SOURCES); do $(CC) $(C_FLAGS) -fsyntax-only "$$file"; done
	set -e; for file in examples-c/*.cpp tests/c/*.cpp; do $(CXX) $(CXX_FLAGS) -fsyntax-only "$$file"; done
	! command -v clang-tidy >/dev/null || clang-tidy --quiet examples-c/*.cpp tests/c/*.cpp -- $(CXX_FLAGS)

setup-demo setup-node setup-bench-node setup-test setup-bench setup-dist setup-site: setup-%:
	CARGO_TARGET_DIR=$(TARGET) tools/setup.sh $*

# Runs cargo only if the library is missing, so that `make && sudo make install` does not run cargo as root.
$(BUILD)/%:
	$(CARGO_BUILD) $(FEATURES)

# The manual as a website: docs/ and the other pages, the header, and the sources that they link to. A link or an anchor
# that leads nowhere ends it, and so does a page that loads a file from the network.
site: export RDC_SITE_PAGES := $(TARGET)/site/pages
site: export RDC_SITE_HTML := $(TARGET)/site/html
site: setup-site ## build the manual as a website in target/site/html, which needs no server and no network
	python3 tools/site/pages.py $(RDC_SITE_PAGES)
	NO_MKDOCS_2_WARNING=1 $(TARGET)/site/venv/bin/mkdocs build --strict -f tools/site/mkdocs.yml
	! grep -rE '<(script|link)[^>]+(src|href)="https?:' --include='*.html' $(RDC_SITE_HTML)

# The tool contains the static library, so that it runs wherever it is copied to.
RDC_SOURCES := $(wildcard tools/rdc/*.c tools/rdc/doctor/*.c)

rdc: $(BUILD)/rdc ## build the tool rdc, which looks into a cluster, in target/release

$(BUILD)/rdc: $(RDC_SOURCES) $(wildcard tools/rdc/*.h tools/rdc/doctor/*.h) include/rediscluster.h $(BUILD)/librediscluster.a
	$(CC) $(C_FLAGS) -O2 -pthread $(STRIPPED) $(RDC_SOURCES) $(BUILD)/librediscluster.a $(LINK_LIBS) -o $@

stage: build
	@$(MAKE) --no-print-directory -s install DESTDIR= PREFIX=$(STAGE) LIBDIR=$(STAGE)/lib INCLUDEDIR=$(STAGE)/include BINDIR=$(STAGE)/bin MANDIR=$(STAGE)/share/man

# man1/rdc.1, man7/rediscluster.7, and man3/NAME.3 for each function.
MANUAL := $(patsubst docs/man/%,%,$(wildcard docs/man/man*/*))

install: $(BUILD)/librediscluster.a $(BUILD)/rdc ## install into $(DESTDIR)$(PREFIX); see also LIBDIR and INCLUDEDIR
	install -d $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(LIBDIR)/cmake/rediscluster $(DESTDIR)$(INCLUDEDIR)
	$(LINK) $(BUILD) $(VERSION)
	install -m 755 $(BUILD)/stripped/$(SO) $(DESTDIR)$(LIBDIR)/$(SO_VERSION)
	ln -sf $(SO_VERSION) $(DESTDIR)$(LIBDIR)/$(SO_MAJOR)
	ln -sf $(SO_MAJOR) $(DESTDIR)$(LIBDIR)/$(SO)
	install -m 644 $(BUILD)/stripped/librediscluster.a $(DESTDIR)$(LIBDIR)/
	install -m 644 $(HEADERS:%=include/%) $(DESTDIR)$(INCLUDEDIR)/
	set -e; for file in $(CONFIGURED); do \
		sed -e 's|@INCLUDE@|$(call from,$(LIBDIR)/pkgconfig,$(INCLUDEDIR))|' \
		    -e 's|@PREFIX@|$(call from,$(LIBDIR)/pkgconfig,$(PREFIX))|' \
		    -e 's|@CMAKE_INCLUDE@|$(call from,$(LIBDIR)/cmake/rediscluster,$(INCLUDEDIR))|' \
		    -e 's|@VERSION@|$(VERSION)|' -e 's|@MAJOR@|$(MAJOR)|' -e 's|@STATIC_LIBS@|$(STATIC_LIBS)|' \
		    -e 's|@SO_VERSION@|$(SO_VERSION)|' -e 's|@SO_NAME@|$(SO_NAME)|' \
		    -e 's|@STATIC_LIBS_LIST@|$(subst $(space),;,$(STATIC_LIBS))|' dist/$${file##*/}.in \
		    > $(DESTDIR)$(LIBDIR)/$$file; \
		chmod 644 $(DESTDIR)$(LIBDIR)/$$file; \
	done
	install -d $(DESTDIR)$(BINDIR)
	install -m 755 $(BUILD)/rdc $(DESTDIR)$(BINDIR)/
	install -d $(addprefix $(DESTDIR)$(MANDIR)/,$(sort $(dir $(MANUAL))))
	set -e; for page in $(MANUAL); do install -m 644 docs/man/$$page $(DESTDIR)$(MANDIR)/$$page; done

# A debugger finds the file beside the library by its name, or by the build id in /usr/lib/debug.
install-debug: install ## install, and install the debug information of the shared library beside it
	install -m 644 $(BUILD)/stripped/$(SO).debug $(DESTDIR)$(LIBDIR)/$(SO_VERSION).debug

uninstall: ## remove the installed files
	rm -f $(DESTDIR)$(LIBDIR)/$(SO) $(DESTDIR)$(LIBDIR)/$(SO_MAJOR) $(DESTDIR)$(LIBDIR)/$(SO_VERSION)
	rm -f $(DESTDIR)$(LIBDIR)/$(SO_VERSION).debug $(DESTDIR)$(LIBDIR)/librediscluster.a
	rm -f $(CONFIGURED:%=$(DESTDIR)$(LIBDIR)/%) $(HEADERS:%=$(DESTDIR)$(INCLUDEDIR)/%) $(DESTDIR)$(BINDIR)/rdc
	rm -f $(MANUAL:%=$(DESTDIR)$(MANDIR)/%)
	-rmdir $(DESTDIR)$(LIBDIR)/cmake/rediscluster

cross: ## build for other platforms and run C examples there: docs/platforms.md; CROSS= names some of the targets
	CARGO_TARGET_DIR=$(TARGET) tools/cross.sh $(CROSS)

sizes: build ## check the sizes of the release files, also of a build without TLS (a minute more)
	$(MAKE) --no-print-directory build CARGO_TARGET_DIR=$(TARGET)/no-tls FEATURES=--no-default-features
	RDC_NO_TLS=$(TARGET)/no-tls/release $(CARGO) test --test release_files -- --nocapture

clean: ## remove all build results
	$(CARGO) clean
