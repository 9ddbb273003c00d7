use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use proptest::prelude::*;
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::*;

fn decode_default<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode(bytes, Limits::default())
}

/// 2^32 - 1 as a length prefix.
const HUGE: [u8; 5] = [0xFF, 0xFF, 0xFF, 0xFF, 0x0F];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Tree {
    Leaf(u8),
    Node(Box<Tree>),
}

#[test]
fn a_megabyte_of_recursion_is_an_error_and_not_a_stack_overflow() {
    assert_eq!(decode_default::<Tree>(&vec![1; 1 << 20]), Err(DecodeError::TooDeep { max: 64 }));
}

fn decode_erased<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, DecodeError> {
    decode_with(bytes, Limits::default(), |from| erased_serde::deserialize(from))
}

#[test]
fn a_type_that_only_the_reader_knows_has_the_same_limits_of_depth_number_and_length() {
    assert_eq!(decode_erased::<Tree>(&vec![1; 1 << 20]), Err(DecodeError::TooDeep { max: 64 }));
    assert_eq!(decode_erased::<Vec<()>>(&HUGE), Err(DecodeError::TooManyElements { max: 1 << 20 }));
    assert!(matches!(decode_erased::<bool>(&[7]), Err(DecodeError::Malformed(_))));
    assert_eq!(decode_erased::<u8>(&[1, 2]), Err(DecodeError::Trailing { bytes: 1 }));
    let long: Vec<u8> = vec![7; 100_000];
    assert_eq!(decode_erased(&encode(&long, 1 << 20).unwrap()), Ok(long));
}

#[test]
fn every_kind_of_recursion_counts_towards_the_depth() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct ByOption(Option<Box<ByOption>>);
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct BySequence {
        below: Vec<BySequence>,
    }
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct ByMap(BTreeMap<u8, ByMap>, ());
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum ByVariant {
        End,
        Tuple(u8, Box<ByVariant>),
        Struct { below: Box<ByVariant> },
    }
    let deep = vec![1; 1 << 20];
    let too_deep = DecodeError::TooDeep { max: 64 };
    assert_eq!(decode_default::<ByOption>(&deep).unwrap_err(), too_deep);
    assert_eq!(decode_default::<BySequence>(&deep).unwrap_err(), too_deep);
    assert_eq!(decode_default::<ByMap>(&deep).unwrap_err(), too_deep);
    assert_eq!(decode_default::<ByVariant>(&deep).unwrap_err(), too_deep);
    assert_eq!(decode_default::<ByVariant>(&vec![2; 1 << 20]).unwrap_err(), too_deep);
}

#[test]
fn depth_is_given_back_when_a_part_is_done() {
    let flat: Vec<Option<Tree>> = vec![Some(Tree::Leaf(1)); 1000];
    let bytes = encode(&flat, 1 << 20).unwrap();
    let limits = Limits { max_depth: 3, ..Limits::default() };
    assert_eq!(decode(&bytes, limits), Ok(flat));
    assert_eq!(
        decode::<Vec<Option<Tree>>>(&bytes, Limits { max_depth: 2, ..limits }),
        Err(DecodeError::TooDeep { max: 2 })
    );
}

#[test]
fn a_sequence_of_four_billion_units_is_refused_by_its_length() {
    assert_eq!(decode_default::<Vec<()>>(&HUGE), Err(DecodeError::TooManyElements { max: 1 << 20 }));
}

#[test]
fn elements_without_size_use_up_the_limit_across_sequences() {
    let limits = Limits { max_elements: 5, ..Limits::default() };
    // Two outer elements, then three inner ones.
    assert_eq!(decode(&[2, 2, 1], limits), Ok(vec![vec![(), ()], vec![()]]));
    assert_eq!(decode::<Vec<Vec<()>>>(&[2, 2, 2], limits), Err(DecodeError::TooManyElements { max: 5 }));
}

thread_local! {
    /// The largest capacity that a decoding in this thread asked a `Probe` to make ahead.
    static ASKED: Cell<usize> = const { Cell::new(0) };
}

