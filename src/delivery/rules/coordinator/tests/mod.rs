//! Single rules of the coordinator; the simulation is the test of all of them together.

mod restart;

use std::num::NonZeroU32;
use std::sync::Arc;

use super::*;
use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::group::ReplicaStatus;
use crate::delivery::rules::versions::{CHUNK_LIFETIME, MAX_NOTED, Version};
use crate::error::Error;
use crate::mqtt::status::{DeliveryState, Failure, Status};
use crate::mqtt::topic::{Channel, Layout};
use crate::oci::digest::Digest;

const NOW: Time = Time(1_000_000_000);
const CHUNK_SIZE: NonZeroU32 = NonZeroU32::new(10).unwrap();

fn app() -> App {
    let channel = Arc::new(Channel { domain: "d".into(), id: "c".into() });
    App { channel, layout: Layout::Plain, name: "a".into() }
}

fn after(milliseconds: u64) -> Time {
    NOW + Duration::from_millis(milliseconds)
}

fn options(replica: Option<&str>) -> Options {
    let passes_per_minute = NonZeroU32::new(10).unwrap();
    let limits = Limits { open_requests: 100, passes_per_minute, publish_rate: None, repeats: None };
    Options { limits, chunk_size: CHUNK_SIZE, tag_moves: TagMoves::Fresh, replica: replica.map(str::to_owned) }
}

/// A proxy that was there a moment ago.
fn coordinator(replica: Option<&str>) -> Coordinator<()> {
    let mut rules = Coordinator::new(options(replica), Saved { present: Some(NOW), ..Saved::default() }, NOW);
    rules.requests_connected(NOW);
    actions(&mut rules);
    rules
}

fn request(rules: &mut Coordinator<()>, id: RequestId, origin: Origin, now: Time) -> bool {
    rules.request(&app(), Request::new(id, now, origin, ()), now)
}

fn candidate(name: &str) -> Candidate {
    let digest = Digest::of(name.as_bytes());
    Candidate { root: digest, digest, size: 1000, may_move: true }
}

fn actions(rules: &mut Coordinator<()>) -> Vec<Action<()>> {
    std::iter::from_fn(|| rules.next_action()).collect()
}

/// The transfer that is to be fetched.
fn fetch(rules: &mut Coordinator<()>) -> Option<(TransferId, Purpose, Option<Digest>)> {
    actions(rules).into_iter().find_map(|action| match action {
        Action::Fetch { transfer, purpose, root, .. } => Some((transfer, purpose, root)),
        _ => None,
    })
}

fn claim(rules: &mut Coordinator<()>) -> Option<Version> {
    actions(rules).into_iter().find_map(|action| match action {
        Action::Claim(_, version) => Some(version),
        _ => None,
    })
}

fn sent(rules: &mut Coordinator<()>) -> Option<ChunkPlan> {
    actions(rules).into_iter().find_map(|action| match action {
        Action::Send { version, .. } => Some(version.plan),
        _ => None,
    })
}

#[test]
fn more_versions_than_a_replica_remembers_leave_it_uncertain() {
    let mut rules = coordinator(Some("one"));
    let later = NOW + 2 * CHUNK_LIFETIME;
    let plan = ChunkPlan::new(1000, CHUNK_SIZE);
    let mut claims = |range: std::ops::Range<usize>| {
        for number in range {
            let version = Version { root: None, digest: Digest::of(&number.to_le_bytes()), plan };
            rules.replica_status("two", &app(), ReplicaStatus::Claims(version), later);
        }
        let is_uncertain = rules.versions.is_uncertain(later);
        let written = actions(&mut rules).into_iter().filter_map(|action| match action {
            Action::PersistVersions { versions, .. } => Some(versions.len()),
            _ => None,
        });
        (written.max(), is_uncertain)
    };
    assert_eq!(claims(0..MAX_NOTED), (Some(MAX_NOTED), false));
    assert_eq!(claims(MAX_NOTED..20_000), (Some(MAX_NOTED), true));
}

