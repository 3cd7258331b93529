PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
# dvc runs `python`, which must be the one that everything is installed in.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup verify reproduce laptop test test-slow check bench

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

# Check what ships and measure some of it anew, then decide every claim, and put all of it on a page, whatever was decided.
verify: setup
	python -m harness verify
	pytest claims -n 2 --verdicts artifacts/verdicts.json; decided=$$?; python -m harness page && exit $$decided

# Measure everything anew, pre-training included, and decide.
reproduce: setup
	dvc repro --force
	$(MAKE) verify

# The authors' own weights on ten classes of photographs: fetched, measured, decided. params.yaml then says `profile: *laptop`.
laptop: setup
	python -m harness fetch --profile laptop
	python -m harness cost --profile laptop
	sed -i.bak 's/^profile: .*/profile: *laptop/' params.yaml && rm params.yaml.bak
	dvc repro
	pytest claims --source laptop --verdicts artifacts/laptop/verdicts.json; decided=$$?; \
		python -m harness page artifacts/laptop/verdicts.json && exit $$decided

# A worker has whole files: what a file's tests share is made once.
test: setup
	pytest -q -rs -n auto --dist loadfile -m "not slow" tests

# What takes too long for every change: run before a release.
test-slow: setup
	pytest -q -rs -n auto --dist loadfile -m slow tests
	python -m tests.claims.mutants

check: setup
	ruff check .
	ruff format --check .
	mypy

bench: setup
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[bench]'
	python -m tests.bench
