# The commands of this repository. Each checks its prerequisites first; `make doctor` checks those of all of them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory

# What the tests start. Prepared once, checked each time.
IT := target/it
JARS := $(IT)/kafka/libs
VENV := $(IT)/langgraph-venv
PYTHON_VENV := $(IT)/python-venv

TOOLS := target/tools
PYTHON_TOOLS := $(TOOLS)/python-venv
CARGO_DENY_VERSION := 0.20.2
ADVISORIES := https://github.com/RustSec/advisory-db

# A folder with a new virtual environment ($(1)) and what a file of pins ($(2)) says.
define new-venv
rm -rf $(1)
if command -v uv >/dev/null; then
  uv venv --quiet --python '>=3.11' $(1)
  uv pip install --quiet --compile-bytecode --python $(1)/bin/python -r $(2)
else
  python3 -m venv $(1)
  $(1)/bin/pip install --quiet --disable-pip-version-check -r $(2)
fi
cp $(2) $(1)/requirements.txt
endef

# Where `make kafka` and `make agent` listen.
TRY_KAFKA_PORT ?= 9092
TRY_AGENT_PORT ?= 2024

# The modules of tests/it that start a LangGraph server or use its Python. All others need Kafka alone: tests/house.rs checks
# that no module is in the wrong half.
LANGGRAPH_MODULES := docker kit_works langgraph_once langgraph_requests questions readme seeded_faults templates

# In `make check` the tests that try many cases (properties, models, hostile input) try a tenth of them. They wait more than
# they compute, so more of them run at once than there are cores.
QUICK := WORKFLOW_BRIDGE_QUICK_TESTS=1 PROPTEST_CASES=32
QUICK_THREADS := 8
# The same holds for all their cases, and a little less for tests that start servers.
UNIT_THREADS := $(shell echo $$((2 * $$(nproc 2>/dev/null || echo 2))))
SERVER_THREADS := $(shell echo $$((3 * $$(nproc 2>/dev/null || echo 2) / 2)))

.PHONY: help demo kafka agent check test test-unit test-kafka test-langgraph test-python test-airflow test-dagster test-aegra test-langgraph-js \
  faults fuzz parking soak replicas lost-disk lint clippy doc figures counts counts-update bench bench-parts bench-matching bench-json bench-stores bench-peers bench-publish bench-consume \
  measure-restarts measure-reloads wheel doctor test-setup kafka-jars \
  langgraph-venv aegra-venv python-venv python-tools airflow-venvs dagster-venv event-ruler bridge

help: ## Show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-17s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

check: ## Format, clippy and the unit tests: before each commit; needs Rust and a C compiler, nothing else
	@tests/doctor build
	cargo fmt --all --check
	$(MAKE) clippy
	$(QUICK) cargo test --locked --lib --quiet -- --test-threads=$(QUICK_THREADS)

demo: ## The whole path in one process: broker, agent and events; prints what became of each
	@tests/doctor build
	cargo run --locked -- demo

kafka: ## Apache Kafka on localhost:9092, for trying things out; needs Java 17 and Maven
	@tests/doctor kafka
	$(MAKE) kafka-jars
	folder=$$PWD/target/try/kafka-$(TRY_KAFKA_PORT)
	controller=$$(($(TRY_KAFKA_PORT) + 1))
	mkdir -p $$folder
	cat >$$folder/server.properties <<-END
	process.roles=broker,controller
	node.id=1
	controller.quorum.voters=1@127.0.0.1:$$controller
	listeners=PLAINTEXT://127.0.0.1:$(TRY_KAFKA_PORT),CONTROLLER://127.0.0.1:$$controller
	advertised.listeners=PLAINTEXT://127.0.0.1:$(TRY_KAFKA_PORT)
	controller.listener.names=CONTROLLER
	log.dirs=$$folder/data
	num.partitions=4
	offsets.topic.replication.factor=1
	transaction.state.log.replication.factor=1
	transaction.state.log.min.isr=1
	share.coordinator.state.topic.replication.factor=1
	share.coordinator.state.topic.min.isr=1
	group.initial.rebalance.delay.ms=0
	END
	kafka() { java -Xmx512m -XX:+UseSerialGC -Dlog4j2.configurationFile=tests/kafka/log4j2.properties -cp "$(JARS)/*" "$$@"; }
	kafka kafka.tools.StorageTool format --ignore-formatted -t dHJ5LW91dC1jbHVzdGVyMQ -c $$folder/server.properties >/dev/null
	echo "Kafka starts on localhost:$(TRY_KAFKA_PORT), with its records in $$folder. Ctrl-C ends it."
	kafka kafka.Kafka $$folder/server.properties

