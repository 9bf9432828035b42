# `make help` lists the targets. Everything is installed into .venv and kept in .cache, nothing elsewhere.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.complete
export TOOLCHAIN_CACHE ?= $(CURDIR)/.cache

MODEL ?= eresfd
RATE ?=
CRITERION ?=
SCOPE ?=
CKPT ?=
UNTRAINED ?=
OUT ?= out/$(subst :,-,$(MODEL))
SIZE ?=
PHOTO ?=
DYNAMIC ?=
DATA ?=
PROTOCOL ?=
LIMIT ?=
PEER ?=
WEIGHTS ?=
TEACHER ?=
MINUTES ?=
IMAGES ?=
STEPS ?=
RATES ?=
FORMATS ?=
REWRITES ?=
INPUT ?=
POSTPROCESS ?=
CALIBRATION ?=
EXTRAS ?=
TARGET ?= rpi4
LATENCY ?=
INSTRUCTIONS ?=
PARAMETERS ?=
MACS ?=
RUNTIME ?=
MIN_AP ?=
MAX_MS ?=
OFFLINE ?=
CANDIDATE ?=
BASELINE ?=
COUNT ?=
SEED ?=
JOBS ?=
AGAIN ?=
NAMES ?=
ARGS ?=

# A value is passed on only if it is given; each stays one argument, spaces and all.
option = $(if $(strip $(2)),$(1) '$(subst ','\'',$(strip $(2)))')

.PHONY: help setup doctor recommend shrink setup-arm check-arm cost plan bundle gate eval tables train recover balance sweep family pareto bench bench-code bench-surgery soak-surgery test test-rest test-long test-slow test-all test-wheel lint docs format clean

help: ## List the targets
	@echo "make shrink MODEL=eresfd RATE=0.1   prune, shrink, export and prove; results in out/MODEL"
	@echo "     PARAMETERS=52k or INSTRUCTIONS=22M in place of RATE: the best that is shipped within it"
	@echo "     MODEL=eresfd|extd|yunet|module:factory  RATE=0..1  CRITERION=fpgm|l1  SCOPE=group|layer"
	@echo "     CKPT=file  UNTRAINED=1  OUT=folder  SIZE=480x640  PHOTO=file  DYNAMIC=1"
	@echo "     FORMATS=onnx,tflite,fp16,int8  CALIBRATION=folder of photos  DATA=WIDER"
	@echo "     REWRITES=none, or names: see toolchain shrink --help"
	@echo "     INPUT=float32|uint8  POSTPROCESS=none|decode|nms"
	@echo "     ARGS=\"--ema --accept-partial\": any other options, here and of every target below"
	@echo "make recommend TARGET=rpi5          what to put on a board: all that ships, and the one to take"
	@echo "     MODEL=eresfd or OUT=folder     that alone;  MAX_MS=5  MIN_AP=0.8 or easy=0.85  SIZE=320x320"
	@echo "make check-arm MODEL=eresfd TARGET=rpi4   what make shrink left, on an emulated board"
	@echo "make cost MODEL=eresfd TARGET=rpi4  what every width costs there; SIZE=320x320 CKPT=file"
	@echo "make plan MODEL=eresfd LATENCY=0.6  the widths that meet a budget; 0.6, 30ms,"
	@echo "     or in its place INSTRUCTIONS=40M, PARAMETERS=52k, MACS=0.6 or RATE=0.3"
	@echo "     DATA=WIDER, or CALIBRATION=folder of photos: what widths are looked at on"
	@echo "make bundle MODEL=eresfd TARGET=rpi4 OFFLINE=1   one archive that the board installs"
	@echo "     TARGET=local: this machine     RUNTIME=onnxruntime|litert"
	@echo "make gate                           the project's own models against recipes/baselines/TARGET"
	@echo "     CANDIDATE=folder BASELINE=file  an output folder against a baseline of your own"
	@echo "make eval MODEL=file DATA=WIDER     average precision; MODEL=weights, folder or ONNX file"
	@echo "     PROTOCOL=single|paper  LIMIT=n  PEER=yunet.onnx  OUT=folder"
	@echo "make tables WEIGHTS=folder DATA=WIDER   the paper's tables and figures, measured again"
	@echo "make train MODEL=eresfd RATE=0.3 DATA=WIDER TEACHER=weights.pth MINUTES=30"
	@echo "make recover MODEL=mynet:build CKPT=best.pth RATE=0.3 IMAGES=photos MINUTES=30   without labels"
	@echo "     RATES=0.1,0.3,0.5 in its place: a sweep; or PARAMETERS=52k, MACS=0.6, INSTRUCTIONS=40M, LATENCY=0.6"
	@echo "make balance CKPT=weights DATA=WIDER  levels of eresfd or extd, so that their scores mean the same"
	@echo "make sweep MODEL=eresfd RATES=0,0.1,0.5 DATA=WIDER TEACHER=weights.pth MINUTES=30"
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | grep -v '^help\|^shrink' | sed -E 's/^([a-z-]+):.*## (.*)/make \1|\2/' | awk -F'|' '{printf "%-35s %s\n", $$1, $$2}'

