use proptest::prelude::*;

use super::*;

fn node(name: &str, incarnation: u64) -> NodeIdentity {
    NodeIdentity::new(name, incarnation).unwrap()
}

/// A table whose peers get the namespaces of the high range in turn.
pub(crate) fn peers(own: NodeIdentity, lanes: u16) -> Peers {
    let mut next = Namespace::FIRST_PEER;
    let allot = move || {
        let namespace = Namespace::new(next).filter(|namespace| namespace.number() != u16::MAX);
        next = next.saturating_add(1);
        namespace
    };
    Peers::new(own, Namespace::new(lanes).unwrap(), Box::new(allot))
}

fn table() -> Peers {
    peers(node("here", 1), 1)
}

#[test]
fn each_incarnation_has_the_namespace_that_was_allotted_and_lost_has_the_last() {
    let mut peers = table();
    let a = peers.admit(&node("a", 1)).unwrap().peer;
    let b = peers.admit(&node("b", 1)).unwrap().peer;
    assert_eq!([Peer::LOST, a, b].map(|p| p.namespace().number()), [0xFFFF, 0x8000, 0x8001]);
    assert_eq!(Peer::of(Namespace::new(0x8001).unwrap()), Some(b));
    assert_eq!(Peer::of(Namespace::new(0x7FFF).unwrap()), None);
}

#[test]
fn a_link_that_comes_back_has_the_namespace_of_before() {
    let mut peers = table();
    let peer = peers.admit(&node("a", 1)).unwrap().peer;
    peers.link_down(peer);
    assert_eq!(peers.state(peer), Some(PeerState::Down));
    assert_eq!(peers.admit(&node("a", 1)), Ok(Admitted { peer, supersedes: None }));
    assert_eq!(peers.state(peer), Some(PeerState::Up));
}

#[test]
fn a_new_incarnation_supersedes_the_one_before_for_good() {
    let mut peers = table();
    let old = peers.admit(&node("a", 1)).unwrap().peer;
    let new = peers.admit(&node("a", 2)).unwrap();
    assert_eq!(new.supersedes, Some(old), "it was up, so its link must be closed");
    assert_ne!(new.peer, old);
    peers.link_down(old);
    assert_eq!(peers.state(old), Some(PeerState::Superseded));
    assert_eq!(peers.admit(&node("a", 1)), Err(PeerError::Superseded));
    assert_eq!(peers.latest("a"), Some((new.peer, PeerState::Up)));

    peers.link_down(new.peer);
    assert_eq!(peers.admit(&node("a", 3)).unwrap().supersedes, None, "there is no link to close");
    assert_eq!(peers.state(new.peer), Some(PeerState::Superseded));
}

#[test]
fn a_second_link_and_a_link_to_oneself_are_refused() {
    let mut peers = table();
    let _admitted = peers.admit(&node("a", 1)).unwrap();
    assert_eq!(peers.admit(&node("a", 1)), Err(PeerError::AlreadyLinked));
    assert_eq!(peers.admit(&node("here", 1)), Err(PeerError::SelfConnection));
    assert_eq!(peers.admit(&node("here", 2)), Err(PeerError::NameTaken));
    assert_eq!(peers.find(&node("here", 2)), None);
}

#[test]
fn a_node_heard_of_keeps_its_namespace_when_it_links() {
    let mut peers = table();
    let Ok(Whose::Peer(heard)) = peers.whose(&node("far", 9)) else { panic!("not a peer") };
    assert_eq!(peers.state(heard), Some(PeerState::Heard));
    assert_eq!(peers.whose(&node("far", 9)), Ok(Whose::Peer(heard)));
    assert_eq!(peers.admit(&node("far", 9)), Ok(Admitted { peer: heard, supersedes: None }));
}

#[test]
fn ones_own_earlier_runs_are_lost_and_take_no_place() {
    let mut peers = table();
    assert_eq!(peers.whose(&node("here", 1)), Ok(Whose::Own));
    assert_eq!(peers.whose(&node("here", 0)), Ok(Whose::Peer(Peer::LOST)));
    assert_eq!((peers.state(Peer::LOST), peers.identity(Peer::LOST)), (None, None));
    assert_eq!(peers.entries.len(), 0);
}

