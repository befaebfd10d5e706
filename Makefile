# Every target sets up what it needs.  `make demo` and `make test` are the two that a newcomer wants.

SHELL  := bash
VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
KERNEL_TESTS := $(wildcard tests/unit/kernel tests/property)

.PHONY: demo test lint bench screenshots clean

demo: $(STAMP)
	@$(PYTHON) -m replay demo

# Kernels run three ways: compiled (in the full suite), and beside it bounds-checked and as plain Python.  What those
# two have said is printed at the end, before the closing line of the full suite.
test: lint
	@echo "full suite, and beside it the kernels bounds-checked and as plain Python"
	@set -o pipefail; mkdir -p build; \
	{ NUMBA_BOUNDSCHECK=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS) && \
	  NUMBA_DISABLE_JIT=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS); } > build/kernels.log 2>&1 & kernels=$$!; \
	full=0; $(PYTHON) -m pytest -q 2>&1 | tee build/full.log || full=$$?; \
	modes=0; wait $$kernels || modes=$$?; \
	cat build/kernels.log; tail -n 1 build/full.log; \
	exit $$(( full || modes ))

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
