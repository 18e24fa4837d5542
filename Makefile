# What a newcomer types. `make demo` and `make test` need Rust, Python 3.10 or later, and a C compiler.
.DEFAULT_GOAL := help
SHELL := /bin/bash
# Where `make install` puts the binary.
BINDIR ?= $(or $(CARGO_HOME),$(HOME)/.cargo)/bin
BINARY := build/propeller-proxy
TARGET := $(or $(CARGO_TARGET_DIR),target)
VENV := .venv
export PATH := $(CURDIR)/$(VENV)/bin:$(PATH):/usr/sbin

# How long `make soak` takes, and the seed of its random choices: a new one if it is empty.
SECONDS := 1800
SEED :=

.PHONY: all install wheel demo test test-rust test-python soak lint bench docs notebooks clean help

all: ## build the release binary, build/propeller-proxy
	cargo build --release --locked -p propeller-proxy-daemon
	install -D -m 755 $(TARGET)/release/propeller-proxy $(BINARY)

install: all ## install it into ~/.cargo/bin
	install -D -m 755 $(BINARY) $(DESTDIR)$(BINDIR)/propeller-proxy

wheel: $(VENV)/installed ## build the Python wheel and the source distribution into build/wheels
	rm -rf build/wheels
	maturin build --release --locked --quiet --out build/wheels
	maturin sdist --out build/wheels > /dev/null

demo: all ## deliver modules between embedded parts; needs no server
	$(BINARY) demo

test: test-rust test-python ## run all tests; installs the servers they need

test-rust:
	scripts/install-test-tools
	cargo test --locked

test-python: all extension
	pytest --numprocesses 4

soak: ## fuzz the parsers, then run everything at once for SECONDS=1800; SEED=N repeats the choices of a run
	scripts/install-test-tools
	PROPTEST_CASES=300000 cargo test --locked -p propeller-proxy --lib fuzz
	SOAK_SECONDS=$(SECONDS) $(if $(SEED),TEST_SEED=$(SEED)) \
	  cargo test --locked -p propeller-proxy-daemon --test integration -- --exact --nocapture soak::soak

lint: extension ## check formatting, lints, licences and types
	cargo fmt --all --check
	cargo fmt --manifest-path fuzz/Cargo.toml --check
	cargo metadata --locked --format-version 1 --manifest-path fuzz/Cargo.toml > /dev/null
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked -p propeller-proxy-daemon --no-default-features -- -D warnings
	cargo deny --locked check bans licenses sources
	ruff check
	ruff format --check
	mypy
	python -m mypy.stubtest --mypy-config-file pyproject.toml propeller_proxy

bench: all wheel ## measure on real servers; BASELINE=an earlier run's JSON file compares
	scripts/install-test-tools
	$(if $(BASELINE),BASELINE='$(abspath $(BASELINE))') PROPELLER_WHEEL="$$(echo $(CURDIR)/build/wheels/*.whl)" \
	  cargo bench --locked -p propeller-proxy-daemon --bench delivery

docs: $(VENV)/installed ## build the documentation into build/site; every warning is an error
	python scripts/bounds.py
	NO_MKDOCS_2_WARNING=1 mkdocs build --strict

notebooks: extension ## run the notebooks, for `make docs` to show them with their outputs
	python notebooks/fetch_modules.py
	python notebooks/render.py

clean: ## remove everything that was built
	cargo clean
	rm -rf build $(VENV)

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: extension
# The Python package, built from this tree into the virtual environment.
extension: $(VENV)/installed
	maturin develop --locked --quiet > /dev/null

$(VENV)/installed: pyproject.toml
	scripts/install-test-tools
	python3 -m venv $(VENV)
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --group dev
	touch $@
