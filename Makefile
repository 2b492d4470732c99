# The same words for a person and for CI. Needs make, Python 3.11 or newer and a package index.
# Another Python: make test PYTHON=python3.12. Another place for the environment: VENV=elsewhere.
# Tests run on every core, up to four: make test JOBS=0 runs them one after the other, make test ORDER=7 in random order.

PYTHON ?= python3
VENV ?= .venv
PEERS ?= .venv-peers
LOCK ?= .venv-lock
PY := $(VENV)/bin/python
PYTEST := $(PY) -m pytest
SCRIPTS := tests/javascript
TSC := $(SCRIPTS)/node_modules/.bin/tsc
# A file's tests stay together, for they share what was trained for them; the browser's come last. JOBS=0: one process.
JOBS ?= auto
TOGETHER := --numprocesses $(JOBS) --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(if $(ORDER),--shuffle $(ORDER))

.DEFAULT_GOAL := help
.PHONY: help demo test check check-javascript fix docs lock wheel bench bench-peers test-all test-planted test-long test-slow test-mnist test-browser clean

help:  ## what can be made
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-22s%s\n", $$1, $$2}'

demo: $(VENV)/.package  ## train on the embedded digits, then print the path of the report
	$(VENV)/bin/pellucid train digits
	@echo
	@echo "Open the report in a browser: $(CURDIR)/runs/latest/report.html"

test: $(VENV)/.development  ## every quick test; the browser tests where a Chromium can be found or fetched
	$(PYTEST) $(TOGETHER)

check: $(VENV)/.development  ## lint, layout, types, architecture: everything that runs no model
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	$(PYTEST) --quiet tests/test_architecture.py tests/test_javascript.py
	@$(MAKE) --no-print-directory check-javascript

# What cannot be checked here is said and passed over; NODE=required makes it a failure.
check-javascript:  ## types of the pages' scripts, where node and npm are
	@if ! command -v node >/dev/null || ! command -v npm >/dev/null; then missing="node or npm is missing"; \
	elif [ ! $(SCRIPTS)/node_modules/.package-lock.json -nt $(SCRIPTS)/package-lock.json ] && \
		! npm --prefix $(SCRIPTS) ci --no-audit --no-fund --silent; then missing="npm cannot fetch the compiler"; \
	else missing=""; touch $(SCRIPTS)/node_modules/.package-lock.json; fi; \
	if [ -z "$$missing" ]; then echo "$(TSC) --project $(SCRIPTS)"; $(TSC) --project $(SCRIPTS); \
	else echo "The types of the pages' scripts were left out: $$missing."; [ "$(NODE)" != required ]; fi

fix: $(VENV)/.development  ## mend what ruff can mend by itself
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

docs: $(VENV)/.development  ## write docs/cli.md, docs/api.md and the bill of materials anew
	$(PY) docs/make_cli.py
	$(PY) docs/make_api.py
	$(PY) docs/make_sbom.py

lock: $(LOCK)/.installed  ## pin the dependencies anew; UPGRADE=NAME or UPGRADE=all takes newer versions
	$(LOCK)/bin/python requirements/lock.py $(UPGRADE)

wheel: $(VENV)/.development  ## the wheel and the source archive, into dist/: the same bytes wherever they are made
	$(PY) -m hatchling build

test-all: test test-slow test-planted test-long  ## all of it: quick, slow, planted bugs, each of which must be caught, and long

test-planted: $(VENV)/.development  ## plants one bug after the other in a copy and runs the tests that must notice it
	$(PY) -m tests.plant

# LONG=100 does one hundredth of it.
LONG ?= 1
test-long: $(VENV)/.development  ## what kills, attacks and wears out: hours, of which the quick tests do some minutes
	$(PY) benchmarks/kills.py $$((250 / $(LONG)))
	$(PY) benchmarks/flips.py $$((120 / $(LONG)))
	$(PY) benchmarks/faults.py --every $(LONG)
	$(PY) benchmarks/faults.py --work report --every $$((20 * $(LONG)))
	$(PY) benchmarks/mutations.py --pictures $$((80000 / $(LONG))) --runs $$((10000 / $(LONG))) --archives $$((10000 / $(LONG)))
	$(PY) benchmarks/live_requests.py --count $$((30000 / $(LONG)))
	$(PY) benchmarks/live_clients.py --seconds $$((300 / $(LONG)))
	$(PY) benchmarks/side_by_side.py --minutes $$((120 / $(LONG)))

test-slow: $(VENV)/.development  ## the tests that take longer
	$(PYTEST) -m slow

test-mnist: $(VENV)/.development  ## the tests on the real MNIST, found through PELLUCID_DATA
	$(PYTEST) -m "mnist and not slow"

test-browser: $(VENV)/.development  ## the browser tests alone; here a missing browser is a failure
	PELLUCID_BROWSER=$${PELLUCID_BROWSER:-required} $(PYTEST) -m "browser and not slow"

bench: $(VENV)/.development  ## measure pellucid; benchmarks/results.md tells how to read it
	@set -e; for script in $(wildcard benchmarks/bench_*.py); do echo "== $$script"; $(PY) $$script; done

bench-peers: $(VENV)/.development $(PEERS)/.installed  ## the same work by peers, in an environment of their own
	@mkdir -p build/peers
	@test -n "$(PELLUCID_DATA)" || { echo "The training peers need MNIST: set PELLUCID_DATA."; exit 1; }
	$(PY) benchmarks/peers_predict.py --peers $(PEERS)/bin/python
	$(PY) benchmarks/peers_tutorial.py --keras $(PEERS)/bin/python --seeds 5 --out build/peers/race.json
	$(PY) benchmarks/peers_tutorial.py --keras $(PEERS)/bin/python --seeds 5 --accurate --out build/peers/accurate.json
	$(PY) benchmarks/peers_tutorial.py --keras $(PEERS)/bin/python --agree
	$(PY) benchmarks/plot_race.py build/peers/race.json --out build/peers/race.svg

clean:  ## remove what make made, environment included; runs/ stays
	rm -rf $(VENV) $(PEERS) $(LOCK) $(SCRIPTS)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment. Each stamp is younger than what it was made from, so a second make has nothing to do.
# Versions and hashes are those of requirements/, which `make lock` writes.

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pellucid needs Python 3.11 or newer; '$(PYTHON)' is none. Try: make PYTHON=python3.12"; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.package: pyproject.toml requirements/package.txt | $(PY)
	requirements/install $(PY) package.txt
	@touch $@

$(VENV)/.development: pyproject.toml requirements/development.txt | $(PY)
	requirements/install $(PY) development.txt
	@touch $(VENV)/.package $@

# uv in an environment of its own: its answers are compared by the tests, its version is not pinned.
$(LOCK)/.installed:
	$(PYTHON) -m venv $(LOCK)
	$(LOCK)/bin/python -m pip --disable-pip-version-check install --quiet uv
	@touch $@

$(PEERS)/.installed: benchmarks/peers/requirements.txt
	$(PYTHON) -m venv $(PEERS)
	$(PEERS)/bin/python -m pip --disable-pip-version-check install --quiet --requirement $<
	@touch $@
