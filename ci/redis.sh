#!/usr/bin/env bash
# Real Redis clients against the key-value server of examples/kv: answers by hand with redis-cli, malformed and oversized
# frames, mass insertion, then redis-benchmark. Needs redis-tools. KV names another server command, for comparison.
set -euo pipefail
cd "$(dirname "$0")/.."
if [ -z "${KV:-}" ]; then
    cargo build --release --example kv
    KV=${CARGO_TARGET_DIR:-target}/release/examples/kv
fi

fail() {
    echo "redis: $*" >&2
    exit 1
}

# A port nobody listens on. Another program may take it before the server does; then the server says so and we try again.
log=$(mktemp)
pid=
stop() {
    if [ -n "$pid" ]; then
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
        pid=
    fi
}
trap 'stop; rm -f "$log"' EXIT
port=
for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 12000))
    # shellcheck disable=SC2086 # KV may hold arguments
    $KV --port "$port" >"$log" 2>&1 &
    pid=$!
    for _ in $(seq 100); do
        kill -0 "$pid" 2>/dev/null || break
        [ "$(redis-cli -p "$port" ping 2>/dev/null)" = PONG ] && break 2
        sleep 0.1
    done
    stop
    port=
done
[ -n "$port" ] || { cat "$log" >&2; fail "the server did not come up"; }
echo "redis: serving on port $port"

# expect ANSWER WORD...: what redis-cli prints for that command. expect_like takes a pattern of the shell.
expect() {
    local want=$1 got
    shift
    got=$(timeout 10 redis-cli -p "$port" "$@") || fail "redis-cli $*: failed"
    [ "$got" = "$want" ] || fail "redis-cli $*: answered '$got', not '$want'"
}
expect_like() {
    local want=$1 got
    shift
    got=$(timeout 10 redis-cli -p "$port" "$@" 2>&1) || true
    # shellcheck disable=SC2053 # a pattern on purpose
    [[ $got == $want ]] || fail "redis-cli $*: answered '$got', not '$want'"
}

expect PONG ping
expect PONG -3 ping
expect "good day" echo "good day"
expect OK set greeting hello
expect hello get greeting
expect "" get nobody
expect 11 append greeting " world"
expect "hello world" get greeting
expect "" set greeting other NX
expect "hello world" get greeting
expect OK set greeting other XX
expect "" set nobody there XX
expect OK mset a 1 b 2
expect $'1\n2\n\nother' mget a b nobody greeting
expect 2 incr a
expect 1 decr a
expect 41 incrby a 40
expect 2 exists a b nobody
expect "-1" ttl a
expect "-2" ttl nobody
expect 1 expire a 100
expect_like "[1-9]*" ttl a
expect 1 pexpire b 100000
expect_like "[1-9]*" ttl b
expect 0 pexpire nobody 1000
expect OK set brief here EX 100
expect_like "[1-9]*" ttl brief
expect OK set briefer here PX 100000
expect 5 dbsize
expect 2 del a b nobody
expect 3 dbsize
expect_like "*ERR*not an integer*" incr greeting
expect_like "*ERR*wrong number of arguments*" get
expect_like "*ERR*unknown command*" nonsense
expect_like "*redis_version*" info
expect OK flushall
expect 0 dbsize
echo "redis: redis-cli has its answers"

# refused BYTES: that connection gets the protocol's error and is closed; the others notice nothing.
refused() {
    local answer
    exec 6<>"/dev/tcp/127.0.0.1/$port"
    # shellcheck disable=SC2059 # the argument is a format on purpose: it spells bytes
    printf "$1" >&6
    answer=$(timeout 10 cat <&6) || fail "$1: the connection stayed open"
    exec 6>&-
    [[ $answer == -ERR* ]] || fail "$1: answered '$answer', not an error"
    expect PONG ping
}
refused '*1\r\n$-5\r\n'
refused '*1\r\n:notanumber\r\n'
refused '*1\r\n$99999999999\r\n'
refused '*99999999999\r\n'
echo "redis: malformed and oversized frames are refused, one connection each"

# Ten thousand commands in one pipeline.
bulk() {
    local i key
    for i in $(seq 10000); do
        key=bulk:$i
        printf '*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n' ${#key} "$key" ${#i} "$i"
    done
}
answer=$(bulk | timeout 60 redis-cli -p "$port" --pipe) || fail "mass insertion: $answer"
grep -q 'errors: 0, replies: 10000' <<<"$answer" || fail "mass insertion: $answer"
expect 10000 dbsize
expect 7777 get bulk:7777
echo "redis: a pipeline of 10000 commands went in"

benchmark=$(timeout 300 redis-benchmark -p "$port" -t ping,set,get,incr,mset -n "${REQUESTS:-20000}" -c 50 -P 16 -q | tr '\r' '\n') ||
    fail "redis-benchmark failed: $benchmark"
for row in PING_INLINE PING_MBULK SET GET INCR "MSET (10 keys)"; do
    grep -F "$row: " <<<"$benchmark" | grep -F 'requests per second' || fail "redis-benchmark has no row for $row"
done
kill -0 "$pid" || fail "the server is gone"
stop
