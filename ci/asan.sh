#!/usr/bin/env bash
# The tests under AddressSanitizer, which looks for leaks too, and then CHURN_SECS seconds (60 unless told) of `churn`, an
# optimised build. Needs a nightly toolchain; says so and ends well without.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "asan: skipped, no nightly toolchain"
    exit 0
fi
export LSAN_OPTIONS="suppressions=$PWD/ci/lsan.supp:print_suppressions=0"
# The cfg has free chunks of arenas poisoned.
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address --cfg laneway_asan"
# The target is named so that build scripts and macros, which run on this machine, stay plain.
cargo +nightly test --target "$target" --target-dir target/asan --workspace --lib --test suite "$@"
cargo +nightly build --release --target "$target" --target-dir target/asan -p laneway-bench --bin laneway-bench
"target/asan/$target/release/laneway-bench" churn secs="${CHURN_SECS:-60}" workers=3
