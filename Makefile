# The commands of the project. `make` alone lists them.

CARGO ?= cargo

SHELL := bash
.DEFAULT_GOAL := help
.PHONY: help demo build test faults fuzz bench install clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo 'Variables:'
	@echo '  KEEP=1     leave the demo'"'"'s broker and Postgres running; it shows how to stop them'
	@echo '  FUZZ_SECONDS=60    how long each fuzz target runs'
	@echo '  ARGS=…     options of the benchmarks, such as --rounds 5; ARGS=--help lists them'
	@echo '  CARGO=…    the cargo to build with (default: cargo)'

# `make` itself puts KEEP into the program's environment. `exec` lets the program have the signals.
demo: install ## Build and run the demo on a private broker and Postgres
	$(CARGO) build --release --locked
	@exec target/release/sessionfold demo

build: install ## Build the release program, target/release/sessionfold
	$(CARGO) build --release --locked

test: install ## Check the format, the lints and all tests, on a private broker and Postgres
	@scripts/mcp_clients.sh
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	# Its lock file follows the dependencies of the program.
	$(CARGO) fetch --locked --manifest-path fuzz/Cargo.toml
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) test --locked --no-run
	# Most tests wait for a broker, so more of them than there are cores run at a time.
	RUST_TEST_THREADS=4 target/debug/sessionfold dev run -- $(CARGO) test --locked

# One at a time: they measure memory, and kill what others would share.
faults: install ## Run the faults that take minutes, each on a private broker and Postgres
	$(CARGO) test --locked --release --no-run --test service
	target/release/sessionfold dev run -- $(CARGO) test --locked --release --test service -- --ignored --nocapture --test-threads=1

# Variables of the command line reach the script through the environment.
fuzz: install ## Fuzz each target for FUZZ_SECONDS, from the corpus that `make test` checks
	@scripts/fuzz.sh

bench: install ## Measure against what it can be compared with; docs/performance.md says what and how
	@scripts/bench.sh
	$(CARGO) bench --locked --bench bench -- $(ARGS)

install: ## Install what is missing: build tools, Postgres, the development broker
	@scripts/install.sh

clean: ## Remove all that was built, and the development broker
	$(CARGO) clean
