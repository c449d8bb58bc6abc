# Everything runs in .venv, built from the constraints file with whatever package index pip is set up for.

PY_WANTED := $(shell cat .python-version)
# The first interpreter that is new enough: the wanted version by name, then any newer one, then python3 itself.
PYTHON ?= $(shell for p in python$(PY_WANTED) $$HOME/.pyenv/versions/$(PY_WANTED)*/bin/python python3.13 $$HOME/.pyenv/versions/3.13*/bin/python python3.14 python3 python; do \
	"$$p" -c 'import sys; sys.exit(sys.version_info < (3, 12))' 2>/dev/null && { echo "$$p"; break; }; done)
BIN := .venv/bin
JOBS ?= 2
FUZZ_SECONDS ?= 300
export OMP_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

.PHONY: demo study test test-all fuzz docs lint lock clean

demo: .venv/.ready  ## the main job: one model, five methods, one report
	$(BIN)/bayesglmm compare models/cbpp.toml --methods mql,pql,laplace,agq,mcmc --out out/cbpp

study: .venv/.ready  ## Breslow & Clayton's simulation, 200 replicates of each cluster size by four methods; stop and go on
	$(BIN)/bayesglmm study models/breslow_clayton_d1.toml --out out/breslow_clayton_d1

test: .venv/.ready  ## the suite, without what takes minutes
	$(BIN)/python -m pytest -n $(JOBS) -q

test-all: .venv/.ready  ## everything
	$(BIN)/python -m pytest -n $(JOBS) -q -m "slow or not slow"

fuzz: .venv/.ready  ## coverage-guided fuzzing of what strangers may send, FUZZ_SECONDS each
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[fuzz]"
	for target in formula model_file saved_fit; do $(BIN)/python tests/fuzz/fuzz.py $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; done

docs: .venv/.ready  ## the site, every example run, warnings as errors: out/docs/index.html
	$(BIN)/python -m sphinx -W --keep-going -q -b html docs out/docs

lint: .venv/.ready  ## style, docstrings, types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

.venv/.ready: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python 3.12 or newer found. Install one, or name it: make PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Building .venv with $(PYTHON)"
	@"$(PYTHON)" -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check -c constraints.txt -e ".[test,docs,dev]"
	@touch $@

lock: .venv/.ready  ## write the versions that are installed now as the new constraints
	@echo "# Versions the suite was run with; written by \`make lock\`." > constraints.txt
	$(BIN)/python -m pip freeze --exclude-editable --exclude bayesglmm >> constraints.txt

clean:
	rm -rf .venv out build *.egg-info
