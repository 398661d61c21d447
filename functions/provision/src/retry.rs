//! When to run again.

use std::time::Duration;

use dialog360::client::ApiError;
use jiff::Timestamp;

/// The run time kept free behind a call of 360dialog, for the writes that its answer leads to.
pub(crate) const AFTER_A_CALL: Duration = Duration::from_secs(2);

/// The first wait after trouble.
const FIRST: Duration = Duration::from_secs(2);

/// The longest.
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Whatever is wanted or waiting runs again within a day.
const A_DAY: Duration = Duration::from_secs(24 * 3600);

/// When to run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetryAt {
    /// Not before something changes.
    OnChange,
    /// Tomorrow, unless something changes.
    Tomorrow,
    /// After trouble: 2 s, doubling to 15 min, but not before 360dialog's `Retry-After`.
    Later(Option<Duration>),
    /// Not before then: the wait after the last trouble is not over.
    Until(Timestamp),
    /// At once.
    Now,
}

impl RetryAt {
    /// After a call of 360dialog failed.
    pub(crate) fn after_trouble(why: &ApiError) -> Self {
        match why {
            ApiError::RateLimited(least) => Self::Later(*least),
            _ => Self::Later(None),
        }
    }

    /// The time to run again after `tries` troubles in a row, this one included.
    pub(crate) fn time(self, now: Timestamp, tries: u32) -> Option<Timestamp> {
        let wait = match self {
            Self::OnChange => return None,
            Self::Tomorrow => A_DAY,
            Self::Later(least) => {
                let most = backoff(tries);
                // Half of it is jitter, so that what failed together does not come again together.
                let jittered = most.mul_f64(0.5 + fastrand::f64() / 2.0);
                jittered.max(least.unwrap_or_default()).min(A_DAY)
            }
            Self::Until(then) => return Some(then),
            Self::Now => Duration::ZERO,
        };
        Some(now.saturating_add(wait).unwrap_or(now))
    }
}

fn backoff(tries: u32) -> Duration {
    FIRST
        .saturating_mul(2_u32.saturating_pow(tries.saturating_sub(1)))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_two_seconds_to_fifteen_minutes() {
        let seconds: Vec<u64> = (1..=11).map(|tries| backoff(tries).as_secs()).collect();
        assert_eq!(seconds, [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert_eq!(backoff(u32::MAX), LONGEST);
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
