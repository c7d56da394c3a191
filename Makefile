# Two commands do everything on a fresh machine: `make demo` and `make test`.
# Needed by hand: Python 3.11 or newer with its headers, a C compiler, make.

PYTHON ?= python3
VENV ?= .venv
RUN = $(VENV)/bin/python
PIP = $(RUN) -m pip install --quiet --disable-pip-version-check
NATIVE = $(shell find native tests/engine tests/fuzz \( -name '*.[ch]' -o -name '*_build.py' \) \
           2>/dev/null) setup.py pyproject.toml
# The packages of an extra: `$(REQUIRES) dev`.
REQUIRES = $(RUN) -c 'import sys, tomllib; project = tomllib.load(open("pyproject.toml", \
           "rb")); print(*project["project"]["optional-dependencies"][sys.argv[1]], \
           sep="\n")'
C_FILES = $$(find native tests benchmarks examples -name '*.[ch]')

.PHONY: help demo test suites frameworks check format bench plots docs wheel wheel-test
.PHONY: san soak fuzz reliability kernels arm64 clean
.PHONY: kernel-test kernel-bench kernel-fuzz kernel-test-x86 kernel-patch
.DELETE_ON_ERROR:

help:            ## this list
	@sed -n 's/^\([a-z0-9-]*\):.*## /\1\t/p' Makefile native/abi/library.mk

# One virtual environment; a stamp in it for each set of packages.

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 \
	or newer is needed: make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --upgrade "pip>=23" "setuptools>=77,<100" "cffi>=1.17,<3"

# The sources in the checkout are what runs; the native parts are built beside them.
$(VENV)/built: $(VENV)/bin/python $(NATIVE)
	$(PIP) --no-build-isolation --editable ".[demo,test]"
	if [ -f tests/engine/driver_build.py ]; then $(RUN) tests/engine/driver_build.py; fi
	touch $@

# aiofiles' own tests, which judge our files; without a network they are left out.
$(VENV)/judge: $(VENV)/built
	mkdir -p $@.tmp
	if $(RUN) -m pip download --quiet --disable-pip-version-check --no-deps \
	     --no-binary aiofiles --dest $@.tmp aiofiles==25.1.0 && \
	   $(PIP) --no-deps --target $@.tmp/site "pytest-asyncio>=1.1,<2" \
	     typing_extensions; \
	then tar -xzf $@.tmp/aiofiles-*.tar.gz -C $@.tmp && mv $@.tmp $@; \
	else rm -rf $@.tmp; echo "left out: aiofiles' own tests"; fi

$(VENV)/tools: EXTRA = dev
$(VENV)/sphinx: EXTRA = docs
$(VENV)/packaging: EXTRA = wheel
$(VENV)/tools $(VENV)/sphinx $(VENV)/packaging: $(VENV)/bin/python pyproject.toml
	$(REQUIRES) $(EXTRA) >$@.txt
	$(PIP) --requirement $@.txt
	touch $@

demo: $(VENV)/built       ## serve and read real files on the loop; a table of times
	$(RUN) examples/demo.py

test: $(VENV)/built $(VENV)/judge $(VENV)/plugins   ## every test
	$(RUN) -m pytest -q

# Old versions of pytest-asyncio, one of them with an older pytest, for the tests of the
# plugin: they are told of a loop in other ways.
$(VENV)/plugins: | $(VENV)/built
	mkdir -p $@.tmp
	if $(PIP) --target $@.tmp/0.26 "pytest-asyncio==0.26.*" && \
	   $(PIP) --no-deps --target $@.tmp/1.3 "pytest-asyncio==1.3.*"; \
	then mv $@.tmp $@; else rm -rf $@.tmp; echo "left out: old pytest-asyncio"; fi

# Large packages, one at a time as the peers of the benchmarks.
$(VENV)/frameworks: $(VENV)/built pyproject.toml
	$(REQUIRES) frameworks >$@.txt
	while read -r package; do $(PIP) "$$package" || exit 1; done <$@.txt
	touch $@

frameworks: $(VENV)/frameworks   ## the examples with FastAPI, granian, Dask, Tornado
	$(RUN) -m pytest -q tests/frameworks

suites: $(VENV)/built     ## other projects' own tests on our loop, beside asyncio's
	$(RUN) -m tests.suites.run all --keep

check: $(VENV)/tools      ## lint, types and layout
	$(RUN) -m ruff check .
	$(RUN) -m ruff format --check .
	$(RUN) -m mypy
	$(VENV)/bin/clang-format --dry-run -Werror $(C_FILES)

format: $(VENV)/tools     ## lay out Python and C
	$(RUN) -m ruff format .
	$(VENV)/bin/clang-format -i $(C_FILES)

# One at a time: a peer that does not install is left out, and the others compared.
$(VENV)/bench: $(VENV)/built pyproject.toml
	$(REQUIRES) bench >$@.txt
	while read -r peer; do $(PIP) "$$peer" || echo "left out: $$peer"; done <$@.txt
	touch $@

