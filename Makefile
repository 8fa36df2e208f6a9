# The only commands a newcomer needs. `make demo` and `make test` do all their set-up themselves.
#
#   make setup   packages and hugepages (root; a second run takes seconds)
#   make build   everything, optimised
#   make static  what is copied to nodes and into pods: the CNI plugin and its companions, statically linked
#   make demo    two networks, three DPDK pods, traffic for some seconds, a table
#   make test    unit, property, model and end-to-end tests
#   make bench   podswitch beside OVS-DPDK and testpmd: a table, JSON and plots (QUICK=1: an indication in minutes)
#   make instructions  what a frame costs, compared with perf/instructions.toml; UPDATE=1 writes it anew
#   make lint    format, clippy with warnings denied, licences and sources

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.ONESHELL:
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help setup build static programs demo test lint bench instructions

export PATH := $(HOME)/.cargo/bin:$(PATH)
export DEBIAN_FRONTEND := noninteractive

# What Debian 12 must have: to build (a C compiler, libclang for the DPDK bindings, DPDK itself), and to run the
# tests (DPDK applications as pods, a network laboratory, tracing).
PACKAGES := build-essential clang libclang-dev pkg-config libdpdk-dev dpdk dpdk-dev ca-certificates \
            ethtool iperf3 iproute2 iputils-ping python3-venv sqlite3 strace tcpdump valgrind \
            containerd containernetworking-plugins golang-github-appc-cni-dev golang-go jq runc
# Hugepages of 2 MB that the demo and the tests are comfortable with.
HUGEPAGES := 512

# What `make bench` compares with, beside what the tests use; more flags for it are given as BENCH="--peer …".
PEERS := openvswitch-switch-dpdk

# `install PACKAGE…`: without starting what they bring as services: those would take CPUs, hugepages and sockets.
define INSTALL
install() {
    policy=/usr/sbin/policy-rc.d
    ours=
    if [ ! -e $$policy ] && printf '#!/bin/sh\nexit 101\n' 2>/dev/null >$$policy; then
        ours=$$policy
        trap "rm -f $$policy" EXIT
        chmod +x $$policy
    fi
    outcome=0
    { apt-get update -q && apt-get install -q -y --no-install-recommends "$$@"; } || outcome=$$?
    if [ -n "$$ours" ]; then
        rm -f "$$ours"
        trap - EXIT
    fi
    return $$outcome
}
endef

# In CI the lock file must be right; elsewhere cargo may bring it up to date.
CARGO_FLAGS := $(if $(CI),--locked)
TARGET := $(or $(CARGO_TARGET_DIR),target)
# What runs on any node, chrooted too, and in any container, needs no shared library: static, with the C library that
# everything else is built with.
NODE_TARGET := $(shell uname -m)-unknown-linux-gnu
STATIC := -C target-feature=+crt-static -C relocation-model=static
# End-to-end tests share two CPUs with the pods they start: one at a time.
SERIAL := --test-threads=1
# In CI an end-to-end test that failed is run again, and called flaky if it then passes each time (docs/testing.md).
AGAIN := $(if $(CI),.ci/again)

help:
	@sed -n 's/^#   //p' Makefile

