//! The fault plan of one run: it chooses the victim, and looks at each lane right before its end and right after.
//!
//! It is called by workers between two lanes, so it sees what a death has left before anybody else can act on it.

use std::fs;
use std::sync::mpsc::Sender;
use std::sync::{Mutex, MutexGuard, PoisonError};

use actors::Address;
use runtime::env::Descriptor;
use runtime::fault::{Ended, FaultPlan, Spawned};
use runtime::runtime::Held;
use runtime::{ExitReason, ExitReceipt, Handle, Id, Metrics, lane};

use super::Victim;
use super::probe::Probe;
use super::report::Totals;
use super::violation::Violation;

/// Chooses and checks.
#[derive(Debug)]
pub(super) struct Plan {
    victim: Victim,
    at_await: Option<u64>,
    scenario_ended: Sender<()>,
    seen: Mutex<Seen>,
}

/// What a run showed.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// The lane that watches; until it is there nobody is chosen.
    pub(super) probe: Option<Address<Probe>>,
    pub(super) scenario: Option<Id>,
    /// Lanes that fitted, chosen or not.
    fitting: u64,
    pub(super) chosen: Vec<Id>,
    dying: Vec<Dying>,
    /// The victims that were killed, in order.
    pub(super) killed: Vec<(Id, ExitReceipt)>,
    /// The awaits of victims that were not, until the scenario ended.
    pub(super) awaits: u64,
    /// The scenario has ended: nobody is chosen any more and no strike counts, since what happens from here on hangs on when the
    /// runtime is shut down, which differs from run to run.
    over: bool,
    pub(super) totals: Totals,
    /// The counts when the last lane had ended.
    pub(super) last: Option<Metrics>,
    pub(super) violations: Vec<Violation>,
}

/// What a lane held right before its end.
#[derive(Debug)]
struct Dying {
    lane: Id,
    names: Vec<std::sync::Arc<str>>,
    /// What the OS calls its sockets.
    sockets: Vec<String>,
}

impl Plan {
    pub(super) fn new(victim: Victim, at_await: Option<u64>, scenario_ended: Sender<()>) -> Plan {
        Plan { victim, at_await, scenario_ended, seen: Mutex::default() }
    }

    pub(super) fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn note(&self, violation: Violation) {
        self.seen().violations.push(violation);
    }
}

impl FaultPlan for Plan {
    fn kill_at_await(&self, lane: Spawned<'_>) -> Option<u64> {
        let mut seen = self.seen();
        let probe = seen.probe?;
        if seen.scenario.is_none() || seen.over || !self.victim.is(&lane, &mut seen.fitting) {
            return None;
        }
        seen.chosen.push(lane.id);
        drop(seen);
        // A probe that is gone has ended with the runtime.
        let _ = probe.try_send(Probe::Watch(lane.id));
        self.at_await
    }

    fn dying(&self, lane: Id) {
        let Ok(handle) = Handle::current() else { return };
        let descriptors = handle.descriptors();
        let owned: Vec<Descriptor> =
            descriptors.owned_by(lane).into_iter().filter_map(|id| descriptors.lookup(id).ok()).collect();
        // What others have an id of stays open.
        let ours = |fd: &i32| owned.iter().filter(|one| one.raw_fd() == Some(*fd)).count();
        let fds = owned.iter().filter_map(|one| one.raw_fd().filter(|fd| ours(fd) == one.shared_by()));
        let sockets: Vec<String> = fds.filter_map(|fd| name_of(&format!("/proc/self/fd/{fd}"))).collect();
        let names = match handle.held_by(lane).names {
            0 => Vec::new(),
            _ => handle.lanes().into_iter().find(|info| info.id == lane).map(|info| info.names).unwrap_or_default(),
        };
        if !(sockets.is_empty() && names.is_empty()) {
            self.seen().dying.push(Dying { lane, names, sockets });
        }
    }