/// A replica that has fetched `module`, and what it claims.
fn claiming(name: &str, module: &str, now: Time) -> (Coordinator<()>, TransferId, Version) {
    let mut rules = coordinator(Some(name));
    request(&mut rules, 0, Origin::Device, now);
    let (transfer, ..) = fetch(&mut rules).unwrap();
    rules.fetched(transfer, candidate(module), now);
    rules.persisted(transfer, now);
    let version = claim(&mut rules).unwrap();
    (rules, transfer, version)
}

#[test]
fn no_chunk_has_a_turn_before_its_version_is_on_disk() {
    let mut rules = coordinator(None);
    request(&mut rules, 0, Origin::Device, NOW);
    let (transfer, ..) = fetch(&mut rules).unwrap();
    rules.fetched(transfer, candidate("one"), NOW);
    let written = actions(&mut rules);
    assert!(
        matches!(&written[..], [Action::PersistVersions { transfer: Some(id), .. }] if *id == transfer),
        "{written:?}"
    );
    assert_eq!(rules.next_turn(NOW), None);
    rules.persisted(transfer, NOW);
    assert!(sent(&mut rules).is_some());
    assert!(rules.next_turn(NOW).is_some());
}

/// The broker delivers all claims in one order: the first one counts, and every other claimant yields.
#[test]
fn the_first_claim_sends_and_the_second_yields() {
    let (mut one, _, claimed) = claiming("one", "module", NOW);
    let (mut two, transfer, other) = claiming("two", "module", NOW);
    two.replica_status("one", &app(), ReplicaStatus::Claims(claimed), NOW);
    one.replica_status("one", &app(), ReplicaStatus::Claims(claimed), NOW);
    one.replica_status("two", &app(), ReplicaStatus::Claims(other), NOW);
    two.replica_status("two", &app(), ReplicaStatus::Claims(other), NOW);
    let ended = actions(&mut two);
    let yielded = Action::End { transfer, end: End::Yielded, requests: Vec::new() };
    assert!(ended.contains(&yielded), "{ended:?}");
    one.wake(after(500));
    assert!(sent(&mut one).is_some());
    // The owner ends: it has served the request that waited here.
    two.replica_status("one", &app(), ReplicaStatus::Delivered(Some(claimed)), after(2000));
    assert!(actions(&mut two).contains(&Action::CloseRequests(vec![0])));
    two.wake(after(60_000));
    assert_eq!(fetch(&mut two), None);
}

/// A replica that remembers another version in as many chunks objects, and the claimant cuts its module anew.
#[test]
fn an_objection_makes_the_claimant_choose_another_number_of_chunks() {
    let (mut one, _, claimed) = claiming("one", "new", NOW);
    let mut two = coordinator(Some("two"));
    let old = Version { root: None, digest: Digest::of(b"old"), plan: claimed.plan };
    two.replica_status("three", &app(), ReplicaStatus::Delivered(Some(old)), NOW);
    actions(&mut two);
    two.replica_status("one", &app(), ReplicaStatus::Claims(claimed), NOW);
    let objection = actions(&mut two).into_iter().find_map(|action| match action {
        Action::Object(_, version) => Some(version),
        _ => None,
    });
    assert_eq!(objection, Some(old));

    one.replica_status("one", &app(), ReplicaStatus::Claims(claimed), NOW);
    assert_eq!(sent(&mut one), None, "others may object");
    one.replica_status("two", &app(), ReplicaStatus::Objects(old), after(100));
    one.wake(after(500));
    let written = actions(&mut one).into_iter().find_map(|action| match action {
        Action::PersistVersions { versions, transfer: Some(transfer), .. } => Some((versions, transfer)),
        _ => None,
    });
    let (versions, transfer) = written.unwrap();
    assert_ne!(versions.last().unwrap().version.plan.total_chunks(), claimed.plan.total_chunks());
    one.persisted(transfer, after(500));
    let again = claim(&mut one).unwrap();
    one.replica_status("one", &app(), ReplicaStatus::Claims(claimed), after(600));
    one.wake(after(1200));
    assert_eq!(sent(&mut one), None, "that was the claim before");
    one.replica_status("one", &app(), ReplicaStatus::Claims(again), after(1200));
    one.wake(after(1700));
    assert_eq!(sent(&mut one), Some(again.plan));
}

