#!/usr/bin/env bash
# What `cargo test --workspace` builds and runs, in an order that ends with the suite: units, tidy and the tests within
# examples; the examples in the documentation; then the programs through the facade. One profile, so all is built once.
set -euo pipefail
cd "$(dirname "$0")/.."
others=()
for file in tests/*.rs tests/*/main.rs; do
    [ -e "$file" ] || continue
    name=${file#tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    [ "$name" = suite ] || others+=(--test "$name")
done
# As plain programs: tests of the suite start some of them.
cargo build --workspace --examples
cargo test --workspace --lib --bins --examples "${others[@]}"
cargo test --workspace --doc
cargo test --workspace --test suite
