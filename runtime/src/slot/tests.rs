//! Namespaces, pages that are used up, and whose a slot is.

use super::*;

#[test]
fn a_namespace_is_given_out_once() {
    let a = fresh_namespace().unwrap();
    let b = fresh_namespace().unwrap();
    assert_ne!(a, b);
    assert!(!a.is_peer());
}

#[test]
fn a_page_of_retired_slots_reads_as_dead() {
    let table = new_table().unwrap();
    let per_page = (PAGE / size_of::<Slot>()) as u32;
    // Other tests take keys at the same time: only a run of ours fills a page for sure.
    let mut keys = VecDeque::new();
    let is_ours = |keys: &VecDeque<u32>, page: u32| (page..page + per_page).all(|key| keys.contains(&key));
    let first = loop {
        table.allocate(&mut keys, per_page, u32::MAX);
        let mut pages = keys.iter().copied().filter(|key| key.is_multiple_of(per_page));
        if let Some(first) = pages.find(|page| is_ours(&keys, *page)) {
            break first;
        }
    };
    for key in first..first + per_page {
        let slot = table.at(key).unwrap();
        let _ = slot.word.close(0);
        assert!(!slot.word.transition_to_dead());
        Table::retire(slot);
    }
    let slot = SLOTS.at(first).unwrap();
    assert_eq!((slot.word.next_generation(), slot.id(), slot.table().is_none()), (0, None, true));
    assert!(table.at(first).is_none());
    let others = keys.iter().filter(|key| !(first..first + per_page).contains(key));
    assert!(others.into_iter().all(|key| table.at(*key).unwrap().word.next_generation() == 1));
}

#[test]
fn a_slot_is_found_under_its_own_namespace_only() {
    let (one, other) = (new_table().unwrap(), new_table().unwrap());
    let mut keys = VecDeque::new();
    one.allocate(&mut keys, 1, u32::MAX);
    assert!(one.at(keys[0]).is_some() && other.at(keys[0]).is_none());
    assert!(one.slots().count() == 1 && other.slots().count() == 0);
}
