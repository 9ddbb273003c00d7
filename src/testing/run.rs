//! The runs of a sweep: one runtime each, and what is checked when it is over.

use std::sync::Arc;
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;

use actors::{Address, Handle, IntoExit, Lane, Runtime, Spawn, SpawnError, timeout};
use runtime::mailbox::MAX_BOUND;
use runtime::{BuildError, Down, ExitReason, ExitReceipt, Id, Metrics, ShutdownReport};

use super::plan::{Plan, Seen, process_descriptors};
use super::probe::{self, Probe};
use super::report::{SweepFailure, SweepReport, Totals};
use super::violation::Violation;
use super::{Clock, KillSweep};

/// How long to wait, by the clock on the wall, for what takes no time unless a worker never leaves a poll.
const WALL: Duration = Duration::from_secs(60);

/// The scenario's lane takes no messages.
enum Nothing {}

pub(super) fn sweep<S, F>(settings: &KillSweep, scenario: S) -> Result<SweepReport, SweepFailure>
where
    S: Fn() -> F,
    F: Future<Output: IntoExit> + Send + 'static,
{
    let mut report = SweepReport::default();
    if let Some(at) = settings.only {
        run(settings, Some(at), &scenario, &mut report)?;
        return Ok(report);
    }
    run(settings, None, &scenario, &mut report)?;
    let mut at = 1;
    while run(settings, Some(at), &scenario, &mut report)? {
        if at == settings.limit {
            let violations = vec![Violation::TooManyAwaits { limit: settings.limit }];
            return Err(failure(settings, Some(at), true, violations));
        }
        at += 1;
    }
    Ok(report)
}

/// Whether a victim was killed.
fn run<S, F>(
    settings: &KillSweep,
    at_await: Option<u64>,
    scenario: &S,
    report: &mut SweepReport,
) -> Result<bool, SweepFailure>
where
    S: Fn() -> F,
    F: Future<Output: IntoExit> + Send + 'static,
{
    let before = if settings.alone { process_descriptors() } else { Vec::new() };
    let (scenario_ended, ended) = mpsc::channel();
    let plan = Arc::new(Plan::new(settings.victim.clone(), at_await, scenario_ended));
    let runtime = match build(settings, &plan) {
        Ok(runtime) => runtime,
        Err(error) => return Err(failure(settings, at_await, false, vec![Violation::NotBuilt(error)])),
    };
    if let Err(error) = start(&runtime, settings, &plan, scenario) {
        plan.note(Violation::Scenario(ExitReason::error(error)));
    } else {
        wait(&runtime, settings, &plan, &ended);
    }
    let end = runtime.shutdown(settings.grace);

    let mut seen = plan.seen();
    let seen = &mut *seen;
    seen.judge_end(&end);
    if end.stuck.is_empty() {
        let alive = settings.canaries.iter().map(|canaries| canaries.alive()).sum();
        if alive != 0 {
            seen.violations.push(Violation::CanariesAlive(alive));
        }
    }
    if settings.alone {
        let new = process_descriptors().into_iter().filter(|what| !before.contains(what));
        seen.violations.extend(new.map(Violation::ProcessDescriptor));
    }
    if at_await.is_none() && seen.chosen.is_empty() {
        seen.violations.push(Violation::NoVictim);
    }
    let killed = !seen.killed.is_empty();
    if !seen.violations.is_empty() {
        return Err(failure(settings, at_await, killed, std::mem::take(&mut seen.violations)));
    }
    report.runs += 1;
    report.kills += u64::from(killed);
    if !killed {
        report.awaits = seen.awaits;
    }
    report.victims.extend(seen.killed.drain(..).map(|(_, receipt)| receipt));
    report.released.add(&seen.totals);
    Ok(killed)
}

fn failure(settings: &KillSweep, at_await: Option<u64>, killed: bool, violations: Vec<Violation>) -> SweepFailure {
    let (victim, setting) = (settings.victim.to_string(), settings.to_string());
    SweepFailure { at_await, killed, violations, victim, setting }
}