#[test]
fn a_claim_that_does_not_return_fails() {
    let (mut rules, transfer, _) = claiming("one", "module", NOW);
    rules.wake(after(19_999));
    assert!(!actions(&mut rules).iter().any(|action| matches!(action, Action::End { .. })));
    assert_eq!(rules.next_alarm(), Some(after(20_000)));
    rules.wake(after(20_000));
    let is_lost = |action: &Action<()>| matches!(action, Action::End { transfer: id, end: End::Failed(Refusal::ClaimLost), requests } if *id == transfer && requests.len() == 1);
    assert!(actions(&mut rules).iter().any(is_lost));
}

/// Requests that the broker queued while every member was away are served by one of them, the highest of the ranking.
#[test]
fn queued_requests_are_served_by_one_member() {
    let mut members: Vec<_> = ["one", "two", "three"].map(|name| (name, coordinator(Some(name)))).into();
    for (_, rules) in &mut members {
        for other in ["one", "two", "three"] {
            rules.presence(other, true, false, true, NOW);
        }
        request(rules, 0, Origin::Queue, NOW);
        assert_eq!(fetch(rules), None, "what is queued behind it may say that it was served");
        rules.wake(after(1000));
    }
    let serving = members.iter_mut().filter_map(|(_, rules)| fetch(rules)).count();
    assert_eq!(serving, 1);
}

#[test]
fn an_old_request_is_rejected_and_forgotten() {
    let mut rules = Coordinator::new(options(None), Saved { present: Some(NOW), ..Saved::default() }, after(50_000));
    // What the broker had is not on disk, and is not written.
    assert!(!request(&mut rules, 3, Origin::Queue, after(50_000)));
    let is_rejected = |action: &Action<()>| matches!(action, Action::Reject { refusal: Refusal::TooLate(_), .. });
    let rejected = actions(&mut rules);
    assert!(rejected.len() == 1 && is_rejected(&rejected[0]), "{rejected:?}");
    rules.request(&app(), Request::new(4, NOW, Origin::Disk, ()), after(50_000));
    let rejected = actions(&mut rules);
    assert!(rejected[0] == Action::CloseRequests(vec![4]) && is_rejected(&rejected[1]), "{rejected:?}");
    assert!(request(&mut rules, 5, Origin::Device, after(50_000)));
}

/// What was being sent goes on by digest for the requests of that time; a new request gets what the tag means now.
#[test]
fn only_requests_from_the_disk_resume_the_interrupted_version() {
    let version = |origin| {
        let mut before = coordinator(None);
        request(&mut before, 0, Origin::Device, NOW);
        let (transfer, ..) = fetch(&mut before).unwrap();
        before.fetched(transfer, candidate("one"), NOW);
        let versions = actions(&mut before).into_iter().find_map(|action| match action {
            Action::PersistVersions { versions, .. } => Some(versions),
            _ => None,
        });
        let saved = Saved { versions: vec![(app(), versions.unwrap())], present: Some(NOW), ..Saved::default() };
        let mut rules = Coordinator::new(options(None), saved, after(1000));
        request(&mut rules, 0, origin, after(1000));
        fetch(&mut rules).map(|(_, purpose, root)| (purpose, root))
    };
    assert_eq!(version(Origin::Disk), Some((Purpose::Resume, Some(Digest::of(b"one")))));
    assert_eq!(version(Origin::Device), Some((Purpose::Request, None)));
}

#[test]
fn a_withdrawn_request_ends_its_transfer_unless_another_needs_it() {
    let mut rules = coordinator(None);
    request(&mut rules, 0, Origin::Caller, NOW);
    let (transfer, ..) = fetch(&mut rules).unwrap();
    request(&mut rules, 1, Origin::Caller, NOW);
    assert!(rules.withdraw(0, NOW).is_some());
    assert!(!actions(&mut rules).iter().any(|action| matches!(action, Action::End { .. })));
    assert!(rules.withdraw(1, NOW).is_some());
    let ended = actions(&mut rules);
    assert!(ended.contains(&Action::End { transfer, end: End::Withdrawn, requests: Vec::new() }), "{ended:?}");
    assert!(rules.withdraw(1, NOW).is_none());
}

