use std::num::NonZeroU32;
use std::sync::Arc;

use super::*;
use crate::delivery::plan::ChunkPlan;
use crate::delivery::rules::request::Origin;
use crate::mqtt::topic::{Channel, Layout};
use crate::oci::digest::Digest;

const NOW: Time = Time(1_000_000_000);

fn after(seconds: f64) -> Time {
    NOW + Duration::from_secs_f64(seconds)
}

fn app(name: &str) -> App {
    app_on("c", name)
}

fn app_on(channel: &str, name: &str) -> App {
    let channel = Channel { domain: "d".into(), id: channel.into() };
    App { channel: Arc::new(channel), layout: Layout::Plain, name: name.into() }
}

/// A module of so many chunks of so many bytes.
fn plan(total_chunks: u64, chunk_size: u32) -> ChunkPlan {
    ChunkPlan::new(total_chunks * u64::from(chunk_size), NonZeroU32::new(chunk_size).unwrap())
}

fn limits() -> Limits {
    let passes_per_minute = NonZeroU32::new(10).unwrap();
    Limits { open_requests: 9, passes_per_minute, publish_rate: None, repeats: None }
}

fn schedule() -> Schedule<()> {
    Schedule::new(limits())
}

fn request_as(schedule: &mut Schedule<()>, name: &str, id: RequestId, now: Time) -> Result<Admission, Refusal> {
    let request = Request::new(id, now, Origin::Device, ());
    schedule.admit(&app(name), request, Purpose::Request, now).map_err(|(refusal, _)| refusal)
}

fn request(schedule: &mut Schedule<()>, name: &str, now: Time) -> Result<Admission, Refusal> {
    request_as(schedule, name, 0, now)
}

/// Opens a transfer.
fn opened(schedule: &mut Schedule<()>, name: &str, now: Time) -> TransferId {
    match request(schedule, name, now) {
        Ok(Admission::Opened { transfer, .. }) => transfer,
        other => panic!("{name}: {other:?}"),
    }
}

fn start(schedule: &mut Schedule<()>, id: TransferId, total_chunks: u64, chunk_size: u32, now: Time) {
    let digest = Digest::of(schedule.get(id).unwrap().app.name.as_bytes());
    let version = Version { root: None, digest, plan: plan(total_chunks, chunk_size) };
    schedule.start(id, &version, chunk_size.into(), now).unwrap();
}

/// Opens a transfer of `total_chunks`, and starts it.
fn started(schedule: &mut Schedule<()>, name: &str, total_chunks: u64) -> TransferId {
    let id = opened(schedule, name, NOW);
    start(schedule, id, total_chunks, 1, NOW);
    id
}

/// What an acknowledgement covers, if it covers something.
fn acknowledged(schedule: &mut Schedule<()>, turn: &Turn, now: Time) -> Option<Covered<()>> {
    schedule.acknowledged(turn, now).filter(|covered| covered.is_complete || !covered.requests.is_empty())
}

/// Publishes and acknowledges one chunk; returns it as (name, index), and whether a transfer completed.
fn step(schedule: &mut Schedule<()>, now: Time) -> Option<((String, u64), bool)> {
    let turn = schedule.next_turn(now)?;
    let name = schedule.get(turn.transfer)?.app.name.to_string();
    let covered = acknowledged(schedule, &turn, now);
    Some(((name, turn.index), covered.is_some_and(|covered| covered.is_complete)))
}

fn stepped(name: &str, index: u64, is_complete: bool) -> ((String, u64), bool) {
    ((name.to_owned(), index), is_complete)
}

/// Publishes and acknowledges all that there is to publish; returns how many chunks that was.
fn drain(schedule: &mut Schedule<()>, now: Time) -> u64 {
    std::iter::from_fn(|| step(schedule, now)).map(|_| 1).sum()
}

#[test]
fn a_lone_request_gets_one_pass() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 3);
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 0, false)));
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 1, false)));
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 2, true)));
    assert_eq!(step(&mut schedule, NOW), None);
    assert!(schedule.open(&app("a")).is_none());
}

#[test]
fn the_first_chunk_of_a_request_is_the_next_one_after_it_came() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 4);
    let turn = schedule.next_turn(NOW).unwrap();
    assert_eq!(schedule.acknowledged(&turn, NOW).unwrap().first_chunks, [Duration::ZERO]);
    for late in [7, 8] {
        request_as(&mut schedule, "a", late, NOW).unwrap();
    }
    let mut first_chunks = || {
        let turn = schedule.next_turn(NOW).unwrap();
        schedule.acknowledged(&turn, after(1.0)).unwrap().first_chunks
    };
    assert_eq!([first_chunks(), first_chunks()], [vec![Duration::from_secs(1); 2], vec![]]);
    assert_eq!(schedule.open_requests(), 3);
}

