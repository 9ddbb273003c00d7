//! What comes from a peer that is no node, or a bad one.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::num::NonZeroU16;
use std::time::Duration;

use actors::remote::peer_address;
use actors::{AskError, Id, SendError};
use futures_util::future::join as both;
use laneway_net::link::frame::{Asks, Frame, FrameReader, FrameWriter, MAX_MESSAGE, Parting, RefusedTell};
use laneway_net::link::hello::{Refusal, VERSION};
use laneway_net::link::proto::{Config, Event, Machine, State};
use laneway_net::node::Node;
use laneway_net::peer::{NodeIdentity, PeerState};
use laneway_net::wire_id::WireSlot;

use super::{Msg, Outcome, Pair, pair, run};

/// A peer that is no node: it speaks bytes.
struct Stranger {
    stream: TcpStream,
    machine: Machine,
}

const NO_TIME: Duration = Duration::ZERO;

impl Stranger {
    fn new(stream: TcpStream) -> Stranger {
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let config = Config::default();
        let machine = Machine::new(config.hello(NodeIdentity::new("stranger", 1).unwrap()), config, NO_TIME);
        Stranger { stream, machine }
    }

    fn write_pending(&mut self) {
        let pending = self.machine.poll_transmit().unwrap_or_default().to_vec();
        self.stream.write_all(&pending).unwrap();
        self.machine.transmitted(pending.len());
    }

    /// Shakes hands, and goes on until the link is up.
    fn up(mut self) -> Stranger {
        while *self.machine.state() != State::Up {
            self.write_pending();
            let mut bytes = [0; 1024];
            let count = self.stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "{:?}", self.machine.state());
            self.machine.handle_bytes(NO_TIME, &mut &bytes[..count]);
            while let Some(event) = self.machine.poll_event() {
                if matches!(event, Event::Introduced(_)) {
                    self.machine.welcome();
                }
            }
        }
        self.write_pending();
        self
    }
}

impl Stranger {
    /// The next frame that is for its owner.
    fn frame(&mut self) -> Frame {
        loop {
            if let Some(Event::Received(frame)) = self.machine.poll_event() {
                return frame;
            }
            let mut bytes = [0; 1024];
            let count = self.stream.read(&mut bytes).unwrap();
            assert_ne!(count, 0, "{:?}", self.machine.state());
            self.machine.handle_bytes(NO_TIME, &mut &bytes[..count]);
        }
    }
}

/// All frames that come until the other side closes.
fn frames_until_the_end(stream: &mut TcpStream) -> Vec<Frame> {
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let (mut bytes, mut frames) = (Vec::new(), Vec::new());
    stream.read_to_end(&mut bytes).unwrap();
    let (mut reader, mut input) = (FrameReader::new(MAX_MESSAGE), &bytes[..]);
    reader.greeted();
    while let Some(frame) = reader.read(&mut input).unwrap() {
        frames.push(frame);
    }
    frames
}

#[test]
fn malformed_and_oversized_frames_close_that_connection_alone() -> Outcome {
    run(async {
        let Pair { there, remote, .. } = pair().await?;
        let connect = || TcpStream::connect(there.address().unwrap()).unwrap();
        let oversized = [&(MAX_MESSAGE + 1).to_le_bytes()[..], &[4, 0]].concat();
        let unknown = [0, 0, 0, 0, 99, 0];
        let undecodable = [1, 0, 0, 0, 9, 0, 0xFF];
        for bytes in [&oversized[..], &unknown, &undecodable] {
            let mut stranger = Stranger::new(connect()).up();
            stranger.stream.write_all(bytes)?;
            let frames = frames_until_the_end(&mut stranger.stream);
            assert!(matches!(frames.last(), Some(Frame::Goodbye(Parting::Protocol(_)))), "{frames:?}");
            assert_eq!(remote.ask(|reply| Msg::Double(1, reply)).await?, 2, "the other link stands");
        }
        // And before any hello.
        let mut stream = connect();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n")?;
        let frames = frames_until_the_end(&mut stream);
        assert!(matches!(&frames[..], [Frame::Hello(_), Frame::Goodbye(_)]), "{frames:?}");
        assert_eq!(remote.ask(|reply| Msg::Double(1, reply)).await?, 2, "the other link stands");
        Ok(())
    })
}

