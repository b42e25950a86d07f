# make train and make test are all that a new checkout needs; the rest is for working on it.
#
#   make train [ARGS="--kimg 50"]   trains the default glyphs run
#   make test [ARGS="-k stddev"]    the test suite
#   make test-other [OTHER_TORCH="torch==2.13.0"]   what depends on torch's version, with another torch
#   make lint | format              ruff and clang-format: check | rewrite
#   make bench                      the benchmarks, into benchmarks/results/
#   make kernel-report              registers, shared memory and occupancy of the CUDA kernels; fails on spills (wants nvcc)
#   make build                      compiles csrc/ again where it changed
#   make gpu-check                  on a machine with an NVIDIA GPU: gpu-test, gpu-bench and gpu-steps, 9 minutes each
#   make clean                      removes what was built, the virtual environment too
#
# TORCH="torch==2.13.0" chooses the torch to install, PYTHON=python3.12 the interpreter, GAN_OPS_CUDA=0|1 the CUDA kernels.

PYTHON ?= python3
TORCH ?= torch>=2.11,<2.16
OTHER_TORCH ?= torch==2.13.0
EXTRAS ?= train,test,dev
ARGS ?=

BIN := .venv/bin
SOURCES := $(wildcard csrc/*.* csrc/*/*.*)
TEST_SOURCES := $(filter %.cpp %.cu %.h,$(wildcard tests/cuda_on_cpu/*.* tests/cuda_on_cpu/*/*.*))

# On a machine with a GPU: the Python at hand with its own torch, nothing from the network. COMMIT says what is tested
# where there is no git, RESULTS=folder writes the result file there instead of to benchmarks/results/, and no target
# takes longer than BUDGET, in seconds.
COMMIT ?=
RESULTS ?=
BUDGET ?= 520
END := $(shell expr $$(date +%s) + $(BUDGET))
ON_GPU = COMMIT=$(COMMIT) $(PYTHON)
WRITING = --until $(END) $(if $(RESULTS),--results $(RESULTS))

.PHONY: train test test-other lint format bench kernel-report build clean gpu-check gpu-build gpu-test gpu-bench gpu-steps

train: build
	$(BIN)/python -m train.pggan $(ARGS)

test: build
	$(BIN)/python -m pytest $(ARGS)

# In a copy of the checkout, since an extension loads in one torch only. Few packages, and the kernels for the CPU alone.
OTHER = build/$(subst ==,-,$(OTHER_TORCH))
COPIED = Makefile setup.py pyproject.toml README.md LICENSE csrc gan_ops models train benchmarks tests

test-other:
	mkdir -p $(OTHER)
	tar --exclude=_C.* --exclude=__pycache__ -cf - $(COPIED) | tar -xf - -C $(OTHER)
	GAN_OPS_CUDA=0 $(MAKE) -C $(OTHER) test TORCH="$(OTHER_TORCH)" EXTRAS=small \
		ARGS='tests/ops/test_contract.py tests/steps tests/train/test_train_dcgan.py tests/train/test_train_compiled.py \
		-k "test_contract or compile" $(ARGS)'

lint: build
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(SOURCES) $(TEST_SOURCES)

format: build
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(SOURCES) $(TEST_SOURCES)

bench: build
	$(BIN)/python -m benchmarks $(ARGS)

kernel-report: build
	$(BIN)/python -m benchmarks.kernel_report $(ARGS)

build: .venv/built

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --upgrade pip "setuptools>=77"
	$(BIN)/pip install --quiet "$(TORCH)" ninja pybind11 numpy
	$(BIN)/pip install --no-build-isolation --editable ".[$(EXTRAS)]"
	touch $@ .venv/built

# Installing has built the extension; later only what changed is compiled.
.venv/built: .venv/installed setup.py $(SOURCES)
	@if [ -n "$$(find setup.py csrc -newer $@)" ]; then $(BIN)/python setup.py --quiet build_ext --inplace; fi
	@touch $@

# What fails does not keep the others from running.
gpu-check:
	@failed=; for target in gpu-test gpu-bench gpu-steps; do $(MAKE) $$target || failed="$$failed $$target"; done; \
	test -z "$$failed" || { echo "failed:$$failed"; false; }

gpu-test: gpu-build
	$(ON_GPU) tests/on_gpu.py $(WRITING) $(ARGS)

gpu-bench: gpu-build
	$(ON_GPU) -m benchmarks $(WRITING) -q benchmarks/ops $(ARGS)

gpu-steps: gpu-build
	$(ON_GPU) -m benchmarks $(WRITING) -q benchmarks/test_training_step.py $(ARGS)

# For the GPU that is there and no other.
gpu-build:
	@$(PYTHON) -c "import sys, torch; torch.cuda.is_available() or sys.exit('torch sees no GPU here')"
	@mkdir -p build
	GAN_OPS_CUDA=1 TORCH_CUDA_ARCH_LIST= $(PYTHON) setup.py --quiet build_ext --inplace > build/log 2>&1 || \
		(tail -50 build/log; false)

clean:
	rm -rf .venv build dist *.egg-info gan_ops/_C.*
