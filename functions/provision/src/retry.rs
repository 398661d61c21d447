//! The time of the next run.

use std::time::Duration;

use dialog360::client::{ApiError, ErrorKind};
use jiff::Timestamp;

/// The run time that is reserved after a call to 360dialog, for the writes that follow from its answer.
pub(crate) const AFTER_A_CALL: Duration = Duration::from_secs(2);

/// The first wait after an error.
const FIRST_WAIT: Duration = Duration::from_secs(2);

/// The longest wait after an error.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// The longest time between two runs, for keys that are wanted or waiting.
const ONE_DAY: Duration = Duration::from_secs(24 * 3600);

/// When to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAt {
    /// When something changes.
    OnChange,
    /// Tomorrow, or earlier if something changes.
    Tomorrow,
    /// After an error: in 2 s, doubling to 15 min, but not before 360dialog's `Retry-After`.
    Later(Option<Duration>),
    /// At this time, when the wait after the last error is over.
    Until(Timestamp),
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

    /// The time of the next run after `tries` errors in a row, this one included.
    pub(crate) fn time(self, now: Timestamp, tries: u32) -> Option<Timestamp> {
        let wait = match self {
            Self::OnChange => return None,
            Self::Tomorrow => ONE_DAY,
            Self::Later(least) => {
                let most = backoff(tries);
                // Half of it is jitter, so that runs that failed together are not repeated together.
                let jittered = most.mul_f64(0.5 + fastrand::f64() / 2.0);
                jittered.max(least.unwrap_or_default()).min(ONE_DAY)
            }
            Self::Until(then) => return Some(then),
            Self::Now => Duration::ZERO,
        };
        Some(now.saturating_add(wait).unwrap_or(now))
    }
}

fn backoff(tries: u32) -> Duration {
    FIRST_WAIT
        .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)))
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
            let at = RetryAt::Later(Some(Duration::from_secs(least)))
                .time(Timestamp::UNIX_EPOCH, 1)
                .unwrap();
            at.as_second()
        };
        assert_eq!(wait(60), 60);
        assert_eq!(wait(1_000_000), 24 * 3600);
        assert_eq!(RetryAt::OnChange.time(Timestamp::UNIX_EPOCH, 1), None);
    }
}
