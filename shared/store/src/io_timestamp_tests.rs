//! Simulates processes that take seconds from one item, write by write, each with its own memory and clock.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_775_653_748;
const WINDOW: i64 = 300;

/// The item, with the conditions as DynamoDB evaluates them; the store tests in `tests/flows` run the real ones.
#[derive(Default)]
struct SimulatedItem(Option<i64>);

impl SimulatedItem {
    fn update(&mut self, range: Range, attempt: Attempt) -> Outcome {
        let new = match (attempt, self.0) {
            (Attempt::Step, Some(last)) if last >= range.floor && last < range.half => last + 1,
            (Attempt::FairStep, Some(last)) if last >= range.half && last < range.now => last + 1,
            (Attempt::Jump, None) => range.floor,
            (Attempt::Jump, Some(last)) if last < range.floor => range.floor,
            _ => return Outcome::Refused(self.0),
        };
        self.0 = Some(new);
        Outcome::Taken(new)
    }
}

/// A request that a process has not finished.
struct Request {
    process: usize,
    range: Range,
    attempt: Attempt,
    writes: usize,
}

impl Request {
    fn new(process: usize, memory: Option<i64>, now: i64, window: i64) -> Self {
        let range = Range::new(now, window);
        Self {
            process,
            range,
            attempt: range.first_attempt(memory),
            writes: 0,
        }
    }

    /// Makes one write.
    fn write(&mut self, item: &mut SimulatedItem, memory: &mut Option<i64>) -> Option<Taken> {
        let outcome = item.update(self.range, self.attempt);
        self.writes += 1;
        *memory = outcome.last_second();
        match self.range.after(outcome) {
            ControlFlow::Break(taken) => Some(taken),
            ControlFlow::Continue(next) => {
                self.attempt = next;
                None
            }
        }
    }
}

/// The result of a request that no other interrupts, and the number of its writes.
fn take(item: &mut SimulatedItem, memory: &mut Option<i64>, now: i64) -> (Taken, usize) {
    let mut request = Request::new(0, *memory, now, WINDOW);
    let result = (0..WRITES).find_map(|_| request.write(item, memory));
    (result.expect("a result"), request.writes)
}

#[test]
fn a_process_with_a_memory_begins_with_the_update_that_holds() {
    let range = Range::new(NOW, WINDOW);
    let first = |last| range.first_attempt(Some(last));
    assert_eq!(range.first_attempt(None), Attempt::Jump);
    assert_eq!(first(NOW - WINDOW - 1), Attempt::Jump);
    assert_eq!(first(NOW - WINDOW), Attempt::Step);
    assert_eq!(first(NOW - WINDOW / 2 - 1), Attempt::Step);
    assert_eq!(first(NOW - WINDOW / 2), Attempt::FairStep);
    assert_eq!(first(NOW - 1), Attempt::FairStep);
    assert_eq!(first(NOW), Attempt::Step, "the table decides");
}

#[test]
fn after_a_burst_a_new_process_pays_two_writes_once() {
    let mut item = SimulatedItem(Some(NOW - 200));
    let mut memory = None;
    let results = [(); 3].map(|()| take(&mut item, &mut memory, NOW));
    let second = |second, writes| (Taken::Second(second), writes);
    assert_eq!(
        results,
        [
            second(NOW - 199, 2),
            second(NOW - 198, 1),
            second(NOW - 197, 1)
        ]
    );
}

#[test]
fn a_request_without_a_free_second_costs_one_write() {
    let mut item = SimulatedItem(Some(NOW + 4));
    for mut memory in [None, Some(NOW - 200), Some(NOW + 4)] {
        let result = take(&mut item, &mut memory, NOW);
        assert_eq!(result, (Taken::NoneFor(5), 1));
        assert_eq!(memory, Some(NOW + 4));
    }
}

#[test]
fn an_item_that_was_deleted_is_created_again() {
    let mut item = SimulatedItem::default();
    let mut memory = Some(NOW + 1_000);
    let first = take(&mut item, &mut memory, NOW);
    assert_eq!(first, (Taken::Second(NOW - WINDOW), 2));
    let second = take(&mut item, &mut memory, NOW);
    assert_eq!(second, (Taken::Second(NOW - WINDOW + 1), 1));
}

/// An event of a simulated run.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Time passes, s.
    Wait(i64),
    /// A process, whose clock is so many seconds behind, gets a request.
    Ask { process: usize, behind: i64 },
    /// One of the unfinished requests makes a write.
    Write(usize),
    /// A process is replaced by a new one.
    Restart(usize),
}

const PROCESSES: usize = 3;

fn event() -> impl Strategy<Value = Event> {
    let process = 0..PROCESSES;
    prop_oneof![
        2 => prop_oneof![0..3_i64, 0..100_i64].prop_map(Event::Wait),
        6 => (process.clone(), prop_oneof![Just(0), 0..4_i64])
            .prop_map(|(process, behind)| Event::Ask { process, behind }),
        8 => any::<usize>().prop_map(Event::Write),
        1 => process.prop_map(Event::Restart),
    ]
}

proptest! {
    #[test]
    fn no_second_is_taken_twice_and_none_in_the_future(
        window in prop_oneof![0..3_i64, 0..30_i64],
        mut events in prop::collection::vec(event(), 1..120),
    ) {
        let (mut item, mut memories, mut now) = (SimulatedItem::default(), [None; PROCESSES], NOW);
        let (mut under_way, mut given) = (Vec::<Request>::new(), BTreeSet::new());
        let to_the_end = events.len() * WRITES;
        events.extend([Event::Write(0)].repeat(to_the_end));
        for event in events {
            match event {
                Event::Wait(seconds) => now += seconds,
                Event::Ask { process, behind } => {
                    under_way.push(Request::new(process, memories[process], now - behind, window));
                }
                Event::Restart(process) => memories[process] = None,
                Event::Write(_) if under_way.is_empty() => {}
                Event::Write(which) => {
                    let index = which % under_way.len();
                    let request = &mut under_way[index];
                    let Some(taken) = request.write(&mut item, &mut memories[request.process])
                    else {
                        continue;
                    };
                    let Request { range, writes, .. } = under_way.swap_remove(index);
                    prop_assert!(writes <= 3, "{writes} writes");
                    if let Taken::Second(second) = taken {
                        prop_assert!((range.floor..=range.now).contains(&second));
                        prop_assert!(given.insert(second), "{second} is taken twice");
                    }
                }
            }
        }
        prop_assert!(under_way.is_empty());
    }

    #[test]
    fn a_lonely_link_after_a_lonely_one_costs_one_write(
        pauses in prop::collection::vec((prop_oneof![1..4_i64, 1..700_i64, 1..1_000_000_i64], any::<bool>()), 1..20),
    ) {
        let (mut item, mut memory, mut now) = (SimulatedItem::default(), None, NOW);
        prop_assert_eq!(take(&mut item, &mut memory, now), (Taken::Second(now - WINDOW), 1));
        for (pause, by_a_new_process) in pauses {
            now += pause;
            if by_a_new_process {
                memory = None;
            }
            prop_assert_eq!(take(&mut item, &mut memory, now), (Taken::Second(now - WINDOW), 1));
        }
    }
}
