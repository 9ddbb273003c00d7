use std::num::NonZeroU16;

use proptest::prelude::*;
use runtime::ExitReason;

use super::super::frame::tests::frame;
use super::super::frame::{Asks, MAX_HELLO, RefusedTell};
use super::*;
use crate::peer::PeerError;
use crate::wire_id::WireSlot;

const START: Duration = Duration::from_secs(100);

fn hello(name: &str) -> Hello {
    let hello = Config::default().hello(NodeIdentity::new(name, 1).unwrap());
    // What the machine carries is more than what nodes offer yet.
    Hello { offered: hello.offered.with(Features::LINKS), ..hello }
}

fn machine(name: &str) -> Machine {
    Machine::new(hello(name), Config::default(), START)
}

fn slot(key: u32) -> WireSlot {
    WireSlot { key, generation: NonZeroU16::MIN }
}

fn tell(key: u32, body: Vec<u8>) -> Frame {
    Frame::Tell { to: slot(key), fingerprint: 1, asks: Asks::default(), body }
}

/// Takes up to `count` bytes from one machine to the other; whether there were any.
fn carry(from: &mut Machine, to: &mut Machine, count: usize, now: Duration) -> bool {
    let Some(pending) = from.poll_transmit() else { return false };
    let bytes = pending[..pending.len().min(count)].to_vec();
    let mut rest = &bytes[..];
    to.handle_bytes(now, &mut rest);
    from.transmitted(bytes.len() - rest.len());
    true
}

fn events(machine: &mut Machine) -> Vec<Event> {
    std::iter::from_fn(|| machine.poll_event()).collect()
}

/// Lets a machine hear `frames`.
fn hear(machine: &mut Machine, said: &[Frame]) {
    let mut writer = FrameWriter::new(u32::MAX);
    for frame in said {
        writer.push(frame).unwrap();
    }
    machine.handle_bytes(START, &mut writer.pending());
}

/// Two machines that have welcomed each other.
fn up_with(mut a: Machine, mut b: Machine) -> (Machine, Machine) {
    carry(&mut a, &mut b, usize::MAX, START);
    carry(&mut b, &mut a, usize::MAX, START);
    a.welcome();
    b.welcome();
    carry(&mut a, &mut b, usize::MAX, START);
    carry(&mut b, &mut a, usize::MAX, START);
    assert!(matches!(&events(&mut a)[..], [Event::Introduced(_), Event::Up(_)]), "{:?}", a.state());
    assert!(matches!(&events(&mut b)[..], [Event::Introduced(_), Event::Up(_)]), "{:?}", b.state());
    (a, b)
}

fn up() -> (Machine, Machine) {
    up_with(machine("a"), machine("b"))
}

#[test]
fn neither_side_is_up_before_both_have_welcomed() {
    let (mut a, mut b) = (machine("a"), machine("b"));
    carry(&mut a, &mut b, usize::MAX, START);
    carry(&mut b, &mut a, usize::MAX, START);
    a.welcome();
    carry(&mut a, &mut b, usize::MAX, START);
    assert_eq!((a.state(), b.state()), (&State::Handshaking, &State::Handshaking));
    assert_eq!(a.send(&tell(1, vec![])), Err(SendError::NotUp));
    b.welcome();
    assert_eq!(b.state(), &State::Up);
    // What `b` says at once comes after its welcome, so `a` is up when it hears it.
    b.send(&tell(1, vec![7])).unwrap();
    carry(&mut b, &mut a, usize::MAX, START);
    assert!(matches!(&events(&mut a)[..], [Event::Introduced(_), Event::Up(_), Event::Received(Frame::Tell { .. })]));
}

#[test]
fn a_refused_node_hears_why_and_was_never_up() {
    let (mut a, mut b) = (machine("a"), machine("b"));
    carry(&mut a, &mut b, usize::MAX, START);
    carry(&mut b, &mut a, usize::MAX, START);
    a.welcome();
    let refusal = Refusal::Peer(PeerError::Superseded);
    b.refuse(refusal.clone());
    b.welcome();
    carry(&mut b, &mut a, usize::MAX, START);
    assert_eq!(b.state(), &State::Closed(CloseReason::Refused(refusal.clone())));
    let seen = events(&mut a);
    assert!(matches!(&seen[..], [Event::Introduced(_), Event::Closed(CloseReason::RefusedByPeer(r))] if *r == refusal));
}

