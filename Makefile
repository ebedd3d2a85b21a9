# `make demo` and `make test` set up their own environment in .venv. PYTHON chooses the interpreter
# (>= 3.11), PYTEST adds options of pytest: make test PYTEST='--cov tests/engine'
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test web docs sanitize release-check lint cross-tools aarch64 clean
demo: .venv/installed
	$(BIN)/lmht demo

test: .venv/installed
	$(BIN)/lmht lava install
	$(BIN)/python -m pytest $(PYTEST)

# Builds the sdist and the wheel, and runs them in empty environments.
release-check: .venv/installed
	$(BIN)/python -m tests.release.check

# Builds lmht.js and its page in build/web, without network access.
web: .venv/installed
	$(BIN)/python -m web

# Builds the documentation in site/, without network access. To read it: python -m http.server -d site
docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

sanitize: .venv/installed
	tests/sanitize

# Installs the compilers and emulators with which the tests run code for other processors, as root, on
# Debian and Ubuntu.
cross-tools:
	tests/cross_tools

# Runs the engine's core for AArch64 under emulation.
aarch64: .venv/installed cross-tools
	tests/engine/aarch64

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell
	git ls-files '*.cpp' '*.hpp' '*.c' | xargs $(BIN)/clang-format --dry-run -Werror

# Everything is installed by hash but for PyTorch and Triton, whose wheels differ between indexes.
TRITON := $(if $(filter Linux,$(shell uname -s)),triton)
# Rebuilt when the dependencies or the C++ core change; Python files are used in place.
CORES := lmht_deploy/native lmht_deploy/engine/core lmht_deploy/events/core lmht_deploy/netx/core
.venv/installed: pyproject.toml constraints.txt requirements-dev.lock CMakeLists.txt $(shell find $(CORES) -type f)
	$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("lmht-deploy needs Python >= 3.11; say make PYTHON=/path/to/python3.11")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r requirements-dev.lock
	$(BIN)/python -m pip install --quiet --no-compile -c constraints.txt torch $(TRITON)
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --no-build-isolation -e .
	$(BIN)/python -m pip install --quiet --no-compile --no-deps --require-hashes -r requirements-spikingjelly.lock
	touch $@

clean:
	rm -rf .venv build site
