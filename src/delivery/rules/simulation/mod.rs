//! The rules of delivery against stock proplets, in simulated time: brokers crash, links break, proxies are killed and lose
//! their state, stand still, and read damaged modules, devices come and go, tags move, replicas share a channel.
//!
//! Only what is outside is simulated: devices, brokers, links, disks and registries. The rules are the [`Coordinator`] that
//! the service runs; its actions are performed here in simulated time.
//!
//! Faults end at [`CALM`]. Then no module may be a mixture, and every task must have its module whose request came late enough
//! before its end, reached a proxy, and has no chunks of another version in its way.
//!
//! [`Coordinator`]: super::coordinator::Coordinator

mod broker;
mod device;
mod judge;
mod proxy;
mod random;
mod world;

use std::num::NonZeroU32;
use std::panic::catch_unwind;
use std::time::Duration;

use self::world::World;
use super::rule::{self, Rule};
use crate::util::clock::Time;

const BEGIN: Time = Time(1_000_000_000);
const TICK: Duration = Duration::from_millis(100);
/// When faults end, and when the last task makes its request.
const CALM: Duration = Duration::from_secs(45);
const LAST_TASK: Duration = Duration::from_secs(60);
const END: Duration = Duration::from_secs(120);
/// Time that the rules need after the last fault: devices come back within 7 s, an echo takes 6 s, tasks poll every 5 s,
/// and a replica that is gone is noticed after 6 s.
const MARGIN: Duration = Duration::from_secs(25);
const CHUNK_SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();
const DEVICES: usize = 3;
const APPS: usize = 2;
/// Seeds within which a broken rule must be noticed.
const SEEDS: u64 = 1000;

/// One history.
fn run(seed: u64) {
    let mut world = World::new(seed);
    world.run();
    world.judge(seed);
}

/// Runs as many seeds as `SIMULATION_SEEDS` says, or the one that `SIMULATION_SEED` names.
#[test]
fn nothing_is_mixed_and_every_task_that_can_be_served_is() {
    let seeds = std::env::var("SIMULATION_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(SEEDS);
    let seed = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok());
    seed.map_or(1..=seeds, |seed| seed..=seed).for_each(run);
}

/// A rule that could be left out without anybody noticing would not be one.
#[test]
fn every_rule_that_is_broken_is_noticed() {
    let is_noticed = |rule: Rule| {
        let seed = rule::with_broken(rule, || (1..=SEEDS).find(|seed| catch_unwind(|| run(*seed)).is_err()));
        (rule, seed)
    };
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| ()));
    let noticed = rule::ALL.map(is_noticed);
    std::panic::set_hook(quiet);
    let unnoticed: Vec<_> = noticed.iter().filter(|(_, seed)| seed.is_none()).collect();
    assert!(unnoticed.is_empty(), "{unnoticed:?} of {noticed:?}");
    println!("{noticed:?}");
}
