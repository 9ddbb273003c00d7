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
    run alloc n=2000 workers=$workers
    run alloc n=2000 scratch=0 workers=$workers
    run idle n=5000 workers=$workers
    run kill n=5000 workers=$workers
    run kill n=200 locks=4 timers=4 fds=2 workers=$workers
    run timers actors=200 each=2 max_ms=50 workers=$workers
    run churn n=20000 alive=200 workers=$workers
    run timeouts clients=8 n=4000 workers=$workers
    run names lanes=8 n=4000 workers=$workers
    run monitors n=5000 targets=10 workers=$workers
    run uneven n=20000 others=100 askers=4 workers=$workers
    run latency secs=1 lanes=8 workers=$workers
    run latency secs=1 lanes=8 stuck=1 stuck_ms=50 workers=$workers
    run philosophers n=2000 workers=$workers
    run philosophers n=2000 ordered=1 workers=$workers
    run lock lanes=1 n=20000 yields=0 workers=$workers
    run lock lanes=8 n=20000 workers=$workers
    run lock lanes=8 n=20000 yields=0 workers=$workers
    run drivers conns=4 n=400 workers=$workers
    bench=$bench-tokio run latency secs=1 lanes=8 workers=$workers
    bench=$bench-tokio run lock lanes=8 n=20000 workers=$workers
done
run churn secs=1 alive=100
run fiber_switch n=200 warm=20000 rounds=2 flush_mib=4

# serve WORKLOAD SPEAK: starts a server, has SPEAK talk to it on descriptor 5, and lets it end.
serve() {
    local word port input
    coproc server { exec timeout 60 "$bench" "$1" port=0; }
    pid=$server_PID
    read -r -t 10 word port <&"${server[0]}" || fail "$1 did not say where it listens"
    [ "$word" = listening ] || fail "$1 said '$word $port'"
    exec 5<>"/dev/tcp/127.0.0.1/$port"
    "$2"
    exec 5>&-
    input=${server[1]}
    exec {input}>&-
    wait "$pid" || fail "$1 did not end well when its standard input closed"
    pid=
    echo "$1: heard on port $port, ended with its input"
}
pid=
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null || true' EXIT

speak_echo() {
    echo "once more with feeling" >&5
    read -r -t 10 heard <&5 || fail "echo did not answer"
    [ "$heard" = "once more with feeling" ] || fail "echo answered '$heard'"
}
serve echo speak_echo

# Two requests on one connection, the second of which ends it.
speak_http() {
    local heard
    printf 'GET / HTTP/1.1\r\nhost: here\r\n\r\nGET /more HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n' >&5
    heard=$(timeout 10 cat <&5) || fail "http did not end the connection"
    [ "$(grep -c '^HTTP/1.1 200 OK' <<<"${heard//!/$'!\n'}")" = 2 ] || fail "http answered '$heard'"
    [ "$(grep -c '^content-type: text/plain' <<<"$heard")" = 2 ] || fail "http answered '$heard'"
    [ "$(grep -c 'Hello, World!' <<<"${heard//!/$'!\n'}")" = 2 ] || fail "http answered '$heard'"
}
serve http speak_http

# What does not exist is refused with 2.
for bad in "nonsense" "pingpong nonsense=1"; do
    status=0
    # shellcheck disable=SC2086 # two words on purpose
    timeout 60 "$bench" $bad >/dev/null 2>&1 || status=$?
    [ "$status" = 2 ] || fail "'$bad' ended with $status, not 2"
done
