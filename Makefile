# Every target sets up what it needs.  `make demo` and `make test` are the two that a newcomer wants.

VENV   := .venv
PYTHON := $(VENV)/bin/python
STAMP  := $(VENV)/.installed
KERNEL_TESTS := $(wildcard tests/unit/kernel tests/property)

.PHONY: demo test lint bench clean

demo: $(STAMP)
	@$(PYTHON) -m replay demo

# Kernels run three ways: bounds-checked, as plain Python, and (in the full suite, last) compiled.
test: lint
	NUMBA_BOUNDSCHECK=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS)
	NUMBA_DISABLE_JIT=1 $(PYTHON) -m pytest -q $(KERNEL_TESTS)
	$(PYTHON) -m pytest -q

lint: $(STAMP)
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy

bench: $(STAMP)
	$(PYTHON) -m benchmarks

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

# Installs again only when what is to be installed changed.
$(STAMP): setup.cfg pyproject.toml .ci/setup
	@bash .ci/setup $(VENV)
	@touch $@