/// A collection that notes what capacity it was told to make, and keeps nothing.
struct Probe<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Probe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Probe<T>, D::Error> {
        struct Noting<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Noting<T> {
            type Value = Probe<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a map or a sequence")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Probe<T>, A::Error> {
                ASKED.set(ASKED.get() + access.size_hint().unwrap_or(0));
                while access.next_entry::<T, T>()?.is_some() {}
                Ok(Probe(PhantomData))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Probe<T>, A::Error> {
                ASKED.set(ASKED.get() + access.size_hint().unwrap_or(0));
                while access.next_element::<T>()?.is_some() {}
                Ok(Probe(PhantomData))
            }
        }
        if size_of::<T>() == size_of::<u64>() {
            deserializer.deserialize_map(Noting(PhantomData))
        } else {
            deserializer.deserialize_seq(Noting(PhantomData))
        }
    }
}

#[test]
fn a_map_bomb_of_few_bytes_asks_for_no_capacity() {
    ASKED.set(0);
    assert!(decode_default::<Probe<u64>>(&HUGE).is_err());
    // A length that the element limit lets through, with nothing behind it.
    assert_eq!(decode_default::<Probe<u64>>(&[0xFF, 0xFF, 0x03]).err(), Some(DecodeError::Truncated));
    assert_eq!(ASKED.get(), 0);
    assert!(decode_default::<BTreeMap<u64, u64>>(&HUGE).is_err());
}

#[test]
fn capacities_asked_ahead_by_nested_lies_add_up_to_the_input_at_most() {
    ASKED.set(0);
    // Each level claims 100 elements; only the first ones are ever there.
    assert!(decode_default::<Probe<Probe<Probe<Probe<u8>>>>>(&[100; 90]).is_err());
    assert!(ASKED.get() <= 90, "{} elements asked for ahead", ASKED.get());
    assert!(ASKED.get() > 0);
}

#[test]
fn many_empty_vectors_are_charged_for_what_they_take() {
    let bytes = encode(&vec![Vec::<u64>::new(); 8192], 1 << 20).unwrap();
    let limits = Limits { max_expansion: 8, ..Limits::default() };
    let max = 8 * bytes.len() as u64;
    assert_eq!(decode::<Vec<Vec<u64>>>(&bytes, limits), Err(DecodeError::TooLarge { max }));
    // 24 bytes for one is below the default.
    assert_eq!(decode_default::<Vec<Vec<u64>>>(&bytes).map(|all| all.len()), Ok(8192));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Hollow {
    seen: u8,
    #[serde(skip)]
    room: [[u64; 16]; 2],
}

#[test]
fn elements_that_are_large_for_their_bytes_are_refused_before_they_fill_the_memory() {
    assert!(decode_default::<Vec<Hollow>>(&[&[60][..], &[0; 60]].concat()).is_ok(), "small messages are let through");
    let many = vec![0; 1 << 20];
    let bytes = encode(&many, 2 << 20).unwrap();
    assert!(matches!(
        decode_default::<Vec<Hollow>>(&bytes[..]),
        Err(DecodeError::TooManyElements { .. } | DecodeError::TooLarge { .. })
    ));
    let bytes = encode(&many[..10_000], 2 << 20).unwrap();
    assert_eq!(decode_default::<Vec<Hollow>>(&bytes), Err(DecodeError::TooLarge { max: 32 * bytes.len() as u64 }));
}

#[test]
fn what_lies_behind_a_box_is_charged_too() {
    let boxes: Vec<Box<Hollow>> = (0..1000).map(|_| Box::new(Hollow { seen: 1, room: [[0; 16]; 2] })).collect();
    let bytes = encode(&boxes, 1 << 20).unwrap();
    assert_eq!(decode_default::<Vec<Box<Hollow>>>(&bytes), Err(DecodeError::TooLarge { max: 32 * bytes.len() as u64 }));
}

#[test]
fn bytes_left_over_are_an_error() {
    assert_eq!(decode_default::<u8>(&[1, 2, 3]), Err(DecodeError::Trailing { bytes: 2 }));
    assert_eq!(decode_prefix::<u8>(&[1, 2, 3], Limits::default()), Ok((1, &[2, 3][..])));
}

#[test]
fn input_that_ends_early_is_truncated() {
    let bytes = encode(&("lane", 70_000_u32), 64).unwrap();
    for end in 0..bytes.len() {
        assert_eq!(decode_default::<(String, u32)>(&bytes[..end]), Err(DecodeError::Truncated), "{end}");
    }
}

#[test]
fn wrong_bytes_say_what_is_wrong_in_few_words() {
    assert!(matches!(decode_default::<bool>(&[2]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_default::<Option<u8>>(&[2, 0]), Err(DecodeError::Malformed(_))));
    assert!(matches!(decode_default::<String>(&[1, 0xFF]), Err(DecodeError::Malformed(_))));
    let Err(DecodeError::Malformed(why)) = decode_default::<Tree>(&[9]) else { panic!("variant 9 is not there") };
    assert!(why.contains('9'), "{why}");
    let Err(DecodeError::Malformed(why)) = decode_default::<std::net::Ipv4Addr>(&[])
        .map_err(|_| <DecodeError as serde::de::Error>::custom("ä".repeat(1000)))
    else {
        panic!("no bytes are no address")
    };
    assert_eq!(why.len(), 256);
}

#[test]
fn a_type_that_needs_a_self_describing_format_is_refused() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(u8),
        Text(String),
    }
    assert_eq!(decode_default::<Either>(&[1]), Err(DecodeError::Unsupported));
}

