# The commands of this repository. Each says what it needs before it begins: `make doctor` asks them all.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What the tests start, made once and checked each time.
IT := target/it
JARS := $(IT)/kafka/libs
VENV := $(IT)/langgraph-venv

TOOLS := target/tools
CARGO_DENY_VERSION := 0.20.2
ADVISORIES := https://github.com/RustSec/advisory-db

.PHONY: help demo test lint bench doctor test-setup kafka-jars langgraph-venv

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: ## The whole path in one process: broker, agent and events; prints what became of each
	@tests/doctor build
	cargo run --locked -- demo

test: test-setup ## Every test, with a real Kafka and a real LangGraph server
	cargo test --locked

lint: ## Format, clippy, dependencies (licences, sources, advisories)
	@tests/doctor build
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings
	deny=$$(command -v cargo-deny || true)
	if [ -z "$$deny" ]; then
	  deny=$(TOOLS)/bin/cargo-deny
	  if [ "$$("$$deny" --version 2>/dev/null)" != "cargo-deny $(CARGO_DENY_VERSION)" ]; then
	    echo "cargo-deny is not installed: building $(CARGO_DENY_VERSION) into $(TOOLS), once; a minute or two."
	    CARGO_PROFILE_DEV_DEBUG=0 CARGO_PROFILE_DEV_OPT_LEVEL=0 CARGO_INCREMENTAL=0 \
	      cargo install --quiet --locked --debug --root $(TOOLS) --target-dir $(TOOLS)/build cargo-deny@$(CARGO_DENY_VERSION)
	    rm -rf $(TOOLS)/build
	  fi
	fi
	"$$deny" --log-level error --locked check bans licenses sources
	if GIT_TERMINAL_PROMPT=0 timeout 60 git ls-remote --exit-code $(ADVISORIES) HEAD >/dev/null 2>&1; then
	  "$$deny" --log-level error --locked check advisories
	else
	  echo "NOT CHECKED: security advisories. Their database at $(ADVISORIES) cannot be reached from here."
	fi

bench: test-setup ## The figures, in the release profile
	cargo bench --locked

doctor: ## Say what is missing for all of this, and how to get it
	@tests/doctor build test
	echo "Nothing is missing."

test-setup: ## What the tests need: Kafka's jars and a LangGraph server, under target/it
	@tests/doctor build test
	$(MAKE) kafka-jars langgraph-venv

# Maven checks what it downloads, but not what it copies from its own repository: hence the sums.
kafka-jars:
	@sums=$$PWD/tests/kafka/SHA256SUMS
	intact() { [ "$$(ls "$$1" | wc -l)" = "$$(wc -l <"$$sums")" ] && (cd "$$1" && sha256sum --quiet --check "$$sums"); }
	if [ -d $(JARS) ] && intact $(JARS) >/dev/null 2>&1; then exit 0; fi
	echo "Fetching Apache Kafka's jars into $(JARS)"
	rm -rf $(JARS) $(JARS).new
	mvn -q -B -C -f tests/kafka/pom.xml dependency:copy-dependencies \
	  -DoutputDirectory=$$PWD/$(JARS).new -DincludeScope=runtime
	if ! intact $(JARS).new; then
	  echo "The jars are not those of tests/kafka/SHA256SUMS: delete the ones named above from Maven's repository (~/.m2) and try again." >&2
	  exit 1
	fi
	mv $(JARS).new $(JARS)

langgraph-venv:
	@pins=tests/langgraph/requirements.txt
	if cmp -s $$pins $(VENV)/requirements.txt && $(VENV)/bin/langgraph --version >/dev/null 2>&1; then exit 0; fi
	echo "Installing the LangGraph server into $(VENV)"
	rm -rf $(VENV)
	if command -v uv >/dev/null; then
	  uv venv --quiet --python '>=3.11' $(VENV)
	  uv pip install --quiet --python $(VENV)/bin/python -r $$pins
	else
	  python3 -m venv $(VENV)
	  $(VENV)/bin/pip install --quiet --disable-pip-version-check -r $$pins
	fi
	cp $$pins $(VENV)/requirements.txt
