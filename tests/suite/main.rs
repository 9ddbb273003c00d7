//! What OTP promises of exits, links, monitors, names and calls, and what Laneway promises beyond it, through the
//! facade. A test that stands for a statement of the list in `tests/OTP.md` bears its number.
//!
//! Time is virtual and there is one worker wherever the order of things matters; races are run many times over with one
//! worker and with two.

mod abandoned;
mod actors;
mod arenas;
mod ask_timeouts;
mod asks;
mod channels;
mod deadlock_policies;
mod deadlocks;
mod exits;
mod floods;
mod group_model;
mod groups;
mod handed_on;
mod lanes;
mod links;
mod lock_circles;
mod locks;
mod mailboxes;
mod monitors;
mod names;
mod reports;
mod resources;
mod shutdown;
mod support;
mod timers;
mod watchdog;

/// The list and the suite name the same tests.
#[test]
fn the_list_of_otp_statements_names_the_tests_that_there_are() {
    use std::collections::BTreeSet;

    let sources = [
        ("actors", include_str!("actors.rs")),
        ("asks", include_str!("asks.rs")),
        ("exits", include_str!("exits.rs")),
        ("groups", include_str!("groups.rs")),
        ("lanes", include_str!("lanes.rs")),
        ("links", include_str!("links.rs")),
        ("mailboxes", include_str!("mailboxes.rs")),
        ("monitors", include_str!("monitors.rs")),
        ("names", include_str!("names.rs")),
        ("shutdown", include_str!("shutdown.rs")),
        ("timers", include_str!("timers.rs")),
    ];
    let is_named = |name: &&str| name.starts_with("otp_");
    let name = |line: &'static str| line.strip_prefix("fn ")?.split('(').next().filter(is_named);
    let there = sources
        .iter()
        .flat_map(|(file, text)| text.lines().filter_map(name).map(move |test| format!("{file}::{test}")));
    let there: BTreeSet<String> = there.collect();
    let list = include_str!("../OTP.md").split('`').skip(1).step_by(2);
    let listed = list.filter(|code| code.split_once("::").is_some_and(|(_, test)| test.starts_with("otp_")));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let differ: Vec<_> = there.symmetric_difference(&listed).collect();
    assert!(!there.is_empty() && differ.is_empty(), "in the suite or in the list alone: {differ:#?}");
}
