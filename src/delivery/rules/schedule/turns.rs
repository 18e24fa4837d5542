//! Whose chunk is next: the channels take turns, and on each channel its transfers do. A channel with a thousand transfers
//! slows down its own, and no other channel.

use std::collections::VecDeque;
use std::sync::Arc;

use super::TransferId;
use crate::mqtt::topic::Channel;

/// The transfers that have a chunk to publish, each once, by channel; the next ones first. No list is empty.
#[derive(Debug, Default)]
pub(super) struct Turns(VecDeque<(Arc<Channel>, VecDeque<TransferId>)>);

impl Turns {
    /// The transfer has a chunk to publish, unless that is known.
    pub(super) fn push(&mut self, channel: &Arc<Channel>, id: TransferId) {
        match self.0.iter_mut().find(|(waiting, _)| waiting == channel) {
            Some((_, transfers)) if transfers.contains(&id) => {}
            Some((_, transfers)) => transfers.push_back(id),
            None => self.0.push_back((Arc::clone(channel), [id].into())),
        }
    }

    /// Takes the next transfer of the first channel that `is_free`; the channel goes to the end.
    pub(super) fn next(&mut self, is_free: impl Fn(&Channel) -> bool) -> Option<TransferId> {
        let index = self.0.iter().position(|(channel, _)| is_free(channel))?;
        let (channel, mut transfers) = self.0.remove(index)?;
        let next = transfers.pop_front();
        if !transfers.is_empty() {
            self.0.push_back((channel, transfers));
        }
        next
    }

    /// The transfer has none any more.
    pub(super) fn remove(&mut self, channel: &Channel, id: TransferId) {
        self.0.retain_mut(|(waiting, transfers)| {
            if **waiting == *channel {
                transfers.retain(|transfer| *transfer != id);
            }
            !transfers.is_empty()
        });
    }

    /// The channels with transfers that have one.
    pub(super) fn channels(&self) -> impl Iterator<Item = &Channel> {
        self.0.iter().map(|(channel, _)| &**channel)
    }
}