setup: ## Make .venv and install what constraints.txt pins; EXTRAS=tflite adds the converter
	@had="$$(sed -n 2p $(STAMP) 2>/dev/null || true)"
	extras="$$(printf '%s\n' dev $${had//,/ } $(EXTRAS) | tr ',' '\n' | sort -u | paste -sd,)"
	wanted="$$(cat pyproject.toml constraints.txt | cksum)"$$'\n'"$$extras"
	if [ "$$(cat $(STAMP) 2>/dev/null)" = "$$wanted" ] \
	    && $(BIN)/toolchain --version >/dev/null 2>&1 && $(BIN)/python -m pip check >/dev/null 2>&1; then
	  exit 0
	fi
	if ! command -v $(PYTHON) >/dev/null; then
	  echo "setup: $(PYTHON) is not there; install Python 3.11 (Debian: apt install python3 python3-venv) or say PYTHON=/path/to/python3.11" >&2; exit 2
	fi
	if ! $(PYTHON) -c 'import sys; sys.exit(not sys.version_info[:2] >= (3, 11))'; then
	  echo "setup: Python 3.11 or newer is needed; $(PYTHON) is $$($(PYTHON) --version). Say PYTHON=/path/to/python3.11" >&2; exit 2
	fi
	if ! $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null; then
	  echo "setup: $(PYTHON) lacks the module venv (Debian: apt install python3-venv)" >&2; exit 2
	fi
	echo "setup: installing into $(VENV); PyTorch is large, the first time takes some minutes" >&2
	rm -f $(STAMP)
	install() {
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt --editable ".[$$extras]" \
	    || { echo "setup: pip failed (see above); is the network there, and 3 GB of disk (4 with EXTRAS=tflite)? Then run make setup again" >&2; exit 2; }
	}
	works() { $(BIN)/python -m pip check >/dev/null 2>&1 && $(BIN)/toolchain --version >/dev/null 2>&1; }
	if $(BIN)/python -m pip --version >/dev/null 2>&1; then install; fi
	if ! works; then $(PYTHON) -m venv --clear $(VENV); install; works || { echo "setup: $(VENV) does not work; run make clean, then make setup" >&2; exit 2; }; fi
	echo "$$wanted" > $(STAMP)
	echo "setup: done" >&2

shrink: setup
	@$(BIN)/toolchain shrink '$(subst ','\'',$(MODEL))' $(call option,--rate,$(RATE)) \
	  $(call option,--parameters,$(PARAMETERS)) $(call option,--instructions,$(INSTRUCTIONS)) \
	  $(call option,--criterion,$(CRITERION)) $(call option,--scope,$(SCOPE)) \
	  $(call option,--ckpt,$(CKPT)) $(call option,--size,$(SIZE)) $(call option,--photo,$(PHOTO)) \
	  $(call option,--formats,$(FORMATS)) $(call option,--rewrites,$(REWRITES)) \
	  $(call option,--input,$(INPUT)) $(call option,--postprocess,$(POSTPROCESS)) \
	  $(call option,--calibration,$(CALIBRATION)) $(call option,--data,$(DATA)) \
	  $(if $(strip $(UNTRAINED)),--untrained) $(if $(strip $(DYNAMIC)),--dynamic) --out '$(subst ','\'',$(OUT))' $(ARGS)

recommend: setup
	@$(BIN)/toolchain recommend $(if $(filter command%,$(origin MODEL)),$(call option,,$(MODEL))) \
	  $(if $(filter command%,$(origin OUT)),$(call option,,$(OUT))) $(call option,--target,$(TARGET)) \
	  $(call option,--min-ap,$(MIN_AP)) $(call option,--max-ms,$(MAX_MS)) $(call option,--size,$(SIZE)) $(ARGS)

setup-arm: setup ## Fetch what the emulation of an ARM board needs; no root rights
	@$(BIN)/toolchain setup-arm $(call option,--target,$(TARGET)) $(ARGS)

