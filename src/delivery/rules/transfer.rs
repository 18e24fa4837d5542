//! One transfer: its requests, its stage, and when it needs attention.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::pass::Pass;
use super::request::Request;
use super::versions::{Candidate, Version};
use crate::delivery::plan::ChunkPlan;
use crate::mqtt::request::TASK_TIMEOUT;
use crate::mqtt::topic::App;
use crate::util::clock::Time;

/// What a transfer is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Requests.
    Request,
    /// Requests that an earlier process had begun to serve with the latest version.
    Resume,
    /// Devices that may have missed the latest version.
    Repeat,
}

impl Purpose {
    /// Its name in traces.
    pub fn name(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Resume => "resume",
            Self::Repeat => "repeat",
        }
    }
}

/// A transfer, from its first request until it is forgotten.
#[derive(Debug)]
pub(super) struct Transfer<W> {
    pub(super) app: App,
    pub(super) purpose: Purpose,
    pub(super) stage: Stage,
    /// Requests that are not covered, in the order in which they will be.
    pub(super) requests: VecDeque<Request<W>>,
    /// Requests that were covered since it last rested.
    pub(super) served: u64,
    /// When the latest request arrived.
    pub(super) last_arrival: Time,
    /// Repeats that are due to further tasks of one device.
    pub(super) echoes: u32,
    /// Whether it is such a repeat.
    pub(super) is_echo: bool,
    /// Whether there was one since the latest request.
    pub(super) is_echoed: bool,
    /// How often it began again.
    pub(super) restarts: u32,
    /// Rounds of all chunks since it was opened.
    pub(super) passes: u64,
    /// When it is repeated for such a task.
    pub(super) echo_at: Option<Time>,
    /// From when on everything is covered again.
    pub(super) again_at: Option<Time>,
    /// The time up to which its passes have used their share.
    pub(super) paced_until: Time,
    pub(super) alarm: Option<Time>,
}

/// A module whose chunks are planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Prepared {
    pub(super) candidate: Candidate,
    pub(super) plan: ChunkPlan,
}

impl Prepared {
    pub(super) fn version(&self) -> Version {
        Version { root: Some(self.candidate.root), digest: self.candidate.digest, plan: self.plan }
    }
}

/// How far a transfer is.
#[derive(Debug)]
pub(super) enum Stage {
    /// The module is being fetched.
    Fetching,
    /// The version is being written to disk.
    Persisting(Prepared),
    /// The claim is published since then, and has not come back from the broker.
    Claiming(Prepared, Time),
    /// The claim came back; until then other replicas may object.
    Contested(Prepared, Time),
    /// Chunks are published.
    Sending { pass: Pass, message_size: u64, is_spaced: bool },
    /// Every request is covered.
    Resting,
}

impl<W> Transfer<W> {
    pub(super) fn new(app: App, purpose: Purpose, request: Request<W>) -> Self {
        Self {
            app,
            purpose,
            stage: Stage::Fetching,
            served: 0,
            last_arrival: request.arrived,
            requests: [request].into(),
            echoes: 0,
            is_echo: false,
            is_echoed: false,
            restarts: 0,
            passes: 0,
            echo_at: None,
            again_at: None,
            paced_until: Time::default(),
            alarm: None,
        }
    }

    /// Whether requests may join it.
    pub(super) fn is_open(&self) -> bool {
        self.purpose != Purpose::Repeat && !matches!(self.stage, Stage::Resting)
    }

    /// Whether its chunks are published.
    pub(super) fn is_sending(&self) -> bool {
        matches!(self.stage, Stage::Sending { .. })
    }

    /// The module that is planned and not sent yet.
    pub(super) fn prepared(&self) -> Option<&Prepared> {
        match &self.stage {
            Stage::Persisting(prepared) | Stage::Claiming(prepared, _) | Stage::Contested(prepared, _) => {
                Some(prepared)
            }
            Stage::Fetching | Stage::Sending { .. } | Stage::Resting => None,
        }
    }

    /// When it needs attention, unless it is held.
    pub(super) fn next_alarm(&self) -> Option<Time> {
        let forgotten_at = matches!(self.stage, Stage::Resting).then(|| self.last_arrival + TASK_TIMEOUT);
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
