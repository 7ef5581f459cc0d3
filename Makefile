# hpcbox: `make demo` shows it, `make test` tests it, `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= /usr/bin/python3
VENV := build/venv
BIN := $(VENV)/bin
FUZZ_SECONDS ?= 600
APT := build/apt.stamp
PYTEST := $(BIN)/pytest

.PHONY: help demo test test-slow test-matrix check lab bench bench-start bench-launch bench-output \
	bench-tui bench-images fuzz picture venv apt clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | column -ts "$$(printf '\t')"

demo: lab ## install what is needed, run an MPI job in a container on a real Slurm cluster
	@contrib/demo.sh

test: lab ## all tests (real Slurm, registry, MPI; needs root)
	$(PYTEST) -m 'not slow'

test-slow: lab ## the slow suites
	$(PYTEST) -m slow

test-matrix: lab ## every test, slow ones too
	$(PYTEST)

check: venv ## style, types, import directions, docstrings, shell and C
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/interrogate -q hpcbox tui/hpcbox_tui
	git ls-files -z -- '*.sh' .ci/run | xargs -0r shellcheck
	$(MAKE) -s -C spank all check

lab: venv ## build once what the lab needs: images, the installation, the plugin
	@./lab images

bench: bench-start bench-launch bench-output bench-tui bench-images ## all benchmarks

bench-start: lab ## container start against bare srun
	$(BIN)/python contrib/bench/start.py

bench-launch: lab ## ranks over asyncssh against mpiexec over OpenSSH and srun
	$(BIN)/python contrib/bench/launch.py

bench-output: lab ## what ranks print, with and without the spool
	$(BIN)/python contrib/bench/output.py

bench-tui: lab ## the screens and hpcbox logs
	$(BIN)/python contrib/bench/tui.py

bench-images: lab ## image pulls against podman and skopeo + umoci (large images: minutes, 15 GB)
	@contrib/install-packages.sh contrib/bench/apt-packages.txt
	$(BIN)/python contrib/bench/images.py

fuzz: venv ## fuzz references, manifests, tars, erofs, image files and unpacking (FUZZ_SECONDS each, default 600)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev,fuzz]'
	for target in reference manifest tar erofs image unpack; do \
		$(BIN)/python contrib/fuzz/run.py $$target --seconds $(FUZZ_SECONDS) || exit; done

picture: venv ## draw the README's picture again, from the demo
	$(BIN)/python contrib/picture.py

venv: $(VENV)/stamp ## Python and the tools, in build/venv

apt: $(APT)

# Debian packages are installed only where one is missing, so that an unprivileged `make check`
# works on a machine that has them.
$(APT): contrib/apt-packages.txt
	@mkdir -p build
	@contrib/install-packages.sh $<
	@touch $@

$(VENV)/stamp: pyproject.toml | $(APT)
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

clean: ## remove what was built
	rm -rf build spank/build
