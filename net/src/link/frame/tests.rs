use std::num::NonZeroU16;

use proptest::prelude::*;

use super::reader::take;
use super::writer::KEPT;
use super::*;
use crate::peer::{NodeIdentity, PeerError};
use crate::wire_id::WireNode;

fn slot() -> impl Strategy<Value = WireSlot> {
    any::<(u32, NonZeroU16)>().prop_map(|(key, generation)| WireSlot { key, generation })
}

fn reason() -> impl Strategy<Value = ExitReason> {
    prop_oneof![
        Just(ExitReason::Normal),
        Just(ExitReason::NodeDown),
        any::<String>().prop_map(ExitReason::error),
        any::<(String, String)>().prop_map(|(m, l)| ExitReason::Panicked { message: m.into(), location: l.into() }),
        any::<(u64, u64)>().prop_map(|(budget, requested)| ExitReason::OutOfMemory { budget, requested }),
    ]
}

pub(in crate::link) fn frame() -> impl Strategy<Value = Frame> {
    let asks = any::<(u64, u16)>().prop_map(|(first, count)| Asks { first, count });
    let node = prop_oneof![
        Just(WireNode::Sender),
        Just(WireNode::Lost),
        any::<u64>().prop_map(|n| WireNode::Other(NodeIdentity::new("third", n).unwrap())),
    ];
    let found = (node, slot()).prop_map(|(node, slot)| WireId { node, slot });
    let result = prop_oneof![found.prop_map(Ok), Just(Err(LookupError::NotFound))];
    prop_oneof![
        any::<Vec<u8>>().prop_map(Frame::Hello),
        Just(Frame::Welcome),
        Just(Frame::HelloRefused(Refusal::Peer(PeerError::AlreadyLinked))),
        (slot(), any::<u64>(), asks.clone(), any::<Vec<u8>>()).prop_map(|(to, fingerprint, asks, body)| Frame::Tell {
            to,
            fingerprint,
            asks,
            body
        }),
        (slot(), asks).prop_map(|(to, asks)| Frame::Refused { to, asks, why: RefusedTell::Full }),
        any::<(u64, Vec<u8>)>().prop_map(|(ask, body)| Frame::ReplyOk { ask, body }),
        (any::<u64>(), reason()).prop_map(|(ask, reason)| Frame::ReplyErr { ask, error: WireAskError::Ended(reason) }),
        any::<u64>().prop_map(|ask| Frame::AskCancelled { ask }),
        (any::<u64>(), slot()).prop_map(|(reference, target)| Frame::Monitor { reference, target }),
        any::<u64>().prop_map(|reference| Frame::Demonitor { reference }),
        (any::<u64>(), reason()).prop_map(|(reference, reason)| Frame::Down { reference, reason }),
        (slot(), slot()).prop_map(|(from, to)| Frame::Link { from, to }),
        (slot(), slot()).prop_map(|(from, to)| Frame::Unlink { from, to }),
        (prop::option::of(slot()), slot(), reason()).prop_map(|(from, to, reason)| Frame::Exit { from, to, reason }),
        (slot(), reason()).prop_map(|(to, reason)| Frame::Stop { to, reason }),
        any::<(u64, String, u64)>().prop_map(|(request, name, fingerprint)| Frame::Lookup {
            request,
            name,
            fingerprint
        }),
        (any::<u64>(), result).prop_map(|(request, result)| Frame::LookupReply { request, result }),
        any::<u64>().prop_map(|nonce| Frame::Ping { nonce }),
        any::<u64>().prop_map(|nonce| Frame::Pong { nonce }),
        any::<String>().prop_map(|why| Frame::Goodbye(Parting::Protocol(why))),
    ]
}

fn bytes_of(frames: &[Frame]) -> Vec<u8> {
    let mut writer = FrameWriter::new(MAX_MESSAGE);
    for frame in frames {
        writer.push(frame).unwrap();
    }
    writer.pending().to_vec()
}

fn reader() -> FrameReader {
    let mut reader = FrameReader::new(MAX_MESSAGE);
    reader.greeted();
    reader
}

fn read_all(reader: &mut FrameReader, mut input: &[u8]) -> Result<Vec<Frame>, FrameError> {
    let mut frames = Vec::new();
    while let Some(frame) = reader.read(&mut input)? {
        frames.push(frame);
    }
    assert!(input.is_empty(), "no frame, and yet bytes were left");
    Ok(frames)
}

