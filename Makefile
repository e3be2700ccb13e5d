# make demo   installs what is missing and runs the whole job on alanine dipeptide
# make test   installs what is missing and runs the tests
# make lint   checks style and types
# make native compiles the C++ parts into the source tree, for work on them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
export OMP_NUM_THREADS ?= 1

.PHONY: install demo test lint format native clean

install: $(VENV)/.installed

CXX_SOURCES := CMakeLists.txt $(wildcard */native/*)

# OpenMM comes first: the force is compiled against the OpenMM that is there
$(VENV)/.installed: pyproject.toml $(CXX_SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt openmm
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

native: install
	$(BIN)/python -m pip install --quiet cmake ninja nanobind
	$(BIN)/cmake -S . -B build/native -G Ninja -DCMAKE_BUILD_TYPE=Release \
		-DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja
	$(BIN)/cmake --build build/native
	$(BIN)/cmake --install build/native --prefix .

clean:
	rm -rf $(VENV) build *.egg-info */*.so
