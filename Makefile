# make demo   set everything up and run a monitored Flower federation
# make test   set everything up, lint, type-check and test
# make lint   only the checks that need no run
# make bench  measure heflwr beside its peers, and what it costs a Flower app: a quarter of an hour
# make test-flower-versions   the tests of heflwr.flower on the oldest and the newest Flower

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PROGRAMS := prometheus ip openssl
PACKAGES := prometheus iproute2 openssl

.PHONY: demo test test-flower-versions lint bench setup programs clean

demo: setup
	$(BIN)/python examples/flower_simulation/run.py --out out/demo

# The monitors' tests measure this machine, the logger's hear every line of their process: both have theirs to themselves.
# The others mostly wait, for Flower above all.
test: setup programs lint
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore=tests/monitor --ignore=tests/log
	$(BIN)/python -m pytest tests/monitor tests/log

test-flower-versions: setup
	$(BIN)/python tests/flower_versions.py 1.24.0 1.41.0 1.42.0

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.monitor
	$(BIN)/python -m benchmarks.flower

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "heflwr needs Python 3.11 or newer; set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Tests run some real programs. As root on Debian they are installed when missing; otherwise those tests say what to install.
programs:
	@missing=; for p in $(PROGRAMS); do command -v $$p >/dev/null || missing=1; done; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	fi

clean:
	rm -rf $(VENV) out build dist .bench .versions
