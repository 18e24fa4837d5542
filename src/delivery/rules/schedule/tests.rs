use std::sync::Arc;

use super::*;
use crate::mqtt::topic::{Channel, Layout};

const NOW: Time = Time(1_000_000_000);

fn after(seconds: f64) -> Time {
    NOW + Duration::from_secs_f64(seconds)
}

fn app(name: &str) -> App {
    let channel = Channel { domain: "d".into(), id: "c".into() };
    App { channel: Arc::new(channel), layout: Layout::Plain, name: name.into() }
}

fn cut(total_chunks: u64, message_size: u64) -> Cut {
    Cut { total_chunks, message_size, module_size: total_chunks * message_size }
}

fn limits() -> Limits {
    let passes_per_minute = NonZeroU32::new(10).unwrap();
    Limits { open_requests: 9, passes_per_minute, publish_rate: None, repeats: 1 << 30 }
}

fn schedule() -> Schedule<&'static str> {
    Schedule::new(limits())
}

fn request(schedule: &mut Schedule<&'static str>, name: &str, now: Time) -> Result<Admission, Excess> {
    schedule.request(&app(name), 0, now, now)
}

/// Opens a transfer of `total_chunks` whose load is its own name.
fn started(schedule: &mut Schedule<&'static str>, name: &'static str, total_chunks: u64) -> TransferId {
    let Ok(Admission::Opened(id)) = request(schedule, name, NOW) else { panic!("{name} is already open") };
    assert_eq!(schedule.start(id, cut(total_chunks, 1), name, NOW), Start::Sending);
    id
}

/// Publishes and acknowledges one chunk; returns it as (name, index), and whether a transfer completed.
fn step(schedule: &mut Schedule<&'static str>, now: Time) -> Option<((&'static str, u64), bool)> {
    let turn = schedule.next_turn(now)?;
    let covered = schedule.acknowledged(turn.id, turn.position, now);
    Some(((turn.load, turn.index), covered.is_some_and(|covered| covered.is_complete)))
}

/// Publishes and acknowledges all that there is to send; returns how many chunks that was.
fn drain(schedule: &mut Schedule<&'static str>, now: Time) -> u64 {
    std::iter::from_fn(|| step(schedule, now)).map(|_| 1).sum()
}

#[test]
fn a_lone_request_gets_one_pass() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 3);
    assert_eq!(step(&mut schedule, NOW), Some((("a", 0), false)));
    assert_eq!(step(&mut schedule, NOW), Some((("a", 1), false)));
    assert_eq!(step(&mut schedule, NOW), Some((("a", 2), true)));
    assert_eq!(step(&mut schedule, NOW), None);
    assert!(!schedule.is_open(&app("a")));
}

#[test]
fn the_first_chunk_of_a_request_is_the_next_one_after_it_came() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 4);
    step(&mut schedule, NOW);
    for late in [7, 8] {
        schedule.request(&app("a"), late, NOW, NOW).unwrap();
    }
    let begun = |position| schedule.begun_at(id, position).collect::<Vec<_>>();
    assert_eq!([0, 1, 2].map(begun), [vec![0], vec![7, 8], vec![]]);
    assert_eq!(schedule.open_requests(), 3);
}

#[test]
fn a_transfer_that_nobody_wants_any_more_is_given_up() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 4);
    step(&mut schedule, NOW);
    let Ok(Admission::Joined { requests: 2, .. }) = schedule.request(&app("a"), 7, NOW, NOW) else {
        panic!("it does not join")
    };
    assert_eq!(schedule.withdraw(0), None, "somebody else wants it");
    assert_eq!(schedule.withdraw(0), None);
    assert!(schedule.next_turn(NOW).is_some());
    assert_eq!(schedule.withdraw(7), Some(id));
    assert_eq!(schedule.next_turn(NOW), None);
    assert!(matches!(request(&mut schedule, "a", NOW), Ok(Admission::Opened(_))), "nothing is joined");
}

#[test]
fn a_joiner_costs_the_prefix_it_missed() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 4);
    for _ in 0..3 {
        step(&mut schedule, NOW);
    }
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 2 }));
    let indices: Vec<_> = (0..4).map(|_| schedule.next_turn(NOW).unwrap()).collect();
    assert_eq!(indices.iter().map(|turn| turn.index).collect::<Vec<_>>(), [3, 0, 1, 2]);
    assert_eq!(schedule.next_turn(NOW), None);
    let first = schedule.acknowledged(id, indices[0].position, NOW).unwrap();
    assert_eq!((first.requests, first.is_complete), (vec![0], false), "who came first is covered first");
    for turn in &indices[1..3] {
        assert_eq!(schedule.acknowledged(id, turn.position, NOW), None);
    }
    let covered = schedule.acknowledged(id, indices[3].position, NOW);
    assert_eq!(covered, Some(Covered { load: "a", requests: vec![0], served: 2, is_complete: true }));
}