/// A replica that was away finds in its session the requests that the others have served meanwhile.
#[test]
fn a_replica_that_returns_rejects_nothing_that_was_served() {
    let saved = Saved { present: Some(NOW), ..Saved::default() };
    let mut rules = Coordinator::new(options(Some("three")), saved, after(60_000));
    request(&mut rules, 0, Origin::Queue, after(60_000));
    request(&mut rules, 1, Origin::Queue, after(60_000));
    let plan = ChunkPlan::with_total(1000, CHUNK_SIZE, 100).unwrap();
    let version = Version { root: None, digest: Digest::of(b"module"), plan };
    rules.replica_status("one", &app(), ReplicaStatus::Claims(version), after(60_000));
    rules.replica_status("one", &app(), ReplicaStatus::Delivered(Some(version)), after(60_000));
    rules.requests_connected(after(60_100));
    (0..20).for_each(|second| rules.wake(after(60_100 + second * 1000)));
    let actions = actions(&mut rules);
    assert!(
        !actions.iter().any(|action| matches!(action, Action::Reject { .. } | Action::Fetch { .. })),
        "{actions:?}"
    );
}

/// One that nobody served is rejected by the first member, and forgotten by the others.
#[test]
fn a_request_that_is_too_late_is_rejected_by_one_member() {
    let rejected = ["one", "two", "three"].map(|name| {
        let saved = Saved { present: Some(NOW), ..Saved::default() };
        let mut rules = Coordinator::new(options(Some(name)), saved, after(60_000));
        request(&mut rules, 0, Origin::Queue, after(60_000));
        rules.requests_connected(after(60_000));
        for other in ["one", "two", "three"] {
            rules.presence(other, true, true, true, after(60_000));
        }
        assert!(!actions(&mut rules).iter().any(|action| matches!(action, Action::Reject { .. })));
        rules.wake(after(61_000));
        let actions = actions(&mut rules);
        assert!(actions.contains(&Action::CloseRequests(vec![0])));
        actions.iter().filter(|action| matches!(action, Action::Reject { .. })).count()
    });
    assert_eq!(rejected.iter().sum::<usize>(), 1);
}

/// The rejection of another replica settles nothing, and neither does its stop.
#[test]
fn a_request_outlives_the_rejection_and_the_stop_of_another_replica() {
    for status in [ReplicaStatus::Rejects, ReplicaStatus::Failed, ReplicaStatus::Stops] {
        let (_, _, version) = claiming("one", "module", NOW);
        let mut two = coordinator(Some("two"));
        if status == ReplicaStatus::Stops {
            two.replica_status("one", &app(), ReplicaStatus::Claims(version), NOW);
        }
        request(&mut two, 0, Origin::Queue, after(100));
        two.replica_status("one", &app(), status, after(1050));
        (2..20).for_each(|second| two.wake(after(second * 1000)));
        assert!(fetch(&mut two).is_some(), "{status:?}");
    }
}

/// The age of what the broker queued counts from the moment at which the connection was lost.
#[test]
fn a_queued_request_is_as_old_as_the_outage_whenever_it_arrives() {
    let is_rejected = |outage: u64, is_before: bool| {
        let mut rules = coordinator(None);
        rules.requests_disconnected(after(3_600_000));
        let now = after(3_600_000 + outage);
        if !is_before {
            rules.requests_connected(now);
        }
        request(&mut rules, 0, Origin::Queue, now);
        actions(&mut rules).iter().any(|action| matches!(action, Action::Reject { .. }))
    };
    for is_before in [true, false] {
        assert!(!is_rejected(49_000, is_before) && is_rejected(50_000, is_before), "before SUBACK: {is_before}");
    }
}

