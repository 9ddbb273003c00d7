//! The server as a process of its own, and a client that says just enough HTTP.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use laneway::net::TcpStream;
use laneway::timeout;

/// Longer than anything here takes on the slowest machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Pages of `/proc/PID/statm`, in bytes.
const PAGE: u64 = 4096;

/// A server that runs. It is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    out: BufReader<ChildStdout>,
    /// What it said before it listened.
    pub(crate) told: Vec<String>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Builds and starts the example, on a port that the system chooses.
    pub(crate) fn start(arguments: &[&str]) -> Server {
        // On Unix, `cargo run` becomes the program that it runs, so the child is the server.
        let mut child = Command::new(env!("CARGO"))
            .args(["run", "--quiet", "--example", "webserver", "--", "--port", "0"])
            .args(arguments)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            // Each hog is a line or two there.
            .stderr(Stdio::null())
            .spawn()
            .expect("cargo runs");
        let mut out = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut told = Vec::new();
        let address = loop {
            let mut line = String::new();
            assert!(out.read_line(&mut line).expect("its words") > 0, "the server ended at once, after {told:?}");
            match line.strip_prefix("webserver: listening on http://") {
                Some(rest) => break rest.split('/').next().expect("an address").parse().expect("an address"),
                None => told.push(line),
            }
        };
        Server { child, out, told, address }
    }

    /// The bound that it printed.
    pub(crate) fn bound(&self) -> u64 {
        let bound = self.told.iter().find_map(|line| line.strip_prefix("webserver: bound "));
        bound.and_then(|rest| rest.split(' ').next()?.parse().ok()).expect("a bound was printed")
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How many buckets it has beside all its connections.
    pub(crate) fn buckets(&self) -> u64 {
        let (_, rest) = self.told.iter().find_map(|line| line.split_once("connections, and ")).expect("it was printed");
        rest.split(' ').next().and_then(|buckets| buckets.parse().ok()).expect("a number of buckets")
    }

    /// Asks it to end, by the signal of Ctrl-C.
    pub(crate) fn interrupt(&self) {
        let kill = Command::new("kill").args(["-INT", &self.pid().to_string()]).status();
        assert!(kill.expect("kill runs").success());
    }

    /// Its end, and what it said at last.
    pub(crate) fn end(mut self) -> (ExitStatus, String) {
        let mut said = String::new();
        while self.out.read_line(&mut said).expect("its words") > 0 {}
        (self.child.wait().expect("its end"), said)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// Resident memory of a process.
pub(crate) fn resident(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/statm")).expect("the server runs");
    let pages = text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * PAGE
}

/// What a client was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// A connection that is kept.
pub(crate) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(address: SocketAddr) -> Client {
        let stream = timeout(PATIENCE, TcpStream::connect(address)).await.expect("in time").expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        Client { stream, read: Vec::new() }
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<Answer, String> {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: here\r\n\r\n")).await?;
        self.answer().await
    }

    pub(crate) async fn send(&mut self, text: &str) -> Result<(), String> {
        self.stream.write_all(text.as_bytes()).await.map_err(|error| error.to_string())
    }

    /// The next answer, which has to have a length.
    pub(crate) async fn answer(&mut self) -> Result<Answer, String> {
        timeout(PATIENCE, self.receive()).await.map_err(|_| "no answer".to_owned())?
    }

    async fn receive(&mut self) -> Result<Answer, String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                let head = String::from_utf8_lossy(&self.read[..end]).to_ascii_lowercase();
                let length = field(&head, "content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
                let whole = end + 4 + length;
                if self.read.len() >= whole {
                    let body = String::from_utf8_lossy(&self.read[end + 4..whole]).into_owned();
                    self.read.drain(..whole);
                    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                    return Ok(Answer { status: status.ok_or("no status")?, head, body });
                }
            }
            let mut some = [0; 4096];
            match self.stream.read(&mut some).await {
                Ok(0) => return Err("the connection was closed".into()),
                Ok(count) => self.read.extend_from_slice(&some[..count]),
                Err(error) => return Err(error.to_string()),
            }
        }
    }
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        field(&self.head, name)
    }

    /// A number of the page of metrics.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let value = |line: &str| line.strip_prefix("webserver_")?.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
        self.body.lines().find_map(value).unwrap_or_else(|| panic!("no {name} in {}", self.body))
    }
}

fn field<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
