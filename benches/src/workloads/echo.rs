//! `echo`: a TCP server that says everything again, one lane a connection.

use std::io;
use std::process::exit;
use std::sync::mpsc;

use actors::{Lane, spawn};
use net::{TcpListener, TcpStream};

use crate::run::{Keys, Usage, Work, spawn_from_outside};

pub(super) const BUFFER: usize = 4096;

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    serve(keys, connection)
}

/// The lane of a connection is its owner: whatever becomes of either, the other goes too.
pub(super) fn connection(stream: TcpStream) {
    spawn(async move |_: Lane<()>| {
        // Who goes away in the middle has heard enough.
        let _ = answer(stream).await;
    })
    .expect("a lane for the connection");
}

/// A server on the port that is asked for: says where it listens, and serves until standard input is closed.
pub(super) fn serve(keys: &mut Keys, connection: fn(TcpStream)) -> Result<Work, Usage> {
    let port: u16 = keys.number("port", 0)?;
    Ok(Box::new(move |runtime| {
        let (say, said) = mpsc::channel();
        spawn_from_outside(runtime, async move |lane| listen(lane, port, say, connection).await);
        match said.recv().expect("a port or why not, or a panic that ends the process") {
            Ok(port) => println!("listening {port}"),
            Err(error) => {
                eprintln!("{error}");
                exit(2)
            }
        }
        // On this thread, which has nothing else to do.
        io::copy(&mut io::stdin(), &mut io::sink()).expect("standard input");
        None
    }))
}

/// Says the port, or why there is none; then has `connection` take each stream.
pub(super) async fn listen(
    _lane: Lane<()>,
    port: u16,
    say: mpsc::Sender<Result<u16, String>>,
    connection: fn(TcpStream),
) {
    let mut listener = match TcpListener::bind(([127, 0, 0, 1], port)) {
        Ok(listener) => listener,
        Err(error) => {
            say.send(Err(refusal(port, &error))).expect("who asked for the port");
            return;
        }
    };
    say.send(Ok(listener.local_addr().expect("an address").port())).expect("who asked for the port");
    loop {
        let (stream, _) = listener.accept().await.expect("a connection");
        connection(stream);
    }
}

fn refusal(port: u16, error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!("port {port}: address in use"),
        _ => format!("port {port}: {error}"),
    }
}

async fn answer(mut stream: TcpStream) -> io::Result<()> {
    stream.adopt()?;
    stream.set_nodelay(true)?;
    let mut buffer = vec![0; BUFFER];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            count => stream.write_all(&buffer[..count]).await?,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_is_taken_is_told() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let runtime = actors::Runtime::builder().workers(1).build().unwrap();
        let (say, said) = mpsc::channel();
        spawn_from_outside(&runtime, async move |lane| listen(lane, port, say, |_| {}).await);
        assert_eq!(said.recv().unwrap(), Err(format!("port {port}: address in use")));
    }
}
