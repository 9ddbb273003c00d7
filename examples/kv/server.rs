//! What all lanes of a server share: the shards' roles, who is connected, and the counters that `INFO` shows.
//!
//! Owns: nothing that a killed lane would have to give back by itself. A connection is listed by a guard that its lane's
//! death drops.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use laneway::Id;
use laneway::runtime::env::{Env, Instant};

use crate::info::{Section, render};
use crate::pair::{Pair, Starts};
use crate::resp::{Limits, Reply};
use crate::route::Router;
use crate::session::REDIS_VERSION;
use crate::store::Usage;

/// A server, as all its lanes know it.
#[derive(Debug)]
pub(crate) struct Server {
    pairs: Vec<Arc<Pair>>,
    router: Router,
    limits: Limits,
    env: Arc<dyn Env>,
    started: Instant,
    port: u16,
    entered: AtomicU64,
    commands: AtomicU64,
    guests: Mutex<BTreeMap<u64, Id>>,
}

impl Server {
    /// A server with so many shards, of which none runs yet.
    ///
    /// # Panics
    /// If there are none.
    pub(crate) fn new(shards: usize, port: u16, env: Arc<dyn Env>) -> Self {
        Self {
            pairs: (0..shards).map(|_| Arc::new(Pair::new())).collect(),
            router: Router::new(shards),
            limits: Limits::default(),
            started: env.now(),
            env,
            port,
            entered: AtomicU64::new(0),
            commands: AtomicU64::new(0),
            guests: Mutex::default(),
        }
    }

    /// The shards, in the order in which the router numbers them.
    pub(crate) fn pairs(&self) -> &[Arc<Pair>] {
        &self.pairs
    }

    /// The port that it serves.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where keys live.
    pub(crate) fn router(&self) -> Router {
        self.router
    }

    /// What a client may make the server hold.
    pub(crate) fn limits(&self) -> Limits {
        self.limits
    }

    /// Lists the calling lane as a connection for as long as the guard lives.
    pub(crate) fn enter(self: &Arc<Self>) -> Guest {
        // ORDER: Relaxed here and for all counters: they order nothing.
        let number = self.entered.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(lane) = laneway::current() {
            self.guests().insert(number, lane);
        }
        Guest { number, server: self.clone() }
    }

    /// The connections' lanes. Some may be ending.
    pub(crate) fn connections(&self) -> Vec<Id> {
        self.guests().values().copied().collect()
    }

    /// How many connections there have been.
    pub(crate) fn entered(&self) -> u64 {
        self.entered.load(Ordering::Relaxed)
    }

    /// Counts commands that were answered.
    pub(crate) fn note_commands(&self, count: usize) {
        self.commands.fetch_add(count as u64, Ordering::Relaxed);
    }

    /// How many commands were answered.
    pub(crate) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    /// How often members of shards were started, over all shards.
    pub(crate) fn starts(&self) -> Starts {
        self.pairs.iter().map(|pair| pair.starts()).fold(Starts::default(), |sum, one| Starts {
            primaries: sum.primaries + one.primaries,
            standbys: sum.standbys + one.standbys,
            losses: sum.losses + one.losses,
        })
    }

    /// Shards of which each member has every acknowledged write.
    pub(crate) fn redundant(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.is_redundant()).count()
    }

    fn guests(&self) -> MutexGuard<'_, BTreeMap<u64, Id>> {
        self.guests.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The reply to `INFO`.
    pub(crate) fn info(&self, wanted: &[Bytes]) -> Reply {
        let mut usage = Usage::default();
        self.pairs.iter().for_each(|pair| usage += pair.usage());
        let starts = self.starts();
        let shards = self.pairs.len();
        let uptime = (self.env.now() - self.started).as_secs();
        let text = |value: u64| value.to_string();
        let mut keyspace = Vec::new();
        if usage.keys > 0 {
            keyspace.push(("db0", format!("keys={},expires={},avg_ttl=0", usage.keys, usage.expiring)));
        }
        render(
            &[
                Section {
                    name: "Server",
                    fields: vec![
                        ("redis_version", REDIS_VERSION.into()),
                        ("redis_mode", "standalone".into()),
                        ("server_name", "laneway-kv".into()),
                        ("process_id", std::process::id().to_string()),
                        ("tcp_port", self.port.to_string()),
                        ("uptime_in_seconds", text(uptime)),
                    ],
                },
                Section { name: "Clients", fields: vec![("connected_clients", self.guests().len().to_string())] },
                Section { name: "Memory", fields: vec![("used_memory_dataset", usage.bytes.to_string())] },
                Section {
                    name: "Stats",
                    fields: vec![
                        ("total_connections_received", text(self.entered())),
                        ("total_commands_processed", text(self.commands())),
                        ("expired_keys", text(usage.expired)),
                    ],
                },
                Section {
                    name: "Replication",
                    fields: vec![("role", "master".into()), ("connected_slaves", self.redundant().to_string())],
                },
                Section {
                    name: "Shards",
                    fields: vec![
                        ("shards", shards.to_string()),
                        ("shards_redundant", self.redundant().to_string()),
                        ("primaries_restarted", text(starts.primaries.saturating_sub(shards as u64))),
                        ("standbys_restarted", text(starts.standbys.saturating_sub(shards as u64))),
                        ("shards_lost", text(starts.losses)),
                    ],
                },
                Section { name: "Keyspace", fields: keyspace },
            ],
            wanted,
        )
    }
}

/// A connection, as long as it is listed.
#[derive(Debug)]
pub(crate) struct Guest {
    number: u64,
    server: Arc<Server>,
}

impl Guest {
    /// Never given twice by one server.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.server.guests().remove(&self.number);
    }
}
