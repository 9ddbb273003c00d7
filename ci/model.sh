#!/usr/bin/env bash
# Loom's models of the runtime: every interleaving with at most LOOM_MAX_PREEMPTIONS preemptions (2 unless told).
# `ci/model.sh NAME` runs the models whose path contains NAME, as in `ci/model.sh model::mailbox`. Each says how many
# executions it took.
set -euo pipefail
cd "$(dirname "$0")/.."
filter=${1:-model}
export LOOM_MAX_PREEMPTIONS=${LOOM_MAX_PREEMPTIONS:-2}
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
# Whole-program optimisation costs minutes here and gains a model nothing; the assertions are part of what is checked.
export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
out=$(mktemp)
trap 'rm -f "$out"' EXIT
# A directory of its own: the flag above rebuilds every dependency.
cargo test -p laneway-runtime --release --lib --target-dir target/loom -- --show-output "$filter" | tee "$out"
# A filter that matches nothing passes without a word; that is no proof.
if ! grep -Eq '^test result: ok\. [1-9][0-9]* passed' "$out"; then
    echo "ci/model.sh: no model matches '$filter'" >&2
    exit 1
fi
