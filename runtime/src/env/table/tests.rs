use super::*;

fn table(last_generation: u16) -> Table<Id> {
    Table::new(Namespace::new(9).unwrap(), NonZeroU16::new(last_generation).unwrap())
}

fn insert(table: &mut Table<Id>) -> Id {
    table.insert_with(|id| id).unwrap()
}

#[test]
fn freed_keys_are_reused_in_the_order_in_which_they_were_freed() {
    let mut table = table(u16::MAX);
    let ids: Vec<Id> = (0..3).map(|_| insert(&mut table)).collect();
    for freed in [2, 0, 1] {
        assert_eq!(table.remove(ids[freed]), Some(ids[freed]));
    }
    let again: Vec<u32> = (0..4).map(|_| insert(&mut table).key()).collect();
    assert_eq!(again, [2, 0, 1, 3]);
}

#[test]
fn a_key_whose_generations_are_used_up_is_retired() {
    let mut table = table(3);
    for generation in 1..=3 {
        let id = insert(&mut table);
        assert_eq!((id.key(), id.generation().get()), (0, generation));
        table.remove(id).unwrap();
    }
    let next = insert(&mut table);
    assert_eq!((next.key(), next.generation().get()), (1, 1));
    for generation in 0..=4 {
        assert_eq!(table.find(0, generation), None);
    }
}

#[test]
fn the_last_generation_of_sixteen_bits_does_not_wrap() {
    let mut table = table(u16::MAX);
    for _ in 0..u16::MAX {
        let id = insert(&mut table);
        assert_eq!(id.key(), 0);
        table.remove(id).unwrap();
    }
    assert_eq!(insert(&mut table).key(), 1);
}

#[test]
fn a_stale_id_or_one_of_another_namespace_finds_and_removes_nothing() {
    let mut table = table(u16::MAX);
    let old = insert(&mut table);
    table.remove(old).unwrap();
    let new = insert(&mut table);
    assert_eq!(new.key(), old.key());
    let foreign = Id::new(new.key(), Namespace::new(8).unwrap(), new.generation());
    for id in [old, foreign] {
        assert_eq!(table.lookup(id), None);
        assert_eq!(table.remove(id), None);
    }
    assert_eq!(table.lookup(new), Some(&new));
}

#[test]
fn an_owner_of_nothing_takes_no_room() {
    let owners = Owners::default();
    let namespace = Namespace::new(1).unwrap();
    let id = |key| Id::new(key, namespace, NonZeroU16::MIN);
    owners.insert(id(5), id(100));
    owners.insert(id(5), id(101));
    owners.remove(id(5), id(100));
    assert_eq!(owners.list(id(5)), [id(101)]);
    // A release that has taken the set already.
    owners.remove(id(6), id(102));
    owners.remove(id(5), id(101));
    assert!(owners.list(id(5)).is_empty());
    assert!(owners.shards.iter().all(|shard| shard.lock().is_empty()));
}
