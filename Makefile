# Everything a developer or a curious stranger types, on Debian 12 or 13 with git, make and sudo.
.POSIX:
SHELL = /bin/sh
BIN = .venv/bin
PYTEST = $(BIN)/python -m pytest
HOST = tools/as-root $(PYTEST) -n 2 --dist loadfile tests/host tests/faults
FAST = $(PYTEST) -n auto --ignore=tests/host --ignore=tests/faults -m "not host and not faults"

help:
	@echo 'make demo         a throwaway host on this machine, set up and verified, to look at'
	@echo 'make demo-down    remove the demo'
	@echo 'make test-fast    tests that need no host: under a minute'
	@echo 'make test         these, host tests, and one fault of each kind: under 40 minutes; needs root or sudo'
	@echo 'make test-faults  all host and fault tests; hours rather than minutes'
	@echo 'make lint         ruff, mypy, and shellcheck where it is'
	@echo 'make docs         write the generated part of docs/reference'
	@echo 'make bench        compare a no-op with Ansible, on a lab host'
	@echo 'make clean        remove .venv and caches'

.venv: .venv/.made

.venv/.made: pyproject.toml
	@tools/packages base
	python3 -m venv .venv
	$(BIN)/python -m pip install -q --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: .venv/.made
	@tools/packages lab
	@$(BIN)/python -m houblon.lab.demo up

demo-down: .venv/.made
	@$(BIN)/python -m houblon.lab.demo down

lint: .venv/.made
	$(BIN)/ruff check .
	$(BIN)/mypy
	@if command -v shellcheck >/dev/null; then shellcheck tools/* .ci/run; else echo 'no shellcheck here'; fi

test-fast: .venv/.made
	@tools/packages tests
	$(FAST) $(ARGS)

test: .venv/.made
	@tools/packages tests lab browser
	$(FAST) $(ARGS)
	$(HOST) -m "not faults" $(ARGS)

test-faults: .venv/.made
	@tools/packages tests lab browser
	$(HOST) $(ARGS)

docs: .venv/.made
	$(BIN)/python -m houblon.docsgen docs/reference

bench: .venv/.made
	@tools/packages lab
	tools/as-root $(BIN)/python bench/noop.py $(ARGS)

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist

.PHONY: help demo demo-down lint test-fast test test-faults docs bench clean .venv
