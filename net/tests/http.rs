//! hyper on lanes, spoken to over a raw socket.

use std::convert::Infallible;
use std::future::pending;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Timer;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use laneway_net::http::LaneTimer;
use laneway_net::tcp::{TcpListener, TcpStream};
use runtime::lane::{self, Spawn};
use runtime::mailbox::Inbox;
use runtime::{Id, Runtime};

/// Serves one connection, in a lane of its own, and connects to it.
async fn serve_one<F>(handler: fn(Request<Incoming>) -> F) -> (Id, TcpStream)
where
    F: Future<Output = Result<Response<String>, Infallible>> + Send + 'static,
{
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0)).unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (stream, _) = listener.accept().await.unwrap();
    let connection = move |_inbox: Inbox<()>| async move {
        stream.adopt().unwrap();
        let mut server = http1::Builder::new();
        server.timer(LaneTimer::new()).header_read_timeout(Duration::from_secs(600));
        // Who goes away in the middle has heard enough.
        let _ = server.serve_connection(stream, service_fn(handler)).await;
    };
    let served = Spawn::new().spawn(connection).unwrap();
    client.writable().await.unwrap();
    (served.mailbox.id(), client)
}

async fn length_of_filler(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(format!("<{}>", request.headers()["filler"].len())))
}

async fn never(_: Request<Incoming>) -> Result<Response<String>, Infallible> {
    pending().await
}

async fn echo_path(request: Request<Incoming>) -> Result<Response<String>, Infallible> {
    Ok(Response::new(format!("<{}>", request.uri().path())))
}

/// Reads until what was read ends as said.
async fn read_to(client: &mut TcpStream, end: &str) -> String {
    let mut heard = Vec::new();
    let mut some = [0; 512];
    while !heard.ends_with(end.as_bytes()) {
        match client.read(&mut some).await.unwrap() {
            0 => panic!("the stream ended after {}", String::from_utf8_lossy(&heard)),
            count => heard.extend_from_slice(&some[..count]),
        }
    }
    String::from_utf8(heard).unwrap()
}

#[test]
fn a_connection_is_kept_for_the_next_request() {
    let node = Runtime::builder().workers(2).build().unwrap();
    node.block_on(async {
        let (_, mut client) = serve_one(echo_path).await;
        for path in ["/one", "/two"] {
            client.write_all(format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n").as_bytes()).await.unwrap();
            let answer = read_to(&mut client, &format!("<{path}>")).await;
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
        }
    });
}

#[test]
fn requests_in_one_packet_are_answered_in_order() {
    let node = Runtime::builder().workers(2).build().unwrap();
    node.block_on(async {
        let (lane, mut client) = serve_one(echo_path).await;
        let requests =
            "GET /one HTTP/1.1\r\nhost: here\r\n\r\nGET /two HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\r\n";
        client.write_all(requests.as_bytes()).await.unwrap();
        let answers = read_to(&mut client, "</two>").await;
        assert!(answers.contains("</one>HTTP/1.1 200 OK\r\n"), "{answers}");
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        lane::join(lane).await;
    });
}

#[test]
fn a_request_longer_than_one_read_arrives_whole() {
    let node = Runtime::builder().workers(2).build().unwrap();
    node.block_on(async {
        let (_, client) = serve_one(length_of_filler).await;
        let (mut heard, mut said) = client.into_split();
        let filler = "x".repeat(100_000);
        let request = format!("GET / HTTP/1.1\r\nhost: here\r\nfiller: {filler}\r\n\r\n");
        said.write_all(request.as_bytes()).await.unwrap();
        let mut answer = [0; 512];
        let count = heard.read(&mut answer).await.unwrap();
        assert!(answer[..count].ends_with(b"<100000>"), "{}", String::from_utf8_lossy(&answer[..count]));
    });
}

#[test]
fn a_kill_in_the_middle_of_a_handler_closes_the_connection() {
    let node = Runtime::builder().workers(2).build().unwrap();
    node.block_on(async {
        let (lane, mut client) = serve_one(never).await;
        client.write_all(b"GET / HTTP/1.1\r\nhost: here\r\n\r\n").await.unwrap();
        assert!(lane::kill(lane));
        lane::join(lane).await;
        // The end, or a reset where the request was not read yet.
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
        drop(client);
        let metrics = node.handle().metrics();
        assert_eq!((metrics.descriptors, metrics.timers), (0, 0));
    });
}

#[test]
fn a_timer_goes_by_the_clock_of_its_runtime_and_can_be_reset() {
    let node = Runtime::builder().workers(1).virtual_time(7).build().unwrap();
    node.block_on(async {
        let timer = LaneTimer::new();
        let begun = timer.now();
        let mut sleep = timer.sleep(Duration::from_secs(1));
        timer.reset(&mut sleep, begun + Duration::from_secs(3600));
        sleep.await;
        timer.sleep_until(begun + Duration::from_secs(7200)).await;
        let passed = timer.now() - begun;
        assert!((7200..7201).contains(&passed.as_secs()), "{passed:?}");
    });
}