#[test]
fn a_hello_that_does_not_fit_is_refused_without_asking_the_owner() {
    let strict = Hello { required: Features(1 << 50), ..hello("a") };
    let (mut a, mut b) = (Machine::new(strict, Config::default(), START), machine("b"));
    carry(&mut a, &mut b, usize::MAX, START);
    let refusal = Refusal::WeLack(Features(1 << 50));
    assert_eq!(events(&mut b), [Event::Closed(CloseReason::Refused(refusal.clone()))]);
    carry(&mut b, &mut a, usize::MAX, START);
    // `a` finds by itself that `b` lacks it; the order of the two is no matter.
    assert!(matches!(a.state(), State::Closed(CloseReason::Refused(Refusal::TheyLack(_)))));

    let mut same = machine("b");
    carry(&mut machine("b"), &mut same, usize::MAX, START);
    assert_eq!(same.state(), &State::Closed(CloseReason::Refused(Refusal::Peer(PeerError::SelfConnection))));
}

#[test]
fn whoever_speaks_another_protocol_is_cut_off_at_once() {
    let mut machine = machine("a");
    machine.handle_bytes(START, &mut &b"GET / HTTP/1.1\r\n\r\n"[..]);
    let State::Closed(CloseReason::Frame(error)) = machine.state().clone() else { panic!("{:?}", machine.state()) };
    assert_eq!(events(&mut machine), [Event::Closed(CloseReason::Frame(error))]);
    let mut more = &b"and more"[..];
    machine.handle_bytes(START, &mut more);
    assert!(more.is_empty(), "a closed link takes what comes and does nothing with it");
    assert_eq!(events(&mut machine), []);
}

#[test]
fn frames_out_of_place_close_the_link() {
    let ours = |name: &str| Frame::Hello(hello(name).encode());
    for (frames, what) in [
        (vec![Frame::Welcome], "a welcome"),
        (vec![tell(1, vec![])], "a frame of messages"),
        (vec![Frame::Ping { nonce: 1 }], "a heartbeat"),
        (vec![ours("b"), ours("b")], "a hello"),
        (vec![ours("b"), Frame::Welcome, Frame::Welcome], "a welcome"),
    ] {
        let mut machine = machine("a");
        hear(&mut machine, &frames);
        assert_eq!(machine.state(), &State::Closed(CloseReason::OutOfPlace(what)));
    }
    let (mut a, _b) = up();
    hear(&mut a, &[ours("b")]);
    assert_eq!(a.state(), &State::Closed(CloseReason::OutOfPlace("a hello")));
}

#[test]
fn what_only_one_side_can_do_is_neither_sent_nor_taken() {
    let plain = Hello { offered: Features::MESSAGES.with(Features::MONITORS), ..hello("b") };
    let (mut a, mut b) = up_with(machine("a"), Machine::new(plain, Config::default(), START));
    let link: Frame = Frame::Link { from: slot(1), to: slot(2) };
    assert_eq!(a.send(&link), Err(SendError::Lacking(Features::LINKS)));
    hear(&mut b, &[link]);
    assert_eq!(b.state(), &State::Closed(CloseReason::OutOfPlace("a frame of links")));
}

#[test]
fn the_links_own_frames_cannot_be_sent() {
    let (mut a, _b) = up();
    for own in [Frame::Welcome, Frame::Ping { nonce: 1 }, Frame::Goodbye(Parting::Shutdown), Frame::Hello(vec![])] {
        assert_eq!(a.send(&own), Err(SendError::NotForUse));
    }
    assert_eq!(a.poll_transmit(), None);
}

#[test]
fn a_message_longer_than_the_other_side_takes_is_refused_here() {
    let small = Config { max_message: 100, ..Config::default() };
    let b = Machine::new(small.hello(NodeIdentity::new("b", 1).unwrap()), small, START);
    let (mut a, mut b) = up_with(machine("a"), b);
    assert!(matches!(a.send(&tell(1, vec![0; 200])), Err(SendError::TooLarge { max: 100, .. })));
    assert!(matches!(b.send(&tell(1, vec![0; 200])), Err(SendError::TooLarge { max: 100, .. })));
    assert_eq!(a.poll_transmit(), None);
    assert_eq!(a.send(&tell(1, vec![0; 50])), Ok(()));
    carry(&mut a, &mut b, usize::MAX, START);
    assert_eq!(events(&mut b), [Event::Received(tell(1, vec![0; 50]))]);
}