#[test]
fn encoding_stops_at_the_limit_and_leaves_the_buffer_as_it_was() {
    let mut out = vec![7];
    assert_eq!(encode_into(&[1_u8; 100][..], &mut out, 100), Err(EncodeError::TooLarge { max: 100 }));
    assert_eq!(out, [7]);
    assert!(out.capacity() <= 101, "{} bytes allocated", out.capacity());
    assert_eq!(encode_into(&[1_u8; 99][..], &mut out, 100), Ok(()));
    assert_eq!(out.len(), 101);
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Message {
    Nothing,
    One(i64),
    Two(String, Option<char>),
    Named { bytes: Vec<u8>, map: BTreeMap<u16, Vec<f64>>, inner: Box<Option<Message>> },
    Wide(u128, i8, bool, (u8, i16, ())),
}

fn message() -> impl Strategy<Value = Message> {
    let flat =
        prop_oneof![
            Just(Message::Nothing),
            any::<i64>().prop_map(Message::One),
            (any::<String>(), any::<Option<char>>()).prop_map(|(a, b)| Message::Two(a, b)),
            (any::<u128>(), any::<i8>(), any::<bool>(), any::<(u8, i16)>())
                .prop_map(|(a, b, c, (d, e))| Message::Wide(a, b, c, (d, e, ()))),
        ];
    flat.prop_recursive(8, 16, 1, |inner| {
        let map = prop::collection::btree_map(any::<u16>(), prop::collection::vec(-1e9..1e9, 0..5), 0..5);
        (any::<Vec<u8>>(), map, prop::option::of(inner)).prop_map(|(bytes, map, inner)| Message::Named {
            bytes,
            map,
            inner: Box::new(inner),
        })
    })
}

proptest! {
    #[test]
    fn ordinary_values_come_back_as_they_were(message in message()) {
        let bytes = encode(&message, 1 << 20).unwrap();
        prop_assert_eq!(&bytes, &postcard::to_stdvec(&message).unwrap());
        prop_assert_eq!(decode_default::<Message>(&bytes), Ok(message));
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes: Vec<u8>) {
        let _either = decode_default::<Message>(&bytes);
        let _either = decode_default::<Vec<Tree>>(&bytes);
        let _either = decode_default::<Vec<Vec<Vec<()>>>>(&bytes);
    }

    #[test]
    fn what_postcard_decodes_from_any_bytes_this_decodes_alike(bytes: Vec<u8>) {
        let theirs = postcard::take_from_bytes::<Message>(&bytes);
        let ours = decode_prefix::<Message>(&bytes, Limits::default());
        match (theirs, ours) {
            (Ok((a, rest_a)), Ok((b, rest_b))) => {
                // By text, since a NaN does not equal itself.
                prop_assert_eq!(format!("{a:?}"), format!("{b:?}"));
                prop_assert_eq!(rest_a, rest_b);
            }
            (Err(_), Err(_)) => {}
            (theirs, ours) => prop_assert!(false, "{theirs:?} but {ours:?}"),
        }
    }
}
