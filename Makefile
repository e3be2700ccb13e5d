# make demo        installs what is missing and runs the whole job on alanine dipeptide
# make test        installs what is missing and runs the tests, the slow ones excepted
# make test-slow   the slow ones: tutorials, and commands killed at random moments
# make test-all    both
# make test-second-openmm  the native force under another OpenMM
# make sanitize    the C++ parts under AddressSanitizer and UBSan
# make coverage    all tests, with the share of lines and branches they reach
# make lint        checks style and types
# make docs        builds the documentation into docs/_build/html
# make bench       prints what a collective variable costs, and writes bench.json
# make native      compiles the C++ parts into the source tree, for work on them
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO ?= demo
export OMP_NUM_THREADS ?= 1
# processes for the tests: as many as there are cores, up to 8
WORKERS ?= auto
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8

.PHONY: install demo test test-slow test-all test-second-openmm sanitize coverage bench lint format docs native clean

install: $(VENV)/.installed

CXX_SOURCES := CMakeLists.txt $(wildcard csrc/*/*)

# OpenMM comes first: the force is compiled against the OpenMM that is there
$(VENV)/.installed: pyproject.toml $(CXX_SOURCES)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt openmm
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt -e '.[torchforce,test,lint]'
	touch $@

demo: install
	$(BIN)/symplectic-cv demo --output $(DEMO)

# tests of one file stay in one process, since they share the files they make
test: install
	$(PYTEST) --dist loadfile -m "not slow"

test-slow: install
	$(PYTEST) --dist load -m slow tests

test-all: test test-slow

coverage: install
	$(PYTEST) --dist loadfile --cov --cov-report=term --cov-report=html:build/coverage/html

# The native force under another OpenMM: a second environment with its own OpenMM and its own build
# of this package, and everything else from the first one.
SECOND := build/second
SECOND_OPENMM := 8.6.1
SECOND_PYTHON := $(CURDIR)/$(SECOND)/bin/python

test-second-openmm: install
	rm -rf $(SECOND)
	$(BIN)/python -m venv $(SECOND)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
		> $$($(SECOND_PYTHON) -c "import sysconfig; print(sysconfig.get_path('purelib'))")/first.pth
	$(SECOND_PYTHON) -m pip install --quiet --no-deps openmm==$(SECOND_OPENMM)
	$(SECOND_PYTHON) -m pip install --quiet --no-deps .
	cd $(SECOND) && $(SECOND_PYTHON) -c "import openmm, openmm_plugin.versions as v; \
		print(openmm.__version__, v.library_files()); \
		assert openmm.version.short_version == '$(SECOND_OPENMM)'; assert not v.native_problem()"
	cd $(SECOND) && $(SECOND_PYTHON) -m pytest -m second_openmm -p no:cacheprovider \
		-o pythonpath=$(CURDIR)/tests --rootdir=$(CURDIR) \
		$(addprefix $(CURDIR)/tests/,openmm_plugin symplectic_cv/exporting)

# The C++ parts under AddressSanitizer and UBSan: the same tests, on an instrumented build.
SANITIZED := build/sanitized
ASAN := $(shell $(or $(CXX),g++) -print-file-name=libasan.so) $(shell $(or $(CXX),g++) -print-file-name=libstdc++.so)

sanitize: install
	$(BIN)/python -m pip install --quiet cmake ninja nanobind
	rm -rf $(SANITIZED)/tree
	$(BIN)/python -m venv --without-pip $(SANITIZED)/venv
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" > $(SANITIZED)/first.pth
	cp $(SANITIZED)/first.pth $(SANITIZED)/venv/lib/python3*/site-packages/
	$(BIN)/cmake -S . -B $(SANITIZED)/build -G Ninja -DSYMPLECTIC_CV_SANITIZE=ON \
		-DCMAKE_BUILD_TYPE=Debug -DPython_EXECUTABLE=$(CURDIR)/$(BIN)/python \
		-DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja
	$(BIN)/cmake --build $(SANITIZED)/build
	mkdir -p $(SANITIZED)/tree
	cp -r symplectic_cv openmm_plugin $(SANITIZED)/tree/
	$(BIN)/cmake --install $(SANITIZED)/build --prefix $(SANITIZED)/tree
	cd $(SANITIZED)/tree && LD_PRELOAD="$(ASAN)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=. \
		../venv/bin/python -m pytest -p no:cacheprovider -o pythonpath=$(CURDIR)/tests --rootdir=$(CURDIR) \
		$(addprefix $(CURDIR)/tests/,symplectic_cv/exporting/test_native_file.py symplectic_cv/exporting/test_native_core.py \
		symplectic_cv/exporting/test_torsion_core.py openmm_plugin/test_native_forces.py \
		openmm_plugin/test_torsion_forces.py)

# Warnings are errors.
docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs docs/_build/html
	@echo "docs/_build/html/index.html"

$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --progress-bar off --quiet -c constraints.txt -e '.[docs]'
	touch $@

bench: install
	$(BIN)/python benchmarks/cost.py -o bench.json

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
