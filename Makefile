# make demo   installs what is missing and runs the whole job on alanine dipeptide
# make test   installs what is missing and runs the tests
# make lint   checks style and types
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test lint format clean

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt -e '.[torchforce,test,lint]'
	touch $@

demo: install
	$(BIN)/symplectic-cv demo --output $(DEMO)

test: install
	$(BIN)/python -m pytest

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info
