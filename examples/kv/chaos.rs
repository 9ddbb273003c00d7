//! Whom chaos may kill: any connection, and of a shard one member at a time.
//!
//! A write is acknowledged when both members of its shard have it, and data that is nowhere on disk is lost when both are
//! gone. So a member is killed only while its pair is redundant, and that is taken away before the kill: until the pair
//! says that it is redundant again, both its members are spared. What dies of itself asks nobody.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use laneway::Id;
use laneway::runtime::lane::SpawnError;
use laneway::supervisor::Chaos;

use crate::random::Random;
use crate::server::Server;

/// Whom chaos has killed.
#[derive(Debug, Default)]
pub(crate) struct Kills {
    connections: AtomicU64,
    primaries: AtomicU64,
    standbys: AtomicU64,
    spared: AtomicU64,
}

/// Numbers of kills.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KillCounts {
    /// Lanes of connections.
    pub(crate) connections: u64,
    /// Lanes of primaries.
    pub(crate) primaries: u64,
    /// Lanes of standbys.
    pub(crate) standbys: u64,
    /// Strikes that found nobody, as no pair was redundant and nobody was connected.
    pub(crate) spared: u64,
}

impl Kills {
    /// The numbers now.
    pub(crate) fn counts(&self) -> KillCounts {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        KillCounts {
            connections: count(&self.connections),
            primaries: count(&self.primaries),
            standbys: count(&self.standbys),
            spared: count(&self.spared),
        }
    }
}

/// Starts to kill so many lanes a second, on average; `seed` says whom.
///
/// # Errors
/// There was no room for its lane.
///
/// # Panics
/// For a rate of 0.
pub(crate) fn start(server: &Arc<Server>, rate: u32, seed: u64) -> Result<(Chaos, Arc<Kills>), SpawnError> {
    let kills = Arc::new(Kills::default());
    let (server, counted) = (server.clone(), kills.clone());
    let mut random = Random::new(seed);
    let targets = move || choose(&server, &mut random, &counted).into_iter().collect();
    Ok((Chaos::builder().rate(rate.into()).seed(seed).targets(targets).start()?, kills))
}

/// The next victim. Whoever is chosen must be killed at once.
fn choose(server: &Server, random: &mut Random, kills: &Kills) -> Option<Id> {
    let member_first = random.below(2) == 0;
    let connection = |random: &mut Random| random.pick(&server.connections()).copied();
    let (victim, counter) = match if member_first { None } else { connection(random) } {
        Some(id) => (Some(id), &kills.connections),
        None => match member(server, random) {
            Some((id, true)) => (Some(id), &kills.primaries),
            Some((id, false)) => (Some(id), &kills.standbys),
            None => (connection(random), &kills.connections),
        },
    };
    // ORDER: Relaxed: counters order nothing.
    if victim.is_some() { counter } else { &kills.spared }.fetch_add(1, Ordering::Relaxed);
    victim
}

/// A member of a pair that was redundant until now, and whether it is the primary.
fn member(server: &Server, random: &mut Random) -> Option<(Id, bool)> {
    let pairs = server.pairs();
    let first = random.below(pairs.len());
    let pair = (0..pairs.len()).map(|step| &pairs[(first + step) % pairs.len()]).find(|pair| pair.take_redundancy())?;
    let is_primary = random.below(2) == 0;
    let lane = if is_primary { pair.primary.address().ok()??.id() } else { pair.standby.address().ok()??.id() };
    Some((lane, is_primary))
}
