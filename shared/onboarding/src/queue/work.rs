//! The state of one partner's worker, and its choice of what to do next.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Circuit, Lane, Rate};

/// The background has one call in so many.
const BACKGROUND_SHARE: u32 = 10;

/// The calls of a new number, a look and a key, which the background leaves free while nobody waits.
const LEFT_FREE: usize = 3;

/// A day, ms.
const ONE_DAY: i64 = 24 * 3600 * 1000;

/// A place in the line, counted in calls.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Place(u64);

impl Place {
    /// The place `number`.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// Its number.
    pub fn number(self) -> u64 {
        self.0
    }

    /// The place that a tenant gets whose next place is `next`, while `self` was taken last.
    #[must_use]
    pub fn or_later(self, next: Self) -> Self {
        self.max(next)
    }

    /// The place `calls` calls later.
    #[must_use]
    pub fn after(self, calls: usize) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(calls).unwrap_or(u64::MAX)),
        )
    }
}

/// The next step of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Do this item of the line.
    InLine(usize),
    /// Do the first item of the background.
    Background,
    /// Wait until then (ms).
    Wait(Timestamp),
    /// There is nothing to do.
    Nothing,
}

/// The state of a partner's worker, as its item holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Work {
    /// The place that was taken last.
    #[serde(default)]
    pub place: Place,
    /// When the last calls were sent (ms), the oldest first; as many as count.
    #[serde(default)]
    sent: Vec<i64>,
    /// How many calls have been made since the last of the background.
    #[serde(default)]
    since_background: u32,
    /// Whether calls are made at all.
    #[serde(default)]
    pub circuit: Circuit,
    /// When lost keys were made again (ms), the oldest first; of one day.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    replaced: Vec<i64>,
}

impl Work {
    /// The earliest time from `now` on at which `calls` calls may be sent, one right after the other.
    ///
    /// More calls than the limit allows fit when no other call counts.
    pub fn fits_at(&self, rate: Rate, calls: usize, now: Timestamp) -> Timestamp {
        let allowed = rate.calls();
        let may_count = allowed.saturating_sub(calls);
        let Some(oldest) = self.sent.len().checked_sub(may_count.saturating_add(1)) else {
            return now;
        };
        let until = self
            .sent
            .get(oldest)
            .and_then(|at| Timestamp::from_millisecond(*at).ok());
        let until = until.and_then(|at| at.saturating_add(rate.counts_for()).ok());
        until.map_or(now, |until| until.max(now))
    }

    /// Whether `calls` calls may be sent now.
    pub fn allows(&self, rate: Rate, calls: usize, now: Timestamp) -> bool {
        self.fits_at(rate, calls, now) <= now
    }

    /// Counts a call that is about to be sent, and returns its time: never earlier than that of the call before.
    pub fn count(&mut self, rate: Rate, lane: Lane, now: Timestamp) -> Timestamp {
        let last = self
            .sent
            .last()
            .and_then(|at| Timestamp::from_millisecond(*at).ok());
        let at = last.map_or(now, |last| last.max(now));
        self.since_background = match lane {
            Lane::Background | Lane::Comparison => 0,
            Lane::Line | Lane::Alarm => self.since_background.saturating_add(1),
        };
        if let Rate::Limit { calls, .. } = rate {
            self.sent.push(at.as_millisecond());
            let too_many = self.sent.len().saturating_sub(calls);
            self.sent.drain(..too_many);
        }
        at
    }

    /// Whether one more key may be made again because it was lost, of `most` in a day.
    pub fn may_replace(&self, most: usize, now: Timestamp) -> bool {
        let yesterday = now.as_millisecond().saturating_sub(ONE_DAY);
        self.replaced.iter().filter(|at| **at > yesterday).count() < most
    }

    /// Counts a key that is made again because it was lost.
    pub fn replaced(&mut self, now: Timestamp) {
        let yesterday = now.as_millisecond().saturating_sub(ONE_DAY);
        self.replaced.retain(|at| *at > yesterday);
        self.replaced.push(now.as_millisecond());
    }