    fn ended(&self, ended: Ended<'_>) {
        let (lane, receipt) = (ended.id, ended.receipt);
        let mut found = leftovers(lane, receipt.destructor_panics, receipt.errors);
        let mut seen = self.seen();
        if let Some(at) = seen.dying.iter().position(|dying| dying.lane == lane) {
            let Dying { names, sockets, .. } = seen.dying.swap_remove(at);
            found.extend(names_left(lane, &names));
            found.extend(sockets_left(lane, sockets));
        }
        seen.violations.append(&mut found);
        seen.totals.add_receipt(receipt);
        if let Ok(handle) = Handle::current() {
            let metrics = handle.metrics();
            if metrics.alive == 0 {
                seen.last = Some(metrics);
            }
        }
        let killed = ended.awaits_left == Some(0) && !seen.over;
        if killed {
            seen.killed.push((lane, receipt.clone()));
        } else if let (Some(left), Some(at)) = (ended.awaits_left, self.at_await) {
            seen.awaits += at.max(1) - left;
        }
        let ended_scenario = seen.scenario == Some(lane);
        seen.over |= ended_scenario;
        let hung = seen.violations.iter().any(|violation| matches!(violation, Violation::Hung { .. }));
        if ended_scenario && !hung && !receipt.reason.is_ordinary() {
            seen.violations.push(Violation::Scenario(receipt.reason.clone()));
        }
        let probe = seen.probe.filter(|_| killed);
        // In the last run nobody was struck. Killed now, victims have had the awaits that they had until now; how they
        // end when they are asked to, the runs before it show.
        let is_last = ended_scenario && self.at_await.is_some() && seen.killed.is_empty();
        let survivors = if is_last { seen.chosen.clone() } else { Vec::new() };
        drop(seen);
        for victim in survivors {
            lane::kill(victim);
        }
        if let Some(probe) = probe {
            // As in `kill_at_await`.
            let _ = probe.try_send(Probe::Ended(lane));
        }
        if ended_scenario {
            // Whoever waits for this gives up at some time.
            let _ = self.scenario_ended.send(());
        }
    }
}

/// What is left of a lane that has ended and whose place is still its own.
fn leftovers(lane: Id, panics: u64, errors: u64) -> Vec<Violation> {
    let mut found = Vec::new();
    if lane::is_alive(lane) || lane::kill(lane) {
        found.push(Violation::StillAlive(lane));
    }
    if lane::stop(lane, ExitReason::Normal).is_ok() {
        found.push(Violation::StillTakesSignals(lane));
    }
    if let Ok(handle) = Handle::current() {
        let held = handle.held_by(lane);
        if held != Held::default() {
            found.push(Violation::StillHeld { lane, held });
        }
    }
    if panics != 0 || errors != 0 {
        found.push(Violation::BadRelease { lane, panics, errors });
    }
    found
}

fn names_left(lane: Id, names: &[std::sync::Arc<str>]) -> impl Iterator<Item = Violation> {
    let left = names.iter().filter(move |name| lane::whereis(name) == Some(lane));
    left.map(move |name| Violation::NameLeft { lane, name: name.to_string() })
}

fn sockets_left(lane: Id, sockets: Vec<String>) -> Vec<Violation> {
    if sockets.is_empty() {
        return Vec::new();
    }
    let open = process_descriptors();
    let left = sockets.into_iter().filter(|socket| open.contains(socket));
    left.map(|socket| Violation::SocketLeft { lane, socket }).collect()
}

/// What the OS calls the descriptors of this process, as `socket:[4711]`; nothing where it does not say.
pub(super) fn process_descriptors() -> Vec<String> {
    let Ok(folder) = fs::read_dir("/proc/self/fd") else { return Vec::new() };
    let names = folder.flatten().filter_map(|entry| fs::read_link(entry.path()).ok());
    // The look itself opens the folder.
    names.map(|name| name.to_string_lossy().into_owned()).filter(|name| !name.starts_with("/proc/")).collect()
}

fn name_of(path: &str) -> Option<String> {
    Some(fs::read_link(path).ok()?.to_string_lossy().into_owned())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::TcpListener;
    use std::num::NonZeroU16;
    use std::os::fd::AsRawFd;

    use super::*;

    #[test]
    fn a_lane_that_lives_is_no_dead_one() {
        let node = runtime::Runtime::builder().workers(1).build().unwrap();
        node.block_on(async {
            let lane = actors::Spawn::new().name("alive").spawn(async |_: actors::Lane<()>| {
                std::future::pending::<()>().await;
            });
            let lane = lane.unwrap().id();
            let found = leftovers(lane, 1, 0);
            let [
                Violation::StillAlive(_),
                Violation::StillTakesSignals(_),
                held,
                Violation::BadRelease { panics: 1, .. },
            ] = &found[..]
            else {
                panic!("{found:?}");
            };
            assert!(matches!(held, Violation::StillHeld { held: Held { names: 1, timers: 0, .. }, .. }), "{held}");
            let named: Vec<_> = names_left(lane, &["alive".into(), "other".into()]).collect();
            assert!(matches!(&named[..], [Violation::NameLeft { name, .. }] if name == "alive"), "{named:?}");
        });
    }

    #[test]
    fn a_socket_is_found_while_any_descriptor_of_it_is_open() {
        let lane = Id::new(1, runtime::Namespace::new(1).unwrap(), NonZeroU16::MIN);
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let name = name_of(&format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let copy = socket.try_clone().unwrap();
        drop(socket);
        let left = sockets_left(lane, vec![name.clone()]);
        assert!(matches!(&left[..], [Violation::SocketLeft { socket, .. }] if *socket == name), "{left:?}");
        drop(copy);
        assert!(sockets_left(lane, vec![name]).is_empty());
    }
}
