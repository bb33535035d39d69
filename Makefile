# make demo   set everything up and run a monitored Flower federation
# make demo-service   an instrumented prediction service, load with a drift, and a real Prometheus that is asked about it
# make test   set everything up, lint, type-check and test
# make lint   only the checks that need no run
# make bench  measure heflwr beside its peers, and what it costs a Flower app: twenty minutes
# make bench-automon   messages of heflwr.automon beside a reference's: five minutes; data in HEFLWR_AUTOMON_DATA
# make bench-collector   what the collector takes, beside InfluxDB and Pushgateway where they are installed
# make docs   the documentation as a site, in out/site
# make screenshots   the pictures of the collector's page in docs/
# make test-flower-versions   the tests of heflwr.flower on the oldest and the newest Flower

PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && { echo "$$p"; break; }; done)
VENV := .venv
BIN := $(VENV)/bin
PROGRAMS := amtool bwrap chromium influxd ip nginx openssl prometheus prometheus-alertmanager victoria-metrics
PACKAGES := bubblewrap chromium influxdb iproute2 nginx-light openssl postgresql prometheus prometheus-alertmanager victoria-metrics

# What is imported is compiled once, by the first who does; not all of the packages by pip, and not again by every process.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-service docs test test-flower-versions lint bench bench-automon bench-collector screenshots setup programs clean

demo: setup
	$(BIN)/python examples/flower_simulation/run.py --out out/demo

demo-service: setup programs
	$(BIN)/python examples/ml_service/run.py --out out/service

# Known burns have the machine to themselves. What becomes of a run, and the logger, which hears every line of its process,
# share it with one another only. The others mostly wait: three processes keep two cores busy.
BURNING := $(wildcard tests/monitor/test_accuracy_*.py)
MEASURING := tests/monitor/test_monitor.py tests/monitor/test_robustness.py tests/monitor/test_faults.py tests/log
BY_FILE := --dist loadfile --no-loadscope-reorder

test:
	@$(MAKE) --no-print-directory -j 2 setup programs
	@$(MAKE) --no-print-directory lint
	$(BIN)/python -m pytest -n 3 $(BY_FILE) -m "not burns" $(addprefix --ignore=,$(BURNING) $(MEASURING))
	$(BIN)/python -m pytest -n 2 $(BY_FILE) $(MEASURING)
	$(BIN)/python -m pytest $(BURNING)
	$(BIN)/python -m pytest -m burns tests/flower

test-flower-versions: setup
	$(BIN)/python tests/flower_versions.py 1.24.0 1.41.0 1.42.0

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup
	$(BIN)/python -m benchmarks.monitor
	$(BIN)/python -m benchmarks.flower
	$(BIN)/python -m benchmarks.bridge
	$(BIN)/python -m benchmarks.wsgi

bench-automon: setup
	$(BIN)/python -m benchmarks.automon

bench-collector: setup
	$(BIN)/python -m benchmarks.collector

docs: setup
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/site

screenshots: setup programs
	$(BIN)/python tests/page/screenshots.py docs

setup: $(VENV)/ready

$(VENV)/ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "heflwr needs Python 3.11 or newer; set PYTHON=/path/to/it"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

# Tests run some real programs. As root on Debian they are installed when missing; otherwise those tests say what to install.
programs:
	@missing=; for p in $(PROGRAMS); do command -v $$p >/dev/null || missing=1; done; \
	PATH=$$PATH:$$(echo /usr/lib/postgresql/*/bin | tr ' ' :) command -v initdb >/dev/null || missing=1; \
	if [ -n "$$missing" ] && [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	fi

clean:
	rm -rf $(VENV) out build dist .bench .versions
