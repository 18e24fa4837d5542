//! Devices: stock proplets, which reconnect and poll as those do.

use std::time::{Duration, Instant};

use super::TICK;
use crate::device::Assemblies;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::util::clock::Time;

#[derive(Default)]
pub(super) struct Device {
    pub(super) assemblies: Assemblies,
    /// When it lost the broker, if it has, and how often it has tried since.
    pub(super) lost: Option<(Time, u32)>,
    /// When its link broke, but not the broker: no proxy learns of that.
    pub(super) breaks: Vec<Time>,
    pub(super) tasks: Vec<Task>,
}

pub(super) struct Task {
    pub(super) app: usize,
    pub(super) requested: Time,
    polls: u32,
    /// The proxies that know of it, or whose session has it.
    pub(super) proxies: Vec<usize>,
    pub(super) module: Option<Vec<u8>>,
}

impl Task {
    pub(super) fn new(app: usize, requested: Time, proxies: Vec<usize>) -> Self {
        Self { app, requested, polls: 0, proxies, module: None }
    }
}

impl Device {
    /// Reconnects 1, 3, 7 … s after the loss.
    pub(super) fn reconnect(&mut self, now: Time) {
        let after = |tries: u32| Duration::from_secs((2 << tries) - 1);
        while let Some((lost, tries)) = &mut self.lost
            && now.since(*lost) >= after(*tries)
        {
            *tries += 1;
            if now.since(*lost) < after(*tries - 1) + TICK {
                self.lost = None;
            }
        }
    }

    pub(super) fn receive(&mut self, message: &[u8]) {
        if self.lost.is_none() {
            self.assemblies.receive(message, Instant::now());
        }
    }

    /// Each task polls at 0, 5, 10 … 55 s.
    pub(super) fn poll(&mut self, names: &[&str], now: Time) {
        for task in self.tasks.iter_mut().filter(|task| task.module.is_none()) {
            let due = Duration::from_secs(5) * task.polls;
            if due <= TASK_TIMEOUT && now.since(task.requested) >= due {
                task.polls += 1;
                task.module = self.assemblies.take(names[task.app]);
            }
        }
    }
}