doctor: ## Tell what is installed, what is missing for which stage, and how to get it
	@if [ -x $(BIN)/toolchain ]; then exec $(BIN)/toolchain doctor; fi
	echo "doctor: nothing is installed yet; run make setup" >&2; exit 1

check-arm: setup
	@$(BIN)/toolchain check '$(subst ','\'',$(OUT))' $(call option,--target,$(TARGET)) \
	  $(call option,--photo,$(PHOTO)) $(ARGS)

cost: setup
	@$(BIN)/toolchain cost '$(subst ','\'',$(MODEL))' $(call option,--target,$(TARGET)) $(call option,--runtime,$(RUNTIME)) \
	  $(call option,--ckpt,$(CKPT)) $(call option,--size,$(SIZE)) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

plan: setup
	@$(BIN)/toolchain plan '$(subst ','\'',$(MODEL))' $(call option,--target,$(TARGET)) $(call option,--runtime,$(RUNTIME)) \
	  $(call option,--latency,$(LATENCY)) $(call option,--instructions,$(INSTRUCTIONS)) \
	  $(call option,--parameters,$(PARAMETERS)) $(call option,--macs,$(MACS)) $(call option,--rate,$(RATE)) \
	  $(call option,--criterion,$(CRITERION)) $(call option,--ckpt,$(CKPT)) $(call option,--size,$(SIZE)) \
	  $(call option,--calibration,$(CALIBRATION)) $(call option,--data,$(DATA)) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

bundle: setup
	@$(BIN)/toolchain bundle '$(subst ','\'',$(OUT))' $(call option,--target,$(TARGET)) \
	  $(call option,--runtime,$(RUNTIME)) $(if $(strip $(OFFLINE)),--offline) $(ARGS)

gate: setup
	@$(BIN)/toolchain gate $(if $(strip $(CANDIDATE)),'$(subst ','\'',$(strip $(CANDIDATE)))') \
	  $(call option,--baseline,$(BASELINE)) $(call option,--target,$(TARGET)) $(ARGS)

eval: setup
	@$(if $(strip $(DATA)),,echo "eval: say where WIDER FACE lies: make eval MODEL=weights.pth DATA=folder" >&2; exit 2)
	$(BIN)/toolchain evaluate '$(subst ','\'',$(MODEL))' $(call option,--data,$(DATA)) \
	  $(call option,--protocol,$(PROTOCOL)) $(call option,--limit,$(LIMIT)) $(call option,--peer,$(PEER)) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

tables: setup
	@$(if $(strip $(DATA)),,echo "tables: say where WIDER FACE lies: make tables WEIGHTS=folder DATA=folder" >&2; exit 2)
	$(BIN)/toolchain tables $(call option,--weights,$(WEIGHTS)) $(call option,--data,$(DATA)) \
	  $(call option,--protocol,$(PROTOCOL)) $(call option,--limit,$(LIMIT)) $(call option,--peer,$(PEER)) $(ARGS)

train: setup
	@$(if $(and $(strip $(DATA)),$(strip $(TEACHER))),,echo "train: say what from: make train MODEL=eresfd RATE=0.3 DATA=folder TEACHER=weights.pth MINUTES=30" >&2; exit 2)
	$(BIN)/toolchain train '$(subst ','\'',$(MODEL))' $(call option,--data,$(DATA)) \
	  $(call option,--teacher,$(TEACHER)) $(call option,--rate,$(RATE)) \
	  $(call option,--criterion,$(CRITERION)) $(call option,--scope,$(SCOPE)) \
	  $(call option,--minutes,$(MINUTES)) $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

recover: setup
	@$(if $(strip $(IMAGES)),,echo "recover: say which photos: make recover MODEL=mynet:build CKPT=best.pth RATE=0.3 IMAGES=folder MINUTES=30" >&2; exit 2)
	$(BIN)/toolchain recover '$(subst ','\'',$(MODEL))' $(call option,--ckpt,$(CKPT)) \
	  $(call option,--rate,$(RATE)) $(call option,--rates,$(RATES)) $(call option,--parameters,$(PARAMETERS)) \
	  $(call option,--macs,$(MACS)) $(call option,--instructions,$(INSTRUCTIONS)) $(call option,--latency,$(LATENCY)) \
	  $(call option,--images,$(IMAGES)) $(call option,--size,$(SIZE)) \
	  $(call option,--criterion,$(CRITERION)) $(call option,--steps,$(STEPS)) \
	  $(call option,--minutes,$(MINUTES)) $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

balance: setup
	@$(if $(and $(strip $(CKPT)),$(strip $(DATA))),,echo "balance: say what, and on which photos: make balance CKPT=weights.pth DATA=folder" >&2; exit 2)
	$(BIN)/toolchain balance '$(subst ','\'',$(CKPT))' $(call option,--data,$(DATA)) $(call option,--limit,$(LIMIT)) \
	  $(call option,--size,$(SIZE)) $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

family: sweep # the target's name before 0.2

sweep: setup
	@$(if $(strip $(DATA)),,echo "sweep: say where WIDER FACE lies: make sweep MODEL=eresfd RATES=0,0.1,0.5 DATA=folder TEACHER=weights.pth" >&2; exit 2)
	$(BIN)/toolchain sweep '$(subst ','\'',$(MODEL))' $(call option,--data,$(DATA)) \
	  $(call option,--rates,$(RATES)) $(call option,--teacher,$(TEACHER)) \
	  $(call option,--criterion,$(CRITERION)) $(call option,--scope,$(SCOPE)) \
	  $(call option,--minutes,$(MINUTES)) $(call option,--limit,$(LIMIT)) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

pareto: setup ## What all that ships finds on DATA=WIDER, against what it costs on TARGET=rpi4
	@$(if $(strip $(DATA)),,echo "pareto: say where WIDER FACE lies: make pareto DATA=folder" >&2; exit 2)
	$(BIN)/toolchain pareto $(call option,--data,$(DATA)) $(call option,--target,$(TARGET)) $(call option,--size,$(SIZE)) \
	  $(if $(filter command%,$(origin MODEL)),$(call option,--model,$(MODEL))) $(call option,--limit,$(LIMIT)) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(ARGS)

bench: setup ## EResFD and EXTD at several rates beside their plain exports, on an emulated board and here
	@shrunk() {
	  echo "bench: $$2, $$1" >&2
	  $(BIN)/toolchain shrink "$$2" --size '$(or $(strip $(SIZE)),320x320)' --out "out/bench/$$2-$$1" "$${@:3}" >/dev/null
	  places+=("out/bench/$$2-$$1")
	}
	side_by_side() { # a model's plain export is the measure of all its rates
	  places=()
	  shrunk plain "$$1" --rate 0 --rewrites none --formats onnx "$${@:3}"
	  for rate in $$2; do shrunk "$$rate" "$$1" --rate "$$rate" $(call option,--formats,$(FORMATS)) "$${@:3}"; done
	  $(BIN)/toolchain compare "$${places[@]}" $(call option,--target,$(TARGET)) --out "out/bench/compare-$$1" $(ARGS)
	}
	side_by_side eresfd "0 0.1 0.25 0.5"
	side_by_side extd "0 0.5" --untrained
	$(BIN)/toolchain recommend --shares $(call option,--target,$(TARGET)) $(call option,--size,$(SIZE))

bench-code: setup ## Time the scoring, beside a literal implementation of its rules, and the training
	@export OMP_NUM_THREADS=1
	$(BIN)/python -m tests.benchmarks.scoring
	$(BIN)/python -m tests.benchmarks.training

soak-surgery: setup ## Shrink COUNT=10000 random networks from SEED=0 on, by JOBS=1; goes on where it was
	@OMP_NUM_THREADS=1 PYTHONPATH=tests $(BIN)/python -m tests.benchmarks.soak $(call option,--count,$(COUNT)) \
	  $(call option,--seed,$(SEED)) $(call option,--jobs,$(JOBS)) $(if $(strip $(AGAIN)),--again) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT)))

bench-surgery: setup ## Shrink public architectures, beside Torch-Pruning: a table; goes on where it was; NAMES="YuNet-n CRNN"
	@OMP_NUM_THREADS=1 $(BIN)/python -m tests.benchmarks.public $(NAMES) \
	  $(if $(filter command%,$(origin OUT)),$(call option,--out,$(OUT))) $(if $(strip $(AGAIN)),--again)

test: setup ## Run the tests of every stage that take seconds
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow and not long"

test-rest: setup ## Run what make test leaves out, but for the longest
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "slow and not long"

test-long: setup ## Run the longest alone
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "long"

test-slow: setup ## Run all that make test leaves out, in one go, files with the longest first
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -m "slow or long"

test-all: setup ## Run all tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal

test-wheel: setup ## Build wheel and sdist, install them elsewhere, and run the main job there
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_wheel.py

lint: setup ## Check style, format and types
	@$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: ## Build the documentation as a site, out/site/index.html
	@$(MAKE) --no-print-directory setup EXTRAS=docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet
	echo "docs: out/site/index.html"

format: setup ## Format the code
	@$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## Remove .venv, caches and out
	@rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis out build *.egg-info
