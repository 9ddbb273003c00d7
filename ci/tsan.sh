#!/usr/bin/env bash
# The tests under ThreadSanitizer, and then CHURN_SECS seconds (60 unless told) of `churn`, an optimised build. The
# standard library must be rebuilt for it (without that it reports races in std that are none), so this needs nightly with
# rust-src; says so and ends well without.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "tsan: skipped, no nightly toolchain"
    exit 0
fi
if [ ! -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
    echo "tsan: skipped, the nightly toolchain has no rust-src"
    exit 0
fi
mkdir -p target/tsan
# By design a thief reads a slot of the deque before it knows that the slot is its own; it drops what it read otherwise.
echo 'race:crossbeam_deque::deque::Buffer' >target/tsan/suppressions
export TSAN_OPTIONS="suppressions=$PWD/target/tsan/suppressions ${TSAN_OPTIONS:-}"
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread"
cargo +nightly test -Zbuild-std --target "$target" --target-dir target/tsan --workspace --lib --test suite "$@"
cargo +nightly build --release -Zbuild-std --target "$target" --target-dir target/tsan -p laneway-bench --bin laneway-bench
"target/tsan/$target/release/laneway-bench" churn secs="${CHURN_SECS:-60}" workers=3
