#!/bin/sh
# Makes the archive from which `make bench-peers` starts the agents that it compares with: a small Debian
# with fapolicyd, clamav-daemon and a compiler in it. Made once and kept; remove it to have it made anew.
#
#   tools/peers.sh ARCHIVE
#
# Installing starts nothing: Debian's policy-rc.d says no to every service, and what a package should
# start nevertheless ends with the process namespace in which it was installed.
set -eu

RELEASE=bookworm
MIRROR=${DEBIAN_MIRROR:-http://deb.debian.org/debian}
SECURITY=${DEBIAN_SECURITY_MIRROR:-http://deb.debian.org/debian-security}
# What the workloads start, and what the platform's own programs are linked with.
TOOLS="gcc libc6-dev tar findutils libelf1"
AGENTS="fapolicyd clamav-daemon"

say() { echo "peers: $*" >&2; }

install_into() {
    root=$1
    debootstrap --variant=minbase "$RELEASE" "$root" "$MIRROR"
    cat >"$root/etc/apt/sources.list" <<END
deb $MIRROR $RELEASE main
deb $MIRROR $RELEASE-updates main
deb $SECURITY $RELEASE-security main
END
    printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
    chmod 755 "$root/usr/sbin/policy-rc.d"
    export DEBIAN_FRONTEND=noninteractive
    chroot "$root" apt-get update -q
    # shellcheck disable=SC2086 # a list of words
    chroot "$root" apt-get install -q -y --no-install-recommends $TOOLS
    for agent in $AGENTS; do
        # One that cannot be installed is missed when it is to be measured, and the others are measured.
        chroot "$root" apt-get install -q -y --no-install-recommends "$agent" ||
            echo "peers: $agent CANNOT BE INSTALLED"
    done
    rm -rf "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* \
        "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/locale/*
}

if [ "${1:-}" = --into ]; then
    install_into "$2"
    exit 0
fi

archive=$1
# One that was made of other packages is made anew.
if [ -f "$archive" ] && [ "$(cat "$archive.packages" 2>/dev/null)" = "$TOOLS $AGENTS" ]; then
    exit 0
fi
if [ "$(id -u)" != 0 ]; then
    say "needs root to install packages into a root of their own; run: sudo make bench-peers"
    exit 1
fi
folder=$(dirname "$archive")
mkdir -p "$folder"
root=$(mktemp -d "$folder/root.XXXXXX")
trap 'rm -rf "$root" "$archive.new"' EXIT
chmod 755 "$root"
say "installing $TOOLS $AGENTS of Debian $RELEASE into $archive, once; it takes a minute or two"
if ! unshare --mount --pid --fork --kill-child "$0" --into "$root" >"$folder/install.log" 2>&1; then
    say "it failed; the end of $folder/install.log:"
    tail -n 5 "$folder/install.log" >&2
    exit 1
fi
grep "CANNOT BE INSTALLED" "$folder/install.log" >&2 || true
tar --create --file "$archive.new" --numeric-owner --one-file-system -C "$root" .
mv "$archive.new" "$archive"
echo "$TOOLS $AGENTS" >"$archive.packages"
