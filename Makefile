# make train · make test · make versions · make compare · make bench · make gpu · make exactness · make docs · make lint · make clean
# Everything happens in .venv, which is made on first use and reused afterwards.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP_INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: train test versions compare bench gpu exactness docs lint clean

train: $(VENV)/.installed
	$(BIN)/python train.py compare --preset demo --first-seed 1000 --seeds 16 --out results/runs/demo $(ARGS) \
		--interventions none groupsort+adamo:half_life=8.17tasks groupsort+shrink_perturb fresh fresh+groupsort

# make compare ARGS="--interventions none adamo fresh --seeds 4": any comparison
compare: $(VENV)/.installed
	$(BIN)/python train.py compare $(ARGS)

# With nothing else on the machine; make bench ARGS="--quick --out build/speed" tries it out. The peers
# (the extra `peers`) have an interpreter of their own; PEER_PYTHON=... names another that has them.
PEERS := build/peers
PEER_PYTHON ?= $(PEERS)/bin/python
BENCH := --out results/speed $(ARGS)

bench: $(VENV)/.installed-dev $(PEER_PYTHON)
	$(BIN)/python benchmarks/throughput.py --peer-python $(PEER_PYTHON) $(BENCH)
	$(BIN)/python benchmarks/throughput.py --agent dqn --members 1 8 --peer-python $(PEER_PYTHON) $(BENCH)
	$(BIN)/python benchmarks/environments.py --peer-python $(PEER_PYTHON) --out results/environments $(ARGS)
	$(BIN)/python benchmarks/overhead.py $(BENCH)
	$(BIN)/python benchmarks/overhead.py --agent dqn $(BENCH)
	$(BIN)/python benchmarks/overhead.py --agent classifier $(BENCH)
	$(BIN)/python benchmarks/scaling.py $(BENCH)

# On a machine with a GPU, 7.5 minutes at most
gpu: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/gpu.py --out results/gpu $(ARGS)

# Step by step beside the reference packages, on one core: any games with ARGS="--games Seaquest FourRooms"
exactness: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/exactness.py --out results/environments $(ARGS)

$(PEERS)/bin/python:
	$(PYTHON) -m venv $(PEERS)
	$@ -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[peers]' || (rm -rf $(PEERS); exit 1)

# One process for each core, each with one thread: small tensors gain nothing from more. Bytecode is
# kept whatever the shell says, or every process that a test starts would compile the package anew.
test: $(VENV)/.installed-dev
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist worksteal -m "not slow and not gpu"

# The fast tests on the lowest and the newest versions: make versions ARGS="python3.12 --bounds newest"
versions:
	$(PYTHON) tests/versions.py $(or $(ARGS),$(PYTHON))

# mypy cannot follow the import hook of an editable install; a link shows it the package.
lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	mkdir -p build/types && ln -sfn "$(CURDIR)" build/types/neoteny
	$(BIN)/mypy
	$(MAKE) --no-print-directory docs

# Pages in build/docs. They are gathered in the folders of the checkout, so that links between them, to
# results and to code hold in both.
PAGES := README.md CHANGELOG.md CONTRIBUTING.md CITATION.cff docs examples tests
# The reference reads the packages alone: from the checkout it would walk through .venv and build as well
PACKAGES := __init__.py core plasticity envs wrappers agents sb3 experiments

docs: $(VENV)/.installed-docs
	rm -rf build/pages build/api && mkdir -p build/pages/results build/api/neoteny
	ln -s $(PAGES:%="$(CURDIR)/%") build/pages
	for name in results/*; do [ $$name = results/runs ] || ln -s "$(CURDIR)/$$name" build/pages/results; done
	ln -s $(PACKAGES:%="$(CURDIR)/%") build/api/neoteny
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "neoteny needs Python 3.11 or newer; set PYTHON=...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: setup.cfg constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e .
	touch $@

$(VENV)/.installed-dev: setup.cfg constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[dev]'
	touch $@ $(VENV)/.installed $(VENV)/.installed-docs

$(VENV)/.installed-docs: setup.cfg constraints.txt | $(BIN)/python
	$(PIP_INSTALL) -e '.[docs]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build *.egg-info