#[test]
fn the_bytes_of_a_frame_are_those_of_the_table() {
    let to = WireSlot { key: 5, generation: NonZeroU16::new(3).unwrap() };
    let tell = Frame::Tell { to, fingerprint: 9, asks: Asks { first: 7, count: 1 }, body: vec![0xAA, 0xBB] };
    assert_eq!(bytes_of(&[tell]), [7, 0, 0, 0, 4, 0, 5, 3, 9, 7, 1, 0xAA, 0xBB]);
    assert_eq!(bytes_of(&[Frame::Welcome]), [0, 0, 0, 0, 2, 0]);
}

#[test]
fn a_length_over_the_limit_is_refused_with_its_header_and_nothing_is_allocated() {
    for (kind, max) in [(kind::HELLO, MAX_HELLO), (kind::TELL, MAX_MESSAGE), (kind::PING, MAX_CONTROL)] {
        for len in [max + 1, u32::MAX] {
            let mut reader = reader();
            let header = [&len.to_le_bytes()[..], &[kind, 0]].concat();
            let error = FrameError::TooLarge { len: u64::from(len), max };
            assert_eq!(read_all(&mut reader, &header), Err(error.clone()));
            assert_eq!(reader.body.capacity(), 0);
            assert_eq!(read_all(&mut reader, &bytes_of(&[Frame::Welcome])), Err(error), "the first error is final");
        }
    }
}

#[test]
fn before_the_greeting_no_frame_is_longer_than_a_hello() {
    let mut reader = FrameReader::new(MAX_MESSAGE);
    let header = [&(MAX_HELLO + 1).to_le_bytes()[..], &[kind::TELL, 0]].concat();
    let error = FrameError::TooLarge { len: u64::from(MAX_HELLO) + 1, max: MAX_HELLO };
    assert_eq!(read_all(&mut reader, &header), Err(error));
}

#[test]
fn a_length_that_is_only_claimed_allocates_no_more_than_twice_what_has_come() {
    let mut reader = reader();
    let header = [&MAX_MESSAGE.to_le_bytes()[..], &[kind::TELL, 0]].concat();
    assert_eq!(read_all(&mut reader, &header), Ok(vec![]));
    for come in 1..2000 {
        assert_eq!(read_all(&mut reader, &[0]), Ok(vec![]));
        assert!(reader.body.capacity() <= 2 * come, "{} bytes for {come}", reader.body.capacity());
    }
}

#[test]
fn unknown_kinds_and_flags_are_named() {
    assert_eq!(read_all(&mut reader(), &[0, 0, 0, 0, 0, 0]), Err(FrameError::UnknownKind(0)));
    assert_eq!(read_all(&mut reader(), &[0, 0, 0, 0, 200, 0]), Err(FrameError::UnknownKind(200)));
    assert_eq!(read_all(&mut reader(), &[0, 0, 0, 0, kind::WELCOME, 4]), Err(FrameError::UnknownFlags(4)));
    let trailing = FrameError::Malformed { kind: kind::WELCOME, error: DecodeError::Trailing { bytes: 1 } };
    assert_eq!(read_all(&mut reader(), &[1, 0, 0, 0, kind::WELCOME, 0, 9]), Err(trailing));
}

#[test]
fn a_stream_that_ends_within_a_frame_says_how_much_is_missing() {
    let bytes = bytes_of(&[Frame::ReplyOk { ask: 1, body: vec![0; 10] }]);
    for end in 0..bytes.len() {
        let mut reader = reader();
        assert_eq!(read_all(&mut reader, &bytes[..end]), Ok(vec![]));
        let missing = if end < HEADER { HEADER - end } else { bytes.len() - end };
        let expected = if end == 0 { Ok(()) } else { Err(FrameError::Truncated { missing }) };
        assert_eq!(reader.finish(), expected, "after {end} bytes");
    }
}

