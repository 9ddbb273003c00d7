//! [`Chaos`]: a lane that kills others at random, to see whether what they belong to bears it.
//!
//! Owns: when the next kill is, and whom it strikes; both follow from the seed. Knows nothing of supervisors.

use std::fmt;
use std::time::Duration;

use actors::{Address, AskError, Handle, Lane, Reply, Spawn};
use runtime::env::Instant;
use runtime::lane::SpawnError;
use runtime::{Id, lane, time};

/// A lane that kills others: 8 bytes, `Copy`, checked at every use.
///
/// ```
/// use actors::{Lane, Runtime, Spawn, join, sleep};
/// use laneway_supervisor::Chaos;
/// use std::time::Duration;
///
/// let runtime = Runtime::builder().workers(1).virtual_time(7).build()?;
/// runtime.block_on(async {
///     let victim = Spawn::new().spawn(async |mut lane: Lane<()>| _ = lane.recv().await)?;
///     let chaos = Chaos::builder().rate(50.0).seed(7).targets(move || vec![victim.id()]).start()?;
///     join(victim.id()).await;
///     sleep(Duration::from_secs(1)).await;
///     let report = chaos.stop().await?;
///     assert_eq!(report.kills, 1);
///     assert!(report.missed > 10);
///     Ok::<(), Box<dyn std::error::Error>>(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chaos(Address<Message>);

#[derive(Debug)]
enum Message {
    Report(Reply<ChaosReport>),
    Stop(Reply<ChaosReport>),
}

/// What a [`Chaos`] has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChaosReport {
    /// Lanes that were alive and were told to die.
    pub kills: u64,
    /// Times at which there was no target, or the one that was drawn had gone.
    pub missed: u64,
    /// Where all draws come from.
    pub seed: u64,
}

impl Chaos {
    /// Begins one that strikes once a second, with a seed from the runtime's entropy, and nobody to strike.
    pub fn builder() -> ChaosBuilder {
        ChaosBuilder { rate: 1.0, seed: None, targets: Box::new(Vec::new) }
    }

    /// The bare id.
    pub fn id(self) -> Id {
        self.0.id()
    }

    /// What it has done so far.
    ///
    /// # Errors
    /// [`AskError`]: it is gone.
    pub async fn report(self) -> Result<ChaosReport, AskError> {
        self.0.ask(Message::Report).await
    }

    /// Ends it: what it has done. It kills nobody after this.
    ///
    /// # Errors
    /// [`AskError`]: it is gone.
    pub async fn stop(self) -> Result<ChaosReport, AskError> {
        self.0.ask(Message::Stop).await
    }
}

/// A [`Chaos`] in the making.
#[must_use = "nobody is killed before `start`"]
pub struct ChaosBuilder {
    rate: f64,
    seed: Option<u64>,
    targets: Box<dyn FnMut() -> Vec<Id> + Send>,
}

impl fmt::Debug for ChaosBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChaosBuilder").field("rate", &self.rate).field("seed", &self.seed).finish_non_exhaustive()
    }
}

impl ChaosBuilder {
    /// How often it strikes, in kills per second on average: above zero and at most 1 000 000; 1 by default. Strikes that
    /// fall into one millisecond come together.
    ///
    /// # Panics
    /// Outside of that range.
    pub fn rate(mut self, per_second: f64) -> ChaosBuilder {
        assert!(per_second > 0.0 && per_second <= 1e6, "a rate is above 0 and at most a million, not {per_second}");
        self.rate = per_second;
        self
    }

    /// Where all draws come from; the runtime's entropy by default. The report tells it.
    pub fn seed(mut self, seed: u64) -> ChaosBuilder {
        self.seed = Some(seed);
        self
    }

    /// Who may be struck: asked before each strike, in the lane of the chaos. It never strikes itself.
    pub fn targets(mut self, targets: impl FnMut() -> Vec<Id> + Send + 'static) -> ChaosBuilder {
        self.targets = Box::new(targets);
        self
    }

    /// Starts it. It is linked with nobody, and strikes until it is stopped.
    ///
    /// # Errors
    /// [`SpawnError`].
    pub fn start(self) -> Result<Chaos, SpawnError> {
        let handle = Handle::current().map_err(|_| SpawnError::NotInRuntime)?;
        let seed = self.seed.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            handle.env().fill_entropy(&mut bytes);
            u64::from_le_bytes(bytes)
        });
        let strikes = Strikes {
            draw: XorShift::new(seed),
            rate: self.rate,
            targets: self.targets,
            next: time::now(),
            report: ChaosReport { seed, ..ChaosReport::default() },
        };
        Ok(Chaos(Spawn::new().spawn(|lane| run(lane, strikes))?))
    }
}

async fn run(mut lane: Lane<Message>, mut strikes: Strikes) {
    strikes.plan();
    loop {
        let left = strikes.next - time::now();
        match lane.recv_timeout(left).await {
            Ok(Some(Message::Report(reply))) => _ = reply.send(strikes.report),
            Ok(Some(Message::Stop(reply))) => {
                // Whoever asked may have left.
                let _ = reply.send(strikes.report);
                return;
            }
            Ok(None) => return,
            Err(_) => strikes.strike(lane.id()),
        }
    }
}

struct Strikes {
    draw: XorShift,
    rate: f64,
    targets: Box<dyn FnMut() -> Vec<Id> + Send>,
    next: Instant,
    report: ChaosReport,
}

impl Strikes {
    /// Draws the time of the next strike: on average one rate's length away, and up to twice that.
    fn plan(&mut self) {
        self.next += Duration::from_secs_f64(2.0 * self.draw.unit() / self.rate);
    }

    fn strike(&mut self, me: Id) {
        let mut targets = (self.targets)();
        targets.retain(|&id| id != me);
        let at = (self.draw.unit() * targets.len() as f64) as usize;
        if targets.get(at).is_some_and(|&id| lane::kill(id)) {
            self.report.kills += 1;
        } else {
            self.report.missed += 1;
        }
        self.plan();
    }
}

/// Marsaglia's generator of 64 bits, with a product on top: small, fast, and good enough for whom to hit.
struct XorShift(u64);

impl XorShift {
    fn new(seed: u64) -> XorShift {
        // Zero is its only fixed point; and seeds that are close to each other should not begin alike.
        XorShift((seed ^ 0x9E37_79B9_7F4A_7C15).wrapping_mul(0xD129_0D3E_8B5F_4A25) | 1)
    }

    /// At least 0, below 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let bits = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11;
        bits as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_are_within_the_unit_and_spread() {
        for seed in [0, 1, u64::MAX] {
            let mut draw = XorShift::new(seed);
            let mut buckets = [0; 10];
            for _ in 0..10_000 {
                let unit = draw.unit();
                assert!((0.0..1.0).contains(&unit));
                buckets[(unit * 10.0) as usize] += 1;
            }
            assert!(buckets.iter().all(|&count| (800..1200).contains(&count)), "seed {seed}: {buckets:?}");
        }
    }
}
