//! The simulated world around the queue: a table whose index lags, a stream, a clock, runs of the worker, and a hub.
//!
//! Every decision is made by the values of `onboarding::queue`; this file only carries them out.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use onboarding::queue::{Due, Entry, Heard, Lane, Next, Place, Rate, Task, Work};

/// A time or a span, ms.
pub(crate) type Ms = i64;
pub(crate) const SECOND: Ms = 1000;
pub(crate) const MINUTE: Ms = 60 * SECOND;
pub(crate) const HOUR: Ms = 60 * MINUTE;

/// The time at which a number begins to run that never does.
pub(crate) const NEVER: Ms = Ms::MAX;

/// The longest lag of the index.
const LAG: Ms = 2 * SECOND;

/// After so long an index shows what was written, with a margin.
const SHOWN_AFTER: Ms = LAG + SECOND;

const LEASE: Ms = 20 * SECOND;
const TIME_OUT: Ms = 6 * SECOND;

/// For how long a run from the stream, and one from the clock, begins calls.
const STREAM_RUN: Ms = 10 * SECOND;
const CLOCK_RUN: Ms = 55 * SECOND;

/// How many items of the line a worker looks at, how many alarms it moves at once, and how long that takes it.
const DEPTH: usize = 25;
const MOVES: usize = 25;
const MOVING: Ms = 50;

/// How many records the stream hands over at once, and how long one takes.
const BATCH: usize = 25;
const RECORD: Ms = 4;

/// A look pays for one key, too, whether it finds a number or not: nobody saves places up.
const LOOK_PAYS: usize = 3;

/// The waits between looks at a client whose numbers do not run yet.
const AGAIN: [Ms; 6] = [MINUTE, 5 * MINUTE, 15 * MINUTE, HOUR, 6 * HOUR, 24 * HOUR];

pub(crate) fn time(ms: Ms) -> Timestamp {
    Timestamp::from_millisecond(ms).expect("a time within some thousand years")
}

/// The kinds of items.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A client is looked at; its numbers begin to run at these times, and have these keys.
    Client {
        numbers: Vec<(Ms, Option<usize>)>,
        tries: usize,
    },
    /// The key of a number; so many of its POSTs had no answer.
    Key { unanswered: usize },
    /// The background, one call.
    Background,
}

#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) tenant: usize,
    pub(crate) kind: Kind,
    pub(crate) entry: Entry,
    /// When it was claimed, or made.
    pub(crate) came: Ms,
    /// When its calls were begun.
    pub(crate) begun: Vec<Ms>,
    /// When nothing was left to do: a key is stored then.
    pub(crate) settled: Option<Ms>,
    /// When it came into the line.
    lined_up: Ms,
    /// Until when the index lags behind what was written last.
    lags_until: Ms,
}

impl Item {
    fn task(&self) -> Task {
        match self.kind {
            Kind::Key { .. } => Task::Key,
            Kind::Client { .. } | Kind::Background => Task::Look,
        }
    }
}

/// A row of the index: lane, order, since when (whoever came first goes first among equals), item.
type Row = (u8, i128, Ms, usize);

/// How the hub treats a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Manner {
    Answers(Ms),
    Silent,
    TooMany(Option<u64>),
}

/// A call as the hub sees it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) at: Ms,
    pub(crate) tenant: usize,
    pub(crate) is_background: bool,
}

