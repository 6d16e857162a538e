# Each target makes .venv with what it needs, once. Debian 12: apt-get install make python3-venv.
#
#   make demo    a simulated PBX, the agent, a mailbox and the provider, for about a minute
#   make test    every test; those on a real Asterisk too, as root on a Debian
#   make check   format, lint, types, import rules
#   make bench   what it costs, against what others cost (make bench ARGS=decoding: one row of it)
#   make soak    the tests at the sizes of a long run
#   make package the Debian package, into dist/ (ARGS='--architecture arm64')
#   make pins    newer versions of what the package carries

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

# Whole processes and real PBXs, whose time is measured: these tests run one after another, by themselves.
APART := tests/acceptance tests/asterisk

.PHONY: demo test check bench soak package pins clean
.DELETE_ON_ERROR:

demo: $(VENV)/.demo
	@$(BIN)/pbx-meter demo

# make test ARGS=tests/unit runs what it is told. The roots of the real Asterisk take minutes to build, once; without them those tests are skipped and say why.
test: $(VENV)/.test
	@$(BIN)/python -m tests.asterisk.roots || true
ifdef ARGS
	$(BIN)/python -m pytest $(ARGS)
else
	$(BIN)/python -m pytest -n 2 $(APART:%=--ignore=%)
	$(BIN)/python -m pytest $(APART)
endif

check: $(VENV)/.check
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.test
	@$(BIN)/python -m tests.asterisk.roots || true
	@$(BIN)/python -m bench $(ARGS)

soak: $(VENV)/.test
	@$(BIN)/python -m tests.asterisk.roots || true
	@$(BIN)/python -m tests.systemd.roots || true
	$(BIN)/python -m pytest -m soak $(ARGS)

package: $(VENV)/.test
	@$(BIN)/python deploy/debian/build.py $(ARGS)

pins: $(VENV)/.test
	@$(BIN)/python deploy/debian/pin.py

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis dist build

$(VENV)/.%: pyproject.toml | $(BIN)/pip
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[$*]'
	@touch $@

# Debian's python3 has no ensurepip of its own: without it `python3 -m venv` leaves half an environment.
$(BIN)/pip:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "pbx-meter needs Python 3.11 or newer, $(PYTHON) is older or missing: name another, make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { \
	  echo "$(PYTHON) can't make a virtual environment yet: apt-get install python3-venv" >&2; exit 1; }
	@echo "making $(VENV), once"
	@$(PYTHON) -m venv $(VENV)
