//! When work is done again.

use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind};
use jiff::Timestamp;
use onboarding::queue::{Due, Place};

/// The first wait after an error.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The longest wait after an error.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// The time after which the background asks again.
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

/// The waits after POSTs for a key without a clear answer: the key of one may appear before the next.
const POSTS: [Duration; 4] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    ONE_HOUR,
];

/// The time after which a refusal is doubted while a POST has no clear answer.
const ONE_HOUR: Duration = Duration::from_secs(3600);

/// The waits between answered looks at a client whose claims are not settled: webhooks wake it sooner.
const LOOKS: [Duration; 6] = [
    Duration::from_secs(60),
    Duration::from_secs(5 * 60),
    Duration::from_secs(15 * 60),
    Duration::from_secs(3600),
    Duration::from_secs(6 * 3600),
    ONE_DAY,
];

/// When to work on something again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAt {
    /// When something changes.
    OnChange,
    /// Tomorrow, in the background.
    Tomorrow,
    /// In an hour, in the background.
    Hourly,
    /// When a stored key is compared with 360dialog's list once more: tomorrow.
    Compare,
    /// After so many POSTs for a key without a clear answer.
    Unclear(usize),
    /// After an error: in 2 s, doubling to 15 min, but not before 360dialog's `Retry-After`.
    Later(Option<Duration>),
    /// At this time, when the wait after the last error is over.
    Until(Timestamp),
    /// After so many answered looks that did not settle everything.
    Looked(u32),
    /// At once.
    Now,
}

impl RetryAt {
    /// After a failed call to 360dialog.
    pub(crate) fn after_error(why: &ApiError) -> Self {
        match why.kind {
            ErrorKind::RateLimited(least) => Self::Later(least),
            _ => Self::Later(None),
        }
    }

    /// When it is due after `failures` in a row, this one included. A place that was paid for is kept where no call could
    /// be made; one whose call was answered with an error, or not at all, is spent: else it would pass by the others for
    /// ever.
    pub(crate) fn due(self, now: Timestamp, failures: u32, place: Option<Place>) -> Option<Due> {
        let after = |wait: Duration| now.saturating_add(wait).unwrap_or(now);
        Some(match self {
            Self::OnChange => return None,
            Self::Tomorrow => Due::Background(after(ONE_DAY)),
            Self::Compare => Due::Comparison(after(ONE_DAY)),
            Self::Hourly => Due::Background(after(ONE_HOUR)),
            Self::Unclear(posts) => {
                let wait = POSTS.get(posts.saturating_sub(1));
                Due::At {
                    at: after(wait.copied().unwrap_or(ONE_HOUR)),
                    kept: None,
                }
            }
            Self::Later(least) => Due::At {
                at: after(wait(failures, least)),
                kept: place.filter(|_| least.is_some()),
            },
            Self::Until(at) => Due::At { at, kept: place },
            Self::Looked(looks) => {
                let index = usize::try_from(looks.saturating_sub(1)).unwrap_or(usize::MAX);
                Due::At {
                    at: after(LOOKS.get(index).copied().unwrap_or(ONE_DAY)),
                    kept: None,
                }
            }
            Self::Now => place.map_or(
                Due::At {
                    at: now,
                    kept: None,
                },
                Due::InLine,
            ),
        })
    }
}

fn wait(failures: u32, least: Option<Duration>) -> Duration {
    // Half of it is jitter, so that work that failed together is not repeated together.
    let jittered = backoff(failures).mul_f64(0.5 + fastrand::f64() / 2.0);
    jittered.max(least.unwrap_or_default()).min(ONE_DAY)
}

fn backoff(failures: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(LONGEST_WAIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_two_seconds_to_fifteen_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|tries| backoff(tries).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(backoff(u32::MAX), LONGEST_WAIT);
    }

    #[test]
    fn retry_after_is_obeyed_and_nothing_waits_longer_than_a_day() {
        let wait = |least| {
            let later = RetryAt::Later(Some(Duration::from_secs(least)));
            let due = later.due(Timestamp::UNIX_EPOCH, 1, None);
            due.and_then(Due::time).unwrap().as_second()
        };
        assert_eq!(wait(60), 60);
        assert_eq!(wait(1_000_000), 24 * 3600);
        assert_eq!(RetryAt::OnChange.due(Timestamp::UNIX_EPOCH, 1, None), None);
    }

    #[test]
    fn a_client_is_looked_at_after_1_5_15_and_60_minutes_6_and_24_hours() {
        let minutes = |looks| {
            let due = RetryAt::Looked(looks).due(Timestamp::UNIX_EPOCH, 0, None);
            due.and_then(Due::time).unwrap().as_second() / 60
        };
        let all: Vec<i64> = (1..=8).map(minutes).collect();
        assert_eq!(all, [1, 5, 15, 60, 360, 1440, 1440, 1440]);
    }

    #[test]
    fn only_what_could_not_be_asked_keeps_its_place() {
        let now = Timestamp::UNIX_EPOCH;
        let place = |retry: RetryAt| retry.due(now, 1, Some(Place::new(7))).and_then(Due::place);
        let kept = Some(Place::new(7));
        assert_eq!(place(RetryAt::Later(Some(Duration::ZERO))), kept);
        assert_eq!(place(RetryAt::Later(None)), None);
        assert_eq!(place(RetryAt::Unclear(1)), None);
        assert_eq!(place(RetryAt::Now), kept);
        assert_eq!(place(RetryAt::Looked(1)), None);
        assert_eq!(place(RetryAt::Tomorrow), None);
    }
}
