# The words of this project. Each installs what it needs first (tools/setup.sh).

export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH):/usr/sbin:/sbin
BUILT := $(or $(CARGO_TARGET_DIR),target)

# What `make run` needs, and what the demonstration and the measurements start.
PLATFORM := --package outrigger-hostd --package outrigger-cli --package outrigger-policy --package outrigger-engine-hashlist
STARTED := $(PLATFORM) --package outrigger-engine-hostile

# What the incidents are played by, besides what is started: an engine and whoever offers it.
OFFERED := --package outrigger-engine-channel291 --package outrigger-fetch --package outrigger-incidents

# The engine that `make run` docks: hashlist, or yara, which takes minutes to build.
ENGINE ?= hashlist

# How many pairs of events and policies `make oracle` looks at.
PAIRS ?= 1000000

# How often `make soak` runs the whole platform's tests, at their full lengths.
ROUNDS ?= 1

.PHONY: help run demo test oracle vm vm-quick kernel-vs-dock check bench bench-peers faults incidents incidents-quick soak fuzz doctor fmt clean
.SILENT:

help: ## say what can be done
	sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "make %-15s %s\n", $$1, $$2 }'

run: ## start the platform here, with an engine docked (ENGINE=yara: another); PROTECT=/path protects its file system
	if [ "$$(id -u)" != 0 ]; then \
	    echo "make run: needs root, since only root may answer the kernel's questions (CAP_SYS_ADMIN)" >&2; \
	    echo "          run: sudo make run" >&2; \
	    exit 1; \
	fi
	if [ "$(ENGINE)" = hostile ]; then \
	    echo "make run: engines/hostile attacks the platform, for tests alone; see it with: make faults" >&2; \
	    exit 1; \
	fi
	if [ "$(ENGINE)" = channel291 ]; then \
	    echo "make run: engines/channel291 crashes on content that looks good, for tests alone: see its README" >&2; \
	    exit 1; \
	fi
	tools/setup.sh build
	cargo build --quiet --release $(PLATFORM) --package outrigger-engine-$(ENGINE)
	exec $(BUILT)/release/outriggerd try --engine engines/$(ENGINE) $${PROTECT:+--protect "$$PROTECT"}

demo: ## play the platform unattended; ends well only if all of it held
	tools/setup.sh test
	cargo build --quiet --release --bins $(STARTED) --package outrigger-demo
	$(BUILT)/release/outrigger-demo

test: ## format, lints, layers, reference pages, every test, and the platform under load in a virtual machine
	tools/setup.sh test
	cargo fmt --all --check
	cargo clippy --quiet --profile checked --workspace --all-targets -- -D warnings
	cargo xtask layers
	cargo xtask docs --check
	cargo build --quiet --profile checked --workspace --bins
	cargo test --quiet --profile checked --workspace
	$(MAKE) vm-quick

oracle: ## compare the compiled rules with Cedar's own evaluator on 1,000,000 random events and policies (PAIRS)
	tools/setup.sh build
	OUTRIGGER_ORACLE_PAIRS=$(PAIRS) cargo test --profile checked --package outrigger-policy --test it \
	    compiled_tables -- --nocapture

vm: ## boot virtual machines, break the platform there and cause every event; KERNEL="6.1 6.12 7", JOBS=name: some
	tools/setup.sh vm
	cargo build --quiet --profile checked --workspace --bins
	cargo build --quiet --profile checked --workspace --example agree
	$(BUILT)/checked/outrigger-vm --page docs/coverage.json $(JOBS)

# Built as `make test` builds, so that there is nothing left to build. 100 is how apt-get ends that cannot fetch.
vm-quick: ## the platform under load for 10 seconds in a virtual machine, on the oldest kernel alone
	tools/setup.sh vm || { \
	    status=$$?; \
	    [ $$status = 100 ] || exit $$status; \
	    echo "make vm-quick: SKIPPED: apt cannot fetch what boots a virtual machine" >&2; \
	    exit 0; \
	}; \
	cargo build --quiet --profile checked --workspace --bins && \
	$(BUILT)/checked/outrigger-vm --kernel 6.1 --without-network stress

