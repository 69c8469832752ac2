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
	@echo 'make packages    the Debian packages, into dist/'
	@echo 'make lint        sources only: ruff, mypy, ansible-lint, sparse, checkpatch'
	@echo 'make test-STAGE  one stage of the tests: $(STAGES)'
	@echo 'make soak        races and nonsense for long: make soak SOAK_MINUTES=10 (for each kernel)'
	@echo 'make module      ksm.ko for a kernel: make module KDIR=/path/to/headers'
	@echo 'make clean       remove what was built, keep downloads; make distclean: both'
	@echo
	@echo 'Downloads and images are kept in $(KSM_CACHE)'

STAGES := lint unit module packages fleet kernel-selftests
# Two lanes, for two cores. Not among them: kernel-selftests, for its download of the kernel's source.
LANES := lint unit module + fleet packages

setup: $(VENV)/.ready
	@tests/vm/ksmvm setup

$(VENV)/.ready: $(REQUIREMENTS)
	tests/make-venv $(VENV) $(REQUIREMENTS)
	@touch $@

packages:
	debian/build

demo: setup packages
	tests/fleet/demo up

demo-down:
	tests/fleet/demo down

test: setup
	tests/run $(LANES)

$(STAGES:%=test-%): test-%: setup
	tests/run $*

lint: test-lint

SOAK_MINUTES ?= 10
soak: setup
	tests/apt-install gcc libc6-dev make
	$(VENV)/bin/python tests/module/soak --minutes $(SOAK_MINUTES)

module:
	$(MAKE) -C dkms $(if $(KDIR),KDIR=$(KDIR)) modules

clean:
	rm -rf dist $(KSM_CACHE)/packages $(KSM_CACHE)/module-tests

distclean: demo-down clean
	rm -rf $(KSM_CACHE)

.PHONY: help setup packages demo demo-down test $(STAGES:%=test-%) lint soak module clean distclean
