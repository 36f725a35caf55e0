# Every target makes what it needs: a virtual environment, brought up to date when setup.cfg or
# pyproject.toml changes. Any number of targets, and of makes, may run at once.

VENV ?= .venv
JOBS ?= auto
ARGS ?=

# What `make quick` runs: the rules of the queue and of pulls, the settings, the public names, the
# folders, and the contract of each store. No server, browser or database has to be installed for it.
QUICK := tests/test_structure.py tests/test_public_api.py tests/test_errors.py tests/test_model.py \
    tests/config tests/rules tests/queue tests/pull tests/docs/test_architecture.py \
    tests/storage/test_contract.py tests/storage/test_releases.py
# With the lowest dependencies also what uses them: HTTP, the command, encryption and the pages.
LOWEST := $(QUICK) tests/http/test_http.py tests/http/test_http_sockets.py tests/http/test_links.py \
    tests/http/test_redirects.py tests/http/test_urls.py tests/cli tests/storage/test_encrypted.py \
    tests/storage/test_lmdb.py tests/dashboard/test_pages.py tests/dashboard/test_access.py

BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python3.10 python)

# Programs for the interpreter: will it do; hold the lock on descriptor 9 until the shell ends.
fit := import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 10))
lock := import fcntl; fcntl.flock(9, fcntl.LOCK_EX)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: demo demo-django test coverage quick test-lowest release-check torture torture-django trials
.PHONY: browser servers servers-all no-servers lint types docs bench bench-django clean help FORCE

help:
	@echo 'make demo    kills, outages and conflicts, and nothing lost (under a minute)'
	@echo 'make demo-django  a Django site with workers on PostgreSQL, a kill, and the books compared'
	@echo 'make test    run the tests; with npm on PATH, also those against servers of npm'
	@echo 'make coverage the tests, and the part of the code that they run, with its floor'
	@echo 'make quick   run the tests of rules, settings, queue and stores (under a minute)'
	@echo 'make browser the operations pages in a browser, all of it on each host (some minutes)'
	@echo 'make torture kills, faults, many processes, bad disks and networks (some minutes)'
	@echo 'make torture-django kills, stops, restarts and wrong clocks on a queue in PostgreSQL (half an hour)'
	@echo 'make servers-all the tests against all real servers, with those of npm'
	@echo 'make trials  simulations and kills of experiments (some minutes)'
	@echo 'make lint    ruff: rules and format'
	@echo 'make types   mypy, strict'
	@echo 'make docs    build docs/_build/html'
	@echo 'make bench   the package beside its alternatives, as ratios (under ten minutes)'
	@echo 'make bench-django  the queue in PostgreSQL beside its peers (up to an hour)'
	@echo 'make test-lowest   tests with the lowest versions of the dependencies'
	@echo 'make release-check build the files of a release, and check them on each Python'
	@echo 'make clean   remove everything made here'
	@echo
	@echo 'ARGS="..."           more arguments for the tool: make test ARGS="-k outbox -x"'
	@echo 'JOBS=1               test processes (default: one per core, at most 4)'
	@echo 'PYTHON=python3.13    the interpreter (default: the first from 3.10 up)'
	@echo 'VENV=.venv-3.13      the environment (default: .venv)'

demo: $(VENV)/.with-package
	@$(BIN)/python examples/demo $(ARGS)

demo-django: $(VENV)/.with-demo
	@$(BIN)/python examples/django_site/demo.py $(ARGS)

test: $(VENV)/.with-test
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 $(ARGS) </dev/null

# What is run of the package: of the rules every line and branch, of all of it nearly every one.
coverage: $(VENV)/.with-test
	@rm -f .coverage .coverage.*
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 --timeout 180 \
	    --cov --cov-report= $(ARGS) </dev/null
	@$(BIN)/python -m coverage report --fail-under 100 --include 'bytelyst_sync/rules/*'
	@$(BIN)/python -m coverage report --fail-under 95

quick: $(VENV)/.with-quick
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 \
	    $(ARGS) $(QUICK) </dev/null

test-lowest: $(VENV)/.with-lowest
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 \
	    $(ARGS) $(LOWEST) </dev/null

release-check: $(VENV)/.with-release
	@$(BIN)/python .ci/release_check.py $(ARGS)

# The servers of package.json, and axe-core, come from npm. Without it their tests are skipped.
ifneq ($(shell command -v npm 2>/dev/null),)
test coverage browser: .node/.made
else
test coverage browser: no-servers
endif

# The tests of the pages in a browser, each on the command, Django, Flask and FastAPI too.
browser: $(VENV)/.with-test
	@BROWSER_HOSTS=all $(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 \
	    $(ARGS) tests/dashboard/test_browser.py tests/dashboard/test_browser_ab_testing.py </dev/null

torture: $(VENV)/.with-test
	@$(BIN)/python -m tests.torture --without django $(ARGS)

torture-django: $(VENV)/.with-test
	@$(BIN)/python -m tests.torture $(ARGS) django

trials: $(VENV)/.with-test $(VENV)/.with-trials
	@$(BIN)/python -m tests.trials $(ARGS)

servers: .node/.made

servers-all: $(VENV)/.with-test .node/.made
	@$(BIN)/python -m pytest -q --no-header --tb=short -n $(JOBS) --maxprocesses 4 tests/servers $(ARGS) \
	    </dev/null

no-servers:
	@echo 'npm is not on PATH: the tests against servers of npm and with axe-core are skipped'

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

bench-django: $(VENV)/.with-bench
	@$(BIN)/python -m benchmarks django_queue $(ARGS)

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

# The lowest versions that setup.cfg allows of the dependencies and of the extras named here.
LOWEST_EXTRAS := cli crypto lmdb ops
$(VENV)/.with-lowest: $(VENV)/.made setup.cfg .ci/lowest.py
	@exec 9>.make.lock; \
	$(BIN)/python -c '$(lock)'; \
	if [ $@ -nt $(VENV)/.made ] && [ $@ -nt setup.cfg ] && [ $@ -nt .ci/lowest.py ]; then \
	    exit 0; \
	fi; \
	echo "$(VENV): installing the lowest versions"; \
	$(BIN)/python .ci/lowest.py $(LOWEST_EXTRAS) >$(VENV)/lowest.txt && \
	if ! $(BIN)/python -m pip install --quiet --no-input --disable-pip-version-check \
	        -r $(VENV)/lowest.txt -e '.[quick]' >$(VENV)/pip.log 2>&1 </dev/null; then \
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
