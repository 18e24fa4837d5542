//! The rules of delivery, for records and messages that reach them.

use std::num::NonZeroU32;
use std::time::Duration;

use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::action::{Action, Options, Saved};
use crate::delivery::rules::coordinator::Coordinator;
use crate::delivery::rules::request::{Origin, Request};
use crate::delivery::rules::schedule::Limits;
use crate::delivery::rules::versions::{Candidate, TagMoves};
use crate::mqtt::topic::App;
use crate::oci::digest::Digest;
use crate::util::clock::Time;

pub(super) const NOW: Time = Time(1_790_000_000_000);
/// Turns and actions that are taken after an event.
const STEPS: usize = 16;

/// A replica that starts with `saved`, and has its subscriptions.
pub(super) fn replica(saved: Saved) -> Coordinator<()> {
    let ten = NonZeroU32::MIN.saturating_add(9);
    let limits = Limits { open_requests: 100, passes_per_minute: ten, publish_rate: None, repeats: Some(1 << 20) };
    let replica = Some("one".to_owned());
    let mut rules =
        Coordinator::new(Options { limits, chunk_size: ten, tag_moves: TagMoves::Pinned, replica }, saved, NOW);
    rules.requests_connected(NOW);
    rules
}

/// A device requests the app, and what follows happens: a module of `size` bytes is fetched, cut, claimed and sent.
pub(super) fn deliver(rules: &mut Coordinator<()>, app: &App, size: u64, mut now: Time) {
    rules.request(app, Request::new(1, now, Origin::Device, ()), now);
    for _ in 0..STEPS {
        now = now + Duration::from_secs(1);
        match rules.next_action() {
            Some(Action::Fetch { transfer, root, .. }) => {
                let digest = Digest::of(b"module");
                rules.fetched(transfer, Candidate { root: root.unwrap_or(digest), digest, size, may_move: true }, now);
            }
            Some(Action::PersistVersions { transfer: Some(transfer), .. }) => rules.persisted(transfer, now),
            Some(Action::Send { version, .. }) => check_plan(&version.plan),
            _ => {
                if let Some(turn) = rules.next_turn(now) {
                    rules.acknowledged(&turn, now);
                }
            }
        }
    }
}

/// The first and last chunks of a plan are inside the module and meet; none is empty or too large.
pub(super) fn check_plan(plan: &ChunkPlan) {
    let (size, total) = (plan.size(), plan.total_chunks());
    assert!(total >= 1 && total <= size.max(1), "{plan:?}");
    let mut end = 0;
    for index in (0..total.min(4)).chain(total.saturating_sub(2).max(total.min(4))..total) {
        let (begin, length) = plan.chunk(index);
        assert!(begin == end || index >= 4, "{plan:?}");
        end = begin + u64::from(length);
        assert!(length <= plan.chunk_size().get() && (length > 0 || size == 0) && end <= size, "{plan:?}");
    }
    assert_eq!(end, size, "{plan:?}");
}