bench: $(VENV)/bench      ## all benchmarks; writes docs/benchmarks.md, JSON and plots
	$(RUN) -m benchmarks.run --write docs/benchmarks.md --json docs/benchmarks
	$(MAKE) plots

plots: $(VENV)/built      ## draws what was measured; fills the README's table
	$(RUN) -m benchmarks.plots
	$(RUN) -m benchmarks.summary

docs: $(VENV)/built $(VENV)/sphinx  ## the documentation as HTML, in docs/_build
	$(RUN) docs/draw.py
	$(RUN) -m sphinx -W --keep-going -q -b html docs docs/_build

wheel: $(VENV)/packaging  ## the source distribution and this Python's wheel, in dist/
	rm -rf build/wheel
	$(RUN) -m build --outdir build/wheel
	mkdir -p dist && cp build/wheel/*.tar.gz dist
	PATH="$$(cd $(VENV)/bin && pwd):$$PATH" \
	  $(RUN) -m auditwheel repair --wheel-dir dist build/wheel/*.whl

wheel-test:      ## wheels for 3.11, 3.12, 3.13, each tested where it is installed
	sh tests/wheel.sh

san: $(VENV)/built        ## the tests under AddressSanitizer and UBSan
	PYTHON=$(RUN) sh tests/sanitize.sh

SECONDS = 600
soak: $(VENV)/built       ## mixed work for SECONDS=600 on each backend, checked
	SYSLET_LOOP_BACKEND=uring $(RUN) -m tests.soak.run --seconds $(SECONDS)
	SYSLET_LOOP_BACKEND=epoll $(RUN) -m tests.soak.run --seconds $(SECONDS)

# The patched kernel. Source and builds are kept in KERNEL_CACHE (3 GB), not here.
KERNEL_CACHE ?= $(HOME)/.cache/syslet_loop/kernel
KERNEL_BUILD = native/kernel/build.sh
KERNEL_RUN = native/kernel/run.sh
RUNS = 100000
SEED = 1

# Python tests that run inside as well, on the loop's kernel backend.
KERNEL_TESTS = tests/engine tests/syslet tests/files tests/binding \
               tests/loop/test_loop_engine.py tests/doctor

kernel-test: $(VENV)/built  ## Linux 6.1 with syslets as User Mode Linux: all tests inside
	kernel=$$($(KERNEL_BUILD) um "$(KERNEL_CACHE)") && \
	$(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" test && \
	native/kernel/python.sh "$$kernel" "$(KERNEL_CACHE)" "$(abspath $(RUN))" \
	    $(KERNEL_TESTS)

kernel-bench:    ## the patched kernel's measurements, in User Mode Linux
	kernel=$$($(KERNEL_BUILD) um "$(KERNEL_CACHE)") && \
	$(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" bench

kernel-fuzz:     ## its suite and RUNS=100000 random programs, with lock debugging
	kernel=$$($(KERNEL_BUILD) um "$(KERNEL_CACHE)" debug) && \
	$(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" test && \
	SECONDS_MAX=7200 $(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" fuzz:$(RUNS):$(SEED)

# The clock of the counting machine is its instructions, one a nanosecond.
kernel-test-x86: ## the same for x86-64 under qemu: suite, instructions, debug kernel
	kernel=$$($(KERNEL_BUILD) x86_64 "$(KERNEL_CACHE)") && \
	$(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" test && \
	QEMU_SMP=1 QEMU_MORE="-icount shift=0" \
	    $(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" bench
	kernel=$$($(KERNEL_BUILD) x86_64 "$(KERNEL_CACHE)" debug) && \
	$(KERNEL_RUN) "$$kernel" "$(KERNEL_CACHE)" test

kernel-patch:    ## print the whole patch, for a kernel tree of your own
	@native/kernel/mkpatch.sh

FUZZ_SECONDS = 900
FUZZ_RUNS = -1
fuzz: $(VENV)/built       ## search programs that break the verifier or the interpreter
	PYTHON=$(RUN) RUNS=$(FUZZ_RUNS) LIMIT_S=$(FUZZ_SECONDS) sh tests/fuzz/fuzz.sh

reliability: $(VENV)/built   ## many connections, FIFOs, resets and cancellations
	$(RUN) -m tests.reliability.run

KERNELS =
kernels: $(VENV)/built    ## on other kernels of Debian's archive; KERNELS="--kernel 6.1 tests/binding"
	$(RUN) -m tests.kernels.run $(KERNELS)

ARM64 =
arm64: $(VENV)/built      ## cross-built, tested on Debian's arm64 kernel in QEMU; hours
	$(RUN) -m tests.arm64.run $(ARM64)

include native/abi/library.mk

clean:           ## remove everything that was made here
	rm -rf $(VENV) build dist docs/_build *.egg-info syslet_loop/*.so
	rm -rf syslet_loop/_abi.c syslet_loop/_memory.c
	rm -rf tests/engine/_driver*.so tests/engine/_driver*.c tests/engine/_driver*.o
	rm -rf .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
