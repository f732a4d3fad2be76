# make train              trains the default recipe; RECIPE=recipes/fsdd.yaml DATA=folder OPTIONS="--training.seed 1";
#                         TORCH="torch ..." installs another build of PyTorch first, such as one without CUDA
# make test               checks style and types and runs the fast tests; make test-slow runs the slow ones,
#                         make test-browser those of them that use the Spaces as a person does: build/screenshots/
# make coverage           the fast tests once more, with the share of the code that they run; half as fast
# make fuzz               damaged sounds, models and tables, odd options, requests and names; KINDS="audio options" CASES=100
# make experiments        the published experiments, hours, resumable; CORPORA=folder EXPERIMENT="emotion digits-mel"
# make docs               the documentation site: build/docs/index.html
# make minimum-versions   the fast tests with the oldest versions that pyproject.toml allows: build/minimum/
# make benchmark          every speed beside its peers, into benchmarks/results.md; OPTIONS="features training"
# make format clean

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
# uv, where it is installed, takes a fraction of pip's time.
INSTALL := $(if $(shell command -v uv),uv pip install --python $(BIN)/python,$(BIN)/python -m pip install)
# As many processes as the machine has cores, each with a test file at a time; more than four only wait for the disk.
PARALLEL := -n logical --maxprocesses 4 --dist loadfile

# Small recurrences are fastest on one thread; several spin on a busy machine.
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

# Without it the tests in a browser are skipped.
chromium:
	@command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null \
	  || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium; } >/dev/null 2>&1 \
	  || echo "There is no Chromium, and apt-get cannot install it here: tests in a browser are skipped."

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

# A build of PyTorch with a name, such as 2.14.1+cpu, stays, whatever constraints.txt says.
OTHER_TORCH := $(VENV)/lib/python3.*/site-packages/torch-*+*.dist-info

# A stamp file each: the environment is made once, and again when what it was made of changes.
$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "hf_speech needs Python 3.11 to 3.13; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(if $(findstring uv,$(INSTALL)),,$(BIN)/python -m pip install --quiet --upgrade pip)
	$(if $(TORCH),$(INSTALL) $(TORCH))
	touch $@

$(VENV)/.train: $(VENV)/.python pyproject.toml constraints.txt
	@ls -d $(OTHER_TORCH) >/dev/null 2>&1 && grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt || { \
	  cp constraints.txt $(VENV)/constraints.txt; \
	  echo "Installing (6.6 GB on the disk the first time, 2 without CUDA: see docs/first-steps.md)"; }
	$(INSTALL) --constraint $(VENV)/constraints.txt --editable ".[synthetic,tensorboard]"
	@$(BIN)/python -c 'import torchaudio' 2>/dev/null || { \
	  echo "torchaudio does not load beside this build of PyTorch, and transformers fails where it does not: removing it"; \
	  $(subst pip install,pip uninstall,$(INSTALL)) $(if $(findstring uv,$(INSTALL)),,--yes) torchaudio; }
	touch $@

$(VENV)/.dev: $(VENV)/.train
	@echo "Installing what the tests need (a minute)"
	$(INSTALL) --quiet --constraint $(VENV)/constraints.txt --editable ".[dev]"
	touch $@

$(VENV)/.docs: $(VENV)/.train
	$(INSTALL) --quiet --constraint $(VENV)/constraints.txt --editable ".[docs]"
	touch $@