kernel-vs-dock: ## give the same faulty content to a kernel module and to a docked engine; writes target/vm/kernel-vs-dock.json
	tools/setup.sh vm
	cargo build --quiet --profile checked --bins $(PLATFORM) --package outrigger-fetch --package outrigger-vm-tests
	$(BUILT)/checked/outrigger-vm versus $(ROWS)

check: ## format, lints, layers, licences and sources of what is linked
	tools/setup.sh check
	cargo fmt --all --check
	cargo clippy --quiet --profile checked --workspace --all-targets -- -D warnings
	cargo xtask layers
	cargo deny --log-level error check licenses bans sources
	cargo deny --log-level error --manifest-path fuzz/Cargo.toml check --config deny.toml licenses bans sources
	echo "deny: licences, bans and sources are clean"
	if timeout 120 cargo deny --log-level off fetch db; then \
	    cargo deny --log-level error check --disable-fetch advisories; \
	    echo "deny: no advisory"; \
	else \
	    echo "deny: ADVISORIES NOT CHECKED, their database cannot be fetched" >&2; \
	fi

bench: ## measure what is promised; writes target/bench/report.json
	tools/setup.sh test
	cargo build --quiet --release --bins $(STARTED) --package outrigger-bench
	$(BUILT)/release/outrigger-bench

bench-peers: ## measure beside fapolicyd and clamonacc, in a root of their own; writes target/bench/peers.json
	if [ "$$(id -u)" != 0 ]; then \
	    echo "make bench-peers: needs root, to install the agents into a root of their own and to start them there" >&2; \
	    echo "                  run: sudo make bench-peers" >&2; \
	    exit 1; \
	fi
	tools/setup.sh peers
	tools/peers.sh $(BUILT)/peers/root.tar
	cargo build --quiet --release --bins $(PLATFORM) --package outrigger-engine-yara --package outrigger-bench
	$(BUILT)/release/outrigger-bench-peers $(BUILT)/peers/root.tar

faults: ## cause every fault of an engine once, and print what came of it; wants a quiet machine
	tools/setup.sh test
	cargo build --quiet --release --bins $(STARTED) --package outrigger-faults
	$(BUILT)/release/outrigger-faults

incidents: ## offer it every faulty release that took machines down elsewhere, and write docs/incidents.md; wants a quiet machine
	tools/setup.sh test
	cargo build --quiet --release --bins $(STARTED) $(OFFERED)
	$(BUILT)/release/outrigger-incidents --page docs/incidents.md

incidents-quick: ## the same with a dozen of them, under a minute, and no page
	tools/setup.sh test
	cargo build --quiet --release --bins $(STARTED) $(OFFERED)
	$(BUILT)/release/outrigger-incidents --quick

soak: ## run the whole platform's tests at full length, ROUNDS times (default 1), then load it in virtual machines
	tools/setup.sh test
	cargo build --quiet --profile checked --workspace --bins
	for round in $$(seq $(ROUNDS)); do \
	    echo "round $$round of $(ROUNDS)"; \
	    OUTRIGGER_TEST_FULL=1 cargo test --quiet --profile checked --package outrigger-system-tests || exit 1; \
	done
	OUTRIGGER_TEST_FULL=1 $(MAKE) vm JOBS=stress

fuzz: ## feed hostile bytes to every parser of them, FUZZ_SECONDS each (default 60); fails on a finding
	tools/setup.sh fuzz
	cargo xtask fuzz

doctor: ## say what this machine's kernel gives and lacks
	tools/setup.sh build
	cargo build --quiet --release --package outrigger-cli
	$(BUILT)/release/outrigger doctor

fmt: ## format the code
	tools/setup.sh build
	cargo fmt --all

clean: ## remove everything built
	cargo clean
