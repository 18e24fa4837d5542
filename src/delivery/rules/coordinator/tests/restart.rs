//! Transfers that begin again: of a damaged module, and of a replica that stood still.

use super::*;

/// A replica that sends, and its claim.
fn sending(name: &str, module: &str) -> (Coordinator<()>, Version) {
    let (mut rules, _, version) = claiming(name, module, NOW);
    rules.replica_status(name, &app(), ReplicaStatus::Claims(version), NOW);
    // The time for objections.
    rules.wake(after(500));
    assert!(sent(&mut rules).is_some());
    assert!(rules.next_turn(after(500)).is_some());
    (rules, version)
}

/// A version of another module in as many chunks.
fn other_version(name: &str, version: &Version) -> Version {
    Version { digest: Digest::of(name.as_bytes()), ..*version }
}

#[test]
fn a_damaged_module_is_fetched_again_for_the_same_requests() {
    let mut rules = coordinator(None);
    request(&mut rules, 0, Origin::Device, NOW);
    let (mut transfer, ..) = fetch(&mut rules).unwrap();
    let mut plans = Vec::new();
    for round in 0..3 {
        rules.fetched(transfer, candidate("one"), NOW);
        rules.persisted(transfer, NOW);
        plans.push(sent(&mut rules).unwrap());
        let turn = rules.next_turn(NOW).unwrap();
        assert_eq!((turn.transfer, turn.index), (transfer, 0));
        assert_eq!(rules.damaged(transfer, NOW), round < 2, "not for ever");
        if round == 2 {
            break;
        }
        let done = actions(&mut rules);
        let ended = Action::End { transfer, end: End::Superseded, requests: Vec::new() };
        assert!(done.contains(&ended), "{done:?}");
        let fetched = done.into_iter().find_map(|action| match action {
            Action::Fetch { transfer, purpose, root, .. } => Some((transfer, purpose, root)),
            _ => None,
        });
        let (successor, purpose, root) = fetched.unwrap();
        assert_eq!((purpose, root), (Purpose::Resume, Some(Digest::of(b"one"))), "the version that was begun");
        assert!(rules.acknowledged(&turn, NOW).is_none(), "what is in flight is of the old transfer");
        assert_eq!((rules.open_requests(), rules.next_turn(NOW)), (1, None));
        transfer = successor;
    }
    assert!(plans.iter().all(|plan| *plan == plans[0]), "{plans:?}");
    let requests = rules.failed(transfer, false, NOW);
    assert_eq!(requests.iter().map(|request| request.id).collect::<Vec<_>>(), [0]);
}

/// The number of the message that renews the lease.
fn renewal(rules: &mut Coordinator<()>) -> Option<u64> {
    actions(rules).into_iter().find_map(|action| match action {
        Action::Live(_, number) => Some(number),
        _ => None,
    })
}

#[test]
fn no_chunk_has_a_turn_without_a_message_of_its_own() {
    let (mut rules, _) = sending("one", "module");
    let stale = after(500).0;
    assert!(rules.next_turn(after(4999)).is_some());
    assert_eq!((rules.next_turn(after(7000)), rules.next_turn_at(after(7000))), (None, None));
    rules.wake(after(7000));
    let number = renewal(&mut rules).unwrap();
    for (who, number) in [("two", number), ("one", stale)] {
        rules.replica_status(who, &app(), ReplicaStatus::Lives(number), after(7100));
        assert_eq!(rules.next_turn(after(7100)), None, "neither that of another one nor an old one");
    }
    rules.replica_status("one", &app(), ReplicaStatus::Lives(number), after(7200));
    assert!(rules.next_turn(after(7200)).is_some());
    assert_eq!(rules.next_turn(after(12_000)), None, "it counts from when it was published");
    let mut alone = coordinator(None);
    request(&mut alone, 0, Origin::Device, NOW);
    let (transfer, ..) = fetch(&mut alone).unwrap();
    alone.fetched(transfer, candidate("one"), NOW);
    alone.persisted(transfer, NOW);
    assert!(alone.next_turn(after(477_000)).is_some(), "alone, there is nobody to hear");
}

/// A second claim yields to the first one, but not if the first claimant is silent.
#[test]
fn a_claim_that_comes_while_there_is_no_lease_is_valid() {
    for (gap, is_valid) in [(4000, false), (477_000, true)] {
        let (mut rules, version) = sending("one", "old");
        let new = other_version("new", &version);
        rules.replica_status("two", &app(), ReplicaStatus::Claims(new), after(gap));
        let done = actions(&mut rules);
        let is_yielded = done.iter().any(|action| matches!(action, Action::End { end: End::Yielded, .. }));
        assert_eq!(is_yielded, is_valid, "{done:?}");
        assert_eq!(rules.next_turn(after(gap)).is_some(), !is_valid);
        // What the other one covers is over.
        rules.replica_status("two", &app(), ReplicaStatus::Delivered(Some(new)), after(gap + 1000));
        rules.wake(after(gap + 10_000));
        let is_fetched = fetch(&mut rules).is_some();
        assert!(!is_fetched);
    }
}

/// A process that stood still for so long that others have forgotten its version resolves the tag again, and cuts what it
/// sends so that nothing of what they sent meanwhile is mixed with it.
#[test]
fn a_replica_that_stood_still_checks_its_version_before_the_next_chunk() {
    let (mut rules, version) = sending("one", "old");
    let new = other_version("new", &version);
    let resumed = after(477_000);
    rules.replica_status("two", &app(), ReplicaStatus::Serves(Some(new)), resumed);
    assert_eq!(rules.next_turn(resumed), None);
    actions(&mut rules);
    rules.wake(resumed);
    let number = renewal(&mut rules).unwrap();
    rules.replica_status("one", &app(), ReplicaStatus::Lives(number), resumed);
    assert_eq!(rules.next_turn(resumed), None);
    let (transfer, purpose, root) = fetch(&mut rules).unwrap();
    assert_eq!((purpose, root), (Purpose::Request, None));
    rules.fetched(transfer, candidate("old"), resumed);
    rules.persisted(transfer, resumed);
    let claimed = claim(&mut rules).unwrap();
    rules.replica_status("one", &app(), ReplicaStatus::Claims(claimed), resumed);
    rules.wake(resumed + Duration::from_millis(500));
    for action in actions(&mut rules) {
        if let Action::Send { version, .. } = action {
            assert_ne!(version.plan.total_chunks(), new.plan.total_chunks());
        }
        if let Action::PersistVersions { transfer: Some(transfer), .. } = action {
            rules.persisted(transfer, resumed);
        }
    }
    let claimed = claim(&mut rules);
    assert!(claimed.is_some_and(|version| version.plan.total_chunks() != new.plan.total_chunks()), "{claimed:?}");
}

/// A claim that the broker delivers late proves nothing: messages behind it may say that the app was served.
#[test]
fn a_claim_that_returns_late_is_made_again() {
    let (mut rules, _, version) = claiming("one", "module", NOW);
    rules.replica_status("one", &app(), ReplicaStatus::Claims(version), after(477_000));
    assert_eq!(claim(&mut rules), Some(version));
    assert_eq!(sent(&mut rules), None);
    rules.replica_status("one", &app(), ReplicaStatus::Claims(version), after(477_100));
    rules.wake(after(477_700));
    assert!(sent(&mut rules).is_some());
}
