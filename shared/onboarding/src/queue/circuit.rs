//! When a partner's calls stop for a while, because 360dialog asks for it or does not answer.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The wait after a 429 that names none, and the first after calls without an answer, s.
const FIRST_WAIT: i64 = 30;

/// The wait after a 401: one refused call a minute at most, s.
const REFUSED_WAIT: i64 = 60;

/// The longest wait, s.
const LONGEST_WAIT: i64 = 15 * 60;

/// After so many calls in a row without an answer, about two subjects at least, the calls stop.
const SILENT_CALLS: usize = 3;

/// Why the calls are stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// 360dialog answered 429.
    RateLimited,
    /// 360dialog refuses the credentials: they are read again before the next call.
    BadCredentials,
    /// 360dialog does not answer.
    Silent,
}

/// Outcome of a call, as far as it tells something about the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Some answer.
    Answer,
    /// 429, perhaps with the wait that 360dialog asks for.
    RateLimited(Option<Duration>),
    /// 401
    BadCredentials,
    /// No answer.
    Nothing,
}

/// The circuit of one partner: open means that no call is made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Circuit {
    /// Until when the calls are stopped, and why (ms).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    stopped: Option<(i64, Stop)>,
    /// How many calls in a row had no answer.
    #[serde(default)]
    silent: usize,
    /// The subject of the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    about: Option<String>,
    /// Whether one of them was about another subject.
    #[serde(default)]
    is_general: bool,
    /// The last wait for an answer, s; 0 once there was one.
    #[serde(default)]
    waited: i64,
}

impl Circuit {
    /// Why no call may be made at `now`, and until when.
    pub fn stopped(&self, now: Timestamp) -> Option<(Timestamp, Stop)> {
        let (until, why) = self.stopped?;
        let until = Timestamp::from_millisecond(until).ok()?;
        (until > now).then_some((until, why))
    }

    /// Records what came of a call about `subject`.
    pub fn hear(&mut self, heard: Heard, subject: &str, now: Timestamp) {
        match heard {
            Heard::Answer => *self = Self::default(),
            Heard::RateLimited(wait) => {
                let wait = wait.map_or(FIRST_WAIT, |wait| {
                    i64::try_from(wait.as_secs()).unwrap_or(LONGEST_WAIT)
                });
                *self = Self::default();
                self.stop(Stop::RateLimited, wait.min(LONGEST_WAIT), now);
            }
            Heard::BadCredentials => {
                *self = Self::default();
                self.stop(Stop::BadCredentials, REFUSED_WAIT, now);
            }
            Heard::Nothing => self.hear_nothing(subject, now),
        }
    }

    fn hear_nothing(&mut self, subject: &str, now: Timestamp) {
        self.stopped = None;
        self.silent = self.silent.saturating_add(1);
        let first = self.about.get_or_insert_with(|| subject.to_owned());
        self.is_general |= first != subject;
        if self.waited > 0 || (self.silent >= SILENT_CALLS && self.is_general) {
            let doubled = self.waited.saturating_mul(2);
            self.waited = doubled.clamp(FIRST_WAIT, LONGEST_WAIT);
            self.stop(Stop::Silent, self.waited, now);
        }
    }

    fn stop(&mut self, why: Stop, seconds: i64, now: Timestamp) {
        let until = now.saturating_add(SignedDuration::from_secs(seconds));
        self.stopped = Some((until.unwrap_or(now).as_millisecond(), why));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn seconds(circuit: &Circuit, now: i64) -> Option<i64> {
        let (until, _) = circuit.stopped(at(now))?;
        Some(until.as_second() - now)
    }

    #[test]
    fn three_silent_calls_about_two_subjects_stop_the_calls_for_thirty_seconds_doubling() {
        let mut circuit = Circuit::default();
        for subject in ["a", "a", "a", "a", "a"] {
            circuit.hear(Heard::Nothing, subject, at(0));
            assert_eq!(seconds(&circuit, 0), None, "one subject is its own trouble");
        }
        circuit.hear(Heard::Nothing, "b", at(0));
        assert_eq!(seconds(&circuit, 0), Some(30));
        let mut waits = Vec::new();
        for try_again in 1..8 {
            // Then one call tries.
            circuit.hear(Heard::Nothing, "b", at(1000 * try_again));
            waits.extend(seconds(&circuit, 1000 * try_again));
        }
        assert_eq!(waits, [60, 120, 240, 480, 900, 900, 900]);
        circuit.hear(Heard::Answer, "b", at(9000));
        assert_eq!(circuit, Circuit::default());
        for subject in ["a", "b"] {
            circuit.hear(Heard::Nothing, subject, at(9000));
            assert_eq!(seconds(&circuit, 9000), None);
        }
    }

    #[test]
    fn a_429_stops_the_calls_for_as_long_as_it_asks_and_at_most_fifteen_minutes() {
        let wait = |asked: Option<u64>| {
            let mut circuit = Circuit::default();
            circuit.hear(
                Heard::RateLimited(asked.map(Duration::from_secs)),
                "a",
                at(0),
            );
            seconds(&circuit, 0)
        };
        assert_eq!(wait(None), Some(30));
        assert_eq!(wait(Some(7)), Some(7));
        assert_eq!(wait(Some(86_400)), Some(900));
        assert_eq!(wait(Some(0)), None);
    }

    #[test]
    fn refused_credentials_stop_the_calls_for_a_minute() {
        let mut circuit = Circuit::default();
        circuit.hear(Heard::BadCredentials, "a", at(0));
        assert_eq!(circuit.stopped(at(0)), Some((at(60), Stop::BadCredentials)));
        assert_eq!(circuit.stopped(at(60)), None);
    }
}