agent: ## The sample agent: a LangGraph server on port 2024; needs Python 3.11
	@tests/doctor python
	$(MAKE) langgraph-venv
	# `langgraph dev` would take another port.
	if ! $(VENV)/bin/python -c 'import socket; socket.create_server(("127.0.0.1", $(TRY_AGENT_PORT)))' 2>/dev/null; then
	  echo "Port $(TRY_AGENT_PORT) is in use: end what listens there, or name another: make agent TRY_AGENT_PORT=2025" >&2
	  exit 1
	fi
	cd examples/langgraph-app
	LANGSMITH_TRACING=false LANGGRAPH_CLI_NO_ANALYTICS=1 exec ../../$(VENV)/bin/langgraph dev --no-browser --no-reload \
	  --port $(TRY_AGENT_PORT) --n-jobs-per-worker 10

test: ## Every test, with a real Kafka and a real LangGraph server
	@tests/doctor build python kafka pythons
	$(MAKE) test-unit test-kafka test-langgraph test-python

test-unit: ## Every case of the unit tests, the documents, ARCHITECTURE.md against the code; needs what `check` needs
	@tests/doctor build
	cargo test --locked --lib --test docs --test house -- --test-threads=$(UNIT_THREADS)
	cargo test --locked --doc

test-kafka: ## The bridge against a real Kafka; needs Java 17 and Maven
	@tests/doctor build kafka
	$(MAKE) kafka-jars
	cargo test --locked --test it -- --test-threads=$(SERVER_THREADS) $(LANGGRAPH_MODULES:%=--skip %::)

test-langgraph: test-setup ## The bridge against a real Kafka and a real LangGraph server; needs Java 17, Maven and Python 3.11
	cargo test --locked --test it -- --test-threads=$(SERVER_THREADS) $(LANGGRAPH_MODULES:%=%::)

test-python: ## The Python package against a real Kafka; needs Java 17, Maven and two versions of Python
	@tests/doctor build python kafka pythons
	$(MAKE) kafka-jars python-venv bridge
	# Two halves at once, since most tests wait: each process starts brokers of its own.
	half() { $(PYTHON_VENV)/bin/python -m pytest -c python/pyproject.toml python/tests --ignore=python/tests/airflow --ignore=python/tests/dagster --part $$1/2; }
	log=$$(mktemp)
	trap 'rm -f "$$log"' EXIT
	half 2 >"$$log" 2>&1 & second=$$!
	failed=0
	half 1 || failed=1
	wait $$second || failed=1
	cat "$$log"
	exit $$failed

test-airflow: ## The Python package on real Airflow 2.8.4 and 3.3.2; needs Java 17, Maven and Python 3.11
	@tests/doctor build python kafka airflow
	$(MAKE) kafka-jars langgraph-venv python-venv bridge airflow-venvs
	$(PYTHON_VENV)/bin/python -m pytest -c python/pyproject.toml python/tests/airflow

test-dagster: ## runner.yaml on a real Dagster; needs Java 17, Maven and Python 3.11
	@tests/doctor build python kafka
	$(MAKE) kafka-jars python-venv dagster-venv
	$(PYTHON_VENV)/bin/python -m pytest -c python/pyproject.toml python/tests/dagster

# target/debug/workflow-bridge, which python/tests starts, with the features that `cargo test` builds it with.
bridge:
	@cargo test --quiet --locked --no-run --test house

test-aegra: kafka-jars aegra-venv ## One run for each event on a real aegra, killed and restarted; needs Python 3.12 and PostgreSQL
	@tests/doctor build kafka
	cargo test --locked --test servers aegra -- --nocapture

test-langgraph-js: kafka-jars ## One run for each event on a real LangGraph.js server; needs Node.js 20
	@tests/doctor build kafka node
	lock=tests/langgraph-js/package-lock.json
	folder=$(IT)/langgraph-js
	if ! cmp -s $$lock $$folder/package-lock.json || ! [ -x $$folder/node_modules/.bin/langgraphjs ]; then
	  echo "Installing LangGraph.js into $$folder"
	  rm -rf $$folder
	  mkdir -p $$folder
	  cp tests/langgraph-js/package.json $$folder
	  cp $$lock $$folder/lock
	  (cd $$folder && cp lock package-lock.json && npm ci --silent --no-audit --no-fund || { rm -f package-lock.json; exit 1; })
	fi
	cargo test --locked --test servers langgraph_js -- --nocapture