#[test]
fn a_full_link_refuses_messages_but_not_what_controls_it() {
    let tight = Config { max_pending: 1000, ..Config::default() };
    let (mut a, mut b) = up_with(Machine::new(hello("a"), tight, START), machine("b"));
    assert_eq!(a.send(&tell(1, vec![0; 5000])), Ok(()), "the limit is on what waits already");
    assert!(a.is_congested());
    let pending = a.poll_transmit().unwrap().len();
    assert_eq!(a.send(&tell(1, vec![])), Err(SendError::Congested { pending, max: 1000 }));
    let reply: Frame = Frame::ReplyOk { ask: 1, body: vec![] };
    assert_eq!(a.send(&reply), Err(SendError::Congested { pending, max: 1000 }));
    assert_eq!(a.send::<Vec<u8>>(&Frame::Down { reference: 1, reason: ExitReason::Normal }), Ok(()));
    while carry(&mut a, &mut b, 999, START) {}
    assert!(!a.is_congested());
    assert_eq!(a.send(&tell(1, vec![])), Ok(()));
    assert_eq!(events(&mut b).len(), 2);
}

#[test]
fn a_peer_that_does_not_read_its_answers_loses_the_link_before_the_memory_is_gone() {
    let (mut a, _b) = up();
    let refused: Frame = Frame::Refused { to: slot(u32::MAX), asks: Asks::default(), why: RefusedTell::NoProc };
    let config = Config::default();
    let bound = config.max_pending + config.max_message as usize + CONTROL_ROOM + 64;
    while a.state() == &State::Up {
        a.send(&refused).unwrap();
        assert!(a.poll_transmit().map_or(0, <[u8]>::len) <= bound);
    }
    assert_eq!(a.state(), &State::Closed(CloseReason::Overrun));
    assert_eq!(a.poll_transmit(), None, "what nobody reads is dropped");
}

#[test]
fn pings_do_not_add_to_what_is_not_read() {
    let tight = Config { max_pending: 1000, ..Config::default() };
    let (mut a, _b) = up_with(Machine::new(hello("a"), tight, START), machine("b"));
    for _ in 0..1000 {
        hear(&mut a, &[Frame::Ping { nonce: 7 }]);
    }
    assert!(a.poll_transmit().unwrap().len() <= 1000 + 16);
    assert_eq!(a.state(), &State::Up);
}

#[test]
fn events_that_are_not_fetched_hold_the_bytes_back() {
    let (mut a, mut b) = up();
    for n in 0..3 * EVENT_ROOM as u32 {
        a.send(&tell(n, vec![])).unwrap();
    }
    carry(&mut a, &mut b, usize::MAX, START);
    let mut keys = Vec::new();
    let mut rounds = 0;
    loop {
        let fetched = events(&mut b);
        assert!(fetched.len() <= EVENT_ROOM);
        keys.extend(fetched.iter().map(|event| match event {
            Event::Received(Frame::Tell { to, .. }) => to.key,
            other => panic!("{other:?}"),
        }));
        rounds += 1;
        if !carry(&mut a, &mut b, usize::MAX, START) {
            break;
        }
    }
    assert!(rounds >= 3);
    assert!(keys.iter().copied().eq(0..3 * EVENT_ROOM as u32), "in order, none lost");
}