setup:
	@$(INSTALL)
	missing=()
	for package in $(PACKAGES); do
	    dpkg-query -W -f '$${db:Status-Status}\n' "$$package" 2>/dev/null | grep -qx installed || missing+=("$$package")
	done
	if [ $${#missing[@]} -eq 0 ]; then
	    echo "setup: all packages are there"
	elif [ "$$(id -u)" -eq 0 ]; then
	    echo "setup: installing $${missing[*]}"
	    install "$${missing[@]}"
	else
	    echo "setup: NOT DONE: missing packages, and only root can install them: apt-get install $${missing[*]}" >&2
	    exit 1
	fi
	if ! command -v cargo >/dev/null; then
	    echo "setup: NOT DONE: no Rust toolchain in PATH; https://rustup.rs installs one" >&2
	    exit 1
	fi
	for part in fmt clippy; do
	    cargo $$part --version >/dev/null 2>&1 || rustup component add $${part/fmt/rustfmt} \
	        || echo "setup: NOT DONE: cargo $$part is missing, make lint will fail" >&2
	done
	pool=/sys/kernel/mm/hugepages/hugepages-2048kB
	have=$$(cat $$pool/nr_hugepages 2>/dev/null || echo 0)
	available=$$(awk '/^MemAvailable:/ { print int($$2 / 2048) }' /proc/meminfo)
	if [ "$$have" -ge $(HUGEPAGES) ]; then
	    echo "setup: $$have hugepages of 2 MB are there"
	elif [ ! -d $$pool ]; then
	    echo "setup: NOT DONE: this kernel has no hugepages of 2 MB; everything runs without, only slower" >&2
	elif [ "$$available" -lt $$((2 * $(HUGEPAGES))) ]; then
	    echo "setup: NOT DONE: too little free memory for $(HUGEPAGES) hugepages of 2 MB" >&2
	elif ! echo $(HUGEPAGES) 2>/dev/null >$$pool/nr_hugepages; then
	    echo "setup: NOT DONE: no permission to reserve hugepages; everything runs without, only slower" >&2
	else
	    have=$$(cat $$pool/nr_hugepages)
	    if [ "$$have" -ge $(HUGEPAGES) ]; then
	        echo "setup: $$have hugepages of 2 MB reserved"
	    else
	        echo "setup: NOT DONE: the kernel reserved $$have of $(HUGEPAGES) hugepages; memory is fragmented" >&2
	    fi
	fi
	if ! grep -qw hugetlbfs /proc/mounts; then
	    mkdir -p /dev/hugepages 2>/dev/null && mount -t hugetlbfs hugetlbfs /dev/hugepages 2>/dev/null \
	        && echo "setup: hugetlbfs mounted on /dev/hugepages" \
	        || echo "setup: NOT DONE: hugetlbfs could not be mounted on /dev/hugepages" >&2
	fi

build: static
	@cargo build $(CARGO_FLAGS) --release --workspace

# A target that is named keeps the flags away from build scripts and macros.
static: setup
	@RUSTFLAGS="$${RUSTFLAGS:-} $(STATIC)" cargo build $(CARGO_FLAGS) --target $(NODE_TARGET) --profile node \
	    -p cni-vhostuser --bins
	echo "static: in $(TARGET)/$(NODE_TARGET)/node"

# What an image holds (deploy/Containerfile).
programs: build
	@usr=$(DESTDIR)/usr
	install -D -t $$usr/sbin $(TARGET)/release/podswitchd
	install -D -t $$usr/bin $(TARGET)/release/podswitch
	install -D -t $$usr/libexec/podswitch deploy/image/node \
	    $(TARGET)/$(NODE_TARGET)/node/{cni-vhostuser,podswitch-port,podswitch-device-plugin}

demo: build
	@cargo build $(CARGO_FLAGS) --release -p control-api --example demo
	$(TARGET)/release/examples/demo

# Tests and clippy share one profile (dev, optimised enough for polling; see the root Cargo.toml), so that
# dependencies and build scripts are compiled once. The loom models need their own compiler flag, and so their own
# target directory.
test: static
	@failed=0
	run() { echo "test: $$*"; "$$@" || failed=1; }
	run cargo test $(CARGO_FLAGS) --no-fail-fast --workspace --exclude control-api --exclude cni-vhostuser --exclude perf
	run cargo test $(CARGO_FLAGS) --no-fail-fast -p cni-vhostuser --lib --bins --examples
	run cargo test $(CARGO_FLAGS) --no-fail-fast -p control-api --lib --bins --examples
	run cargo test $(CARGO_FLAGS) --manifest-path vhost/oracle/Cargo.toml --target-dir $(TARGET)/oracle
	run env RUSTFLAGS="--cfg loom" CARGO_PROFILE_RELEASE_LTO=off CARGO_TARGET_DIR=$(TARGET)/loom \
	    cargo test $(CARGO_FLAGS) --release -p vhost -p dataplane --lib loom
	run perf/instructions.sh
	run perf/sharing.sh
	run $(AGAIN) cargo test $(CARGO_FLAGS) --no-fail-fast -p control-api --test '*' -- $(SERIAL)
	# Both start the daemon that the line above has built.
	run $(AGAIN) cargo test $(CARGO_FLAGS) --no-fail-fast -p cni-vhostuser --test '*' -- $(SERIAL)
	run deploy/tests/run $(abspath $(TARGET))/$(NODE_TARGET)/node $(abspath $(TARGET))/manifests
	run $(AGAIN) cargo test $(CARGO_FLAGS) --no-fail-fast -p perf -- $(SERIAL)
	exit $$failed

# OVS-DPDK beside podswitch and the generator needs more hugepages. A peer that cannot be installed is missing in the
# report, no more.
bench: HUGEPAGES := 1024
bench: static
	@$(INSTALL)
	if ! dpkg-query -W -f '$${db:Status-Status}\n' $(PEERS) 2>/dev/null | grep -qx installed; then
	    echo "bench: installing $(PEERS)"
	    install $(PEERS) || echo "bench: NOT DONE: $(PEERS) could not be installed; its rows stay empty" >&2
	fi
	cargo build $(CARGO_FLAGS) --release -p control-api -p perf
	$(TARGET)/release/podswitch-perf bench $(if $(QUICK),--quick) $(BENCH)

# Instructions a frame on the main paths of a worker, counted by callgrind: the same on a busy machine.
instructions: setup
	@perf/instructions.sh $(if $(UPDATE),update,compare)

lint: setup
	@cargo fmt --all --check
	cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings
	cargo clippy $(CARGO_FLAGS) --manifest-path vhost/oracle/Cargo.toml --target-dir $(TARGET)/oracle --all-targets -- -D warnings
	if cargo deny --version >/dev/null 2>&1; then
	    cargo deny --workspace check licenses sources bans
	else
	    echo "lint: NOT DONE: cargo-deny is not installed, so licences and sources were not checked (cargo install cargo-deny)" >&2
	fi
