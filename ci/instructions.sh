#!/usr/bin/env bash
# Instructions a unit of work, counted by callgrind, against those recorded in benches/instructions.tsv: a gate that a
# noisy machine cannot move. Each workload runs twice, on one worker and in virtual time so that no clock has a say, once
# with more work; the difference of the two counts is that of the work alone. More than 3 % above the record fails: make it less, or say in the commit why it is worth
# that, and record it with `ci/instructions.sh --record`. Needs valgrind; says so and ends well without.
set -euo pipefail
cd "$(dirname "$0")/.."
record=benches/instructions.tsv
tolerance=3
if ! command -v valgrind >/dev/null; then
    echo "instructions: skipped, no valgrind"
    exit 0
fi
cargo build --release --locked -p laneway-bench --bin laneway-bench
bench=${CARGO_TARGET_DIR:-target}/release/laneway-bench
rustc=$(rustc --version | cut -d' ' -f2)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# count NAME WORKLOAD key=value...: instructions of one run.
count() {
    local name=$1
    shift
    timeout 300 valgrind --tool=callgrind --callgrind-out-file="$out/$name.callgrind" "$bench" "$@" workers=1 virtual=1 \
        >"$out/$name.json" 2>"$out/$name.err" || { tail -n 5 "$out/$name.err" >&2; return 1; }
    awk '/Collected/ { print $4 }' "$out/$name.err"
}

# measure NAME WORKLOAD UNITS "FEW" "MANY": instructions a unit, with UNITS more of them in MANY than in FEW. Each writes
# a line of its own file, so that two can run at a time.
measure() {
    local name=$1 workload=$2 units=$3 few many
    # shellcheck disable=SC2086 # the keys are words
    few=$(count "$name.few" "$workload" $4)
    # shellcheck disable=SC2086
    many=$(count "$name.many" "$workload" $5)
    awk -v name="$name" -v units="$units" -v few="$few" -v many="$many" \
        'BEGIN { printf "%s\t%.1f\n", name, (many - few) / units }' >"$out/$name.line"
}

running=0
begin() {
    measure "$@" &
    running=$((running + 1))
    if [ "$running" -ge 2 ]; then
        wait -n
        running=$((running - 1))
    fi
}

names=(pingpong pairs ring spawn skynet fanin big ask timeouts kill names monitors)
begin pingpong pingpong 100000 "n=20000" "n=120000"
begin pairs pairs 100000 "pairs=100 n=100" "pairs=100 n=1100"
begin ring ring 100000 "actors=100 tokens=1 hops=10000" "actors=100 tokens=1 hops=110000"
begin spawn spawn 50000 "n=10000" "n=60000"
begin skynet skynet 10000 "leaves=1000" "leaves=10000"
begin fanin fanin 100000 "n=20000" "n=120000"
begin big big 50000 "actors=100 pings=100" "actors=100 pings=600"
begin ask ask 100000 "n=12800" "n=112800"
begin timeouts timeouts 100000 "n=12800" "n=112800"
begin kill kill 20000 "n=1000" "n=21000"
begin names names 50000 "n=10000" "n=60000"
begin monitors monitors 20000 "n=1000" "n=21000"
wait
for name in "${names[@]}"; do
    [ -s "$out/$name.line" ] || { echo "instructions: $name was not counted" >&2; exit 1; }
    cat "$out/$name.line"
done >"$out/now.tsv"

if [ "${1:-}" = --record ]; then
    { printf '# rustc %s; written by ci/instructions.sh --record\n' "$rustc"; cat "$out/now.tsv"; } >"$record"
    cat "$record"
    exit 0
fi
if [ "$(sed -n 's/^# rustc \([^;]*\);.*/\1/p' "$record")" != "$rustc" ]; then
    echo "instructions: recorded with another compiler than rustc $rustc, whose counts say nothing about these:"
    cat "$out/now.tsv"
    exit 0
fi
awk -F'\t' -v tolerance="$tolerance" '
    FNR == NR { if ($0 !~ /^#/) recorded[$1] = $2; next }
    !($1 in recorded) { printf "%-10s %8.1f  not recorded\n", $1, $2; bad = 1; next }
    {
        change = ($2 / recorded[$1] - 1) * 100
        verdict = change > tolerance ? "ABOVE the record" : change < -tolerance ? "below: record it" : "ok"
        printf "%-10s %8.1f  recorded %8.1f  %+5.1f %%  %s\n", $1, $2, recorded[$1], change, verdict
        if (change > tolerance) bad = 1
    }
    END { exit bad }
' "$record" "$out/now.tsv" || { echo "instructions: more than recorded, see the head of ci/instructions.sh" >&2; exit 1; }
