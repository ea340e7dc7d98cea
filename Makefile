# `make demo` trains and measures a 2M-NER, and names the command that shows it. `make study` runs the
# papers' experiments on the sample, in half an hour on two cores. `make quick` checks
# style, types and imports and runs the fast tests; `make test` runs all tests. `make campaigns` runs
# 12,000 mutated inputs and 100 kills. All create what they need.

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV := .venv
BIN := $(VENV)/bin
SOURCES := $(wildcard modeling_2mner/* dataset_mmnerd/* dataset_mmnerd/sample/* \
	dataset_mmnerd/sample/languages/*/* training_2mner/*.py reporting_2mner/*)

export TOKENIZERS_PARALLELISM := false
export HF_HUB_DISABLE_TELEMETRY := 1
# Where other programs share the cores, threads that spin while they wait cost more than they save.
export OMP_WAIT_POLICY := passive

.PHONY: campaigns check chromium clean demo quick study tesseract test

demo: runs/demo/metrics.json
	$(BIN)/2mner report runs/demo
	$(BIN)/python scripts/predict.py runs/demo
	@echo
	@echo "A page to try the model: $(BIN)/2mner demo runs/demo"

# Trained once, and again when the recipe or the code has changed. (The table is printed above.)
runs/demo/metrics.json: configs/demo.yaml cli_2mner.py $(SOURCES) $(VENV)/installed backbones/installed
	$(BIN)/2mner train configs/demo.yaml > /dev/null

# What an earlier one has trained is kept; `rm -r runs/study` begins anew.
study: $(VENV)/installed backbones/installed
	$(BIN)/2mner study study_small

check: $(VENV)/installed-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# What `tests/slow.py` names is left out.
quick: check
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow"

# For two cores: a third process works while the tests of another wait for what they have started.
test: check chromium tesseract
	$(BIN)/python -m pytest -n 3 --dist worksteal

campaigns: $(VENV)/installed-test
	$(BIN)/python -m tests.campaigns

# Programs that tests need: Debian's packages. Without them these tests are skipped, which `.ci/run`
# refuses. Tesseract reads the characters on images; it needs the languages of the sample.
define install
{ test "$$(id -u)" = 0 && apt-get update -qq && apt-get install -qq --yes $(1); } || \
	echo "no $@: its tests are skipped; install by hand, as root: $(1)" >&2
endef

TESSERACT := tesseract-ocr tesseract-ocr-eng tesseract-ocr-deu tesseract-ocr-fra tesseract-ocr-spa
tesseract:
	@for language in eng deu fra spa; do \
		tesseract --list-langs 2> /dev/null | grep -qx $$language || missing=yes; \
	done; \
	test -z "$$missing" || $(call install,$(TESSERACT))

chromium:
	@command -v chromium > /dev/null || $(call install,chromium)

backbones/installed: $(VENV)/installed scripts/offline_backbones.py $(wildcard scripts/offline/*.py)
	$(BIN)/python scripts/offline_backbones.py --out backbones
	touch $@

# `torch` first and by itself: the version named here has a CPU build, so that nothing pulls in CUDA.
$(VENV)/torch:
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet "$(TORCH)"
	touch $@

$(VENV)/installed: $(VENV)/torch setup.cfg pyproject.toml
	$(BIN)/python -m pip install --quiet --editable ".[space]"
	touch $@

$(VENV)/installed-test: $(VENV)/installed setup.cfg
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf $(VENV) backbones runs
