//! What is sent again: a chunk that was lost, what the broker lost, a module that was damaged on disk.

use std::time::Duration;

use super::{Schedule, TransferId, Turn};
use crate::delivery::rules::rule::{Rule, holds};
use crate::delivery::rules::transfer::{Purpose, Stage, Transfer};
use crate::mqtt::request::TASK_TIMEOUT;
use crate::util::clock::Time;

/// How much longer than the broker the devices may be away. They come back 1, 3, 7, 15, 31 s after the loss: within as
/// long as the outage, and a second.
#[doc(alias = "bound")]
const RETURN_MARGIN: Duration = Duration::from_millis(1500);
/// The longest wait for devices after the broker is back.
#[doc(alias = "bound")]
const MAX_RETURN: Duration = Duration::from_secs(33);

impl<W> Schedule<W> {
    /// The chunk of `turn` will not be acknowledged; it is published again.
    pub(in crate::delivery::rules) fn lost(&mut self, turn: &Turn) {
        if let Some(Transfer { app, stage: Stage::Sending { pass, .. }, .. }) = self.transfers.get_mut(&turn.transfer)
            && pass.lose(turn.position)
        {
            self.turns.push(&app.channel, turn.transfer);
        }
    }

    /// The broker is back after `outage`: whatever was requested within [`TASK_TIMEOUT`] is covered again when the
    /// devices are back as well. Returns how many transfers that concerns.
    pub(in crate::delivery::rules) fn recover(&mut self, outage: Duration, now: Time) -> usize {
        if !holds(Rule::CoverAgain) {
            return 0;
        }
        let lost_at = now - outage;
        if lost_at >= self.back_by {
            self.lost_at = lost_at;
        }
        // A device that was not back yet counts its tries from the first loss.
        let again_at = now + (now.since(self.lost_at) + RETURN_MARGIN).min(MAX_RETURN);
        let again_at = if holds(Rule::AwaitDevices) { again_at } else { now };
        self.back_by = again_at;
        let young: Vec<_> = self
            .transfers
            .iter_mut()
            .filter(|(_, transfer)| again_at.since(transfer.last_arrival) < TASK_TIMEOUT)
            .map(|(id, transfer)| {
                transfer.again_at = Some(again_at);
                (*id, transfer.alarm.map_or(again_at, |alarm| alarm.min(again_at)))
            })
            .collect();
        for &(id, alarm) in &young {
            self.set_alarm(id, Some(alarm));
        }
        young.len()
    }

    /// Begins a transfer again for `purpose`, unless it is a repeat, under another id: messages in flight are those of the old
    /// one. What it sent is no repeat that could be refused.
    pub(in crate::delivery::rules) fn restart(&mut self, id: TransferId, purpose: Purpose) -> Option<TransferId> {
        let mut transfer = self.remove(id)?;
        transfer.restarts += 1;
        transfer.requests.iter_mut().for_each(|request| request.from = 0);
        if transfer.purpose != Purpose::Repeat {
            transfer.purpose = purpose;
        }
        transfer.stage = Stage::Fetching;
        let (id, alarm) = (TransferId(self.opened), transfer.next_alarm());
        self.opened += 1;
        self.count(&transfer);
        self.by_app.insert(transfer.app.clone(), id);
        self.transfers.insert(id, transfer);
        self.set_alarm(id, alarm);
        Some(id)
    }
}