#[test]
fn hearsay_cannot_use_up_the_namespaces() {
    let mut peers = table();
    for n in 0..Peers::MAX_HEARD as u64 {
        assert!(peers.whose(&node("rumour", n)).is_ok());
    }
    assert_eq!(peers.whose(&node("rumour", u64::MAX)), Err(PeerError::Exhausted));
    assert!(peers.admit(&node("real", 1)).is_ok());
    // One that turns out to be real makes room for another.
    assert!(peers.admit(&node("rumour", 0)).is_ok());
    assert!(peers.whose(&node("rumour", u64::MAX)).is_ok());
}

#[test]
fn namespaces_that_are_used_up_are_an_error_and_never_reused() {
    let mut peers = table();
    let mut last = peers.admit(&node("a", 0)).unwrap().peer;
    for n in 1..u64::from(u16::MAX - Namespace::FIRST_PEER) {
        let peer = peers.admit(&node("a", n)).unwrap().peer;
        assert!(peer > last);
        last = peer;
    }
    assert_eq!(last.namespace().number(), u16::MAX - 1);
    assert_eq!(peers.admit(&node("a", u64::MAX)), Err(PeerError::Exhausted));
    assert_eq!(peers.latest("a"), Some((last, PeerState::Up)), "who was there stays");
}

#[test]
fn names_are_checked_wherever_they_come_from() {
    assert_eq!(NodeIdentity::new("", 1), Err(NameError::Empty));
    assert_eq!(NodeIdentity::new("x".repeat(129), 1), Err(NameError::TooLong { len: 129, max: 128 }));
    assert_eq!(NodeIdentity::new("a\nb", 1), Err(NameError::BadCharacter { at: 1 }));
    let bytes = crate::codec::encode(&("a b", 1_u64), 64).unwrap();
    let decoded = crate::codec::decode::<NodeIdentity>(&bytes, crate::codec::Limits::default());
    assert!(matches!(decoded, Err(crate::codec::DecodeError::Malformed(_))));
    let bytes = crate::codec::encode(&node("a", 5), 64).unwrap();
    assert_eq!(crate::codec::decode(&bytes, crate::codec::Limits::default()), Ok(node("a", 5)));
}

proptest! {
    #[test]
    fn whatever_comes_and_goes_one_incarnation_of_a_name_is_up_and_places_never_move(
        steps in prop::collection::vec((0..3_u8, 0..3_u8, 0..4_u64), 0..60)
    ) {
        let mut peers = table();
        let mut seen: BTreeMap<NodeIdentity, Peer> = BTreeMap::new();
        for (step, name, incarnation) in steps {
            let identity = node(["a", "b", "c"][usize::from(name)], incarnation);
            let was = peers.find(&identity).and_then(|peer| peers.state(peer));
            match step {
                0 => {
                    let admitted = peers.admit(&identity);
                    prop_assert_eq!(admitted.is_err(), matches!(was, Some(PeerState::Up | PeerState::Superseded)));
                }
                1 => { let _whose = peers.whose(&identity).unwrap(); }
                _ => if let Some(peer) = peers.find(&identity) { peers.link_down(peer) },
            }
            if let Some(peer) = peers.find(&identity) {
                prop_assert_eq!(*seen.entry(identity.clone()).or_insert(peer), peer);
                prop_assert_eq!(peers.identity(peer), Some(&identity));
                if was == Some(PeerState::Superseded) {
                    prop_assert_eq!(peers.state(peer), Some(PeerState::Superseded));
                }
            }
            for name in ["a", "b", "c"] {
                let up = peers.entries.values().filter(|(i, s)| i.name() == name && *s == PeerState::Up).count();
                prop_assert!(up <= 1);
            }
            prop_assert_eq!(peers.heard, peers.entries.values().filter(|(_, s)| *s == PeerState::Heard).count());
        }
    }
}