    /// Notes that the background had its turn, whether or not it needed a call.
    pub fn had_background(&mut self) {
        self.since_background = 0;
    }

    /// How many calls count at `now`.
    pub fn counting(&self, rate: Rate, now: Timestamp) -> usize {
        let counts = |at: &&i64| {
            let until = Timestamp::from_millisecond(**at).ok();
            let until = until.and_then(|at| at.saturating_add(rate.counts_for()).ok());
            until.is_some_and(|until| until > now)
        };
        self.sent.iter().filter(counts).count()
    }

    /// Chooses among the calls that the items of `line` need, which come in their order, and those of the first item of
    /// the background.
    ///
    /// A call that the head of the line cannot use goes to the next item that needs one call, unless the head would
    /// have to wait longer for it. While nobody waits, the background leaves the calls of a new number free.
    pub fn next(
        &self,
        rate: Rate,
        line: &[usize],
        background: Option<usize>,
        now: Timestamp,
    ) -> Next {
        if line.is_empty() && background.is_none() {
            return Next::Nothing;
        }
        if let Some((until, _)) = self.circuit.stopped(now) {
            return Next::Wait(until);
        }
        let is_its_turn = self.since_background.saturating_add(1) >= BACKGROUND_SHARE;
        let background = background.filter(|_| line.is_empty() || is_its_turn);
        if let Some(calls) = background {
            let left = if line.is_empty() { LEFT_FREE } else { 0 };
            let calls = calls.saturating_add(left);
            return self
                .when(rate, calls, now)
                .map_or(Next::Background, Next::Wait);
        }
        let Some((head, others)) = line.split_first() else {
            return Next::Nothing;
        };
        let Some(then) = self.when(rate, *head, now) else {
            return Next::InLine(0);
        };
        let single = others.iter().position(|calls| *calls == 1);
        match single {
            Some(other) if self.spares_one(rate, *head, then, now) => {
                Next::InLine(other.saturating_add(1))
            }
            _ => Next::Wait(then),
        }
    }

    /// When `calls` calls fit, if not now.
    fn when(&self, rate: Rate, calls: usize, now: Timestamp) -> Option<Timestamp> {
        Some(self.fits_at(rate, calls, now)).filter(|then| *then > now)
    }

    /// Whether a call at `now` leaves `head` calls free at `then`, or soon after.
    fn spares_one(&self, rate: Rate, head: usize, then: Timestamp, now: Timestamp) -> bool {
        if !self.allows(rate, 1, now) {
            return false;
        }
        let mut with_one = self.clone();
        with_one.count(rate, Lane::Line, now);
        // Less than the calls lie apart on average: while calls come free one by one, the head waits for two of them.
        let calls = i32::try_from(rate.calls()).unwrap_or(i32::MAX);
        let soon = rate.counts_for() / 2 / calls;
        let latest = then.saturating_add(soon).unwrap_or(then);
        with_one.fits_at(rate, head, then) <= latest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap()
    }

    fn rate() -> Rate {
        "5/30s".parse().unwrap()
    }

    #[test]
    fn so_many_lost_keys_are_made_again_in_a_day_and_no_more() {
        let mut work = Work::default();
        let day = 24.0 * 3600.0;
        for (time, may) in [
            (1.0, true),
            (2.0, true),
            (3.0, true),
            (day, false),
            (day + 1.5, true),
            (day + 1.6, false),
        ] {
            assert_eq!(work.may_replace(3, at(time)), may, "{time}");
            if may {
                work.replaced(at(time));
            }
        }
    }

    fn sent(times: &[f64]) -> Work {
        let mut work = Work::default();
        for time in times {
            work.count(rate(), Lane::Line, at(*time));
        }
        work
    }