#[test]
fn a_request_during_the_fetch_joins_for_free() {
    let mut schedule = schedule();
    let Ok(Admission::Opened(id)) = request(&mut schedule, "a", NOW) else { panic!() };
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 2 }));
    schedule.start(id, cut(1, 1), "a", NOW);
    assert_eq!(step(&mut schedule, NOW), Some((("a", 0), true)));
}

#[test]
fn a_request_while_the_last_chunk_is_in_flight_starts_another_pass() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 1);
    let turn = schedule.next_turn(NOW).unwrap();
    request(&mut schedule, "a", NOW).unwrap();
    let covered = schedule.acknowledged(id, turn.position, NOW).unwrap();
    assert_eq!((covered.requests.len(), covered.is_complete), (1, false));
    assert_eq!(step(&mut schedule, NOW), Some((("a", 0), true)));
}

#[test]
fn transfers_take_turns_chunk_by_chunk() {
    let mut schedule = schedule();
    started(&mut schedule, "large", 100);
    step(&mut schedule, NOW);
    started(&mut schedule, "small", 2);
    let order: Vec<_> = (0..5).map(|_| step(&mut schedule, NOW).unwrap().0.0).collect();
    assert_eq!(order, ["large", "small", "large", "small", "large"]);
}

#[test]
fn a_lost_chunk_is_sent_again_and_awaited() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 2);
    let (first, second) = (schedule.next_turn(NOW).unwrap(), schedule.next_turn(NOW).unwrap());
    schedule.lost(id, first.position);
    assert_eq!(schedule.acknowledged(id, second.position, NOW), None);
    assert_eq!(step(&mut schedule, NOW), Some((("a", 0), true)));
}

#[test]
fn too_many_requests_are_turned_away_and_room_comes_back() {
    let mut schedule = Schedule::new(Limits { open_requests: 1, ..limits() });
    let id = started(&mut schedule, "a", 2);
    assert_eq!(request(&mut schedule, "b", NOW), Err(Excess::Requests));
    assert_eq!(schedule.abandon(id), [0]);
    assert_eq!(schedule.next_turn(NOW), None);
    assert_eq!(schedule.acknowledged(id, 0, NOW), None);
    assert!(matches!(request(&mut schedule, "b", NOW), Ok(Admission::Opened(_))));
}

/// Two requests may be two tasks of one device: the pass is repeated 6 s after its end.
#[test]
fn a_second_task_gets_an_echo() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 3);
    request(&mut schedule, "a", NOW).unwrap();
    assert_eq!(drain(&mut schedule, NOW), 3);
    assert_eq!(schedule.next_alarm(), Some(after(6.0)));
    assert_eq!(schedule.wake(after(5.9)), []);
    let repeats = schedule.wake(after(6.0));
    assert_eq!(repeats.len(), 1);
    assert_eq!(schedule.start(repeats[0].0, cut(3, 1), "a", after(6.0)), Start::Sending);
    assert_eq!(drain(&mut schedule, after(6.0)), 3);
    assert_eq!(schedule.wake(after(54.9)), [], "one echo for two requests");
    assert_eq!(schedule.next_alarm(), Some(after(55.0)));
    schedule.wake(after(55.0));
    assert_eq!(schedule.next_alarm(), None, "and then it is forgotten");
}

/// Who asks during an echo gets the module as it is then.
#[test]
fn a_request_takes_over_from_an_echo() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 3);
    request(&mut schedule, "a", NOW).unwrap();
    drain(&mut schedule, NOW);
    let (echo, _) = schedule.wake(after(6.0)).remove(0);
    schedule.start(echo, cut(3, 1), "old", after(6.0));
    schedule.next_turn(after(6.0)).unwrap();
    let Ok(Admission::Opened(id)) = request(&mut schedule, "a", after(6.0)) else { panic!("it joined the echo") };
    assert_eq!(schedule.next_turn(after(6.0)), None);
    assert_eq!(schedule.start(echo, cut(3, 1), "old", after(6.0)), Start::Gone);
    schedule.start(id, cut(3, 1), "new", after(6.0));
    assert_eq!(drain(&mut schedule, after(6.0)), 3);
    assert_eq!(schedule.wake(after(12.0)).len(), 1, "the echo is still due");
}

