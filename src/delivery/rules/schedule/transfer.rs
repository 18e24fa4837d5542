//! One transfer: who waits for it, how far it is, and when it is to be looked at.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::RequestId;
use super::pass::Pass;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// A transfer, from its first request until it is forgotten.
#[derive(Debug)]
pub(super) struct Transfer<T> {
    pub(super) app: App,
    pub(super) stage: Stage<T>,
    /// Whether it is a repetition, which no request has asked for.
    pub(super) is_repeat: bool,
    /// Requests that are not yet covered, and the position from which on each is; oldest first.
    pub(super) open: VecDeque<(RequestId, u64)>,
    pub(super) served: u64,
    /// When the latest request arrived.
    pub(super) latest: Time,
    /// Repetitions that are due to further tasks of one device.
    pub(super) echoes: u32,
    /// Whether it is such a repetition.
    pub(super) is_echo: bool,
    /// Whether there was one since the latest request.
    pub(super) is_echoed: bool,
    /// How often the module was sent since it was last at rest and asked for.
    pub(super) passes: u64,
    /// When it is to be repeated for such a task.
    pub(super) echo_at: Option<Time>,
    /// From when on everything is to be covered again.
    pub(super) again_at: Option<Time>,
    /// The time up to which its passes have used their share.
    pub(super) paced_until: Time,
    pub(super) alarm: Option<Time>,
}

#[derive(Debug)]
pub(super) enum Stage<T> {
    Fetching,
    Sending { pass: Pass, load: T, message_size: u64, is_spaced: bool },
    Resting,
}

impl<T> Transfer<T> {
    /// Whether requests may join it.
    pub(super) fn is_open(&self) -> bool {
        !self.is_repeat && !matches!(self.stage, Stage::Resting)
    }

    /// The requests whose first chunk this position is.
    pub(super) fn begun_at(&self, position: u64) -> impl Iterator<Item = RequestId> {
        let first = self.open.partition_point(|(_, from)| *from < position);
        let from_there = self.open.range(first..).take_while(move |(_, from)| *from == position);
        from_there.map(|(request, _)| *request)
    }

    /// When to look at it again, unless it is held.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        let forgotten_at = matches!(self.stage, Stage::Resting).then(|| self.latest + TASK_TIMEOUT);
        [self.echo_at, self.again_at, forgotten_at].into_iter().flatten().min()
    }

    /// Until when its next position has to wait, because it begins another pass too soon. If it has not, the pass begins.
    pub(super) fn held_until(&mut self, now: Time, passes_per_minute: NonZeroU32) -> Option<Time> {
        let Stage::Sending { pass, is_spaced, .. } = &self.stage else { return None };
        if !is_spaced || !pass.begins_round() {
            return None;
        }
        let interval = Duration::from_secs(60) / passes_per_minute.get();
        let free_at = self.paced_until - interval;
        if free_at > now {
            return Some(free_at);
        }
        self.paced_until = self.paced_until.max(now) + interval;
        None
    }
}
