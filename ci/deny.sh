#!/usr/bin/env bash
# Licences, sources, banned crates and advisories (deny.toml). The ban on a second runtime is checked with cargo alone
# where cargo-deny is not installed; the rest is skipped with a word.
set -euo pipefail
cd "$(dirname "$0")/.."
if cargo deny --version >/dev/null 2>&1; then
    cargo deny check licenses bans sources
    if cargo deny fetch db >/dev/null 2>&1; then
        cargo deny check advisories
    else
        echo "deny: advisories skipped, their database cannot be reached"
    fi
    exit 0
fi
# The benchmark may name whom it compares with, and `net`'s feature `hyper`, which is off unless asked for, brings the
# channels of tokio without its runtime.
tree=$(cargo tree --workspace --exclude laneway-bench --edges normal,build --prefix none --format '{p}')
for banned in tokio corosensei async-std async-global-executor openssl; do
    if grep -E "^$banned v" <<<"$tree"; then
        echo "deny: $banned has come into the product; find who asks for it: cargo tree -i $banned" >&2
        exit 1
    fi
done
tree=$(cargo tree -p laneway-net --features hyper --edges normal,build,features --prefix none)
if grep -E '^tokio feature' <<<"$tree" | grep -vE '"(default|sync)"'; then
    echo "deny: hyper has tokio built with more than its channels" >&2
    exit 1
fi
echo "deny: no banned crate; licences and advisories skipped, cargo-deny is not installed"