# Each run prints its seed and its schedule; a failed one keeps its logs under target/faults. What measures has the
# dev profile, which optimizes the bridge a little; the test profile does not.
faults: test-setup $(if $(filter aegra,$(SERVER)),aegra-venv) ## Three brokers and replicas under a random schedule of faults: make faults SEED=1 MINUTES=3 [SERVER=aegra]
	FAULTS_SEED=$(SEED) FAULTS_MINUTES=$(MINUTES) FAULTS_SERVER=$(SERVER) cargo test --profile dev --locked --test faults -- --exact --nocapture \
	  faults_for_as_long_as_asked

parking: test-setup ## What one agent notices while another one is down: make parking MINUTES=10
	PARKING_MINUTES=$(MINUTES) cargo test --profile dev --locked --test faults -- --nocapture parked::

soak: test-setup ## The memory and the disk of a replica that works all the time: make soak MINUTES=60
	SOAK_MINUTES=$(MINUTES) cargo test --profile dev --locked --test faults -- --nocapture soak::

lost-disk: test-setup ## How soon a replica without its disk delivers again: make lost-disk RECORDS=1000000
	LOST_DISK_RECORDS=$(RECORDS) cargo test --profile dev --locked --test faults -- --nocapture lost_disk::

replicas: test-setup ## The figures of several replicas: repeats when they come and go, and events a second with 1, 2 and 4
	cargo test --profile dev --locked --test faults -- --nocapture --test-threads=1 replicas::

# One command for `check` and `lint`: what one of them compiled serves the other.
clippy:
	@cargo clippy --locked --workspace --all-targets -- -D warnings

# Private items too: a broken link in a comment misleads a maintainer. The crates of others are not documented.
doc:
	@RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --workspace --lib

lint: ## Format, clippy, documentation, dependencies (licences, sources, advisories)
	@tests/doctor build python
	cargo fmt --all --check
	$(MAKE) clippy doc
	$(MAKE) python-tools
	$(PYTHON_TOOLS)/bin/ruff format --check --config python/pyproject.toml python
	$(PYTHON_TOOLS)/bin/ruff check --config python/pyproject.toml python
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
	"$$deny" --log-level error --locked --workspace check bans licenses sources
	if GIT_TERMINAL_PROMPT=0 timeout 60 git ls-remote --exit-code $(ADVISORIES) HEAD >/dev/null 2>&1; then
	  "$$deny" --log-level error --locked --workspace check advisories
	else
	  echo "NOT CHECKED: security advisories. Their database at $(ADVISORIES) cannot be reached from here."
	fi

# Each target for so many seconds.
SECONDS ?= 20
FUZZ_TARGETS ?=

fuzz: ## Hostile input for SECONDS= (20) per target: events, patterns, routing files, templates, the ledger, parked deliveries; FUZZ_TARGETS= names some
	@tests/doctor build
	# The coverage is for the crates of this repository alone, so librdkafka is the one that `make check` has built.
	RUSTC_WORKSPACE_WRAPPER=$$PWD/tests/fuzz/rustc cargo build --locked --package workflow-bridge-fuzz --features libfuzzer
	tests/fuzz/run $(SECONDS) $(FUZZ_TARGETS)

# With the build of the tests, so that nothing is compiled but the program that counts. It takes more instructions than a release, and
# what takes more in a release takes more here.
counts: ## How many instructions reading, matching and delivering an event take, beside their budgets; needs valgrind
	@tests/doctor build callgrind
	cargo test --locked --bench counts

counts-update: ## Write what `make counts` finds as the new budgets
	@tests/doctor build callgrind
	cargo test --locked --bench counts -- --update

bench: test-setup ## The figures, in the release profile
	cargo bench --locked --bench bridge

bench-parts: ## The time of single steps (decode, match, ledger, frontier, render), in the release profile
	@tests/doctor build
	cargo bench --locked --bench parts

bench-matching: event-ruler ## Reading and matching on one thread, beside event-ruler and quamina, in the release profile; needs Java 17 and Maven
	CARGO_TARGET_DIR=target/quamina cargo build --release --locked --manifest-path benches/matching/quamina/Cargo.toml
	cargo bench --locked --bench matching

bench-json: ## Reading an event with sonic-rs and simd-json beside serde_json, and what each takes for JSON, in the release profile
	@tests/doctor build
	CARGO_TARGET_DIR=target/json cargo run --release --locked --manifest-path benches/json/Cargo.toml

bench-stores: ## What the ledger asks of its store, of sled, redb and fjall, in the release profile
	@tests/doctor build
	CARGO_TARGET_DIR=target/stores cargo run --release --locked --manifest-path benches/stores/Cargo.toml

