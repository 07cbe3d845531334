#!/bin/sh
# Builds dfw and measures it in this project's laboratory: see README.md beside this file. As root.
#
# CARGO is the cargo to use. DOCKGATE_BENCH_ENGINE_ENDPOINTS and DOCKGATE_BENCH_ENGINE_ROUNDS make a smaller or a larger
# run. PROFILE=dev spares the optimized build: nothing of dockgate is measured here.
set -eu

cd "$(dirname "$0")/../.."
cargo=${CARGO:-cargo}
root=$PWD/target/peers

if [ ! -x "$root/bin/dfw" ]; then
    # Without --locked: its lock file names a `time` that newer compilers do not take.
    $cargo install dfw --version 1.3.0 --root "$root" --target-dir "$root/build"
    rm -rf "$root/build"
fi
DOCKGATE_BENCH_DFW=$root/bin/dfw $cargo bench ${PROFILE:+--profile "$PROFILE"} --bench engine
