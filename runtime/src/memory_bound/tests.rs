use std::time::Duration;

use super::*;
use crate::Runtime;

#[test]
fn both_tables_have_the_same_rows_and_the_bound_has_the_greater_ones() {
    let runtime = Runtime::builder().workers(2).memory_limit(16 << 20).build().unwrap();
    let (bound, used) = (runtime.handle().memory_bound(), runtime.handle().memory_used());
    let names = |table: &MemoryTable| table.terms.iter().map(|term| term.name).collect::<Vec<_>>();
    assert_eq!(names(&bound), names(&used));
    assert_eq!(bound.get(LANES_ROW).unwrap().bytes, Some(16 << 20));
    for row in [LANES_ROW, QUEUES, WORKERS] {
        assert!(bound.get(row).unwrap().bytes >= used.get(row).unwrap().bytes, "{row}");
    }
}

#[test]
fn the_rings_of_few_lanes_count_with_stand_ins_and_without() {
    for (watchdog, rings) in [(Some(Duration::from_millis(10)), 4), (None, 2)] {
        let runtime = Runtime::builder().workers(2).max_lanes(8).watchdog(watchdog).build().unwrap();
        let taken = rings * queue::KEPT;
        assert!(taken >= rings * 16_384);
        for table in [runtime.handle().memory_bound(), runtime.handle().memory_used()] {
            assert!(table.get(QUEUES).unwrap().bytes >= Some(taken), "{table}");
        }
    }
}

#[test]
fn without_a_limit_lanes_are_beside_the_sum() {
    let runtime = Runtime::builder().workers(1).build().unwrap();
    let bound = runtime.handle().memory_bound();
    assert_eq!(bound.get(LANES_ROW).unwrap().bytes, None);
    assert!(bound.beside().any(|term| term.name == LANES_ROW));
}

#[test]
fn a_table_is_shown_with_its_columns_aligned_and_its_sum() {
    let mut table = MemoryTable { terms: Vec::new() };
    table.row("a", 1 << 20, "one");
    table.row("longer", 512, "another");
    table.row("c", None, "nobody knows");
    let shown = "a         1024 KiB  one\nlonger       512 B  another\nc                ?  nobody knows\n\
                 sum     1024.5 KiB  and 1 rows beside it";
    assert_eq!(table.to_string(), shown);
    assert_eq!(table.total(), (1 << 20) + 512);
}
