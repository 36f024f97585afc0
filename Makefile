# Two commands: `make demo` makes the example soundtrack, `make test` passes the tests. Both install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint tests/constraints.txt

.PHONY: demo test test-all lint clean

demo: $(VENV)/.demo
	$(BIN)/dualdub generate workflows/assets/demo.mp4 \
		--script "four seven eight four one nine" --voice workflows/assets/voice.wav --out out/demo

test: $(VENV)/.test lint
	$(BIN)/python -m pytest -m "not slow"

test-all: $(VENV)/.test lint
	$(BIN)/python -m pytest

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) out

# torch goes first: asked for together with packages that only need "some torch", pip may look at newer ones.
$(VENV)/.torch: tests/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	touch $@

$(VENV)/.demo: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable .
	touch $@

$(VENV)/.test: $(VENV)/.torch pyproject.toml
	$(INSTALL) --editable ".[dev,train,bench,handoff,credentials]"
	touch $@ $(VENV)/.demo
