//! The web server of `examples/webserver/`, as a process of its own: what it answers, and that memory hogs harm nobody.
#![cfg(target_os = "linux")]

#[path = "webserver/client.rs"]
mod client;

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use futures_util::future::{join, join_all};
use laneway::runtime::env::Instant;
use laneway::{Runtime, sleep, time};

use client::{Answer, Client, Server, resident};

fn in_runtime<T>(body: impl Future<Output = T>) -> T {
    Runtime::builder().workers(2).build().expect("a runtime").block_on(body)
}

#[track_caller]
fn assert_status(answer: Result<Answer, String>, status: u16) -> Answer {
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, status, "{answer:?}");
    answer
}

#[test]
fn each_request_is_answered_for_itself_and_the_connection_goes_on() {
    let server = Server::start(&["--deadline", "0.2"]);
    in_runtime(async {
        let mut client = Client::connect(server.address).await;
        let asked = [
            ("/", 200),
            ("/json", 200),
            ("/work?kib=64", 200),
            ("/work?kib=64&ms=1", 200),
            ("/work?kib=4096", 500),
            ("/leak?kib=200", 200),
            ("/leak?kib=4096", 500),
            ("/panic", 500),
            ("/spin", 504),
            ("/spin?hard=1", 504),
            ("/work", 400),
            ("/work?kib=abc", 400),
            ("/work?kib=18446744073709551616", 400),
            ("/nowhere", 404),
        ];
        for (path, status) in asked {
            let answer = client.get(path).await.unwrap_or_else(|error| panic!("{path}: {error}"));
            assert_eq!(answer.status, status, "{path}: {answer:?}");
        }
        assert!(assert_status(client.get("/").await, 200).body.contains("Hello, World!"));
        assert!(assert_status(client.get("/work?kib=300").await, 500).body.contains("budget of 262144"));
        client.send("PUT / HTTP/1.1\r\nhost: here\r\ncontent-length: 0\r\n\r\n").await.expect("it is sent");
        assert_eq!(assert_status(client.answer().await, 405).field("allow"), Some("get, head"));

        let page = assert_status(client.get("/metrics").await, 200);
        assert_eq!(page.metric("request_deaths_total{reason=\"out_of_memory\"}"), 3);
        assert_eq!(page.metric("request_deaths_total{reason=\"panicked\"}"), 1);
        assert_eq!(page.metric("request_deaths_total{reason=\"killed\"}"), 2);
    });
    server.interrupt();
    let (status, said) = server.end();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains("3 went over it, 1 panicked, 2 were late"), "{said}");
}

#[test]
fn what_is_too_long_or_no_http_ends_the_connection_with_a_word() {
    let server = Server::start(&[]);
    in_runtime(async {
        let long = format!("GET /{} HTTP/1.1\r\nhost: here\r\n\r\n", "a".repeat(100 << 10));
        let many = format!("GET / HTTP/1.1\r\nhost: here\r\n{}\r\n", "a: b\r\n".repeat(100));
        for (text, status) in [(long.as_str(), 431), (&many, 431), ("no HTTP\r\n\r\n", 400)] {
            let mut client = Client::connect(server.address).await;
            // The server may have closed the connection before it has read all.
            if client.send(text).await.is_ok()
                && let Ok(answer) = client.answer().await
            {
                assert_eq!(answer.status, status, "{answer:?}");
            }
            assert_status(Client::connect(server.address).await.get("/").await, 200);
        }
    });
}

#[test]
fn a_request_as_long_as_may_be_fits_in_its_connection() {
    let server = Server::start(&[]);
    in_runtime(async {
        let mut client = Client::connect(server.address).await;
        // 45 fields, and all but 8 KiB of head; several at a time, so that the next one is there while one is handled.
        let fields: String = (0..44).map(|number| format!("field-{number}: {}\r\n", "x".repeat(160))).collect();
        let text = format!("GET /work?kib=200&ms=1 HTTP/1.1\r\nhost: here\r\n{fields}\r\n");
        assert!((7 << 10..8 << 10).contains(&text.len()), "{}", text.len());
        for _ in 0..10 {
            client.send(&text.repeat(5)).await.expect("it is sent");
            for _ in 0..5 {
                assert_status(client.answer().await, 200);
            }
        }
    });
}

#[test]
fn who_says_nothing_is_put_out() {
    let server = Server::start(&["--idle", "0.2"]);
    in_runtime(async {
        for said in ["", "GET / HTTP/1.1\r\nhost: he"] {
            let mut slow = Client::connect(server.address).await;
            slow.send(said).await.expect("it is sent");
            assert_eq!(slow.answer().await.map(|answer| answer.status), Err("the connection was closed".to_owned()));
        }
        let mut client = Client::connect(server.address).await;
        assert_status(client.get("/").await, 200);
        assert_eq!(client.answer().await.map(|answer| answer.status), Err("the connection was closed".to_owned()));
    });
}