#[test]
fn bytes_that_are_no_message_are_refused_and_the_link_stands() -> Outcome {
    run(async {
        let Pair { there, local, .. } = pair().await?;
        let mut stranger = Stranger::new(TcpStream::connect(there.address().unwrap())?).up();
        let fingerprint = laneway_net::schema::fingerprint::<Msg>();
        stranger.machine.send::<Vec<u8>>(&Frame::Lookup { request: 1, name: "worker".into(), fingerprint })?;
        let slot = WireSlot::of(local.id());
        let asks = Asks { first: 9, count: 1 };
        let garbage = Frame::Tell { to: slot, fingerprint, asks, body: vec![0xFF; 10] };
        // A message that announces a port and brings none.
        let portless = Frame::Tell { to: slot, fingerprint, asks, body: vec![0, 5] };
        stranger.machine.send(&garbage)?;
        stranger.machine.send(&portless)?;
        stranger.write_pending();
        let why = RefusedTell::Undecodable;
        let refused = Frame::Refused { to: slot, asks, why };
        let found = stranger.frame();
        assert!(matches!(found, Frame::LookupReply { result: Ok(_), .. }), "{found:?}");
        assert_eq!([stranger.frame(), stranger.frame()], [refused.clone(), refused]);
        assert_eq!(local.ask(Msg::All).await?, [0; 0]);
        Ok(())
    })
}

#[test]
fn another_version_is_refused_with_both_numbers() -> Outcome {
    run(async {
        let Pair { there, .. } = pair().await?;
        let mut stream = TcpStream::connect(there.address().unwrap())?;
        let mut writer = FrameWriter::new(MAX_MESSAGE);
        let hello = [&b"laneway\0"[..], &77_u16.to_le_bytes()].concat();
        writer.push(&Frame::Hello(hello))?;
        stream.write_all(writer.pending())?;
        let frames = frames_until_the_end(&mut stream);
        let refusal = Refusal::Version { ours: VERSION, theirs: 77 };
        assert_eq!(frames[1..], [Frame::HelloRefused(refusal)]);
        Ok(())
    })
}

#[test]
fn a_peer_that_does_not_read_makes_senders_congested_and_then_they_go_on() -> Outcome {
    run(async {
        let config = Config { max_pending: 64 * 1024, ..Config::default() };
        let here = Node::builder("here").link(config).start().await?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (connected, stranger) = both(here.connect(address), async {
            // The link's lane is on a worker by now or soon, and this thread is none.
            Stranger::new(listener.accept().unwrap().0).up()
        })
        .await;
        let (peer, mut stranger) = (connected?, stranger);
        let id = Id::new(1, peer.peer().namespace(), NonZeroU16::MIN);
        let address = peer_address::<Msg>(id).unwrap();
        let mut sent = 0;
        let congested = loop {
            match address.try_send(Msg::Blob(vec![1; 32 * 1024])) {
                Ok(()) => sent += 1,
                Err(error) => break error,
            }
            assert!(sent < 10_000, "never congested");
        };
        assert!(matches!(congested, SendError::Congested(Msg::Blob(_))), "{congested:?}");
        assert_eq!(AskError::from(congested), AskError::Congested);
        // What was taken is sent, once it is read.
        let mut told = 0;
        let mut bytes = vec![0; 64 * 1024];
        while told < sent {
            let count = stranger.stream.read(&mut bytes)?;
            assert_ne!(count, 0);
            let mut input = &bytes[..count];
            while !input.is_empty() {
                stranger.machine.handle_bytes(NO_TIME, &mut input);
                while let Some(event) = stranger.machine.poll_event() {
                    told += usize::from(matches!(event, Event::Received(Frame::Tell { .. })));
                }
            }
        }
        address.try_send(Msg::Put(1))?;
        Ok(())
    })
}

#[test]
fn a_silent_peer_counts_as_down() -> Outcome {
    run(async {
        let config = Config {
            ping_after: Duration::from_millis(20),
            down_after: Duration::from_millis(60),
            ..Config::default()
        };
        let here = Node::builder("here").link(config).start().await?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let (connected, mut stranger) =
            both(here.connect(address), async { Stranger::new(listener.accept().unwrap().0).up() }).await;
        let peer = connected?;
        let address = peer_address::<Msg>(Id::new(1, peer.peer().namespace(), NonZeroU16::MIN)).unwrap();
        assert_eq!(address.ask(Msg::All).no_timeout().await, Err(AskError::NodeDown));
        frames_until_the_end(&mut stranger.stream);
        assert_eq!(here.state(&peer), Some(PeerState::Down));
        Ok(())
    })
}
