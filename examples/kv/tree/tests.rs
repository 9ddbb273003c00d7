//! The whole server over TCP, as a client sees it.

use laneway::supervisor::{ChildInfo, Presence};
use laneway::{Id, Runtime, join};

use super::*;

/// Runs `scenario` against a server, with its port.
fn with_server(scenario: impl AsyncFnOnce(&Arc<Server>, Supervisor)) {
    let runtime = Runtime::builder().workers(2).build().unwrap();
    runtime.block_on(async {
        let socket = bind(0).unwrap();
        let port = socket.local_addr().unwrap().port();
        let server = Arc::new(Server::new(3, port, runtime.handle().env()));
        let root = start(&server, socket, 0).await.unwrap();
        scenario(&server, root).await;
        root.shutdown().await;
    });
    let report = runtime.shutdown(Duration::from_secs(5));
    assert!(report.is_clean(), "{report:?}");
    let metrics = report.metrics;
    assert_eq!((metrics.alive, metrics.descriptors, metrics.timers, metrics.names), (0, 0, 0, 0), "{metrics:?}");
}

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(([127, 0, 0, 1], server.port())).await.unwrap()
}

/// Sends a text and reads as many bytes as the answer should have.
async fn talk(stream: &mut TcpStream, text: &str, answer: &str) {
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut read = vec![0; answer.len()];
    stream.read_exact(&mut read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&read), answer);
}

/// Reads to the end.
async fn rest(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = stream.read(&mut piece).await {
        all.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(all).unwrap()
}

async fn lane_of(root: Supervisor, child: &str) -> Option<Id> {
    match root.find_child(child).await.unwrap() {
        Some(ChildInfo { presence: Presence::Running(lane), .. }) => Some(lane),
        _ => None,
    }
}

#[test]
fn a_pipeline_over_all_shards_is_answered_in_order() {
    with_server(async |server, _| {
        let mut stream = connect(server).await;
        let (mut commands, mut answers) = (String::new(), String::new());
        for number in 0..3000 {
            commands += &format!("SET key:{number} {number}\r\nPING\r\nGET key:{number}\r\nINCR all\r\n");
            let digits = number.to_string().len();
            answers += &format!("+OK\r\n+PONG\r\n${digits}\r\n{number}\r\n:{}\r\n", number + 1);
        }
        commands += "DBSIZE\r\nMGET key:7 nobody key:8\r\nHELLO 3\r\n";
        answers += ":3001\r\n*3\r\n$1\r\n7\r\n$-1\r\n$1\r\n8\r\n%7\r\n";
        talk(&mut stream, &commands, &answers).await;
    });
}

#[test]
fn who_breaks_the_protocol_is_told_and_cut_off_alone() {
    with_server(async |server, _| {
        let mut other = connect(server).await;
        talk(&mut other, "SET k v\r\n", "+OK\r\n").await;
        for (sent, told) in [
            ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            ("PING\r\n*99999999999\r\nPING\r\n", "+PONG\r\n-ERR Protocol error: invalid multibulk length\r\n"),
            ("*1\r\n$99999999999\r\n", "-ERR Protocol error: invalid bulk length\r\n"),
            ("QUIT\r\nPING\r\n", "+OK\r\n"),
        ] {
            let mut stream = connect(server).await;
            stream.write_all(sent.as_bytes()).await.unwrap();
            assert_eq!(rest(&mut stream).await, told);
            talk(&mut other, "GET k\r\n", "$1\r\nv\r\n").await;
        }
    });
}

#[test]
fn a_killed_connection_is_closed_and_its_data_stays() {
    with_server(async |server, _| {
        let mut stream = connect(server).await;
        talk(&mut stream, "SET k v\r\n", "+OK\r\n").await;
        let lanes = server.connections();
        assert_eq!(lanes.len(), 1);
        laneway::kill(lanes[0]);
        assert_eq!(rest(&mut stream).await, "");
        assert_eq!(server.connections(), []);
        talk(&mut connect(server).await, "GET k\r\n", "$1\r\nv\r\n").await;
    });
}

#[test]
fn a_listener_that_is_killed_listens_on_its_port_again_and_connections_stay() {
    with_server(async |server, root| {
        let mut before = connect(server).await;
        talk(&mut before, "PING\r\n", "+PONG\r\n").await;
        let killed = lane_of(root, "listener").await.unwrap();
        laneway::kill(killed);
        join(killed).await;
        while lane_of(root, "listener").await.is_none_or(|lane| lane == killed) {}
        // It is there, and may not have bound yet.
        let mut after = loop {
            if let Ok(stream) = TcpStream::connect(([127, 0, 0, 1], server.port())).await {
                break stream;
            }
        };
        talk(&mut after, "PING\r\n", "+PONG\r\n").await;
        talk(&mut before, "PING\r\n", "+PONG\r\n").await;
    });
}

#[test]
fn killed_shards_come_back_with_what_was_acknowledged() {
    with_server(async |server, _| {
        let mut stream = connect(server).await;
        for number in 1..=12 {
            talk(&mut stream, "INCR n\r\n", &format!(":{number}\r\n")).await;
            for pair in server.pairs() {
                while !pair.take_redundancy() {
                    laneway::yield_now().await;
                }
                let victim: Id = if number % 2 == 0 {
                    pair.primary.filled().await.unwrap().id()
                } else {
                    pair.standby.filled().await.unwrap().id()
                };
                laneway::kill(victim);
                join(victim).await;
            }
        }
        while server.redundant() < server.pairs().len() {
            laneway::yield_now().await;
        }
        assert_eq!(server.starts(), crate::pair::Starts { primaries: 21, standbys: 21, losses: 0 });
        talk(&mut stream, "GET n\r\n", "$2\r\n12\r\n").await;
    });
}