    #[test]
    fn no_sixth_call_within_the_span_and_half_a_second() {
        let mut work = Work::default();
        let (mut now, mut times) = (at(0.0), Vec::new());
        for _ in 0..12 {
            now = work.fits_at(rate(), 1, now);
            times.push(work.count(rate(), Lane::Line, now).as_millisecond());
        }
        for six in times.windows(6) {
            assert!(six[5] - six[0] >= 30_500, "{times:?}");
        }
        assert_eq!(times[5], 30_500);
    }

    #[test]
    fn a_key_begins_only_when_both_its_calls_fit() {
        let work = sent(&[0.0, 1.0, 2.0, 3.0]);
        assert!(work.allows(rate(), 1, at(4.0)));
        assert_eq!(work.fits_at(rate(), 2, at(4.0)), at(30.5));
        assert_eq!(work.next(rate(), &[2], None, at(4.0)), Next::Wait(at(30.5)));
        assert_eq!(work.next(rate(), &[2], None, at(30.5)), Next::InLine(0));
    }

    #[test]
    fn a_call_that_the_head_cannot_use_goes_to_the_next_look_unless_the_head_waits_longer_for_it() {
        // Two calls are free at 30.5 and 30.8: a look now costs the key 0.3 s.
        let pairs = sent(&[0.0, 0.3, 10.0, 10.3]);
        assert_eq!(
            pairs.next(rate(), &[2, 2, 1], None, at(11.0)),
            Next::InLine(2)
        );
        // One by one, a look in between would cost it six seconds, and the next look again.
        let singles = sent(&[0.0, 6.0, 12.0, 18.0]);
        assert_eq!(
            singles.next(rate(), &[2, 1], None, at(24.0)),
            Next::Wait(at(30.5))
        );
    }

    #[test]
    fn looks_do_not_take_the_calls_of_a_key_that_waits_however_many_calls_are_allowed() {
        for calls in [4, 5, 12, 20, 100] {
            let rate: Rate = format!("{calls}/60s").parse().unwrap();
            let mut work = Work::default();
            let pace = 60.5 / f64::from(calls);
            for call in 0..calls {
                work.count(rate, Lane::Line, at(f64::from(call) * pace));
            }
            // The calls come free one by one, as they were made.
            let one_is_free = work.fits_at(rate, 1, at(60.0));
            let Next::Wait(then) = work.next(rate, &[2, 1], None, one_is_free) else {
                panic!("a look took the call of the key at {calls} calls");
            };
            assert_eq!(work.next(rate, &[2, 1], None, then), Next::InLine(0));
        }
    }

    #[test]
    fn the_background_leaves_the_calls_of_a_new_number_free_while_nobody_waits() {
        for text in ["4/30s", "5/30s", "100/30s"] {
            let rate: Rate = text.parse().unwrap();
            let mut work = Work::default();
            let mut now = at(0.0);
            for _ in 0..300 {
                match work.next(rate, &[], Some(1), now) {
                    Next::Background => drop(work.count(rate, Lane::Background, now)),
                    Next::Wait(then) => now = then,
                    next => panic!("{next:?}"),
                }
                assert!(work.allows(rate, 3, now), "{text}");
            }
        }
    }

    #[test]
    fn the_background_has_one_call_in_ten_and_more_when_nobody_waits() {
        let mut work = Work::default();
        let mut background = 0;
        for call in 0..100 {
            let next = work.next(Rate::Off, &[1], Some(1), at(f64::from(call)));
            let lane = match next {
                Next::Background => Lane::Background,
                _ => Lane::Line,
            };
            background += u32::from(lane == Lane::Background);
            work.count(Rate::Off, lane, at(f64::from(call)));
        }
        assert_eq!(background, 10);
        assert_eq!(
            Work::default().next(Rate::Off, &[], Some(1), at(0.0)),
            Next::Background
        );
        assert_eq!(
            Work::default().next(Rate::Off, &[], None, at(0.0)),
            Next::Nothing
        );
    }

    #[test]
    fn a_call_is_never_counted_before_the_last_one() {
        let mut work = sent(&[10.0]);
        assert_eq!(work.count(rate(), Lane::Line, at(9.0)), at(10.0));
    }
}