#[test]
fn a_server_that_stops_answers_whom_it_has_let_in() {
    let server = Server::start(&[]);
    in_runtime(async {
        let mut page = Client::connect(server.address).await;
        let mut client = Client::connect(server.address).await;
        client.send("GET /work?kib=8&ms=300 HTTP/1.1\r\nhost: here\r\n\r\n").await.expect("it is sent");
        while assert_status(page.get("/metrics").await, 200).metric("buckets_in_use") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        server.interrupt();
        let answer = assert_status(client.answer().await, 200);
        assert_eq!(answer.field("connection"), Some("close"));
    });
    let (status, said) = server.end();
    assert!(status.success(), "{status}: {said}");
    assert!(said.contains(", 0 late"), "{said}");
}

#[test]
fn without_a_free_bucket_a_request_waits_and_is_then_sent_away() {
    // One bucket, and room for three connections.
    let server = Server::start(&[
        "--memory",
        "540KiB",
        "--connections",
        "3",
        "--wait",
        "0.2",
        "--deadline",
        "60",
        "--idle",
        "60",
    ]);
    in_runtime(async {
        let mut page = Client::connect(server.address).await;
        let mut first = Client::connect(server.address).await;
        let mut second = Client::connect(server.address).await;
        first.send("GET /work?kib=8&ms=50000 HTTP/1.1\r\nhost: here\r\n\r\n").await.expect("it is sent");
        while assert_status(page.get("/metrics").await, 200).metric("buckets_in_use") == 0 {
            sleep(Duration::from_millis(5)).await;
        }
        let refused = assert_status(second.get("/").await, 503);
        assert_eq!(refused.field("retry-after"), Some("1"));
        assert_eq!(assert_status(page.get("/metrics").await, 200).metric("buckets_refused_total"), 1);

        // Nobody waits for its answer any more: its lane ends, and the bucket is free.
        drop(first);
        while assert_status(page.get("/metrics").await, 200).metric("buckets_in_use") == 1 {
            sleep(Duration::from_millis(5)).await;
        }
        assert_status(second.get("/").await, 200);
    });
}

#[test]
fn who_comes_when_all_places_are_taken_is_served_in_turn() {
    let server = Server::start(&["--memory", "1MiB", "--connections", "2", "--idle", "60"]);
    in_runtime(join_all((0..12).map(async |_| {
        let mut client = Client::connect(server.address).await;
        for _ in 0..20 {
            let answer = assert_status(client.get("/work?kib=8&ms=1").await, 200);
            if answer.field("connection") == Some("close") {
                client = Client::connect(server.address).await;
            }
        }
    })));
}

/// Buckets of the server under load, or one or two fewer; and requests in flight: ten times as many, half of them of hogs.
const BUCKETS: u64 = 12;
const IN_FLIGHT: u64 = 10 * BUCKETS;
const QUIET: Duration = Duration::from_secs(6);
const LOUD: Duration = Duration::from_secs(20);
/// Of each phase, what is not looked at: the first connections, and the change from one to the other.
const SETTLING: Duration = Duration::from_secs(1);
const WINDOW: Duration = Duration::from_secs(1);

/// What clients share.
#[derive(Default)]
struct Load {
    loud: AtomicBool,
    over: AtomicBool,
    hogs: AtomicU64,
    /// When each modest request ended, and how long it had taken.
    modest: Mutex<Vec<(Duration, Duration)>>,
    faults: Mutex<Vec<String>>,
}

impl Load {
    fn fault(&self, what: String) {
        self.faults.lock().expect("no panic").push(what);
    }
}

async fn modest(address: SocketAddr, load: &Load, number: u64, start: Instant) {
    let mut client = Client::connect(address).await;
    let paths = ["/work?kib=64&ms=20", "/work?kib=16&ms=20", "/json", "/work?kib=128&ms=20", "/"];
    for path in paths.iter().cycle().skip(number as usize % paths.len()) {
        if load.over.load(SeqCst) {
            return;
        }
        let asked = time::now();
        match client.get(path).await {
            Ok(Answer { status: 200, .. }) => {}
            other => return load.fault(format!("a modest {path}: {other:?}")),
        }
        let now = time::now();
        load.modest.lock().expect("no panic").push((now - start, now - asked));
    }
}

async fn hog(address: SocketAddr, load: &Load, number: u64) {
    let mut client = Client::connect(address).await;
    while !load.loud.load(SeqCst) {
        sleep(Duration::from_millis(10)).await;
    }
    let paths = [("/work?kib=4096", 500), ("/leak?kib=200", 200), ("/work?kib=100000", 500)];
    for (path, status) in paths.iter().cycle().skip(number as usize % paths.len()) {
        if load.over.load(SeqCst) {
            return;
        }
        match client.get(path).await {
            Ok(answer) if answer.status == *status => load.hogs.fetch_add(1, SeqCst),
            other => return load.fault(format!("a hog's {path}: {other:?}")),
        };
    }
}

