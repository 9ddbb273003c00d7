//! `drivers`: what drivers cost and gain, and what it gains that a socket is registered once for its life.
//!
//! Clients, lanes of a runtime of their own with one worker, send `size` bytes each over loopback and wait for them to
//! come back, `n` times in all. Four servers answer them, one after the other:
//!
//! - lanes, one a connection, on `workers` workers with one driver, then with one driver a worker;
//! - a plain loop over `mio` in one thread that registers each socket once, when it comes (`once`);
//! - the same loop, but each socket is registered, waited for, and deregistered again around each wait (`each`).
//!
//! The last two differ by those two system calls an echo and by nothing else: lanes have no way to register for one wait,
//! so the comparison is made outside of them. An operation is an echo, by any of the four. The processor time is that of
//! the whole process, clients included.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::{Duration, Instant};

use actors::{Address, Lane, Reply, Runtime, ask_all, spawn};
use mio::net::TcpStream as MioStream;
use mio::{Events, Interest, Poll, Token};
use net::TcpStream;

use super::echo;
use crate::check::{expect_eq, shares};
use crate::process::cpu_time;
use crate::run::{Keys, Measured, Usage, Work, rounded, spawn_from_outside};

/// For all clients together.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Clone, Copy)]
struct Load {
    conns: u64,
    n: u64,
    size: usize,
}

/// How long it took, and how much processor time.
struct Took(Duration, Duration);

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let conns = keys.count("conns", 64)?;
    let n = keys.count("n", 200_000)?;
    let size = keys.count("size", 64)?;
    let size = usize::try_from(size).ok().filter(|size| (8..=echo::BUFFER).contains(size));
    let size = size.ok_or_else(|| Usage::new("size is from 8 to 4096"))?;
    let workers = keys.workers;
    Ok(Box::new(move |_| Some(measure(Load { conns, n, size }, workers))))
}

fn measure(load: Load, workers: usize) -> Measured {
    let clients = Runtime::builder().workers(1).build().expect("a runtime");
    let start = Instant::now();
    let modes = [
        ("lanes_drivers_1", against_lanes(&clients, load, workers, 1)),
        ("lanes_drivers_n", against_lanes(&clients, load, workers, workers)),
        ("mio_once", against_mio(&clients, load, Registration::Once)),
        ("mio_each", against_mio(&clients, load, Registration::Each)),
    ];
    let mut measured = Measured::since(start, load.n * modes.len() as u64).with("conns", load.conns);
    for (mode, Took(wall, cpu)) in modes {
        let per_echo = |time: Duration| rounded(time.as_secs_f64() * 1e6 / load.n as f64, 3);
        measured = measured
            .with(&format!("{mode}_per_s"), (load.n as f64 / wall.as_secs_f64()).round() as u64)
            .with(&format!("{mode}_cpu_us"), per_echo(cpu));
    }
    measured
}

fn against_lanes(clients: &Runtime, load: Load, workers: usize, drivers: usize) -> Took {
    let server = Runtime::builder().workers(workers).drivers(drivers).build().expect("a runtime");
    let (say, said) = std::sync::mpsc::channel();
    spawn_from_outside(&server, async move |lane| echo::listen(lane, 0, say, echo::connection).await);
    let port = said.recv().expect("a port or why not").expect("a free port");
    drive(clients, load, ([127, 0, 0, 1], port).into())
}

fn against_mio(clients: &Runtime, load: Load, registration: Registration) -> Took {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let server = std::thread::spawn(move || serve(&listener, load, registration));
    let took = drive(clients, load, address);
    // It ends with its connections.
    expect_eq("the number of echoes", server.join().expect("a server that did not panic"), load.n);
    took
}

enum Order {
    Connect(Reply<()>),
    Echo(Reply<u64>),
}

/// Lets the clients connect, then echo; only that is timed.
fn drive(clients: &Runtime, load: Load, to: SocketAddr) -> Took {
    clients.block_on(async {
        let clients: Vec<_> = shares(load.n, load.conns).map(|share| client(to, share, load.size)).collect();
        let connected = ask_all(clients.iter().copied(), PATIENCE, Order::Connect).await;
        expect_eq(
            "the number of connections",
            connected.iter().filter(|(_, answer)| answer.is_ok()).count(),
            clients.len(),
        );
        let cpu_before = cpu_time();
        let start = Instant::now();
        let echoed = ask_all(clients, PATIENCE, Order::Echo).await;
        let took = Took(start.elapsed(), cpu_time() - cpu_before);
        let echoed = echoed.iter().map(|(_, answer)| answer.as_ref().expect("a client that ended well"));
        expect_eq("the number of echoes that were heard", echoed.sum::<u64>(), load.n);
        took
    })
}

fn client(to: SocketAddr, share: u64, size: usize) -> Address<Order> {
    let client = async move |mut lane: Lane<Order>| {
        let Some(Order::Connect(connected)) = lane.recv().await else { panic!("no connection was asked for") };
        let mut stream = TcpStream::connect(to).await.expect("a connection");
        stream.set_nodelay(true).expect("a stream");
        connected.send(()).expect("the main program");
        let Some(Order::Echo(done)) = lane.recv().await else { panic!("no echo was asked for") };
        let (mut said, mut heard) = (vec![0; size], vec![0; size]);
        for number in 0..share {
            said[..8].copy_from_slice(&number.to_le_bytes());
            stream.write_all(&said).await.expect("a server");
            stream.read_exact(&mut heard).await.expect("an echo");
            expect_eq("what came back", &heard, &said);
        }
        done.send(share).expect("the main program");
    };
    spawn(client).expect("a client")
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Registration {
    Once,
    Each,
}

/// Echoes until all connections are closed; gives the number of echoes.
fn serve(listener: &TcpListener, load: Load, registration: Registration) -> u64 {
    let mut poll = Poll::new().expect("a poller");
    let mut events = Events::with_capacity(256);
    let mut streams: Vec<Option<MioStream>> = (0..load.conns).map(|_| Some(accept(listener))).collect();
    for (number, stream) in streams.iter_mut().enumerate() {
        let stream = stream.as_mut().expect("a stream that was just accepted");
        poll.registry().register(stream, Token(number), Interest::READABLE).expect("a registration");
    }
    let mut buffer = vec![0; echo::BUFFER];
    let (mut open, mut bytes) = (streams.len(), 0);
    while open > 0 {
        poll.poll(&mut events, None).expect("a poll");
        for event in &events {
            let place = &mut streams[event.token().0];
            let Some(stream) = place else { continue };
            if registration == Registration::Each {
                poll.registry().deregister(stream).expect("a registration");
            }
            // One attempt is enough: nobody sends more before he has heard this, and an end is an edge of its own.
            match stream.read(&mut buffer) {
                Ok(0) => {
                    *place = None;
                    open -= 1;
                    continue;
                }
                Ok(count) => {
                    stream.write_all(&buffer[..count]).expect("room for what was just read");
                    bytes += count;
                }
                // An event without bytes, as events may be.
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            if registration == Registration::Each {
                poll.registry().register(stream, event.token(), Interest::READABLE).expect("a registration");
            }
        }
    }
    (bytes / load.size) as u64
}

fn accept(listener: &TcpListener) -> MioStream {
    let (stream, _) = listener.accept().expect("a connection");
    stream.set_nodelay(true).expect("a stream");
    stream.set_nonblocking(true).expect("a stream");
    MioStream::from_std(stream)
}
