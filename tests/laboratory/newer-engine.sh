#!/bin/sh
# Unpacks a newer Docker engine than this machine's distribution has: that of another Debian suite, into a directory.
#
#   newer-engine.sh SUITE [DIRECTORY]
#
# Prints the directory on standard output, and what it does on standard error. The directory is made once; without an
# argument it is $DOCKGATE_LAB_CACHE/SUITE, by default /var/cache/dockgate-lab/SUITE. Remove it to get the suite's
# present engine. $DOCKGATE_LAB_MIRROR names another mirror of Debian.
set -eu

if [ $# -lt 1 ]; then
    echo "usage: $0 SUITE [DIRECTORY]" >&2
    exit 2
fi
suite=$1
directory=${2:-${DOCKGATE_LAB_CACHE:-/var/cache/dockgate-lab}/$suite}
mirror=${DOCKGATE_LAB_MIRROR:-http://deb.debian.org/debian}

mkdir -p "$(dirname "$directory")"
# Tests of several checkouts may want it at the same time; one of them makes it.
exec 9>"$directory.lock"
flock 9

if [ ! -x "$directory/usr/sbin/dockerd" ]; then
    echo "unpacking the Docker engine of Debian $suite into $directory (once; about 400 MB and a minute)" >&2
    # A mount namespace of its own: what an interrupted run has mounted is gone with it, and the rm below is safe.
    rm -rf --one-file-system "$directory" "$directory.part"
    # An old snapshot of the suite is as good as a new one.
    if ! unshare --mount mmdebstrap --quiet --mode=root --variant=minbase \
        --include=docker.io,docker-cli,iptables,ipset,iproute2 \
        --aptopt='Acquire::Check-Valid-Until "false"' \
        "$suite" "$directory.part" "$mirror" 2>"$directory.log" 9>&-; then
        cat "$directory.log" >&2
        echo "cannot unpack Debian $suite from $mirror: see the lines above" >&2
        exit 1
    fi
    mv "$directory.part" "$directory"
    rm -f "$directory.log"
    echo "it is $(chroot "$directory" dockerd --version)" >&2
fi

echo "$directory"
