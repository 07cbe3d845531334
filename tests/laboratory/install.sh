#!/bin/sh
# Installs what the laboratory needs and this machine lacks, on Debian and Ubuntu. Quiet when nothing is missing.
#
#   install.sh            install (as root, or by sudo)
#   install.sh --check    only say what is missing; exit code 1 when something is
#   install.sh --browser  install the browser that looks at pages and pictures, and nothing else
#
# No service is started or enabled, and no second Docker engine is put beside one that is there.
set -eu

# The Rust edition of this project; Debian 12 and Ubuntu 24.04 package older compilers.
rust_needed=1.89

say() { echo "laboratory: $*" >&2; }

# Where rustup puts its commands and where a user's path may not lead.
PATH=$PATH:${HOME:-/root}/.cargo/bin:/usr/sbin:/sbin

has() { command -v "$1" >/dev/null 2>&1; }

# Whether version $1 is at least $2.
at_least() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]; }

rust_version() { rustc --version 2>/dev/null | cut -d ' ' -f 2; }

missing=''
need() { # COMMAND PACKAGE
    has "$1" || case " $missing " in *" $2 "*) ;; *) missing="$missing $2" ;; esac
}

need make make
need cc gcc
# Only recommended by gcc, but nothing can be linked without it.
[ -e /usr/include/stdio.h ] || missing="$missing libc6-dev"
need iptables iptables
need ipset ipset
need nft nftables
need conntrack conntrack
# Other hands on the packet filter. Installed, it does nothing until somebody enables it.
need ufw ufw
# A wall clock that jumps, for one process.
need faketime faketime
need ip iproute2
need nsenter util-linux
need unshare util-linux
need flock util-linux
need tar tar
need mmdebstrap mmdebstrap
# mmdebstrap reads with it which keys sign a suite.
need gpg gpg
# Any engine will do: Debian's, Ubuntu's or Docker's own. Debian splits the client from it since version 13.
need dockerd docker.io
if has dockerd && ! has docker; then
    missing="$missing docker-cli"
fi
# A busybox that is linked to the C library would not run in an image that holds nothing else.
if [ ! -x /bin/busybox ] || ldd /bin/busybox >/dev/null 2>&1; then
    missing="$missing busybox-static"
fi
# Ubuntu does not have Debian's keys, by which the newer engine's packages are checked.
[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing="$missing debian-archive-keyring"

missing_rust=''
if ! has cargo || ! at_least "$(rust_version)" "$rust_needed"; then
    missing_rust=yes
fi

# 77 MB to fetch and its libraries besides: only for the tests that need it. Any of its kind will do.
if [ "${1:-}" = --browser ]; then
    if [ -n "${DOCKGATE_CHROMIUM:-}" ] || has chromium || has chromium-browser || has google-chrome; then
        exit 0
    fi
    missing=' chromium'
    missing_rust=''
fi

if [ -z "$missing$missing_rust" ]; then
    exit 0
fi
if [ "${1:-}" = --check ]; then
    say "missing:$missing${missing_rust:+ rust $rust_needed or newer}"
    exit 1
fi
if ! has apt-get; then
    say "missing:$missing${missing_rust:+ rust $rust_needed or newer}"
    say "only Debian and Ubuntu are known here: install the counterparts of these packages yourself"
    exit 1
fi

# An engine whose dockerd is out of reach, such as the one in a snap, is an engine all the same.
case " $missing " in
    *" docker.io "*)
        if [ -S /run/docker.sock ] || [ -e /snap/bin/docker ]; then
            say 'a Docker engine is installed here, but no dockerd is on the PATH, and no second engine is put beside it:'
            say 'replace it by docker.io or docker-ce'
            exit 1
        fi
        ;;
esac

as_root=''
if [ "$(id -u)" != 0 ]; then
    if ! has sudo; then
        say "missing:$missing; run this as root, or install sudo"
        exit 1
    fi
    as_root=sudo
fi

refreshed=''
refresh() {
    if [ -z "$refreshed" ]; then
        say 'reading the package lists'
        $as_root apt-get update --quiet=2 -o DPkg::Lock::Timeout=300
        refreshed=yes
    fi
}

# Installs packages. apt's account of it is only of interest when it fails.
install() {
    account=$(mktemp)
    if ! $as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet=2 --no-install-recommends \
        -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >"$account" 2>&1; then
        cat "$account" >&2
        rm -f "$account"
        exit 1
    fi
    rm -f "$account"
}

# Docker's package starts its service when it is installed. A policy-rc.d that says 101 forbids that to all packages,
# with systemd and without it. One that was there is put back, also when an earlier run was killed in between.
policy=/usr/sbin/policy-rc.d
is_ours() { grep -qs 'dockgate laboratory' "$policy"; }
exists() { [ -e "$1" ] || [ -L "$1" ]; }
forbid_services() {
    if exists "$policy" && ! is_ours; then
        $as_root mv "$policy" "$policy.before-dockgate"
    fi
    printf '#!/bin/sh\n# dockgate laboratory: no service is started now\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
}
allow_services() {
    if is_ours; then
        $as_root rm -f "$policy"
    fi
    if exists "$policy.before-dockgate" && ! exists "$policy"; then
        $as_root mv "$policy.before-dockgate" "$policy"
    fi
}

if [ -n "$missing" ]; then
    refresh
    # `docker-cli` is a package of its own in newer suites, and comes with `docker.io` in older ones.
    case " $missing " in
        *" docker.io "*) if apt-cache show docker-cli >/dev/null 2>&1; then missing="$missing docker-cli"; fi ;;
    esac
    say "installing$missing"
    # Before the file is made, so that an interruption at any moment leaves the machine as it was.
    trap allow_services EXIT
    trap 'exit 1' HUP INT TERM
    forbid_services
    # shellcheck disable=SC2086 # a list of package names
    install $missing
    trap - EXIT
    allow_services
    # Its installation enables it all the same: it would start at the next boot.
    case " $missing " in
        *" docker.io "*)
            if has systemctl; then
                $as_root systemctl --quiet disable docker.service docker.socket containerd.service >/dev/null 2>&1 || true
            fi
            ;;
    esac
fi

if [ -n "$missing_rust" ]; then
    refresh
    packaged=$(apt-cache show --no-all-versions cargo 2>/dev/null | sed -n 's/^Version: \([0-9.]*\).*/\1/p' | head -n 1)
    packaged=${packaged#*:}
    if has cargo || [ -z "$packaged" ] || ! at_least "$packaged" "$rust_needed"; then
        say "Rust $rust_needed or newer is needed; here is $(rust_version | grep . || echo none), apt has ${packaged:-none}."
        say "Install it with rustup and run this again:"
        say "    apt-get install rustup && rustup default stable      (Debian 13, Ubuntu 24.04 and newer)"
        say "    or see https://rustup.rs"
        exit 1
    fi
    say "installing cargo $packaged"
    install cargo
fi
say 'everything is there'
