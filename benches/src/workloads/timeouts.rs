//! `timeouts`: as `ask`, each ask with a timeout of its own that never fires.

use std::time::Duration;

use super::ask;
use crate::run::{Keys, Usage, Work, on_lane};

pub(super) fn prepare(keys: &mut Keys) -> Result<Work, Usage> {
    let clients = keys.count("clients", 64)?;
    let n = keys.count("n", 1_280_000)?;
    let timeout_ms = keys.count("timeout_ms", 10_000)?;
    let timeout = Duration::from_millis(timeout_ms);
    // A timeout that fires is no answer, and the run has failed.
    Ok(on_lane(async move |lane| ask::measure(lane, clients, n, Some(timeout)).await.with("timeout_ms", timeout_ms)))
}