event-ruler:
	@tests/doctor build kafka
	pom=benches/matching/pom.xml
	folder=$(IT)/event-ruler
	if cmp -s $$pom $$folder/pom.xml; then exit 0; fi
	echo "Fetching event-ruler into $$folder"
	rm -rf $$folder
	mvn -q -B -C -f $$pom dependency:copy-dependencies -DoutputDirectory=$$PWD/$$folder -DincludeScope=runtime
	cp $$pom $$folder/pom.xml

bench-peers: kafka-jars ## The bridge beside kafka-agent-bridge, a loop of aiokafka and aiohttp, and Bento where Go is installed
	@tests/doctor build python kafka
	pins=benches/peers/requirements.txt
	venv=$(IT)/bench-peers-venv
	if ! cmp -s $$pins $$venv/requirements.txt; then
	  echo "Installing the peers into $$venv"
	  $(call new-venv,$$venv,$$pins)
	fi
	bento=$(IT)/bench-peers-bento
	inputs=$$(cd benches/peers/bento && sha256sum main.go go.mod go.sum)
	if [ "$$inputs" != "$$(cat $$bento/inputs.sum 2>/dev/null)" ]; then
	  rm -rf $$bento
	  if missing=$$(tests/doctor go 2>&1); then
	    echo "Building Bento into $$bento"
	    go build -C benches/peers/bento -trimpath -buildvcs=false -o $$PWD/$$bento/bento .
	    echo "$$inputs" >$$bento/inputs.sum
	  else
	    echo "Bento is left out; $$missing"
	  fi
	fi
	cargo bench --locked --bench peers

measure-restarts: kafka-jars ## How long nothing is delivered after a crash, a stop or the loss of the broker; needs Java 17 and Maven
	MEASURE_RESTARTS=1 cargo test --locked --test it restart:: -- --nocapture

measure-reloads: kafka-jars ## The latency of deliveries while 100,000 rules (`RULES`) are loaded again and again; needs Java 17 and Maven
	MEASURE_RELOADS=1 cargo test --release --locked --test it reload::the_latency -- --nocapture

bench-publish: kafka-jars wheel ## The Python package beside confluent-kafka and kafka-python, on one broker
	@pins=benches/publish/requirements.txt
	venv=$(IT)/bench-publish-venv
	if ! cmp -s $$pins $$venv/requirements.txt; then
	  echo "Installing the clients to compare with into $$venv"
	  $(call new-venv,$$venv,$$pins)
	fi
	wheel=$$(ls -t target/wheels/workflow_events-*.whl | head -n 1)
	if command -v uv >/dev/null; then
	  uv pip install --quiet --python $$venv/bin/python --no-deps --reinstall $$wheel
	else
	  $$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $$wheel
	fi
	$$venv/bin/python benches/publish/bench.py

bench-consume: kafka-jars wheel ## The consumer of integration events beside aiokafka and FastStream, on one broker
	@pins=benches/consume/requirements.txt
	venv=$(IT)/bench-consume-venv
	if ! cmp -s $$pins $$venv/requirements.txt; then
	  echo "Installing the clients to compare with into $$venv"
	  $(call new-venv,$$venv,$$pins)
	fi
	wheel=$$(ls -t target/wheels/workflow_events-*.whl | head -n 1)
	if command -v uv >/dev/null; then
	  uv pip install --quiet --python $$venv/bin/python --no-deps --reinstall $$wheel
	else
	  $$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $$wheel
	fi
	$$venv/bin/python benches/consume/bench.py

wheel: python-tools ## The Python package, in the release profile, and its aliases, into target/wheels
	@tests/doctor build python
	PATH=$$PWD/$(PYTHON_TOOLS)/bin:$$PATH maturin build --locked --release --compression-level 9 --manifest-path python/Cargo.toml --out target/wheels
	tools=$$PWD/$(PYTHON_TOOLS)/bin
	cd python/aliases
	$$tools/hatchling build -t wheel -d ../../target/wheels

doctor: ## Say what is missing for all of this, and how to get it
	@tests/doctor build callgrind python kafka pythons airflow aegra node go
	echo "Nothing is missing."

figures: ## Files, lines, circles, long functions, public items and tests per room
	@tests/figures

test-setup: ## What the tests of the bridge need: Kafka's jars and a LangGraph server, under target/it
	@tests/doctor build python kafka
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
	$(call new-venv,$(VENV),$$pins)