/// The 99th percentile of those requests of a phase that ended in each of its windows.
fn p99s(requests: &[(Duration, Duration)], from: Duration, length: Duration) -> Vec<Duration> {
    let windows = ((length - SETTLING).as_nanos() / WINDOW.as_nanos()) as u32;
    let p99 = |window: u32| {
        let begin = from + SETTLING + WINDOW * window;
        let within = requests.iter().filter(|(at, _)| (begin..begin + WINDOW).contains(at));
        let mut took: Vec<Duration> = within.map(|(_, took)| *took).collect();
        took.sort_unstable();
        assert!(took.len() > 100, "{} requests in a window", took.len());
        took[took.len() * 99 / 100]
    };
    (0..windows).map(p99).collect()
}

fn median(mut of: Vec<Duration>) -> Duration {
    of.sort_unstable();
    of[of.len() / 2]
}

/// Modest requests alone, five times as many as there are buckets; then, for twenty seconds, as many hogs beside them.
///
/// Time is measured here, where else no test does: so it is made of what a noisy machine changes least. A modest request
/// keeps its bucket for 20 ms, and buckets are what is short, not processors: so a request takes some 100 ms in line,
/// beside which a lost time slice is little. And what is compared is not a single percentile, which one bad moment makes,
/// but the median of those of many windows.
#[test]
fn memory_hogs_at_ten_times_the_load_harm_no_modest_request() {
    let connections = IN_FLIGHT + 1;
    // With what lanes and the listener have beside that.
    let memory = BUCKETS * (260 << 10) + connections * (67 << 10) + (128 << 10);
    let server = Server::start(&[
        "--memory",
        &memory.to_string(),
        "--bucket",
        "256KiB",
        "--connections",
        &connections.to_string(),
        "--wait",
        "20",
        "--deadline",
        "20",
        "--idle",
        "60",
    ]);
    let (address, bound, pid) = (server.address, server.bound(), server.pid());
    assert!((BUCKETS - 2..=BUCKETS).contains(&server.buckets()), "{:?}", server.told);
    let before = in_runtime(alone(address));
    let load = Load::default();
    let peak = in_runtime(async {
        let start = time::now();
        let clients = (0..IN_FLIGHT).map(async |number| match number % 2 {
            0 => modest(address, &load, number / 2, start).await,
            _ => hog(address, &load, number / 2).await,
        });
        let watch = async {
            let mut peak = 0;
            while time::now() - start < QUIET + LOUD {
                let now = resident(pid);
                assert!(now <= bound, "{now} bytes are resident, and {bound} were the bound");
                peak = peak.max(now);
                load.loud.store(time::now() - start >= QUIET, SeqCst);
                sleep(Duration::from_millis(10)).await;
            }
            load.over.store(true, SeqCst);
            peak
        };
        join(watch, join_all(clients)).await.0
    });
    let page = in_runtime(alone(address));

    let faults = load.faults.lock().expect("no panic");
    assert!(faults.is_empty(), "{} faults, such as {:?}", faults.len(), faults.first());
    let hogs = load.hogs.load(SeqCst);
    let requests = load.modest.lock().expect("no panic");
    let (quiet, loud) = (median(p99s(&requests, Duration::ZERO, QUIET)), median(p99s(&requests, QUIET, LOUD)));
    println!(
        "{} modest requests, {hogs} hogs; p99 {quiet:?} without hogs, {loud:?} with; {peak} bytes resident of {bound}",
        requests.len()
    );
    assert!(hogs > IN_FLIGHT, "{hogs} requests of hogs are no load");
    assert!(loud <= 2 * quiet, "p99 {loud:?} with hogs, {quiet:?} without");

    // All buckets are back, and what was reserved is what it was before.
    assert_eq!((page.metric("buckets_in_use"), page.metric("buckets_waiting")), (0, 0), "{}", page.body);
    assert_eq!((page.metric("buckets_refused_total"), page.metric("responses_total{status=\"503\"}")), (0, 0));
    for what in ["arena_bytes", "arenas_quarantined", "lanes"] {
        assert_eq!(page.metric(what), before.metric(what), "{what}: {}", page.body);
    }
    // What dead lanes have left is what their workers keep: buffers of the log, and hyper's date.
    let left = page.metric("memory_left_bytes");
    assert!(left < 32 << 10, "dead lanes have left {left} bytes");
    let reserved = |page: &Answer| page.metric("memory_reserved_bytes") - page.metric("memory_left_bytes");
    assert_eq!(reserved(&page), reserved(&before), "{}", page.body);
    assert!(page.metric("request_deaths_total{reason=\"out_of_memory\"}") > hogs / 3);
    server.interrupt();
    let (status, said) = server.end();
    assert!(status.success(), "{status}: {said}");
}

/// The page of metrics when nobody else is there any more.
async fn alone(address: SocketAddr) -> Answer {
    let mut client = Client::connect(address).await;
    loop {
        let page = assert_status(client.get("/metrics").await, 200);
        if page.metric("connections") == 1 && page.metric("lanes") == 2 {
            return page;
        }
        sleep(Duration::from_millis(5)).await;
    }
}