#[test]
fn a_handshake_that_takes_too_long_ends() {
    let mut machine = machine("a");
    let due = machine.poll_timeout().unwrap();
    assert_eq!(due, START + Duration::from_secs(5));
    machine.handle_timeout(due - Duration::from_nanos(1));
    assert_eq!(machine.state(), &State::Handshaking);
    // Bytes that trickle in do not prolong it.
    machine.handle_bytes(due - Duration::from_nanos(1), &mut &[1][..]);
    machine.handle_timeout(due);
    assert_eq!(events(&mut machine), [Event::Closed(CloseReason::HandshakeTimeout)]);
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn a_silent_side_is_pinged_and_an_answer_keeps_the_link() {
    let (mut a, mut b) = up();
    let first = a.poll_timeout().unwrap();
    assert_eq!(first, START + Duration::from_secs(5));
    a.handle_timeout(first);
    a.handle_timeout(first);
    assert_eq!(a.poll_transmit().map(<[u8]>::len), Some(7), "one ping and not two");
    carry(&mut a, &mut b, usize::MAX, first);
    carry(&mut b, &mut a, usize::MAX, first);
    assert_eq!(a.poll_timeout(), Some(first + Duration::from_secs(5)));
    assert_eq!((events(&mut a), events(&mut b)), (vec![], vec![]), "heartbeats are nobody's business");
}

#[test]
fn a_side_that_stays_silent_is_down() {
    let (mut a, _b) = up();
    a.handle_timeout(a.poll_timeout().unwrap());
    let due = a.poll_timeout().unwrap();
    assert_eq!(due, START + Duration::from_secs(20));
    a.handle_timeout(due);
    assert_eq!(events(&mut a), [Event::Closed(CloseReason::Silent)]);
}

#[test]
fn a_goodbye_closes_both_sides_with_its_reason() {
    let (mut a, mut b) = up();
    a.send(&tell(1, vec![])).unwrap();
    a.close(Parting::Shutdown);
    assert_eq!(a.send(&tell(1, vec![])), Err(SendError::NotUp));
    carry(&mut a, &mut b, usize::MAX, START);
    let last = Event::Closed(CloseReason::ClosedByPeer(Parting::Shutdown));
    assert_eq!(events(&mut b), [Event::Received(tell(1, vec![])), last], "what was said before is still heard");
    b.close(Parting::Shutdown);
    b.handle_end();
    assert_eq!(events(&mut b), [], "a link closes once");
}

#[test]
fn a_connection_that_ends_within_a_frame_says_so() {
    let (mut a, mut b) = up();
    a.handle_end();
    assert_eq!(events(&mut a), [Event::Closed(CloseReason::Disconnected { within_frame: false })]);
    b.handle_bytes(START, &mut &[1, 0][..]);
    b.handle_end();
    assert_eq!(events(&mut b), [Event::Closed(CloseReason::Disconnected { within_frame: true })]);
}

proptest! {
    #[test]
    fn two_machines_hear_each_other_alike_however_the_bytes_are_cut(
        from_a in prop::collection::vec(frame(), 0..12),
        from_b in prop::collection::vec(frame(), 0..12),
        cuts in prop::collection::vec((any::<bool>(), 1..50_usize), 1..40),
    ) {
        let (mut a, mut b) = (machine("a"), machine("b"));
        let mut said = [from_a, from_b].map(|frames| {
            frames.into_iter().filter(|frame| features_of(frame).is_some()).collect::<VecDeque<_>>()
        });
        let expected = said.clone();
        let mut heard = [Vec::new(), Vec::new()];
        let mut quiet = 0;
        for (towards_b, count) in cuts.iter().cycle() {
            let moved = if *towards_b { carry(&mut a, &mut b, *count, START) } else { carry(&mut b, &mut a, *count, START) };
            let mut acted = moved;
            for (side, machine) in [(0, &mut a), (1, &mut b)] {
                while let Some(event) = machine.poll_event() {
                    match event {
                        Event::Introduced(_) => machine.welcome(),
                        Event::Up(_) => {}
                        Event::Received(frame) => heard[side].push(frame),
                        Event::Closed(reason) => prop_assert!(false, "{reason}"),
                    }
                    acted = true;
                }
                if machine.state() == &State::Up && let Some(frame) = said[side].pop_front() {
                    prop_assert_eq!(machine.send(&frame), Ok(()));
                    acted = true;
                }
            }
            quiet = if acted { 0 } else { quiet + 1 };
            if quiet > cuts.len() {
                // A whole round of cuts in both ways (or in the only one there is) moved nothing.
                if carry(&mut a, &mut b, 1, START) || carry(&mut b, &mut a, 1, START) { quiet = 0 } else { break }
            }
        }
        prop_assert!(heard[1].iter().eq(expected[0].iter()));
        prop_assert!(heard[0].iter().eq(expected[1].iter()));
    }

    #[test]
    fn any_frames_in_any_state_close_the_link_at_most_once_and_last(
        all in prop::collection::vec(frame(), 0..20), greeted: bool, noise: Vec<u8>
    ) {
        let mut machine = if greeted { up().0 } else { machine("a") };
        hear(&mut machine, &all);
        machine.handle_bytes(START, &mut &noise[..]);
        machine.handle_end();
        let seen = events(&mut machine);
        let closes = seen.iter().filter(|event| matches!(event, Event::Closed(_))).count();
        prop_assert_eq!(closes, 1);
        prop_assert!(matches!(seen.last(), Some(Event::Closed(_))));
        prop_assert!(seen.len() <= EVENT_ROOM + 1);
    }

    #[test]
    fn any_bytes_leave_no_more_than_a_few_last_words(bytes in prop::collection::vec(any::<Vec<u8>>(), 0..10)) {
        let mut machine = machine("a");
        for chunk in &bytes {
            machine.handle_bytes(START, &mut &chunk[..]);
        }
        prop_assert!(machine.poll_transmit().map_or(0, <[u8]>::len) <= MAX_HELLO as usize);
    }
}