aegra-venv:
	@tests/doctor aegra
	pins=tests/aegra/requirements.txt
	venv=$(IT)/aegra-venv
	if cmp -s $$pins $$venv/requirements.txt && [ -x $$venv/bin/aegra ]; then exit 0; fi
	echo "Installing aegra into $$venv"
	rm -rf $$venv
	if command -v uv >/dev/null; then
	  uv venv --quiet --python '>=3.12' $$venv
	  uv pip install --quiet --compile-bytecode --python $$venv/bin/python -r $$pins
	else
	  "$$(tests/doctor which-python-3.12)" -m venv $$venv
	  $$venv/bin/pip install --quiet --disable-pip-version-check -r $$pins
	fi
	cp $$pins $$venv/requirements.txt

# The wheel of the dev profile, which shares its build of librdkafka with `cargo test`, and what python/tests needs.
python-venv: python-tools
	@pins=python/tests/requirements.txt
	if ! cmp -s $$pins $(PYTHON_VENV)/requirements.txt || ! $(PYTHON_VENV)/bin/python -m pytest --version >/dev/null 2>&1; then
	  echo "Installing pytest and the Kafka clients into $(PYTHON_VENV)"
	  $(call new-venv,$(PYTHON_VENV),$$pins)
	fi
	inputs=$$(find Cargo.toml Cargo.lock src python -type f -not -path 'python/tests/*' -not -name '*.pyc' -print0 \
	  | sort -z | xargs -0 sha256sum | sha256sum)
	if [ "$$inputs" = "$$(cat $(PYTHON_VENV)/wheel.sum 2>/dev/null)" ]; then exit 0; fi
	echo "Building the wheel (dev profile) and installing it into $(PYTHON_VENV)"
	rm -rf $(IT)/wheel
	PATH=$$PWD/$(PYTHON_TOOLS)/bin:$$PATH maturin build --quiet --locked --profile dev \
	  --manifest-path python/Cargo.toml --out $(IT)/wheel
	if command -v uv >/dev/null; then
	  uv pip install --quiet --compile-bytecode --python $(PYTHON_VENV)/bin/python --no-deps --reinstall $(IT)/wheel/*.whl
	else
	  $(PYTHON_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(IT)/wheel/*.whl
	fi
	echo "$$inputs" >$(PYTHON_VENV)/wheel.sum

# Airflow 2.8.4 runs on no Python after 3.11, and the pins hold all that it needs: nothing is resolved again.
airflow-venvs:
	@for version in 2 3; do
	  pins=python/tests/airflow/requirements-$$version.txt
	  venv=$(IT)/airflow-$$version-venv
	  if ! cmp -s $$pins $$venv/requirements.txt || ! [ -x $$venv/bin/airflow ]; then
	    echo "Installing $$(sed -n 's/^apache-airflow==/Airflow /p' $$pins) into $$venv"
	    rm -rf $$venv
	    if command -v uv >/dev/null; then
	      uv venv --quiet --python 3.11 $$venv
	      uv pip install --quiet --python $$venv/bin/python --no-deps -r $$pins
	    else
	      python3.11 -m venv $$venv
	      $$venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r $$pins
	    fi
	    cp $$pins $$venv/requirements.txt
	  fi
	  if cmp -s $(PYTHON_VENV)/wheel.sum $$venv/wheel.sum; then continue; fi
	  if command -v uv >/dev/null; then
	    uv pip install --quiet --python $$venv/bin/python --no-deps --reinstall $(IT)/wheel/*.whl
	  else
	    $$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(IT)/wheel/*.whl
	  fi
	  cp $(PYTHON_VENV)/wheel.sum $$venv/wheel.sum
	done

dagster-venv:
	@pins=python/tests/dagster/requirements.txt
	venv=$(IT)/dagster-venv
	if ! cmp -s $$pins $$venv/requirements.txt || ! [ -x $$venv/bin/dagster ]; then
	  echo "Installing Dagster into $$venv"
	  $(call new-venv,$$venv,$$pins)
	fi
	if cmp -s $(PYTHON_VENV)/wheel.sum $$venv/wheel.sum; then exit 0; fi
	if command -v uv >/dev/null; then
	  uv pip install --quiet --python $$venv/bin/python --no-deps --reinstall $(IT)/wheel/*.whl
	else
	  $$venv/bin/pip install --quiet --disable-pip-version-check --no-deps --force-reinstall $(IT)/wheel/*.whl
	fi
	cp $(PYTHON_VENV)/wheel.sum $$venv/wheel.sum

# maturin, hatchling and ruff, of one version everywhere.
python-tools:
	@pins=python/tools.txt
	if cmp -s $$pins $(PYTHON_TOOLS)/requirements.txt && $(PYTHON_TOOLS)/bin/maturin --version >/dev/null 2>&1; then exit 0; fi
	echo "Installing maturin and ruff into $(PYTHON_TOOLS)"
	$(call new-venv,$(PYTHON_TOOLS),$$pins)
