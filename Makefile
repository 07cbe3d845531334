# Recipes of this repository. `make` lists them.

CARGO ?= cargo

# Where rustup puts cargo; a shell that is not a login shell may not know.
export PATH := $(PATH):$(HOME)/.cargo/bin

# The test programs that run for anyone: those that enter no network namespace, neither of the laboratory's nor another,
# and need no browser.
UNPRIVILEGED := $(shell for test in $(patsubst %/main.rs,%,$(wildcard tests/*.rs tests/*/main.rs)); do \
	grep -rq 'support/mod.rs\|^mod support;\|netns\|chromium' $$test || echo --test $$(basename $$test .rs); done)

# The others run as root. Only they do: the build stays the user's own.
ifneq ($(shell id -u),0)
SUDO := sudo --preserve-env=DOCKGATE_LAB_CACHE,DOCKGATE_LAB_MIRROR
AS_ROOT := --config 'target."cfg(unix)".runner = ["sudo", "--preserve-env"]'
endif

.PHONY: scenarios soak bench help build check test test-engines demo laboratory browser

help: ## list the recipes
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build the release binary, target/release/dockgate
	$(CARGO) build --release --locked

check: ## formatting, lints, documentation, and the tests that need neither root nor Docker
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings
	$(CARGO) clippy --locked --test demo -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --locked --no-deps --document-private-items
	$(CARGO) test --locked --lib --bins $(UNPRIVILEGED)
	$(CARGO) test --locked --doc

laboratory: ## install what tests with a real engine need (Debian and Ubuntu), and unpack a newer engine
	@sh tests/laboratory/install.sh
	@$(SUDO) sh tests/laboratory/newer-engine.sh sid >/dev/null

browser: ## install the browser in which tests look at pages and pictures (Debian)
	@sh tests/laboratory/install.sh --browser

# Some thousand lines later, what has failed is told again at the end.
test: SHELL := /bin/bash
test: laboratory browser ## every test, those with a real Docker engine included; installs what they need
	@mkdir -p target
	@set -o pipefail; $(CARGO) test --locked --no-fail-fast $(AS_ROOT) 2>&1 | tee target/test.log || { \
		echo; echo 'What has failed (all of the output is in target/test.log):'; \
		awk '/^failures:$$/ { told = !told } told && !/^failures:$$/' target/test.log | tail -n 200; \
		grep -E '^(test .* \.\.\. FAILED|error: test failed|error: could not compile)' target/test.log; exit 1; }

test-engines: laboratory ## the same policies on three engines with every firewall setting, and a table; five minutes
	@$(SUDO) sh tests/laboratory/newer-engine.sh trixie >/dev/null
	$(CARGO) test --locked $(AS_ROOT) --test engines -- --include-ignored

scenarios: laboratory ## every way past policy that is known, tried with packets; prints the table
	$(CARGO) test --locked $(AS_ROOT) --test scenarios

soak: laboratory ## accidents in random order, all at once, for SECONDS (600), under forbidden and allowed packets
	DOCKGATE_SOAK_SECONDS=$(or $(SECONDS),600) $(CARGO) test --locked $(AS_ROOT) --test soak

# The programs that measure in namespaces of their own, one after another: they must not disturb each other.
BENCHES := $(filter-out report,$(patsubst benches/%/main.rs,%,$(wildcard benches/*/main.rs)))

bench: laboratory ## what everything costs, against what was asked for: docs/performance.md; a quarter of an hour
	@$(SUDO) rm -rf $(or $(CARGO_TARGET_DIR),target)/bench
	$(CARGO) bench --locked --bench pure
	@failed=; for bench in $(BENCHES); do \
		$(CARGO) bench --locked $(AS_ROOT) --bench $$bench || failed="$$failed $$bench"; done; \
		$(CARGO) bench --locked --quiet --bench report || failed="$$failed report"; \
		if [ -n "$$failed" ]; then echo "Not measured:$$failed"; exit 1; fi

demo: ## a small shop on a real engine, before and after a policy; half a minute once it is built
	@sh tests/laboratory/install.sh
	@echo 'Building dockgate and the demo (unoptimized, which is quicker to build) ...'
	@$(CARGO) test --quiet --locked $(AS_ROOT) --test demo
