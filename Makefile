# SPDX-License-Identifier: GPL-2.0-or-later
# The two commands a newcomer needs are `make demo` and `make test`.
SHELL := /bin/bash
export KSM_CACHE ?= $(CURDIR)/.cache
VENV := $(KSM_CACHE)/venv
REQUIREMENTS := tests/requirements.txt

help:
	@echo 'make demo        a fleet of VMs on this machine: install, load, merge, report'
	@echo 'make demo-down   stop the fleet and remove all of it'
	@echo 'make test        every test, on three kernels and a real fleet'
	@echo
	@echo 'make packages    deb, rpm, wheel and collection into dist/; signed repositories dist/apt, dist/rpm'
	@echo 'make release     the same and their checksums, of a tree whose versions agree (docs/releasing.md)'
	@echo 'make lint        sources only: ruff, mypy, ansible-lint, sparse, cppcheck, checkpatch'
	@echo 'make test-STAGE  one stage of the tests: $(STAGES)'
	@echo 'make test-scenarios  the role in other fleets of VMs: make test-scenarios SCENARIO=groups'
	@echo 'make test-debug  the module on a kernel with KASAN, lockdep, ..., also without memory'
	@echo '                 (make debug-kernel builds it first, which takes 15 to 50 minutes)'
	@echo 'make soak        races and nonsense for long: make soak SOAK_MINUTES=10 (for each kernel);'
	@echo '                 SOAK_EACH=2: two minutes for each single race, more than an hour for each kernel'
	@echo 'make bench       what merging costs, beside the kernel'"'"'s own ksmd: half an hour for each kernel'
	@echo '                 (make bench BENCH="--quick --kernel 6.12"; tests/bench/bench --help)'
	@echo 'make bench-native  instructions of the module'"'"'s own code for each page, without a VM'
	@echo 'make bench-scale  the role on many simulated hosts, beside kernel_settings and a plain role'
	@echo '                 (make bench-scale SCALE="--hosts 10 100"; tests/scale/scale --help)'
	@echo 'make matrix      ksm.ko for every kernel whose headers Debian has: make matrix SUITES=trixie'
	@echo 'make module      ksm.ko for a kernel: make module KDIR=/path/to/headers'
	@echo 'make clean       remove what was built, keep downloads; make distclean: both'
	@echo
	@echo 'Downloads and images are kept in $(KSM_CACHE)'

STAGES := lint unit module reload policy packages fleet scenarios sanity apt rpm scale secureboot kernel-selftests arm64 debug
# Two lanes, for two cores. rpm is a part of packages. Not among them: scenarios, sanity, apt, scale,
# secureboot, kernel-selftests, arm64 and debug, which take their time, download the kernel's source, a compiler or headers,
# or build a kernel.
LANES := lint unit module reload policy + fleet packages

setup: $(VENV)/.ready
	@tests/vm/ksmvm setup

$(VENV)/.ready: $(REQUIREMENTS)
	tests/make-venv $(VENV) $(REQUIREMENTS)
	@touch $@

# URL: where dist/ will be served, for the repositories' own files. KSM_SIGNING_KEY: the key to sign with.
packages:
	debian/build
	packaging/archives
	rpm/build
	debian/make-repository dist dist/apt $(if $(URL),$(URL)/apt)
	rpm/make-repository dist dist/rpm $(if $(URL),$(URL)/rpm)

release:
	tests/release

demo: setup
	debian/build
	tests/fleet/demo up

demo-down:
	tests/fleet/demo down

test: setup
	tests/run $(LANES)

$(STAGES:%=test-%): test-%: setup
	tests/run $*

lint: test-lint

debug-kernel: setup
	tests/vm/ksmvm kernel debug

test-debug: debug-kernel

matrix: setup
	tests/apt-install dpkg-dev
	$(VENV)/bin/python tests/packaging/matrix $(SUITES)

SOAK_MINUTES ?= 10
SOAK_EACH ?= 0
soak: setup
	tests/apt-install gcc libc6-dev make
	$(VENV)/bin/python tests/module/soak --minutes $(SOAK_MINUTES) --each $(SOAK_EACH)

BENCH ?=
bench: setup
	tests/apt-install gcc libc6-dev make
	$(VENV)/bin/python tests/bench/bench $(BENCH)

bench-native:
	tests/apt-install gcc libc6-dev libxxhash-dev make python3 valgrind
	python3 tests/bench/bench-native

SCALE ?=
bench-scale: setup
	tests/apt-install git iproute2 util-linux
	tests/scale/scale $(SCALE)

module:
	$(MAKE) -C dkms $(if $(KDIR),KDIR=$(KDIR)) modules

clean:
	rm -rf dist $(KSM_CACHE)/packages $(KSM_CACHE)/module-tests

distclean: demo-down clean
	rm -rf $(KSM_CACHE)

.PHONY: help setup packages release demo demo-down test $(STAGES:%=test-%) lint debug-kernel soak bench bench-native \
	bench-scale matrix module clean distclean
