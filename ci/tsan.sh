#!/usr/bin/env bash
# The tests under ThreadSanitizer, and then CHURN_SECS seconds (60 unless told) of `churn`, an optimised build. For the
# tests the standard library must be rebuilt, or it reports races in std that are none: that needs nightly with rust-src.
# Without rust-src `churn` runs all the same, which uses little of std, with std's own fence in the drop of an `Arc` left
# out of account: what a destructor does behind that is then not seen. Without nightly it says so and ends well.
set -euo pipefail
cd "$(dirname "$0")/.."
target=$(rustc -vV | sed -n 's/^host: //p')
if ! rustc +nightly --version >/dev/null 2>&1; then
    echo "tsan: skipped, no nightly toolchain"
    exit 0
fi
mkdir -p target/tsan
suppressions=$PWD/target/tsan/suppressions
: >"$suppressions"
export TSAN_OPTIONS="suppressions=$suppressions ${TSAN_OPTIONS:-}"
std=()
if [ -d "$(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library" ]; then
    export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread"
    std=(-Zbuild-std)
    cargo +nightly test "${std[@]}" --target "$target" --target-dir target/tsan --workspace --lib --test suite "$@"
else
    echo "tsan: the tests are skipped, the nightly toolchain has no rust-src"
    echo 'race:drop_slow' >>"$suppressions"
    export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=thread -Cunsafe-allow-abi-mismatch=sanitizer"
fi
cargo +nightly build --release "${std[@]}" --target "$target" --target-dir target/tsan -p laneway-bench --bin laneway-bench
"target/tsan/$target/release/laneway-bench" churn secs="${CHURN_SECS:-60}" workers=3
