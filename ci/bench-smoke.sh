#!/usr/bin/env bash
# Every workload of laneway-bench once, tiny: each checks its own result, so this shows that they are right, not fast.
set -euo pipefail
cd "$(dirname "$0")/.."
cargo build --release -p laneway-bench
bench=${CARGO_TARGET_DIR:-target}/release/laneway-bench

fail() {
    echo "bench-smoke: $*" >&2
    exit 1
}

# run WORKLOAD key=value...: ends well, and its last line is the JSON line of that workload with work in it.
run() {
    local line
    line=$(timeout 60 "$bench" "$@" | tail -n 1) || fail "$* failed"
    grep -Eq "\"workload\": ?\"$1\"" <<<"$line" || fail "$*: the last line is not its result: $line"
    grep -Eq '"ops": ?[1-9]' <<<"$line" || fail "$*: nothing was done: $line"
    echo "$line"
}

for workers in 1 2; do
    run pingpong n=2000 workers=$workers
    run pairs pairs=10 n=200 workers=$workers
    run ring actors=50 tokens=10 hops=200 workers=$workers
    run spawn n=5000 batch=100 workers=$workers
    run skynet leaves=1000 workers=$workers
    run fanin producers=4 n=20000 workers=$workers
    run big actors=50 pings=20 workers=$workers
    run ask clients=8 n=4000 workers=$workers
    run idle n=5000 workers=$workers
    run kill n=5000 workers=$workers
    run timers actors=200 each=2 max_ms=50 workers=$workers
done

# echo serves until its standard input closes: say something, hear it again, close.
coproc server { exec timeout 60 "$bench" echo port=0; }
pid=$server_PID
trap 'kill "$pid" 2>/dev/null || true' EXIT
read -r -t 10 word port <&"${server[0]}" || fail "echo did not say where it listens"
[ "$word" = listening ] || fail "echo said '$word $port'"
exec 5<>"/dev/tcp/127.0.0.1/$port"
echo "once more with feeling" >&5
read -r -t 10 heard <&5 || fail "echo did not answer"
[ "$heard" = "once more with feeling" ] || fail "echo answered '$heard'"
exec 5>&-
input=${server[1]}
exec {input}>&-
wait "$pid" || fail "echo did not end well when its standard input closed"
echo "echo: heard on port $port, ended with its input"

# What does not exist is refused with 2.
for bad in "nonsense" "pingpong nonsense=1"; do
    status=0
    # shellcheck disable=SC2086 # two words on purpose
    timeout 60 "$bench" $bad >/dev/null 2>&1 || status=$?
    [ "$status" = 2 ] || fail "'$bad' ended with $status, not 2"
done
