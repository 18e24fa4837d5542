//! How long requests wait for their first and for their last chunk.

use std::collections::HashMap;

use super::rules::schedule::RequestId;
use crate::util::clock::Time;
use crate::util::metrics::Meters;

/// The requests that wait, as many as are open.
#[derive(Debug, Default)]
pub(super) struct Waits {
    since: HashMap<RequestId, Wait>,
    meters: Meters,
}

#[derive(Debug)]
struct Wait {
    arrived: Time,
    /// Whether it got a chunk. After a loss of the broker it gets them all anew.
    is_begun: bool,
}

impl Waits {
    pub(super) fn begin(&mut self, request: RequestId, arrived: Time) {
        self.since.insert(request, Wait { arrived, is_begun: false });
    }

    pub(super) fn first_chunk(&mut self, request: RequestId, now: Time) {
        if let Some(wait) = self.since.get_mut(&request)
            && !std::mem::replace(&mut wait.is_begun, true)
        {
            self.meters.first_chunk.record(now.since(wait.arrived));
        }
    }

    pub(super) fn last_chunk(&mut self, requests: &[RequestId], now: Time) {
        for wait in requests.iter().filter_map(|request| self.since.remove(request)) {
            self.meters.last_chunk.record(now.since(wait.arrived));
        }
    }

    /// They wait no longer, in vain.
    pub(super) fn give_up(&mut self, requests: &[RequestId]) {
        for request in requests {
            self.since.remove(request);
        }
    }
}
