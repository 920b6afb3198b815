# Two commands set up everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test check proto bench clean

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade "pip>=25.1"
	PYTHONWARNINGS=ignore $(BIN)/pip install --quiet -e . --group dev  # setuptools warns of every editable install
	touch $(STAMP)

demo: $(STAMP)  ## start the daemon and two apps, show state, events, calls and a refusal
	$(BIN)/noded demo

test: $(STAMP) check  ## everything CI runs
	$(BIN)/pytest

check: $(STAMP)  ## style, types, documentation
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/interrogate -q noded tenancy components

proto: $(STAMP)  ## generate Python from noded/proto/*.proto
	$(BIN)/python -m grpc_tools.protoc -I. --plugin=protoc-gen-mypy=$(BIN)/protoc-gen-mypy \
		--python_out=. --mypy_out=quiet:. noded/proto/*.proto

clean:
	rm -rf $(VENV) build *.egg-info
