//! The examples run to their end and say what they promise.

use std::process::Command;

/// Builds and runs an example; its output.
fn run(name: &str, arguments: &[&str]) -> String {
    let cargo = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", name, "--"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let (out, err) = (String::from_utf8_lossy(&cargo.stdout), String::from_utf8_lossy(&cargo.stderr));
    assert!(cargo.status.success(), "example {name} ended with {}:\n{out}\n{err}", cargo.status);
    out.into_owned()
}

fn says(name: &str, words: &[&str]) {
    let out = run(name, &[]);
    for word in words {
        assert!(out.contains(word), "example {name} does not say {word:?}:\n{out}");
    }
}

#[test]
fn hello_adds_up() {
    says("hello", &["the answer is 42"]);
}

#[test]
fn ask_is_answered_or_told_why_not() {
    says("ask", &["at once: 42", "by another lane: 8", "no answer within", "the lane is gone"]);
}

#[test]
fn supervised_goes_on_after_a_panic() {
    says("supervised", &["84 / 2 = 42", "divide by zero", "126 / 3 = 42"]);
}

#[test]
fn two_nodes_hear_of_each_others_end() {
    says("two_nodes", &["stands at 42", "stands at 7", "the link to its node went down"]);
}

#[test]
fn echo_closes_its_listener_with_its_lane() {
    says("echo", &["got hello", "the listener went with its lane"]);
}

#[test]
fn bulk_release_leaves_nothing_behind() {
    let out = run("bulk_release", &["--quick"]);
    let leaks: Vec<_> =
        out.lines().filter_map(|line| line.split_whitespace().next_back()?.parse::<u64>().ok()).collect();
    assert!(
        leaks.len() >= 5 && leaks.iter().all(|leaks| *leaks == 0),
        "a row for each load, each without leaks:\n{out}"
    );
}

#[test]
fn process_takes_its_child_with_it() {
    says("process", &["twice 21 is 42", "by the next one, 8", "no process is left"]);
}

#[test]
fn philosophers_are_told_of_their_deadlock_and_get_their_forks_back() {
    let out = run("philosophers", &["--for", "1"]);
    for word in ["is told", "awaits the mutex", "meals [1, 1, 1, 1, 1]", "all forks are back"] {
        assert!(out.contains(word), "the philosophers do not say {word:?}:\n{out}");
    }
}

#[test]
fn plan_says_how_many_lanes_fit_and_what_the_runtime_may_take() {
    let out = run("plan", &["--memory", "64MiB", "--budget", "256KiB", "--mailbox", "16", "--workers", "2"]);
    for word in ["250 lanes fit in 64 MiB", "stacks of workers", "sum"] {
        assert!(out.contains(word), "the plan does not say {word:?}:\n{out}");
    }
}
