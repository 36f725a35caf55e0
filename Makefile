# Every target makes what it needs: a virtual environment, brought up to date when setup.cfg or
# pyproject.toml changes. Any number of targets, and of makes, may run at once.

VENV ?= .venv
JOBS ?= auto
ARGS ?=

BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python)

# Programs for the interpreter: will it do; hold the lock on descriptor 9 until the shell ends.
fit := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
lock := import fcntl; fcntl.flock(9, fcntl.LOCK_EX)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo test torture servers no-servers lint types docs bench clean help FORCE

help:
	@echo 'make demo    kills, outages and conflicts, and nothing lost (under a minute)'
	@echo 'make test    run the tests; with npm on PATH, also those against servers of npm'
	@echo 'make torture kills, faults, many processes, bad disks and networks (some minutes)'
	@echo 'make lint    ruff: rules and format'
	@echo 'make types   mypy, strict'
	@echo 'make docs    build docs/_build/html'
	@echo 'make bench   the package beside its alternatives, as ratios (under ten minutes)'
	@echo 'make clean   remove everything made here'
	@echo
	@echo 'ARGS="..."           more arguments for the tool: make test ARGS="-k outbox -x"'
	@echo 'JOBS=1               test processes (default: one per core, at most 4)'
	@echo 'PYTHON=python3.13    the interpreter (default: the first from 3.10 up)'
	@echo 'VENV=.venv-3.13      the environment (default: .venv)'

demo: $(VENV)/.with-package
	@$(BIN)/python examples/demo $(ARGS)

test: $(VENV)/.with-test
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 $(ARGS) </dev/null

# json-server and CouchDB's protocol come from npm. Without it their tests are skipped.
ifneq ($(shell command -v npm 2>/dev/null),)
test: .node/.made
else
test: no-servers
endif

torture: $(VENV)/.with-test
	@$(BIN)/python -m tests.torture $(ARGS)

servers: .node/.made

no-servers:
	@echo 'npm is not on PATH: the tests against json-server and CouchDB are skipped'

lint: $(VENV)/.with-lint
	@status=0; \
	$(BIN)/ruff check --quiet $(ARGS) . || status=1; \
	$(BIN)/ruff format --quiet --check . || { $(BIN)/ruff format --check . || status=1; }; \
	exit $$status

types: $(VENV)/.with-lint $(VENV)/.with-test
	@$(BIN)/mypy $(ARGS)

docs: $(VENV)/.with-docs
	@$(BIN)/python -m sphinx -W --keep-going -q -b html $(ARGS) docs docs/_build/html
	@echo 'built docs/_build/html/index.html'

bench: $(VENV)/.with-bench
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	@for venv in .venv .venv-* $(VENV); do \
	    if [ -e "$$venv/pyvenv.cfg" ]; then rm -rf "$$venv"; fi; \
	done
	@rm -rf .node docs/_build build dist *.egg-info htmlcov .coverage .coverage.* .make.lock \
	    .hypothesis .mypy_cache .pytest_cache .ruff_cache
	@find bytelyst_sync tests examples benchmarks docs -name __pycache__ -prune \
	    -exec rm -rf {} + 2>/dev/null || true

# An interpreter asked for by name takes the place of another one in the environment.
ifdef PYTHON
ifneq ($(shell { $(PYTHON) -V; } 2>/dev/null),$(shell { $(BIN)/python -V; } 2>/dev/null))
$(VENV)/.made: FORCE
endif
endif

$(VENV)/.made:
	@exec 9>.make.lock; \
	for python in $(PYTHONS); do \
	    if "$$python" -c '$(fit)' 2>/dev/null; then break; else python=; fi; \
	done; \
	if [ -z "$$python" ]; then \
	    echo 'No Python 3.10 or newer with venv among: $(PYTHONS)' >&2; \
	    echo 'Name one: make PYTHON=/path/to/python3' >&2; \
	    exit 1; \
	fi; \
	"$$python" -c '$(lock)'; \
	if [ -e $@ ] && [ "$$($(BIN)/python -V 2>&1)" = "$$("$$python" -V)" ]; then exit 0; fi; \
	echo "$(VENV): made with $$("$$python" -V)"; \
	"$$python" -m venv --clear $(VENV) && touch $@

# The package itself (".with-package"), or with the extra of that name.
$(VENV)/.with-%: $(VENV)/.made setup.cfg pyproject.toml
	@exec 9>.make.lock; \
	$(BIN)/python -c '$(lock)'; \
	if [ $@ -nt $(VENV)/.made ] && [ $@ -nt setup.cfg ] && [ $@ -nt pyproject.toml ]; then \
	    exit 0; \
	fi; \
	echo "$(VENV): installing $(if $(filter package,$*),the package,what \"$*\" needs)"; \
	if ! $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check \
	        -e '.$(if $(filter package,$*),,[$*])' >$(VENV)/pip.log 2>&1 </dev/null; then \
	    cat $(VENV)/pip.log >&2; \
	    exit 1; \
	fi; \
	touch $@

# The servers that come from npm, for whichever environment.
.node/.made: tests/servers/package.json | $(VENV)/.made
	@exec 9>.make.lock; \
	$(BIN)/python -c '$(lock)'; \
	if [ $@ -nt $< ]; then exit 0; fi; \
	echo '.node: installing the servers that come from npm'; \
	rm -rf .node && mkdir .node && cp $< .node/ && \
	if ! npm install --prefix .node --no-audit --no-fund --no-package-lock --ignore-scripts \
	        --loglevel=error >.node/npm.log 2>&1 </dev/null; then \
	    cat .node/npm.log >&2; \
	    exit 1; \
	fi; \
	touch $@
