# Every target sets up what it needs.  `make demo` and `make test` are the two that a newcomer wants.

SHELL  := bash
VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
KERNEL_TESTS := $(wildcard tests/unit/kernel tests/property)
SECOND_LANE  := tests/faults tests/report tests/docs

.PHONY: demo test lint bench screenshots clean

demo: $(STAMP)
	@$(PYTHON) -m replay demo

# Two lanes side by side.  The second runs the kernels in their other two modes (bounds-checked, as plain Python; the
# first lane has them compiled), then what mostly waits: servers, browsers, the documentation.  What it has said is
# printed at the end, before the closing line of the first.
test: lint
	@echo "two lanes: the suite, and beside it the kernels' other modes, servers under faults, reports, documentation"
	@set -o pipefail; mkdir -p build; \
	{ NUMBA_BOUNDSCHECK=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS) && \
	  NUMBA_DISABLE_JIT=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS) && \
	  $(PYTHON) -m pytest -q $(SECOND_LANE); } > build/second.log 2>&1 & second=$$!; \
	one=0; $(PYTHON) -m pytest -q $(addprefix --ignore=,$(SECOND_LANE)) 2>&1 | tee build/first.log || one=$$?; \
	two=0; wait $$second || two=$$?; \
	cat build/second.log; tail -n 1 build/first.log; \
	exit $$(( one || two ))

lint: $(STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: $(STAMP)
	$(PYTHON) -m benchmarks

screenshots: $(STAMP)
	@PYTHONPATH=. $(PYTHON) docs/screenshots.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Installs again only when what is to be installed changed.
$(STAMP): setup.cfg pyproject.toml .ci/setup
	@bash .ci/setup $(VENV)
	@touch $@
