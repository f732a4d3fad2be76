# make train              trains the default recipe; RECIPE=recipes/fsdd.yaml DATA=folder OPTIONS="--training.seed 1";
#                         TORCH="torch ..." installs another build of PyTorch first, such as one without CUDA
# make test               checks style and types and runs the fast tests
# make test-slow          runs the slow tests
# make test-browser       runs the tests of the Spaces in a browser; screenshots go to build/screenshots/
# make coverage           runs the fast tests and reports coverage; takes twice as long
# make fuzz               feeds in damaged files and invalid options and requests; KINDS="audio options" CASES=100
# make experiments        runs the published experiments (hours, resumable); CORPORA=folder EXPERIMENT="emotion digits-mel"
# make docs               builds the documentation site: build/docs/index.html
# make minimum-versions   runs the fast tests with the oldest versions that pyproject.toml allows: build/minimum/
# make benchmark          measures speeds next to those of other libraries and updates benchmarks/results.md;
#                         OPTIONS="features training"
# make lint               checks style, import rules and types
# make format             formats the code
# make clean              removes the environment and all build output

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RECIPE ?= recipes/digits.yaml
TORCH ?=
DATA ?=
OPTIONS ?=
CORPORA ?=
EXPERIMENT ?=
CASES ?=
KINDS ?=
# If uv is installed, use it, as it is much faster than pip.
INSTALL := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install)
# One process per core, each with one test file at a time. More than four would only wait for the disk.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile

# Small recurrent layers are fastest on one thread.
export OMP_NUM_THREADS ?= 1

.PHONY: train test coverage test-slow fuzz test-browser chromium lint format docs minimum-versions benchmark experiments clean

train: $(VENV)/.train
	$(BIN)/python scripts/pretrained_code.py
	$(BIN)/hf-speech train $(RECIPE) --overwrite $(if $(DATA),--data_dir $(DATA)) $(OPTIONS)

test: lint
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(OPTIONS)

coverage: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not slow" $(PARALLEL) --cov --cov-report=term $(OPTIONS)

test-slow: $(VENV)/.dev chromium
	$(BIN)/python -m pytest -m slow $(OPTIONS)

test-browser: $(VENV)/.dev chromium
	$(BIN)/python -m pytest tests/spaces/test_browser_*.py $(OPTIONS)

# Without Chromium, the browser tests are skipped.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
	  || echo "Chromium is missing and apt-get cannot install it: browser tests are skipped."

fuzz: $(VENV)/.dev
	PYTHONPATH=tests $(BIN)/python -m fuzz $(KINDS) $(if $(CASES),--cases $(CASES)) $(OPTIONS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	PYTHONPATH=src $(BIN)/lint-imports
	$(BIN)/mypy

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.docs
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs build/docs

minimum-versions: $(VENV)/.dev
	mkdir -p build
	$(BIN)/python scripts/minimum_versions.py > build/minimum.txt
	$(PYTHON) -m venv --clear build/minimum
	build/minimum/bin/python -m pip install --quiet --constraint build/minimum.txt --editable ".[dev]"
	build/minimum/bin/python -m pytest -m "not slow" $(PARALLEL) $(OPTIONS)

benchmark: $(VENV)/.dev
	$(BIN)/python benchmarks/report.py $(OPTIONS)

experiments: $(VENV)/.dev
	$(BIN)/hf-speech experiments $(EXPERIMENT) $(if $(CORPORA),--corpora $(CORPORA)) $(OPTIONS)

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .coverage

# A build of PyTorch with a local version, such as 2.14.1+cpu, is kept in spite of constraints.txt.
OTHER_TORCH := $(VENV)/lib/python3.*/site-packages/torch-*+*.dist-info

# Each target is a stamp file, so that the environment is updated only if its requirements change.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "hf_speech needs Python 3.11 to 3.13: run make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(findstring uv,$(INSTALL)),,$(BIN)/python -m pip install --quiet --upgrade pip)
	$(if $(TORCH),$(INSTALL) $(TORCH))
	touch $@

$(VENV)/.train: $(VENV)/.python pyproject.toml constraints.txt
	@ls -d $(OTHER_TORCH) >/dev/null 2>&1 && grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt || { \
	  cp constraints.txt $(VENV)/constraints.txt; \
	  echo "Installing (6.6 GB on disk the first time, 2 GB without CUDA: see docs/first-steps.md)"; }
	$(INSTALL) --constraint $(VENV)/constraints.txt --editable ".[synthetic,tensorboard]"
	@$(BIN)/python -c 'import torchaudio' 2>/dev/null || { \
	  echo "Removing torchaudio, which does not work with this build of PyTorch and makes transformers fail"; \
	  $(subst pip install,pip uninstall,$(INSTALL)) $(if $(findstring uv,$(INSTALL)),,--yes) torchaudio; }
	touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "Installing the requirements of the tests (a minute)"
	$(INSTALL) --quiet --constraint $(VENV)/constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.train
	$(INSTALL) --quiet --constraint $(VENV)/constraints.txt --editable ".[docs]"
	touch $@
