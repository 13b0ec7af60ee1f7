# `make run` and `make test` need nothing but Python 3.11+ and make.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
export SLUICE_RETAIL_CSV ?= $(wildcard ../shared/data/online_retail/invoices.csv)

.PHONY: run build test check format clean

run: $(VENV)/runtime  ## build the demo and serve it on http://127.0.0.1:8501
	$(BIN)/python -m serving build
	$(BIN)/python app.py

build: $(VENV)/runtime  ## build, test and publish the marts of models/
	$(BIN)/python -m serving build

test: $(VENV)/development  ## every test; skips say why
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not alone"
	$(BIN)/python -m pytest -m alone

check: $(VENV)/development  ## format, lint, types, import directions, content
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m serving check

format: $(VENV)/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(VENV)/runtime: requirements.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Sluice needs Python 3.11 or newer")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

$(VENV)/development: tests/requirements.txt $(VENV)/runtime
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

clean:  ## forget everything that was built (not the virtual environment)
	rm -rf var