#[test]
fn a_transfer_that_nobody_needs_any_more_is_removed() {
    let mut schedule = schedule();
    let id = started(&mut schedule, "a", 4);
    step(&mut schedule, NOW);
    let Ok(Admission::Joined { requests: 2, .. }) = request_as(&mut schedule, "a", 7, NOW) else {
        panic!("it does not join")
    };
    let withdraw =
        |schedule: &mut Schedule<()>, id| schedule.withdraw(id).map(|(request, transfer)| (request.id, transfer));
    assert_eq!(withdraw(&mut schedule, 0), Some((0, None)), "another request needs it");
    assert_eq!(withdraw(&mut schedule, 0), None);
    assert!(schedule.next_turn(NOW).is_some());
    assert_eq!(withdraw(&mut schedule, 7), Some((7, Some(id))));
    schedule.remove(id);
    assert_eq!(schedule.next_turn(NOW), None);
    assert!(matches!(request(&mut schedule, "a", NOW), Ok(Admission::Opened { .. })), "nothing is joined");
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
    let first = acknowledged(&mut schedule, &indices[0], NOW).unwrap();
    assert_eq!((first.requests.len(), first.is_complete), (1, false), "the first request is covered first");
    for turn in &indices[1..3] {
        assert_eq!(acknowledged(&mut schedule, turn, NOW), None);
    }
    let covered = acknowledged(&mut schedule, &indices[3], NOW).unwrap();
    assert_eq!((covered.requests.len(), covered.served, covered.is_complete), (1, 2, true));
}

#[test]
fn a_request_during_the_fetch_joins_for_free() {
    let mut schedule = schedule();
    let id = opened(&mut schedule, "a", NOW);
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 2 }));
    start(&mut schedule, id, 1, 1, NOW);
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 0, true)));
}

#[test]
fn a_request_while_the_last_chunk_is_in_flight_starts_another_pass() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 1);
    let turn = schedule.next_turn(NOW).unwrap();
    request(&mut schedule, "a", NOW).unwrap();
    let covered = acknowledged(&mut schedule, &turn, NOW).unwrap();
    assert_eq!((covered.requests.len(), covered.is_complete), (1, false));
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 0, true)));
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
fn channels_take_turns_before_their_transfers_do() {
    let mut schedule = Schedule::new(Limits { open_requests: 100, ..limits() });
    let mut open = |channel, name: &str| {
        let admission =
            schedule.admit(&app_on(channel, name), Request::new(0, NOW, Origin::Device, ()), Purpose::Request, NOW);
        let Ok(Admission::Opened { transfer, .. }) = admission else { panic!("{admission:?}") };
        start(&mut schedule, transfer, 3, 1, NOW);
    };
    for number in 0..50 {
        open("many", &number.to_string());
    }
    open("few", "a");
    let order: Vec<_> = (0..6).map(|_| step(&mut schedule, NOW).unwrap().0.0).collect();
    assert_eq!(order, ["0", "a", "1", "a", "2", "a"]);
}

#[test]
fn a_channel_leaves_room_to_the_others() {
    let mut schedule = Schedule::new(Limits { open_requests: 1000, ..limits() });
    let mut admitted = |channel, requests: u64| {
        let admit = |id| {
            let request = Request::new(id, NOW, Origin::Device, ());
            schedule.admit(&app_on(channel, &id.to_string()), request, Purpose::Request, NOW).is_ok()
        };
        (0..requests).map(admit).filter(|is_admitted| *is_admitted).count()
    };
    assert_eq!(admitted("flood", 10_000), 889);
    assert_eq!(admitted("other", 25), 25);
    assert_eq!(admitted("flood", 10_000), 0);
    assert_eq!(admitted("other", 25), 25, "as many again");
}

#[test]
fn a_lost_chunk_is_sent_again_and_awaited() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 2);
    let (first, second) = (schedule.next_turn(NOW).unwrap(), schedule.next_turn(NOW).unwrap());
    schedule.lost(&first);
    assert_eq!(acknowledged(&mut schedule, &second, NOW), None);
    assert_eq!(step(&mut schedule, NOW), Some(stepped("a", 0, true)));
}

#[test]
fn too_many_requests_are_rejected_until_there_is_room() {
    let mut schedule = Schedule::new(Limits { open_requests: 1, ..limits() });
    let id = started(&mut schedule, "a", 2);
    assert_eq!(request(&mut schedule, "b", NOW), Err(Refusal::OpenRequests));
    let turn = schedule.next_turn(NOW).unwrap();
    assert_eq!(schedule.remove(id).unwrap().requests.len(), 1);
    assert_eq!(schedule.next_turn(NOW), None);
    assert_eq!(acknowledged(&mut schedule, &turn, NOW), None);
    assert!(matches!(request(&mut schedule, "b", NOW), Ok(Admission::Opened { .. })));
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
    start(&mut schedule, repeats[0], 3, 1, after(6.0));
    assert_eq!(drain(&mut schedule, after(6.0)), 3);
    assert_eq!(schedule.wake(after(54.9)), [], "one echo for two requests");
    assert_eq!(schedule.next_alarm(), Some(after(55.0)));
    schedule.wake(after(55.0));
    assert_eq!(schedule.next_alarm(), None, "then it is forgotten");
}

