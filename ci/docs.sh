#!/usr/bin/env bash
# The documentation as users read it, then with private items, which is where a link to a lost name hides.
set -euo pipefail
cd "$(dirname "$0")/.."
export RUSTDOCFLAGS="${RUSTDOCFLAGS:-} -D warnings"
cargo doc --workspace --no-deps
cargo doc --workspace --no-deps --document-private-items --target-dir "${CARGO_TARGET_DIR:-target}/private-docs"
