use super::*;

fn key(app_name: &str) -> TransferKey {
    TransferKey { topic: "m/d/c/c/registry/server".into(), app_name: app_name.into() }
}

/// Opens a transfer of `total_chunks` whose load is its own name.
fn started(schedule: &mut Schedule<&'static str>, app_name: &'static str, total_chunks: u64) -> TransferId {
    let Admission::Opened(id) = schedule.request(&key(app_name)) else { panic!("{app_name} is already open") };
    schedule.start(id, total_chunks, app_name);
    id
}

/// Publishes and acknowledges one chunk; returns it as (name, index), and whether a transfer completed.
fn step(schedule: &mut Schedule<&'static str>) -> Option<((&'static str, u64), bool)> {
    let turn = schedule.next_turn()?;
    let completed = schedule.acknowledged(turn.id, turn.position);
    Some(((turn.load, turn.index), completed.is_some()))
}

#[test]
fn a_lone_request_gets_one_pass() {
    let mut schedule = Schedule::new(9);
    started(&mut schedule, "a", 3);
    assert_eq!(step(&mut schedule), Some((("a", 0), false)));
    assert_eq!(step(&mut schedule), Some((("a", 1), false)));
    assert_eq!(step(&mut schedule), Some((("a", 2), true)));
    assert_eq!(step(&mut schedule), None);
    assert!(schedule.is_empty());
}

#[test]
fn a_joiner_costs_the_prefix_it_missed() {
    let mut schedule = Schedule::new(9);
    let id = started(&mut schedule, "a", 4);
    for _ in 0..3 {
        step(&mut schedule);
    }
    assert_eq!(schedule.request(&key("a")), Admission::Joined { requests: 2 });
    let indices: Vec<_> = (0..4).map(|_| schedule.next_turn().unwrap()).collect();
    assert_eq!(indices.iter().map(|turn| turn.index).collect::<Vec<_>>(), [3, 0, 1, 2]);
    assert_eq!(schedule.next_turn(), None);
    for turn in &indices[..3] {
        assert_eq!(schedule.acknowledged(id, turn.position), None);
    }
    let completed = schedule.acknowledged(id, indices[3].position);
    assert_eq!(completed, Some(Completed { load: "a", requests: 2, sent_chunks: 7 }));
}

#[test]
fn a_request_during_the_fetch_joins_for_free() {
    let mut schedule = Schedule::new(9);
    let Admission::Opened(id) = schedule.request(&key("a")) else { panic!() };
    assert_eq!(schedule.request(&key("a")), Admission::Joined { requests: 2 });
    schedule.start(id, 1, "a");
    assert_eq!(step(&mut schedule), Some((("a", 0), true)));
}

#[test]
fn a_request_while_the_last_chunk_is_in_flight_starts_another_pass() {
    let mut schedule = Schedule::new(9);
    let id = started(&mut schedule, "a", 1);
    let turn = schedule.next_turn().unwrap();
    schedule.request(&key("a"));
    assert_eq!(schedule.acknowledged(id, turn.position), None);
    assert_eq!(step(&mut schedule), Some((("a", 0), true)));
}

#[test]
fn transfers_take_turns_chunk_by_chunk() {
    let mut schedule = Schedule::new(9);
    started(&mut schedule, "large", 100);
    step(&mut schedule);
    started(&mut schedule, "small", 2);
    let order: Vec<_> = (0..5).map(|_| step(&mut schedule).unwrap().0.0).collect();
    assert_eq!(order, ["large", "small", "large", "small", "large"]);
}

#[test]
fn a_lost_chunk_is_sent_again_and_awaited() {
    let mut schedule = Schedule::new(9);
    let id = started(&mut schedule, "a", 2);
    let (first, second) = (schedule.next_turn().unwrap(), schedule.next_turn().unwrap());
    schedule.lost(id, first.position);
    assert_eq!(schedule.acknowledged(id, second.position), None);
    assert_eq!(step(&mut schedule), Some((("a", 0), true)));
}

#[test]
fn too_many_transfers_are_turned_away_and_room_comes_back() {
    let mut schedule = Schedule::new(1);
    let id = started(&mut schedule, "a", 2);
    assert_eq!(schedule.request(&key("b")), Admission::Full);
    assert_eq!(schedule.request(&key("a")), Admission::Joined { requests: 2 });
    schedule.abandon(id);
    assert_eq!(schedule.next_turn(), None);
    assert_eq!(schedule.acknowledged(id, 0), None);
    assert!(matches!(schedule.request(&key("b")), Admission::Opened(_)));
}

/// Every request hears every chunk after it came, whatever joins, gets lost or is acknowledged out of order.
#[test]
fn every_request_is_covered_under_random_joins_and_losses() {
    for seed in 1..300_u64 {
        let mut random = seed;
        let mut below = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let total = 1 + below(6);
        let mut schedule = Schedule::new(9);
        started(&mut schedule, "a", total);
        // For each request the chunks that were acknowledged after it came, by sequence of publishing.
        let mut heard = vec![BTreeSet::new()];
        let mut flying: Vec<(Turn<&str>, usize)> = Vec::new();
        let mut completed = None;
        while completed.is_none() {
            match below(5) {
                0 if heard.len() < 5 => {
                    schedule.request(&key("a"));
                    heard.push(BTreeSet::new());
                }
                1 | 2 => flying.extend(schedule.next_turn().map(|turn| (turn, heard.len()))),
                _ if flying.is_empty() => {}
                choice => {
                    let (turn, listeners) = flying.swap_remove(usize::try_from(below(flying.len() as u64)).unwrap());
                    if choice == 3 && below(3) == 0 {
                        schedule.lost(turn.id, turn.position);
                    } else {
                        heard[..listeners].iter_mut().for_each(|chunks| chunks.extend([turn.index]));
                        completed = schedule.acknowledged(turn.id, turn.position);
                    }
                }
            }
        }
        assert_eq!(completed.unwrap().requests, heard.len() as u64, "seed {seed}");
        assert!(heard.iter().all(|chunks| chunks.len() as u64 == total), "seed {seed}: {heard:?}");
    }
}