/// A request during an echo gets the module as it is then.
#[test]
fn a_request_takes_over_from_an_echo() {
    let mut schedule = schedule();
    started(&mut schedule, "a", 3);
    request(&mut schedule, "a", NOW).unwrap();
    drain(&mut schedule, NOW);
    let echo = schedule.wake(after(6.0)).remove(0);
    start(&mut schedule, echo, 3, 1, after(6.0));
    schedule.next_turn(after(6.0)).unwrap();
    let Ok(Admission::Opened { transfer: id, superseded }) = request(&mut schedule, "a", after(6.0)) else {
        panic!("it joined the echo")
    };
    assert_eq!(superseded, Some(echo));
    assert_eq!(schedule.next_turn(after(6.0)), None);
    start(&mut schedule, id, 3, 1, after(6.0));
    assert_eq!(drain(&mut schedule, after(6.0)), 3);
    assert_eq!(schedule.wake(after(12.0)).len(), 1, "the echo is still due");
}

/// 500 requests at once get four passes in all.
#[test]
fn a_crowd_gets_four_passes() {
    let mut schedule = Schedule::new(Limits { open_requests: 600, ..limits() });
    let id = opened(&mut schedule, "a", NOW);
    start(&mut schedule, id, 10, 1 << 20, NOW);
    let mut sent = 0;
    for _ in 1..500 {
        request(&mut schedule, "a", NOW).unwrap();
        sent += u64::from(step(&mut schedule, NOW).is_some());
    }
    for second in 0..60 {
        let now = after(f64::from(second));
        for id in schedule.wake(now) {
            start(&mut schedule, id, 10, 1 << 20, now);
        }
        sent += drain(&mut schedule, now);
    }
    assert_eq!(sent, 40);
    assert!(schedule.open(&app("a")).is_none());
}

/// After the broker was away, everything that a device still waits for is covered when devices are back.
#[test]
fn what_was_covered_is_covered_again_after_an_outage() {
    let mut schedule = schedule();
    started(&mut schedule, "done", 2);
    drain(&mut schedule, NOW);
    started(&mut schedule, "half", 4);
    step(&mut schedule, NOW);
    let turn = schedule.next_turn(NOW).unwrap();
    schedule.lost(&turn);
    assert_eq!(schedule.recover(Duration::from_secs(2), after(3.0)), 2);
    assert_eq!(step(&mut schedule, after(3.0)), Some(stepped("half", 1, false)), "it goes on at once");
    let repeats = schedule.wake(after(6.5));
    let names = repeats.iter().map(|id| schedule.get(*id).unwrap().app.name.to_string());
    assert_eq!(names.collect::<Vec<_>>(), ["done"]);
    let rest: Vec<_> = std::iter::from_fn(|| step(&mut schedule, after(6.5))).collect();
    let indices: Vec<_> = rest.iter().map(|((_, index), _)| *index).collect();
    assert_eq!(indices, [2, 3, 0, 1], "a whole pass from here");
}

/// Large apps are sent twice at once, then every 6 s.
#[test]
fn passes_are_spaced() {
    let mut schedule = schedule();
    let id = opened(&mut schedule, "a", NOW);
    start(&mut schedule, id, 2, 1 << 20, NOW);
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
            acknowledged(&mut schedule, &turn, now);
        }
    }
    assert_eq!(times, [0, 0, 6, 12, 18]);
}

#[test]
fn repeated_bytes_are_bounded_and_first_copies_are_not() {
    let mut schedule = Schedule::new(Limits { repeats: Some(25), ..limits() });
    let id = opened(&mut schedule, "a", NOW);
    start(&mut schedule, id, 2, 10, NOW);
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 2 }));
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Ok(Admission::Joined { transfer: id, requests: 3 }));
    schedule.next_turn(NOW).unwrap();
    assert_eq!(request(&mut schedule, "a", NOW), Err(Refusal::Repeats));
    let id = opened(&mut schedule, "b", NOW);
    start(&mut schedule, id, 100, 10, NOW);
}

/// Every request receives every chunk after it came, whatever joins, gets lost or is acknowledged out of order.
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
        let mut received = vec![BTreeSet::new()];
        let mut flying: Vec<(Turn, usize)> = Vec::new();
        let mut completed = None;
        while completed.is_none() {
            match below(5) {
                0 if received.len() < 5 => {
                    request(&mut schedule, "a", NOW).unwrap();
                    received.push(BTreeSet::new());
                }
                1 | 2 => flying.extend(schedule.next_turn(NOW).map(|turn| (turn, received.len()))),
                _ if flying.is_empty() => {}
                choice => {
                    let (turn, listeners) = flying.swap_remove(usize::try_from(below(flying.len() as u64)).unwrap());
                    if choice == 3 && below(3) == 0 {
                        schedule.lost(&turn);
                    } else {
                        received[..listeners].iter_mut().for_each(|chunks| chunks.extend([turn.index]));
                        let covered = acknowledged(&mut schedule, &turn, NOW);
                        completed = covered.filter(|covered| covered.is_complete).map(|covered| covered.served);
                    }
                }
            }
        }
        assert_eq!(completed.unwrap(), received.len() as u64, "seed {seed}");
        assert!(received.iter().all(|chunks| chunks.len() as u64 == total), "seed {seed}: {received:?}");
    }
}