fn build(settings: &KillSweep, plan: &Arc<Plan>) -> Result<Runtime, BuildError> {
    let mut builder = Runtime::builder().workers(settings.workers).faults(plan.clone());
    if let Some(limit) = settings.memory_limit {
        builder = builder.memory_limit(limit);
    }
    match settings.clock {
        Clock::Virtual { seed } => builder.virtual_time(seed).build(),
        // A watchdog would end a lane early whose destructors take long, as those that print a backtrace, and leave what is
        // theirs out of its receipt.
        Clock::Real => builder.watchdog(None).build(),
    }
}

/// Starts the probe, and then the scenario in a lane of its own.
fn start<S, F>(runtime: &Runtime, settings: &KillSweep, plan: &Arc<Plan>, scenario: &S) -> Result<(), SpawnError>
where
    S: Fn() -> F,
    F: Future<Output: IntoExit> + Send + 'static,
{
    let _entered = runtime.handle().enter();
    let for_probe = plan.clone();
    // A mailbox without a bound fits under no limit.
    let spawn = Spawn::new();
    let spawn = if settings.memory_limit.is_some() { spawn.mailbox(MAX_BOUND) } else { spawn.unbounded() };
    let probe = spawn.spawn(|lane| probe::watch(lane, for_probe))?;
    plan.seen().probe = Some(probe);
    let (future, patience, for_scenario) = (scenario(), settings.patience_or_default(), plan.clone());
    Spawn::new().spawn(move |lane: Lane<Nothing>| async move {
        // From here on victims are chosen.
        for_scenario.seen().scenario = Some(lane.id());
        match timeout(patience, future).await {
            Ok(end) => end.into_exit(),
            Err(_) => {
                for_scenario.note(hung(&for_scenario, patience));
                ExitReason::error("hung")
            }
        }
    })?;
    Ok(())
}

fn hung(plan: &Plan, after: Duration) -> Violation {
    let (scenario, probe) = {
        let seen = plan.seen();
        (seen.scenario, seen.probe.map(Address::id))
    };
    let mut alive = Handle::current().map(|handle| handle.lanes()).unwrap_or_default();
    alive.retain(|lane| Some(lane.id) != scenario && Some(lane.id) != probe);
    Violation::Hung { after, alive }
}

/// Waits for the end of the scenario, and then hears what the probe was told.
fn wait(runtime: &Runtime, settings: &KillSweep, plan: &Plan, ended: &Receiver<()>) {
    if ended.recv_timeout(WALL).is_err() {
        let _entered = runtime.handle().enter();
        plan.note(hung(plan, WALL));
        return;
    }
    let (killed, probe) = {
        let seen = plan.seen();
        (seen.killed.clone(), seen.probe)
    };
    let (to, told) = mpsc::channel();
    let asked = probe.is_some_and(|probe| probe.try_send(Probe::Report(to)).is_ok());
    match told.recv_timeout(WALL) {
        Ok(told) if asked => {
            let wrong = killed
                .iter()
                .filter_map(|(victim, receipt)| wrong_notice(*victim, receipt, &told, settings.workers == 1));
            wrong.for_each(|violation| plan.note(violation));
        }
        _ => plan.note(Violation::NoWitness),
    }
}

/// What is wrong with what a watcher was told of a victim. `in_turn`: no two lanes run at the same time.
fn wrong_notice(victim: Id, receipt: &ExitReceipt, told: &[Down], in_turn: bool) -> Option<Violation> {
    let of_it: Vec<&Down> = told.iter().filter(|down| down.id == victim).collect();
    let right = match of_it[..] {
        // The victim was gone before the watcher had its first turn.
        [down] if down.reason == ExitReason::NoProc => true,
        [down] if down.reason == receipt.reason => match &down.receipt {
            Some(given) => **given == *receipt,
            // The monitor and the end met in the mailbox.
            None => !in_turn,
        },
        _ => false,
    };
    let told = || of_it.iter().map(|down| down.reason.clone()).collect();
    (!right).then(|| Violation::WrongNotice { victim, told: told() })
}

