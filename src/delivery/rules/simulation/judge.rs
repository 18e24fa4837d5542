//! What must be true in the end.

use std::time::Duration;

use super::device::{Device, Task};
use super::world::World;
use super::{BEGIN, CALM, MARGIN};
use crate::mqtt::request::TASK_TIMEOUT;

impl World {
    /// No module is a mixture, and every task that could be served was.
    pub(super) fn judge(&self, seed: u64) {
        for device in &self.devices {
            for task in &device.tasks {
                let at = task.requested.since(BEGIN).as_secs_f64();
                if let Some(module) = &task.module {
                    assert!(self.is_whole(module), "seed {seed}: the task of {at} s got a mixture {module:?}");
                } else {
                    let name = &self.apps[task.app].name;
                    assert!(self.is_excused(device, task), "seed {seed}: the task of {at} s for {name} got nothing");
                }
            }
        }
    }

    fn is_whole(&self, module: &[u8]) -> bool {
        let is_it = |(version, size): &(u8, u64)| *version == module[0] && *size == module.len() as u64;
        module.iter().all(|byte| *byte == module[0]) && self.registry.modules.values().any(is_it)
    }

    fn is_excused(&self, device: &Device, task: &Task) -> bool {
        let lasts = |first: crate::util::clock::Time| first + TASK_TIMEOUT;
        // No proxy sends the rest of another version, and while it is there it is in the way.
        let (chunks, total_chunks) = device.assemblies.progress(&self.apps[task.app].name);
        let is_blocked = chunks > 0 && total_chunks != self.totals[task.app];
        let has_time = lasts(task.requested) >= BEGIN + CALM + MARGIN;
        // A task that was served late takes the module of a later one, for which no echo is due where a new process or
        // another replica does not remember the first, no proxy has received its request, or it was a device's link that broke;
        // and for more than two tasks the passes may run out.
        let rivals = device.tasks.iter().filter(|other| {
            let (first, last) = (other.requested.min(task.requested), other.requested.max(task.requested));
            other.app == task.app && first != last && last.since(first) < TASK_TIMEOUT
        });
        let rivals: Vec<_> = rivals.collect();
        let is_lost = rivals.iter().any(|rival| rival.proxies.is_empty());
        let firsts: Vec<_> = rivals.iter().map(|rival| rival.requested.min(task.requested)).collect();
        let mut troubles = self.kills.iter().chain(&device.breaks);
        let is_forgotten = self.is_group || is_lost || troubles.any(|at| firsts.iter().any(|first| at > first));
        let shares = firsts.len() > 1 || firsts.len() == 1 && is_forgotten;
        // Nor does a new process remember that the broker was lost after a task was served.
        let is_forgotten_too = self.crashes.iter().any(|crash| {
            *crash + Duration::from_millis(1) > task.requested && self.kills.iter().any(|kill| kill >= crash)
        });
        task.proxies.is_empty()
            || is_forgotten_too
            || !has_time
            || is_blocked
            || shares
            || device.breaks.iter().any(|broken| *broken >= task.requested)
    }
}
