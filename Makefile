# `make help` lists the commands. Each command sets up what it needs in .venv and .tools.
PYTHON ?= python3
BIN := .venv/bin
VERSION := $(shell $(PYTHON) -c 'import sys; print("3.10" if sys.version_info < (3, 11) else "3.11")' 2>/dev/null)
CONSTRAINTS := constraints/python$(VERSION).txt
PINNED_LIBRARIES := constraints/libraries-python$(VERSION).txt
SUPPLY := .venv-supply/bin
LIBRARIES := .venv-libraries/bin
HASHED := -c constraints/python3.11.txt --python-version 3.13 --universal --generate-hashes --no-annotate --custom-compile-command 'make lock-image' --quiet
.DEFAULT_GOAL := help
# The tests start hundreds of Python processes: without byte code each of them compiles the package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup tools browser test test-again test-fast coverage test-lowest lowest-ready test-newest test-libraries libraries-ready matrix lint format types check generate drift mutants bench demo lock lock-image audit sbom dist clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: .venv/ready ## create .venv with all development dependencies, in the pinned versions

.venv/ready: pyproject.toml $(CONSTRAINTS)
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.10 or later is needed, this is " + sys.version.split()[0] if sys.version_info < (3, 10) else 0)'
	@$(PYTHON) -m venv .venv || { echo "python3 -m venv does not work here: on Debian and Ubuntu, apt-get install python3-venv" >&2; exit 2; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e '.[cli,prices,web]' --group dev
	@touch $@

tools: setup ## unpack Prometheus, Alertmanager and their tools into .tools, unless they are on PATH
	$(BIN)/python -m anthropic_exporter.toolchain

demo: setup ## an incident in two minutes: a Claude call becomes dollars, an alert and a notification
	$(BIN)/anthropic-exporter demo $(ARGS)

browser: setup ## unpack Chromium into .tools, unless it is on PATH; without it, tests of the live page are skipped
	@$(BIN)/python -m anthropic_exporter.toolchain chromium chromedriver || true

test: setup tools browser $(if $(ARGS),,libraries-ready) ## all tests, with real Prometheus, Alertmanager and Chromium
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder $(ARGS)
	$(if $(ARGS),,@$(MAKE) --no-print-directory test-libraries)

test-again: setup ## run the tests that failed in the last run again, one at a time; one that passes now is flaky
	$(BIN)/python -m pytest --last-failed --last-failed-no-failures none --maxfail 1 $(ARGS)

test-fast: setup ## the tests that start no other process
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder -m 'not stack' $(ARGS)

coverage: setup tools browser ## all tests, and the lines and branches that no test reaches
	$(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder --cov --cov-report=term-missing:skip-covered $(ARGS)

test-lowest: ## the tests that use the SDK, on the oldest Python installed, with the lowest supported versions
	@$(PYTHON) scripts/matrix.py --lowest

lowest-ready: ## create the environment of test-lowest without running tests
	@$(PYTHON) scripts/matrix.py --lowest --prepare

test-newest: setup ## the tests of rules, routing and the stack, with the newest Prometheus and Alertmanager (Debian only)
	@$(BIN)/python scripts/newest_tools.py .tools-newest
	PATH="$(CURDIR)/.tools-newest/bin:$$PATH" $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder tests/rules tests/alertmanager tests/stack $(ARGS)

test-libraries: libraries-ready ## the tests of libraries that need other versions than .venv has; `make test` runs them too
	$(LIBRARIES)/python -m pytest -p no:cacheprovider -n 3 --dist load tests/wire/test_usage_shapes.py tests/capture/test_other_clients.py tests/documentation/test_python_blocks.py -k 'litellm or instructor or llm-libraries' $(ARGS)

libraries-ready: .venv-libraries/ready ## create the environment of test-libraries without running tests

# It extends .venv with the packages that these libraries need in other versions.
.venv-libraries/ready: .venv/ready $(PINNED_LIBRARIES)
	@$(PYTHON) -m venv --without-pip --clear .venv-libraries
	@echo "import site; site.addsitedir('$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')')" > "$$($(LIBRARIES)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/development.pth"
	$(LIBRARIES)/python -m pip install --quiet --disable-pip-version-check -c $(PINNED_LIBRARIES) --group libraries
	@touch $@

matrix: ## the tests that use the SDK, on each installed Python from 3.10 to 3.13, with four versions of the SDK
	@$(PYTHON) scripts/matrix.py $(ARGS)

lint: setup ## style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup ## fix what can be fixed automatically
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check: setup tools ## check rules, routing and prices with promtool and amtool
	$(BIN)/anthropic-exporter check

generate: setup ## write the generated files: rules, dashboard, tables of the README
	for script in scripts/generate_*.py; do $(BIN)/python $$script || exit 1; done

drift: setup ## fail if a generated file differs from what its script writes
	for script in scripts/generate_*.py; do $(BIN)/python $$script --check || exit 1; done

mutants: setup tools ## change the rules in one place at a time, and check that a test fails (ARGS=cost: one file)
	PYTHONPATH=tests $(BIN)/python -m rules.mutants $(ARGS)

bench: setup .venv/bench-ready ## run the benchmarks; quote ratios, because machines are noisy (ARGS=--quick: a short run)
	for name in record calls begin_and_end slowest_calls scrape footprint rules; do $(BIN)/python -m bench.speed.$$name $(ARGS) || exit 1; done

.venv/bench-ready: .venv/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --group bench
	@touch $@

lock: setup ## update the pinned versions of this Python from the installed packages
	$(BIN)/python -m pip freeze --exclude-editable | grep -v '^setuptools=' > $(CONSTRAINTS)

dist: setup ## build the wheel and the source archive into dist/, and test the wheel
	rm -rf dist
	$(BIN)/python -m hatchling build
	$(BIN)/python -m pytest tests/test_wheel.py

lock-image: .venv-supply/ready ## update the versions and hashes of the image's packages, from the constraints of this Python
	$(SUPPLY)/uv pip compile pyproject.toml --extra cli --extra web --extra redis $(HASHED) -o constraints/image.txt
	echo 'hatchling>=1.27' | $(SUPPLY)/uv pip compile - $(HASHED) -o constraints/image-build.txt

audit: .venv-supply/ready ## list known vulnerabilities of the pinned versions (needs the network)
	for list in constraints/python*.txt; do $(SUPPLY)/pip-audit --strict --no-deps --disable-pip -r $$list || exit 1; done

sbom: .venv-supply/ready ## write sbom.json, a CycloneDX list of the packages in the image
	$(SUPPLY)/cyclonedx-py requirements --output-reproducible --of JSON -o sbom.json constraints/image.txt

.venv-supply/ready:
	@$(PYTHON) -m venv .venv-supply
	$(SUPPLY)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9,<1' 'pip-audit>=2.9,<3' 'cyclonedx-bom>=7,<8'
	@touch $@

clean: ## remove the files that setup and tools created
	rm -rf .venv .venv-matrix .venv-supply .venv-libraries sbom.json .tools .tools-newest .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage
