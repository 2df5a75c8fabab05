# Everything runs in .venv, which the first target that needs it creates.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
VLLM_VENV ?= .venv-vllm

.PHONY: install test test-vllm lint demo bench abacus clean

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

test: install
	$(BIN)/python -m pytest

# Real vLLM servers, from an environment of their own that is kept between runs.
test-vllm: install
	$(BIN)/python tests/integration/vllm/install.py $(VLLM_VENV)
	RSD_TEST_VLLM=$(VLLM_VENV) $(BIN)/python -m pytest -n 0 tests/integration/vllm

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

demo: install
	$(BIN)/rsd demo

bench: install
	$(BIN)/python -m benchmarks.engine

abacus: install
	$(BIN)/python -m recipes.abacus --out runs/abacus

clean:
	rm -rf $(VENV) $(VLLM_VENV) .pytest_cache .ruff_cache .import_linter_cache