#[test]
fn a_message_over_the_limit_is_not_sent_and_the_frames_before_it_stay_whole() {
    let mut writer = FrameWriter::new(100);
    writer.push(&Frame::ReplyOk { ask: 1, body: [7; 99] }).unwrap();
    let before = writer.pending().to_vec();
    let error = writer.push(&Frame::ReplyOk { ask: 1, body: [7; 100] });
    assert_eq!(error, Err(FrameError::TooLarge { len: 101, max: 100 }));
    let name = "n".repeat(MAX_CONTROL as usize);
    let lookup: Frame = Frame::Lookup { request: 1, name, fingerprint: 0 };
    assert_eq!(writer.push(&lookup), Err(FrameError::TooLarge { len: u64::from(MAX_CONTROL) + 1, max: MAX_CONTROL }));
    assert_eq!(writer.pending(), before);
}

#[test]
fn a_writer_that_is_never_empty_does_not_grow_and_an_empty_one_keeps_little() {
    let mut writer = FrameWriter::new(MAX_MESSAGE);
    let frame = Frame::ReplyOk { ask: 1, body: [7; 993] };
    writer.push(&frame).unwrap();
    for _ in 0..1000 {
        writer.push(&frame).unwrap();
        writer.consume(1000);
    }
    assert!(writer.buffer.capacity() < 10_000, "{} bytes for two frames", writer.buffer.capacity());
    writer.push(&Frame::ReplyOk { ask: 1, body: [7; 2 * KEPT] }).unwrap();
    writer.consume(writer.pending().len());
    assert_eq!(writer.buffer.capacity(), 0);
}

#[test]
fn a_death_is_told_however_much_it_says() {
    let text: std::sync::Arc<str> = "ä".repeat(100_000).into();
    let cut: std::sync::Arc<str> = "ä".repeat(MAX_TEXT / 2).into();
    let long = ExitReason::Panicked { message: text.clone(), location: text };
    let short = ExitReason::Panicked { message: cut.clone(), location: cut };
    let frames = read_all(&mut reader(), &bytes_of(&[Frame::Down { reference: 1, reason: long }]));
    assert_eq!(frames, Ok(vec![Frame::Down { reference: 1, reason: short }]));
}

#[test]
fn the_numbers_of_asks_follow_each_other() {
    assert!(Asks { first: 5, count: 3 }.numbers().eq([5, 6, 7]));
    assert_eq!(Asks::default().numbers().count(), 0);
}

proptest! {
    #[test]
    fn frames_cut_anywhere_are_the_same_frames(
        frames in prop::collection::vec(frame(), 0..8), cuts in prop::collection::vec(1..40_usize, 1..50)
    ) {
        let bytes = bytes_of(&frames);
        let mut reader = reader();
        let (mut read, mut rest) = (Vec::new(), &bytes[..]);
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            read.extend(read_all(&mut reader, take(&mut rest, *cut)).unwrap());
        }
        prop_assert_eq!(read, frames);
        prop_assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a_writer_emptied_in_pieces_gives_all_bytes_once(
        frames in prop::collection::vec(frame(), 1..8), pieces in prop::collection::vec(1..60_usize, 1..20)
    ) {
        let mut writer = FrameWriter::new(MAX_MESSAGE);
        let (mut out, mut pieces) = (Vec::new(), pieces.iter().cycle());
        for frame in &frames {
            writer.push(frame).unwrap();
            let count = writer.pending().len().min(*pieces.next().unwrap());
            out.extend_from_slice(&writer.pending()[..count]);
            writer.consume(count);
        }
        out.extend_from_slice(writer.pending());
        prop_assert_eq!(out, bytes_of(&frames));
    }

    #[test]
    fn any_bytes_give_frames_or_an_error_within_the_memory_they_took(
        chunks in prop::collection::vec((any::<Vec<u8>>(), 0..24_u8, 0..300_u32, any::<bool>()), 0..8)
    ) {
        // Half of the chunks get a header that is plausible, so that the fields are reached.
        let mut reader = reader();
        let mut fed = 0;
        for (chunk, kind, len, plausible) in chunks {
            let head = [&len.to_le_bytes()[..], &[kind, 0]].concat();
            let bytes = if plausible { [head, chunk].concat() } else { chunk };
            fed += bytes.len();
            let read = read_all(&mut reader, &bytes);
            prop_assert!(reader.body.capacity() <= 2 * fed);
            if let Ok(frames) = read {
                prop_assert!(frames.len() * HEADER <= fed);
            }
        }
    }
}
