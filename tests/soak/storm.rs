//! The broker and the replicas, and what happens to them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::time::sleep;

use super::journal::{Journal, Severity};
use super::replica::Replica;
use crate::support::random::Random;
use crate::support::servers::mosquitto::Mosquitto;

/// How long a server is away, and how long a replica stands still: shorter and longer than its lease, milliseconds.
const AWAY: RangeInclusive<u64> = 0..=3000;
const STILL: RangeInclusive<u64> = 500..=8000;
/// What clocks are stepped to.
const OFFSETS: [&str; 6] = ["-10y", "-600s", "-5s", "+0", "+600s", "+10y"];

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A replica is killed with SIGKILL.
    Kill,
    /// A replica is ended with SIGTERM.
    Terminate,
    /// A replica is stopped with SIGSTOP.
    Freeze,
    /// The clock of a replica is stepped while it runs.
    ClockStep,
    /// The broker is killed, with all sessions.
    BrokerLoss,
    /// Both replicas are killed at once.
    KillBoth,
    /// Several of the others, without a calm between.
    Several,
}

/// Everything of which a soak has at least one.
const ALL: [Kind; 7] =
    [Kind::Kill, Kind::Terminate, Kind::Freeze, Kind::ClockStep, Kind::BrokerLoss, Kind::KillBoth, Kind::Several];

/// The servers that come and go.
pub struct Servers {
    pub broker: Mosquitto,
    pub replicas: [Replica; 2],
    pub journal: Arc<Journal>,
    pub random: Random,
    /// How often each thing happened.
    pub counts: BTreeMap<Kind, u64>,
}

impl Servers {
    /// Returns everything that can happen, in a random order.
    pub fn deck(&mut self) -> Vec<Kind> {
        let mut deck = ALL.to_vec();
        self.random.shuffle(&mut deck);
        deck
    }

    /// Lets something happen, and returns when every server is there again and subscribed.
    pub async fn storm(&mut self, kind: Kind) {
        if kind == Kind::Several {
            *self.counts.entry(kind).or_default() += 1;
            for _ in 0..self.random.pick(2..=3) {
                let kind = ALL[self.random.index(ALL.len() - 1)];
                self.one(kind).await;
            }
        } else {
            self.one(kind).await;
        }
        for replica in &mut self.replicas {
            replica.check();
        }
    }

    /// Whether everything that can happen has happened.
    pub fn had_everything(&self) -> bool {
        self.counts.len() == ALL.len()
    }

    /// Ends the replicas in order.
    pub async fn end(&mut self) {
        for replica in &mut self.replicas {
            replica.terminate().await;
        }
    }

    /// Returns how often each thing happened.
    pub fn summary(&self) -> String {
        let counts = self.counts.iter().map(|(kind, count)| format!("{kind:?} {count}"));
        counts.collect::<Vec<_>>().join(", ")
    }

    async fn one(&mut self, kind: Kind) {
        *self.counts.entry(kind).or_default() += 1;
        let chosen = self.random.index(self.replicas.len());
        let offset = OFFSETS[self.random.index(OFFSETS.len())];
        let (away, still) = (self.random.millis(AWAY), self.random.millis(STILL));
        let replica = &mut self.replicas[chosen];
        match kind {
            // No device may notice.
            Kind::ClockStep => return replica.step_clock(offset),
            Kind::BrokerLoss | Kind::KillBoth => self.journal.begin(Severity::Outage),
            _ => self.journal.begin(Severity::Replica),
        }
        match kind {
            Kind::Kill | Kind::Terminate => {
                match kind {
                    Kind::Kill => replica.kill().await,
                    _ => replica.terminate().await,
                }
                sleep(away).await;
                replica.step_clock(offset);
                replica.start_again();
                replica.has_subscribed(0).await;
            }
            Kind::Freeze => {
                replica.freeze().await;
                sleep(still).await;
                replica.thaw().await;
            }
            Kind::BrokerLoss => {
                let before: Vec<_> = self.replicas.iter().map(Replica::subscriptions).collect();
                self.broker.kill().await;
                sleep(away).await;
                self.broker.restart().await;
                join_all(self.replicas.iter().zip(before).map(|(replica, before)| replica.has_subscribed(before)))
                    .await;
            }
            Kind::KillBoth => {
                join_all(self.replicas.iter_mut().map(Replica::kill)).await;
                sleep(away).await;
                self.replicas.iter_mut().for_each(Replica::start_again);
                join_all(self.replicas.iter().map(|replica| replica.has_subscribed(0))).await;
            }
            Kind::ClockStep | Kind::Several => {}
        }
        self.journal.end();
    }
}