/// A claim that came second is no owner: its replica yields without a message.
#[test]
fn a_replica_whose_claim_won_serves_the_next_request_too() {
    let (mut one, transfer, claimed) = claiming("one", "module", NOW);
    one.replica_status("one", &app(), ReplicaStatus::Claims(claimed), NOW);
    one.replica_status("two", &app(), ReplicaStatus::Claims(claimed), NOW);
    one.failed(transfer, false, after(1000));
    one.replica_status("two", &app(), ReplicaStatus::Claims(claimed), after(1000));
    one.replica_status("one", &app(), ReplicaStatus::Failed, after(1000));
    one.presence("two", false, false, true, after(1000));
    actions(&mut one);
    request(&mut one, 1, Origin::Device, after(1100));
    assert!(fetch(&mut one).is_some());
}

/// While the connection is down no claim can return: the time counts again from the next connection.
#[test]
fn a_claim_waits_for_the_connection_and_is_published_again() {
    let (mut rules, _, claimed) = claiming("one", "module", NOW);
    rules.requests_disconnected(after(1000));
    rules.wake(after(40_000));
    assert_eq!(rules.next_alarm(), None);
    rules.requests_connected(after(40_000));
    assert_eq!(claim(&mut rules), Some(claimed));
    assert_eq!(rules.next_alarm(), Some(after(60_000)));
}

/// A will covers one channel, and a broker that crashes sends none.
#[test]
fn members_that_are_announced_but_gone_delay_one_request_only() {
    let mut rules = coordinator(Some("one"));
    (0..20).for_each(|other| rules.presence(&format!("gone-{other}"), true, true, true, NOW));
    request(&mut rules, 0, Origin::Device, NOW);
    rules.wake(after(24_000));
    let (transfer, ..) = fetch(&mut rules).unwrap();
    rules.failed(transfer, false, after(25_000));
    request(&mut rules, 1, Origin::Device, after(26_000));
    assert!(fetch(&mut rules).is_some());
}

/// A chunk that waits for its turn is no alarm: while the sender is busy the loop sleeps.
#[test]
fn a_waiting_chunk_wakes_nobody() {
    let mut rules = coordinator(None);
    request(&mut rules, 0, Origin::Device, NOW);
    let (transfer, ..) = fetch(&mut rules).unwrap();
    rules.fetched(transfer, candidate("one"), NOW);
    rules.persisted(transfer, NOW);
    assert!(rules.next_alarm().is_none_or(|alarm| alarm > NOW));
    assert!(rules.next_turn_at(NOW).is_some());
}

/// What ends goes on with what is open, and begins nothing.
#[test]
fn a_proxy_that_ends_takes_nothing_over() {
    let mut rules = coordinator(Some("one"));
    rules.presence("two", true, false, true, NOW);
    request(&mut rules, 0, Origin::Queue, NOW);
    rules.drain();
    (1..20).for_each(|second| rules.wake(after(second * 1000)));
    assert_eq!(fetch(&mut rules), None);
}

/// What a failure says of the transfers of another replica is read from the code of its error.
#[test]
fn failures_of_replicas_are_read_by_their_codes() {
    let read = |error: &Error| {
        let error = Some(Failure { code: error.code().to_owned(), message: String::new() });
        let (digest, size, chunk_size, total_chunks) = (None, None, None, None);
        let (app_name, instance, time) = ("a".to_owned(), "one".to_owned(), String::new());
        let state = DeliveryState::Failed;
        ReplicaStatus::of(&Status {
            app_name,
            state,
            digest,
            size,
            chunk_size,
            total_chunks,
            sent_chunks: 0,
            error,
            instance,
            time,
        })
    };
    let name = || "a".to_owned();
    assert_eq!(read(&Error::Stopping { app_name: name() }), ReplicaStatus::Stops);
    assert_eq!(read(&Error::TooLate { app_name: name(), reason: "" }), ReplicaStatus::Rejects);
    assert_eq!(read(&Error::Overloaded { app_name: name(), limit: 1, what: "" }), ReplicaStatus::Rejects);
    assert_eq!(read(&Error::OverBudget { app_name: name(), limit: 1 }), ReplicaStatus::Rejects);
    assert_eq!(read(&Error::Unheard { app_name: name() }), ReplicaStatus::Failed);
}