impl Seen {
    /// What must hold when all lanes have ended.
    fn judge_end(&mut self, end: &ShutdownReport) {
        self.violations.extend(end.late.iter().cloned().map(Violation::Late));
        self.violations.extend(end.stuck.iter().cloned().map(Violation::Stuck));
        if !end.stuck.is_empty() {
            return;
        }
        // Of what is open or stands, the runtime itself closes all at its end, so these are counted before that.
        let last = self.last.clone().unwrap_or_default();
        let Totals { lanes, timers, descriptors, names, messages_dropped, senders_refused, bytes, .. } = self.totals;
        let Totals { locks, wait_entries, memberships, .. } = self.totals;
        let Metrics { spawned, ended, descriptors_opened, descriptors_closed, .. } = end.metrics;
        let Metrics { groups_joined, groups_left, memory_reserved, memory_left, memory_waiting, .. } = end.metrics;
        let counts = [
            ("lanes alive", end.metrics.alive, 0),
            ("lanes that had ended", ended, spawned),
            ("bytes reserved for nobody", memory_reserved - memory_left, 0),
            ("spawns that wait for room", memory_waiting, 0),
            ("timers left", last.timers, 0),
            ("descriptors left", last.descriptors, 0),
            ("descriptors closed", descriptors_closed, descriptors_opened),
            ("names left", last.names, 0),
            ("memberships left", last.memberships, 0),
            ("groups that were left", groups_left, groups_joined),
            ("arena bytes left", last.arena_bytes, 0),
            ("arenas in quarantine", last.arenas_quarantined, 0),
            ("receipts", lanes, ended),
            ("bytes in receipts", bytes, end.metrics.bytes_released),
            ("timers in receipts", timers, end.metrics.timers_released),
            ("descriptors in receipts", descriptors, end.metrics.descriptors_released),
            ("names in receipts", names, end.metrics.names_released),
            ("memberships in receipts", memberships, end.metrics.groups_released),
            ("locks in receipts", locks, end.metrics.locks_released),
            ("places in line in receipts", wait_entries, end.metrics.wait_entries_released),
            ("messages in receipts", messages_dropped, end.metrics.messages_dropped),
            ("refused senders in receipts", senders_refused, end.metrics.senders_refused),
        ];
        let wrong = counts.into_iter().filter(|(_, is, should_be)| is != should_be);
        self.violations.extend(wrong.map(|(what, is, should_be)| Violation::Count { what, is, should_be }));
    }
}

#[cfg(test)]
mod tests {
    use std::slice::from_ref;

    use actors::join;

    use super::*;

    #[test]
    fn a_notice_is_wrong_if_it_is_missing_or_comes_twice_or_tells_something_else() {
        let runtime = Runtime::builder().workers(1).build().unwrap();
        let (to, told) = mpsc::channel();
        runtime.block_on(async {
            let watcher = Spawn::new().spawn(move |mut lane: Lane<Down>| async move {
                let short = Spawn::new().monitor_with_receipt();
                let (_, monitor) = short.spawn_monitored(async |_: Lane<()>| {}).unwrap();
                lane.on_down(monitor.unwrap(), |down| down);
                to.send(lane.recv().await.unwrap()).unwrap();
            });
            join(watcher.unwrap().id()).await;
        });
        let down = told.recv().unwrap();
        let receipt = (**down.receipt.as_ref().unwrap()).clone();
        let judge = |told: &[Down], receipt: &ExitReceipt| wrong_notice(down.id, receipt, told, true).is_some();
        assert!(!judge(from_ref(&down), &receipt));
        assert!(judge(&[], &receipt));
        assert!(judge(&[down.clone(), down.clone()], &receipt));
        let mut other = receipt.clone();
        other.names += 1;
        assert!(judge(from_ref(&down), &other));
        other.reason = ExitReason::Killed;
        assert!(judge(from_ref(&down), &other));
        let mut bare = down.clone();
        bare.receipt = None;
        assert!(judge(&[bare.clone()], &receipt));
        assert!(wrong_notice(down.id, &receipt, &[bare], false).is_none());
    }
}
