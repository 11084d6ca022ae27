#!/bin/sh
# Installs what building and testing need, on a bare Debian 12, and says nothing if all is there.
#
#   tools/setup.sh build    compilers (also of BPF), linker, libraries, the pinned Rust toolchain
#   tools/setup.sh test     the same, and what the tests start
#   tools/setup.sh check    the same as build, and cargo-deny
#   tools/setup.sh peers    the same as test, and what makes the root of the agents compared with
#   tools/setup.sh vm       the same as test, and what makes and boots a virtual machine
#   tools/setup.sh fuzz     the same as build, and the C++ compiler that builds libFuzzer
set -eu

cd "$(dirname "$0")/.."
CARGO_DENY=0.19.9
# mkfs.ext4 is in /usr/sbin, which an ordinary user's PATH (and that of plain `su`) lacks.
PATH="${CARGO_HOME:-$HOME/.cargo}/bin:$PATH:/usr/sbin:/sbin"

say() { echo "setup: $*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
fail() {
    say "$*"
    exit 1
}

# need COMMAND PACKAGE...: remembers the packages if the command is missing
missing=
need() {
    command=$1
    shift
    has "$command" || missing="$missing $*"
}

# need_file FILE PACKAGE: the same if the file is missing
need_file() {
    [ -e "$1" ] || missing="$missing $2"
}

packages() {
    [ -n "$missing" ] || return 0
    has apt-get || fail "install these, then try again:$missing"
    [ "$(id -u)" = 0 ] || fail "missing:$missing; run: sudo apt-get install$missing"
    say "installing$missing"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends $missing >/dev/null
}

# The pinned toolchain answers, with what the checks need.
rust_is_there() {
    has cargo || return 1
    pinned=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    case "$(cargo --version 2>/dev/null)" in "cargo $pinned "*) ;; *) return 1 ;; esac
    cargo fmt --version >/dev/null 2>&1 && cargo clippy --version >/dev/null 2>&1
}

rust() {
    rust_is_there && return 0
    if ! has rustup; then
        say "installing rustup into ${CARGO_HOME:-$HOME/.cargo}"
        installer=$(mktemp)
        curl --proto '=https' --tlsv1.2 -sSf -o "$installer" https://sh.rustup.rs ||
            fail "cannot fetch rustup: install it by hand (https://rustup.rs), then try again"
        sh "$installer" -q -y --profile minimal --default-toolchain none --no-modify-path
        rm -f "$installer"
    fi
    say "installing the toolchain of rust-toolchain.toml"
    rustup -q toolchain install ||
        fail "cannot install the toolchain: see rust-toolchain.toml for what is needed"
    rust_is_there || fail "cargo is not the one of rust-toolchain.toml: put rustup's first in PATH"
}

deny() {
    case "$(cargo deny --version 2>/dev/null)" in "cargo-deny $CARGO_DENY") return 0 ;; esac
    say "building cargo-deny $CARGO_DENY, once; it takes some minutes"
    cargo install --quiet --locked --force --version "$CARGO_DENY" cargo-deny
}

for what in "${@:-build}"; do
    case $what in
    build | check | fuzz | peers | test | vm) ;;
    *) fail "'$what' is none of: build test check fuzz peers vm" ;;
    esac
done

need cc gcc libc6-dev
# The BPF programs, and libbpf, which loads them.
need clang clang
need make make
need pkg-config pkg-config
need_file /usr/include/libelf.h libelf-dev
need_file /usr/include/zlib.h zlib1g-dev
has rustup || need curl curl ca-certificates
for what in "${@:-build}"; do
    if [ "$what" = test ] || [ "$what" = peers ] || [ "$what" = vm ]; then
        need mkfs.ext4 e2fsprogs
        need unshare util-linux
    fi
    if [ "$what" = peers ]; then need debootstrap debootstrap; fi
    if [ "$what" = vm ]; then
        need qemu-system-x86_64 qemu-system-x86
        need busybox busybox-static
        need mmdebstrap mmdebstrap
        need xz xz-utils
        need zstd zstd
    fi
    if [ "$what" = fuzz ]; then need c++ g++; fi
done
packages
rust
for what in "${@:-build}"; do
    if [ "$what" = check ]; then deny; fi
done
