# make train and make test are all that a new checkout needs; the rest is for working on it.
#
#   make train [ARGS="--kimg 50"]   trains the default glyphs run
#   make test [ARGS="-k stddev"]    the test suite
#   make test-other [OTHER_TORCH="torch==2.13.0"]   what depends on torch's version, with another torch
#   make lint | format              ruff and clang-format: check | rewrite
#   make bench                      the benchmarks, into benchmarks/results/
#   make kernel-report              registers, shared memory and occupancy of the CUDA kernels; fails on spills (needs nvcc)
#   make build                      compiles csrc/ again where it changed
#   make gpu-first | gpu-second     on a machine with an NVIDIA GPU: all checks and measurements, in 8 and in 3 minutes
#   make clean                      removes what was built, the virtual environment too
#
# TORCH="torch==2.13.0" chooses the torch to install, PYTHON=python3.12 the interpreter, GAN_OPS_CUDA=0|1 the CUDA kernels.
# WORKERS=4 chooses how many processes share the tests; WORKERS= runs them in one, as debugging needs.

PYTHON ?= python3
TORCH ?= torch>=2.11,<2.16
OTHER_TORCH ?= torch==2.13.0
EXTRAS ?= train,test,dev
WORKERS ?= auto
ARGS ?=

BIN := .venv/bin
SOURCES := $(wildcard csrc/*.* csrc/*/*.*)
TEST_SOURCES := $(filter %.cpp %.cu %.h,$(wildcard tests/cuda_on_cpu/*.* tests/cuda_on_cpu/*/*.*))

.PHONY: train test test-other lint format bench kernel-report build clean gpu-first gpu-second

train: build
	$(BIN)/python -m train.pggan $(ARGS)

# A process for each core, of one thread each: the tests are small, and most of their time is Python's.
test: build
	$(if $(WORKERS),OMP_NUM_THREADS=1) $(BIN)/python -m pytest $(if $(WORKERS),-n $(WORKERS) --dist=worksteal) $(ARGS)

# In a copy of the checkout, since an extension loads in one torch only. Few packages, and the kernels for the CPU alone,
# without the optimisations that take most of the compiler's time.
OTHER = build/$(subst ==,-,$(OTHER_TORCH))
COPIED = Makefile setup.py pyproject.toml README.md LICENSE csrc gan_ops models train benchmarks tests

test-other:
	mkdir -p $(OTHER)
	rm -rf $(addprefix $(OTHER)/,csrc gan_ops/ops models train benchmarks tests)
	tar --exclude=_C.* --exclude=__pycache__ -cf - $(COPIED) | tar -xf - -C $(OTHER)
	CFLAGS=-O1 GAN_OPS_CUDA=0 $(MAKE) -C $(OTHER) test TORCH="$(OTHER_TORCH)" EXTRAS=small \
		WORKERS= ARGS='tests/ops/test_contract.py tests/steps tests/train/test_train_dcgan.py tests/train/test_train_compiled.py \
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

# The Python at hand with its own torch, nothing from the network, and no make either: CONTRIBUTING.md says how.
gpu-first gpu-second:
	$(PYTHON) -m benchmarks.on_gpu $(@:gpu-%=%) $(ARGS)

clean:
	rm -rf .venv build dist *.egg-info gan_ops/_C.*