/// 500 tasks that ask at once get four passes in all.
#[test]
fn a_crowd_gets_four_passes() {
    let mut schedule = Schedule::new(Limits { open_requests: 500, ..limits() });
    let Ok(Admission::Opened(id)) = request(&mut schedule, "a", NOW) else { panic!() };
    schedule.start(id, cut(10, 1 << 20), "a", NOW);
    let mut sent = 0;
    for _ in 1..500 {
        request(&mut schedule, "a", NOW).unwrap();
        sent += u64::from(step(&mut schedule, NOW).is_some());
    }
    for second in 0..60 {
        let now = after(f64::from(second));
        for (id, _) in schedule.wake(now) {
            schedule.start(id, cut(10, 1 << 20), "a", now);
        }
        sent += drain(&mut schedule, now);
    }
    assert_eq!(sent, 40);
    assert!(!schedule.is_open(&app("a")));
}

/// After the broker was away, everything that somebody still waits for is covered when devices are back.
#[test]
fn what_was_covered_is_covered_again_after_an_outage() {
    let mut schedule = schedule();
    started(&mut schedule, "done", 2);
    drain(&mut schedule, NOW);
    started(&mut schedule, "half", 4);
    step(&mut schedule, NOW);
    let turn = schedule.next_turn(NOW).unwrap();
    schedule.lost(turn.id, turn.position);
    assert_eq!(schedule.recover(Duration::from_secs(2), after(3.0)), 2);
    assert_eq!(step(&mut schedule, after(3.0)), Some((("half", 1), false)), "it goes on at once");
    let repeats = schedule.wake(after(6.5));
    assert_eq!(repeats.iter().map(|(_, app)| &*app.name).collect::<Vec<_>>(), ["done"]);
    let rest: Vec<_> = std::iter::from_fn(|| step(&mut schedule, after(6.5))).collect();
    let indices: Vec<_> = rest.iter().map(|((_, index), _)| *index).collect();
    assert_eq!(indices, [2, 3, 0, 1], "a whole pass from here");
}

/// Large apps are sent twice at once, then every 6 s.
#[test]
fn passes_are_spaced() {
    let mut schedule = schedule();
    let Ok(Admission::Opened(id)) = request(&mut schedule, "a", NOW) else { panic!() };
    schedule.start(id, cut(2, 1 << 20), "a", NOW);
    let mut times = Vec::new();
    for tenth in 0..200 {
        let now = after(f64::from(tenth) / 10.0);
        schedule.wake(now);
        while let Some(turn) = schedule.next_turn(now) {
            if turn.index == 0 {
                times.push(tenth / 10);
            }
            if tenth < 130 {
                request(&mut schedule, "a", now).unwrap();
            }
            schedule.acknowledged(turn.id, turn.position, now);
        }
    }
    assert_eq!(times, [0, 0, 6, 12, 18]);
}

#[test]
fn repeated_bytes_are_bounded_and_first_copies_are_not() {
    let mut schedule = Schedule::new(Limits { repeats: 25, ..limits() });
    let Ok(Admission::Opened(id)) = request(&mut schedule, "a", NOW) else { panic!() };
    schedule.start(id, cut(2, 10), "a", NOW);
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 2 }));
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 3 }));
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Err(Excess::Repeats));
    let Ok(Admission::Opened(id)) = request(&mut schedule, "b", NOW) else { panic!() };
    assert_eq!(schedule.start(id, cut(100, 10), "b", NOW), Start::Sending);
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
        let mut schedule = schedule();
        started(&mut schedule, "a", total);
        // For each request the chunks that were acknowledged after it came, by sequence of publishing.
        let mut heard = vec![BTreeSet::new()];
        let mut flying: Vec<(Turn<&str>, usize)> = Vec::new();
        let mut completed = None;
        while completed.is_none() {
            match below(5) {
                0 if heard.len() < 5 => {
                    request(&mut schedule, "a", NOW).unwrap();
                    heard.push(BTreeSet::new());
                }
                1 | 2 => flying.extend(schedule.next_turn(NOW).map(|turn| (turn, heard.len()))),
                _ if flying.is_empty() => {}
                choice => {
                    let (turn, listeners) = flying.swap_remove(usize::try_from(below(flying.len() as u64)).unwrap());
                    if choice == 3 && below(3) == 0 {
                        schedule.lost(turn.id, turn.position);
                    } else {
                        heard[..listeners].iter_mut().for_each(|chunks| chunks.extend([turn.index]));
                        let covered = schedule.acknowledged(turn.id, turn.position, NOW);
                        completed = covered.filter(|covered| covered.is_complete).map(|covered| covered.served);
                    }
                }
            }
        }
        assert_eq!(completed.unwrap(), heard.len() as u64, "seed {seed}");
        assert!(heard.iter().all(|chunks| chunks.len() as u64 == total), "seed {seed}: {heard:?}");
    }
}