#[derive(Clone, Copy, Debug)]
enum Event {
    /// A browser says that a tenant has this client.
    Claim(usize),
    Batch,
    Tick,
    Step(usize),
    Choose(usize),
    Answer {
        run: usize,
        item: usize,
        calls: usize,
        manner: Manner,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Starter {
    Stream,
    Clock,
}

#[derive(Debug)]
struct Run {
    starter: Starter,
    ends: Ms,
    /// The items that it has made due itself, and when.
    fresh: Vec<(usize, Ms)>,
    empty_queries: usize,
    /// Whether more alarms have come up than it has moved.
    has_more_alarms: bool,
    /// The place of what it works on.
    place: Option<Place>,
    /// How far its clock is off.
    skew: Ms,
    is_dead: bool,
}

pub(crate) struct World {
    pub(crate) now: Ms,
    pub(crate) rng: Rng,
    pub(crate) rate: Rate,
    /// How the hub treats a call about an item at a time.
    pub(crate) manner: Box<dyn Fn(Ms, usize) -> Manner>,
    /// How probably a worker dies at a call.
    pub(crate) crashes: f64,
    /// The calls that the hub has seen.
    pub(crate) calls: Vec<Call>,
    pub(crate) items: Vec<Item>,
    pub(crate) work: Work,
    /// How many tenants had work in lane 0, since when.
    pub(crate) active: Vec<(Ms, usize)>,
    /// Items that were begun before one of a smaller order whose calls fitted, too.
    pub(crate) out_of_order: usize,
    pub(crate) deaths: usize,
    pace: HashMap<usize, Place>,
    active_items: HashMap<usize, usize>,
    table: BTreeSet<Row>,
    index: BTreeSet<Row>,
    lagging: BTreeMap<(Ms, u64), (Option<Row>, Option<Row>)>,
    events: BTreeMap<(Ms, u64), Event>,
    number: u64,
    runs: Vec<Run>,
    lease: Option<(usize, Ms)>,
    /// When a run last wanted the lease and did not get it.
    asked: Ms,
    stream: VecDeque<usize>,
    stream_is_busy: bool,
    claims_to_come: usize,
}

impl World {
    /// A world whose hub answers in 0.3 s and takes 5 calls in 30 s, and whose clock starts a run at every minute.
    pub(crate) fn new(seed: u64) -> Self {
        let mut world = Self {
            now: 0,
            rng: Rng::with_seed(seed),
            rate: "5/30s".parse().expect("a rate"),
            manner: Box::new(|_, _| Manner::Answers(300)),
            crashes: 0.0,
            calls: Vec::new(),
            items: Vec::new(),
            work: Work::default(),
            active: vec![(0, 0)],
            out_of_order: 0,
            deaths: 0,
            pace: HashMap::new(),
            active_items: HashMap::new(),
            table: BTreeSet::new(),
            index: BTreeSet::new(),
            lagging: BTreeMap::new(),
            events: BTreeMap::new(),
            number: 0,
            runs: Vec::new(),
            lease: None,
            asked: -HOUR,
            stream: VecDeque::new(),
            stream_is_busy: false,
            claims_to_come: 0,
        };
        world.at(0, Event::Tick);
        world
    }

    /// A tenant claims a client at a time, and the client's numbers run from these times on.
    pub(crate) fn claim(&mut self, at: Ms, tenant: usize, numbers: &[Ms]) -> usize {
        let kind = Kind::Client {
            numbers: numbers.iter().map(|runs| (*runs, None)).collect(),
            tries: 0,
        };
        let client = self.item(at, tenant, kind);
        self.claim_again(at, client);
        client
    }

    /// The tenant claims the same client again.
    pub(crate) fn claim_again(&mut self, at: Ms, client: usize) {
        self.claims_to_come += 1;
        self.at(at, Event::Claim(client));
    }

    pub(crate) fn background(&mut self, at: Ms) -> usize {
        let item = self.item(at, usize::MAX, Kind::Background);
        self.write(item, Entry::default().made_due(Due::Background(time(at))));
        item
    }

    /// A client that waits for an alarm; its numbers run from these times on.
    pub(crate) fn alarm(&mut self, at: Ms, tenant: usize, numbers: &[Ms]) -> usize {
        let kind = Kind::Client {
            numbers: numbers.iter().map(|runs| (*runs, None)).collect(),
            tries: AGAIN.len() - 1,
        };
        let client = self.item(at, tenant, kind);
        let due = Due::At {
            at: time(at),
            kept: None,
        };
        self.write(client, Entry::default().made_due(due));
        client
    }

    pub(crate) fn run_until(&mut self, end: Ms) {
        while let Some(entry) = self.events.first_entry().filter(|next| next.key().0 <= end) {
            let ((at, _), event) = entry.remove_entry();
            self.now = self.now.max(at);
            self.handle(event);
        }
        self.now = end;
    }

    /// Runs until everything is settled, and returns when that was.
    pub(crate) fn run_until_settled(&mut self, limit: Ms) -> Ms {
        let is_settled = |world: &Self| {
            world.claims_to_come == 0 && world.stream.is_empty() && world.table.is_empty()
        };
        while !is_settled(self) {
            assert!(
                self.now < limit,
                "{} items are not settled after {} h",
                self.table.len(),
                self.now / HOUR
            );
            let next = self.events.first_key_value().expect("the clock ticks");
            self.run_until(next.0.0);
        }
        self.now
    }

    /// The keys of a client.
    pub(crate) fn keys(&self, client: usize) -> impl Iterator<Item = &Item> {
        let numbers = match &self.items[client].kind {
            Kind::Client { numbers, .. } => numbers.as_slice(),
            _ => &[],
        };
        let keys = numbers.iter().filter_map(|(_, key)| *key);
        keys.map(|key| &self.items[key])
    }

    /// How long a client's only number waited for its key, from the claim on.
    pub(crate) fn waited(&self, client: usize) -> Option<Ms> {
        let stored = self.keys(client).next()?.settled?;
        Some(stored - self.items[client].came)
    }

    /// The times at which keys were stored, in order.
    pub(crate) fn stored(&self) -> Vec<Ms> {
        let keys = self.items.iter().filter(|item| item.task() == Task::Key);
        let mut stored: Vec<Ms> = keys.filter_map(|key| key.settled).collect();
        stored.sort_unstable();
        stored
    }

    /// The most tenants with work at once between two times.
    pub(crate) fn most_active(&self, from: Ms, to: Ms) -> usize {
        let first = self.active.partition_point(|(at, _)| *at <= from);
        let during = self.active[first.saturating_sub(1)..].iter();
        let during = during.take_while(|(at, _)| *at <= to);
        during.map(|(_, tenants)| *tenants).max().unwrap_or(0)
    }

    /// The most calls in any span that is as long, as the hub counts them.
    pub(crate) fn most_calls(&self, span: Ms) -> usize {
        let mut times: Vec<Ms> = self.calls.iter().map(|call| call.at).collect();
        times.sort_unstable();
        let within =
            |(first, at): (usize, &Ms)| times[first..].partition_point(|later| *later < at + span);
        times.iter().enumerate().map(within).max().unwrap_or(0)
    }

    fn item(&mut self, came: Ms, tenant: usize, kind: Kind) -> usize {
        self.items.push(Item {
            tenant,
            kind,
            entry: Entry::default(),
            came,
            begun: Vec::new(),
            settled: None,
            lined_up: came,
            lags_until: 0,
        });
        self.items.len() - 1
    }

    fn at(&mut self, at: Ms, event: Event) {
        self.number += 1;
        self.events.insert((at, self.number), event);
    }

    fn row(&self, item: usize) -> Option<Row> {
        let shown = &self.items[item];
        let due = shown.entry.due?;
        let order = due.order(shown.task(), time(shown.lined_up));
        Some((due.lane().number(), order, shown.lined_up, item))
    }

    /// Writes an item: the table has it at once, the index some time later.
    fn write(&mut self, item: usize, entry: Entry) {
        let is_active = |entry: &Entry| {
            entry.taken.is_some() || entry.due.is_some_and(|due| due.lane() == Lane::Line)
        };
        let tenant = self.items[item].tenant;
        let (was, is) = (is_active(&self.items[item].entry), is_active(&entry));
        let before = self.row(item);
        let lane = |entry: &Entry| entry.due.map(Due::lane);
        if lane(&self.items[item].entry) != lane(&entry) {
            self.items[item].lined_up = self.now;
        }
        self.items[item].entry = entry;
        let after = self.row(item);
        if let Some(row) = before {
            self.table.remove(&row);
        }
        self.table.extend(after);
        let shown = self.now + self.rng.i64(0..=LAG);
        let shown = shown.max(self.items[item].lags_until);
        self.items[item].lags_until = shown;
        self.number += 1;
        self.lagging.insert((shown, self.number), (before, after));
        if was != is && tenant != usize::MAX {
            let items = self.active_items.entry(tenant).or_default();
            let tenants = self.active.last().map_or(0, |last| last.1);
            let (more, fewer) = (is && *items == 0, was && *items == 1);
            *items = if is { *items + 1 } else { *items - 1 };
            let tenants = tenants + usize::from(more) - usize::from(fewer);
            self.active.push((self.now, tenants));
        }
    }

    /// Lets the index catch up with what it shows by now.
    fn catch_up(&mut self) {
        let later = self.lagging.split_off(&(self.now + 1, 0));
        for (before, after) in std::mem::replace(&mut self.lagging, later).into_values() {
            if let Some(row) = before {
                self.index.remove(&row);
            }
            self.index.extend(after);
        }
    }

    /// The rows that the index shows of a lane up to an order, as far as the table agrees.
    fn query(&self, lane: Lane, up_to: i128) -> impl Iterator<Item = Row> {
        let lane = lane.number();
        let rows = self
            .index
            .range((lane, i128::MIN, 0, 0)..=(lane, up_to, Ms::MAX, usize::MAX));
        rows.copied().filter(|row| self.table.contains(row))
    }

    fn pay(&mut self, tenant: usize, calls: usize) -> Place {
        let next = self.pace.entry(tenant).or_default();
        let place = self.work.place.or_later(*next);
        *next = place.after(calls);
        place
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Claim(client) => {
                self.claims_to_come -= 1;
                self.stream.push_back(client);
                if !self.stream_is_busy {
                    self.stream_is_busy = true;
                    self.at(self.now + 300, Event::Batch);
                }
            }
            Event::Batch => self.batch(),
            Event::Tick => {
                self.at(self.now + MINUTE, Event::Tick);
                self.start(Starter::Clock, Vec::new(), self.now);
            }
            Event::Step(run) => self.step(run),
            Event::Choose(run) => self.choose(run),
            Event::Answer {
                run,
                item,
                calls,
                manner,
            } => self.answer(run, item, calls, manner),
        }
    }

    /// The stream's records become due work, then a run begins.
    fn batch(&mut self) {
        let records = self.stream.len().min(BATCH);
        let records: Vec<usize> = self.stream.drain(..records).collect();
        if records.is_empty() {
            self.stream_is_busy = false;
            return;
        }
        let mut fresh = Vec::new();
        for client in records {
            self.register(client);
            fresh.push((client, self.now));
        }
        let length = Ms::try_from(fresh.len()).expect("a batch is short");
        self.start(Starter::Stream, fresh, self.now + RECORD * length);
    }

    fn register(&mut self, client: usize) {
        let Item { tenant, entry, .. } = self.items[client].clone();
        let place = match entry.due.and_then(Due::place) {
            Some(place) if entry.is_paid() => place,
            _ => self.pay(tenant, LOOK_PAYS),
        };
        self.items[client].settled = None;
        self.write(client, entry.made_due(Due::InLine(place)));
    }

    fn start(&mut self, starter: Starter, fresh: Vec<(usize, Ms)>, at: Ms) {
        let length = match starter {
            Starter::Stream => STREAM_RUN,
            Starter::Clock => CLOCK_RUN,
        };
        self.runs.push(Run {
            starter,
            ends: at + length,
            fresh,
            empty_queries: 0,
            has_more_alarms: false,
            place: None,
            skew: self.rng.i64(-100..=100),
            is_dead: false,
        });
        self.at(at, Event::Step(self.runs.len() - 1));
    }

    fn end(&mut self, run: usize) {
        if self.lease.is_some_and(|(holder, _)| holder == run) {
            self.lease = None;
        }
        if self.runs[run].starter == Starter::Stream {
            self.at(self.now, Event::Batch);
        }
    }

    /// The run's own clock.
    fn clock(&self, run: usize) -> Ms {
        self.now + self.runs[run].skew
    }

    fn step(&mut self, run: usize) {
        let is_held = |(holder, until)| holder != run && until > self.now;
        if self.lease.is_some_and(is_held) {
            match self.runs[run].starter {
                Starter::Clock if self.now + SECOND < self.runs[run].ends => {
                    let again = self.now + self.rng.i64(200..=SECOND);
                    self.at(again, Event::Step(run));
                }
                Starter::Clock => self.end(run),
                Starter::Stream => {
                    self.asked = self.now;
                    self.end(run);
                }
            }
            return;
        }
        self.lease = Some((run, self.now + LEASE));
        if self.now >= self.runs[run].ends {
            return self.end(run);
        }
        let moved = self.move_alarms(run);
        self.runs[run].has_more_alarms = moved == MOVES;
        match moved {
            0 => self.choose(run),
            _ => self.at(self.now + MOVING, Event::Choose(run)),
        }
    }

    /// Alarms that have come up move into the line.
    fn move_alarms(&mut self, run: usize) -> usize {
        self.catch_up();
        let now = self.clock(run);
        let up: Vec<Row> = self.query(Lane::Alarm, now.into()).take(MOVES).collect();
        for (_, _, _, item) in &up {
            let Item { tenant, entry, .. } = self.items[*item].clone();
            let kept = entry.due.and_then(Due::place);
            let calls = match self.items[*item].task() {
                Task::Look => LOOK_PAYS,
                Task::Key => Task::Key.calls(),
            };
            let place = kept.unwrap_or_else(|| self.pay(tenant, calls));
            self.write(*item, entry.made_due(Due::InLine(place)));
            self.runs[run].fresh.push((*item, self.now));
        }
        up.len()
    }

    /// The line as the worker sees it: the index, and the items that it has just made due.
    fn line(&mut self, run: usize) -> Vec<Row> {
        self.catch_up();
        let now = self.now;
        let mut line: Vec<Row> = self.query(Lane::Line, i128::MAX).take(DEPTH).collect();
        // Between a whole page and what comes far behind it there may be more.
        let end = line.last().copied().filter(|_| line.len() == DEPTH);
        let mut fresh = std::mem::take(&mut self.runs[run].fresh);
        fresh.retain(|(_, since)| now - since < SHOWN_AFTER);
        let rows = fresh.iter().filter_map(|(item, _)| self.row(*item));
        let rows = rows.filter(|row| row.0 == Lane::Line.number());
        line.extend(rows.filter(|row| end.is_none_or(|end| *row < end)));
        self.runs[run].fresh = fresh;
        line.sort_unstable();
        line.dedup();
        line
    }

    fn choose(&mut self, run: usize) {
        let now = time(self.clock(run));
        let line = self.line(run);
        let calls = |row: &Row| self.items[row.3].task().calls();
        let line_calls: Vec<usize> = line.iter().map(calls).collect();
        let background = self.query(Lane::Background, self.clock(run).into()).next();
        let next = self
            .work
            .next(self.rate, &line_calls, background.map(|_| 1), now);
        if next != Next::Nothing {
            self.runs[run].empty_queries = 0;
        }
        match next {
            Next::InLine(chosen) => {
                self.check_order(line[chosen], now);
                let item = line[chosen].3;
                let place = self.items[item].entry.due.and_then(Due::place);
                // An item that passes the head by does not move the place that newcomers get.
                if chosen == 0 {
                    self.work.place = self.work.place.max(place.unwrap_or_default());
                }
                self.take(run, item);
            }
            Next::Background => {
                let (_, _, _, item) = background.expect("it was offered");
                self.take(run, item);
            }
            Next::Wait(until) => {
                let until = until.as_millisecond() - self.runs[run].skew;
                if until >= self.runs[run].ends {
                    return self.leave(run);
                }
                let pause = match self.runs[run].has_more_alarms {
                    true => 1,
                    false => SECOND,
                };
                let wakes = until.min(self.now + pause).max(self.now + 1);
                self.at(wakes, Event::Step(run));
            }
            Next::Nothing => self.find_nothing(run),
        }
    }

    fn find_nothing(&mut self, run: usize) {
        let ends = self.runs[run].ends;
        let next = self.query(Lane::Alarm, ends.into()).next();
        let waits = next.is_some() && self.runs[run].starter == Starter::Clock;
        self.runs[run].empty_queries += 1;
        if self.runs[run].empty_queries > 1 && !waits {
            return self.leave(run);
        }
        self.at(self.now + SECOND, Event::Step(run));
    }

    /// Ends a run before its time, unless another run has just wanted the lease: that one has made due what the index
    /// may not show yet.
    fn leave(&mut self, run: usize) {
        if self.now - self.asked >= SHOWN_AFTER {
            return self.end(run);
        }
        self.at(self.now + SECOND, Event::Step(run));
    }

    /// Nothing goes before a smaller place that the index shows and whose calls fit.
    fn check_order(&mut self, chosen: Row, now: Timestamp) {
        let line = Lane::Line.number();
        let smaller = self.table.range((line, i128::MIN, 0, 0)..chosen);
        let smaller = smaller.filter(|row| self.items[row.3].lined_up + LAG < self.now);
        let mut fits = smaller.map(|row| {
            let calls = self.items[row.3].task().calls();
            self.work.allows(self.rate, calls, now)
        });
        self.out_of_order += usize::from(fits.any(|fits| fits));
    }

    fn take(&mut self, run: usize, item: usize) {
        let now = time(self.clock(run));
        let entry = self.items[item].entry.clone();
        self.runs[run].place = entry.due.and_then(Due::place);
        self.write(item, entry.taken(&token(run), now));
        self.call(run, item, 1);
    }

    /// Makes the `calls`-th call of an item: counts it, which is written, and then sends it.
    fn call(&mut self, run: usize, item: usize, calls: usize) {
        let now = time(self.clock(run));
        let is_background = matches!(self.items[item].kind, Kind::Background);
        let lane = match is_background {
            true => Lane::Background,
            false => Lane::Line,
        };
        let at = self.work.count(self.rate, lane, now).as_millisecond();
        let sent = self.now.max(at - self.runs[run].skew) + self.rng.i64(0..=300);
        let dies = self.rng.f64() < self.crashes;
        if dies {
            self.die(run);
            if self.rng.bool() {
                return;
            }
        }
        let tenant = self.items[item].tenant;
        self.items[item].begun.push(sent);
        self.calls.push(Call {
            at: sent,
            tenant,
            is_background,
        });
        let manner = (self.manner)(sent, item);
        let answered = match manner {
            Manner::Answers(after) => after,
            Manner::Silent => TIME_OUT,
            Manner::TooMany(_) => 100,
        };
        self.lease = Some((run, self.now + LEASE));
        self.at(
            sent + answered,
            Event::Answer {
                run,
                item,
                calls,
                manner,
            },
        );
    }

    fn die(&mut self, run: usize) {
        self.deaths += 1;
        self.runs[run].is_dead = true;
        if self.runs[run].starter == Starter::Stream {
            self.at(self.now + SECOND, Event::Batch);
        }
    }

    fn answer(&mut self, run: usize, item: usize, calls: usize, manner: Manner) {
        if self.runs[run].is_dead {
            return;
        }
        let now = time(self.clock(run));
        let heard = match manner {
            Manner::Answers(_) => Heard::Answer,
            Manner::Silent => Heard::Nothing,
            Manner::TooMany(wait) => Heard::RateLimited(wait.map(Duration::from_secs)),
        };
        self.work.circuit.hear(heard, &item.to_string(), now);
        let is_answered = heard == Heard::Answer;
        if is_answered && calls < self.items[item].task().calls() {
            assert!(self.work.allows(self.rate, 1, now), "both calls fitted");
            return self.call(run, item, calls + 1);
        }
        let next = match is_answered {
            true => self.finish(run, item),
            false => Some(self.later(item, calls)),
        };
        let entry = self.items[item].entry.done(&token(run), next);
        if entry.due.is_none() {
            self.items[item].settled = Some(self.now);
        }
        self.write(item, entry);
        self.step(run);
    }

    /// When an item is due again after a call without an answer: its place is spent.
    fn later(&mut self, item: usize, calls: usize) -> Due {
        let wait = match &mut self.items[item].kind {
            Kind::Key { unanswered, .. } if calls > 1 => {
                *unanswered += 1;
                AGAIN[(*unanswered - 1).min(3)]
            }
            _ => MINUTE,
        };
        let (at, kept) = (time(self.now + wait), None);
        match self.items[item].kind {
            Kind::Background => Due::Background(at),
            _ => Due::At { at, kept },
        }
    }

    /// The outcome of answered calls, and when the item is due again.
    fn finish(&mut self, run: usize, item: usize) -> Option<Due> {
        let (now, tenant) = (self.now, self.items[item].tenant);
        let Kind::Client { mut numbers, tries } = self.items[item].kind.clone() else {
            return None;
        };
        let mut paid = self.runs[run].place;
        for (_, key) in numbers
            .iter_mut()
            .filter(|(runs, key)| *runs <= now && key.is_none())
        {
            let new = self.item(now, tenant, Kind::Key { unanswered: 0 });
            let pays = || self.pay(tenant, Task::Key.calls());
            let place = paid.take().unwrap_or_else(pays);
            self.write(new, Entry::default().made_due(Due::InLine(place)));
            self.runs[run].fresh.push((new, now));
            *key = Some(new);
        }
        let is_complete = !numbers.is_empty() && numbers.iter().all(|(_, key)| key.is_some());
        self.items[item].kind = Kind::Client {
            numbers,
            tries: tries + 1,
        };
        let wait = AGAIN.get(tries).filter(|_| !is_complete)?;
        let (at, kept) = (time(now + wait), None);
        Some(Due::At { at, kept })
    }
}

fn token(run: usize) -> String {
    run.to_string()
}
