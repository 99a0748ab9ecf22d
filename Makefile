# Every environment is made here, from the versions pinned in constraints.txt.
PYTHON ?= python3
VENV := .venv
RUNTIME_VENV := .venv-runtime
OPTIMUM_VENV := build/peers/optimum
PIP := $(VENV)/bin/python -m pip --disable-pip-version-check --quiet
RUNTIME_PIP := $(RUNTIME_VENV)/bin/python -m pip --disable-pip-version-check --quiet
CHECKPOINT := checkpoints/english-minilm
KERNELS := hatch_build.py $(wildcard runtime/maskedge/kernels/*.[ch])
PARALLEL := --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
BENCH ?=
CALIBRATION ?= examples/sentences.txt
BUNDLE ?= runtime/maskedge/default_bundle
ARM := build/arm
ARM_APT := apt-get --quiet=2 --option APT::Architecture=arm64 --option APT::Architectures=arm64 \
	--option Dir::State=$(CURDIR)/$(ARM)/apt --option Dir::State::status=/dev/null --option Dir::Cache=$(CURDIR)/$(ARM)/apt

.DEFAULT_GOAL := help
.PHONY: help install score export train bench docs test test-quick test-runtime test-cpus check fix dist dist-check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/dev.stamp ## Make the development environment in .venv

score: $(VENV)/batch.stamp ## Score the example sentences with the bundled model, and write a report
	$(VENV)/bin/mlm-batch score examples/masked_sentences.parquet -o build/masked_sentences.scored.parquet \
		--overwrite

export: $(VENV)/dev.stamp ## Export the bundled model's checkpoint again and compare it with the shipped bundle
	$(VENV)/bin/mlm-export bundle $(CHECKPOINT) --out build/bundle --calibration $(CALIBRATION) --overwrite
	$(VENV)/bin/mlm-export compare build/bundle runtime/maskedge/default_bundle --text $(CALIBRATION)

train: $(VENV)/dev.stamp ## Train on one sentence, export and quantize the model, and ask it
	rm -rf build/one_sentence
	$(VENV)/bin/mlm-export train recipes/one_sentence.toml --out build/one_sentence
	$(VENV)/bin/mlm-export bundle build/one_sentence/model --out build/one_sentence_bundle --name one-sentence \
		--calibration recipes/one_sentence.txt --few-texts --overwrite
	$(VENV)/bin/mlm fill --model build/one_sentence_bundle \
		"This model [MASK] a super relationships between the words to predict what word"

bench: $(VENV)/dev.stamp ## Measure maskedge beside its peers, in about an hour; BENCH takes options, such as --peer openvino
	$(VENV)/bin/python benchmarks/side_by_side.py $(BENCH)

docs: $(VENV)/docs.stamp ## Build the documentation into build/site, and check its links
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict
	@echo "Open build/site/index.html"

test: $(VENV)/dev.stamp $(OPTIMUM_VENV)/stamp ## Run the whole test suite
	$(VENV)/bin/pytest $(PARALLEL)

test-quick: $(VENV)/dev.stamp ## Run what is worth running after each edit, in less than a minute
	$(VENV)/bin/pytest -m "not slow" $(PARALLEL)

test-runtime: $(RUNTIME_VENV)/stamp ## Test the runtime with its base dependencies only
	$(RUNTIME_VENV)/bin/pytest tests/runtime --ignore=tests/runtime/cli --ignore=tests/runtime/demo $(PARALLEL)

test-cpus: $(VENV)/dev.stamp $(ARM)/stamp ## Compare BUNDLE's scores on emulated CPUs with this machine's (Debian; needs qemu-user)
	$(VENV)/bin/python benchmarks/other_cpus.py $(BUNDLE)

check: $(VENV)/dev.stamp ## Check format, lint, types, and which room imports which
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/ruff check .
	$(VENV)/bin/lint-imports
	$(VENV)/bin/mypy

fix: $(VENV)/dev.stamp ## Format, and repair what the linter can
	$(VENV)/bin/ruff format .
	$(VENV)/bin/ruff check --fix .

dist: $(VENV)/dist.stamp ## Build the wheel and the sdist in dist, and check them as an index would
	rm -rf dist
	$(VENV)/bin/python -m build --no-isolation
	$(VENV)/bin/twine check --strict dist/*
	@wc -c dist/*

dist-check: dist $(VENV)/dev.stamp ## Install that wheel and try it: each extra, in fresh environments, on each Python found
	$(VENV)/bin/pytest tests/distribution -m installs

clean: ## Remove environments, caches and everything built
	rm -rf $(VENV) $(RUNTIME_VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "maskedge needs Python 3.11 or later; name one with: make PYTHON=python3.11 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/batch.stamp: pyproject.toml constraints.txt $(KERNELS) | $(VENV)/bin/python
	@echo "Installing the batch job into $(VENV) ..."
	$(PIP) install -c constraints.txt -e '.[batch]'
	@mkdir -p build && touch $@

$(VENV)/dev.stamp: pyproject.toml constraints.txt $(KERNELS) | $(VENV)/bin/python
	@echo "Installing the development environment into $(VENV) (PyTorch: this takes a few minutes) ..."
	$(PIP) install -c constraints.txt -e '.[dev]'
	@mkdir -p build && touch $@ $(VENV)/batch.stamp $(VENV)/dist.stamp $(VENV)/docs.stamp

$(VENV)/dist.stamp: pyproject.toml constraints.txt $(KERNELS) | $(VENV)/bin/python
	@echo "Installing what builds the wheel into $(VENV) ..."
	$(PIP) install -c constraints.txt -e '.[dist]'
	@touch $@

$(VENV)/docs.stamp: pyproject.toml constraints.txt $(KERNELS) | $(VENV)/bin/python
	@echo "Installing what builds the documentation into $(VENV) ..."
	$(PIP) install -c constraints.txt -e '.[docs]'
	@touch $@

$(RUNTIME_VENV)/stamp: pyproject.toml constraints.txt $(KERNELS)
	$(PYTHON) -m venv $(RUNTIME_VENV)
	$(RUNTIME_PIP) install -c constraints.txt -e . pytest pytest-xdist
	@touch $@

# Optimum asks for older packages than ours: an environment with those, which finds all others in $(VENV).
$(OPTIMUM_VENV)/stamp: benchmarks/peers/constraints/optimum.txt $(VENV)/dev.stamp
	$(VENV)/bin/python benchmarks/harness/environments.py optimum
	@touch $@

# A Python for ARM: Debian's packages unpacked in a folder of their own, and the wheels of what the runtime needs.
$(ARM)/stamp: Makefile constraints.txt $(VENV)/dev.stamp
	@echo "Installing a Python for ARM into $(ARM) ..."
	rm -rf $(ARM)
	mkdir -p $(ARM)/apt/lists/partial $(ARM)/apt/archives/partial
	$(ARM_APT) update
	$(ARM_APT) install --yes --download-only --no-install-recommends python3 libstdc++6
	for package in $(ARM)/apt/archives/*.deb; do dpkg --extract $$package $(ARM) || exit 1; done
	$(PIP) install --target $(ARM)/site-packages -c constraints.txt --no-deps --only-binary :all: \
		--platform manylinux_2_28_aarch64 --platform manylinux2014_aarch64 \
		--python-version $$(ls $(ARM)/usr/lib | sed -n 's/^python\(3\..*\)/\1/p') numpy onnxruntime tokenizers
	@touch $@
