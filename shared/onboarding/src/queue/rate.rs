//! How many calls 360dialog takes of one partner.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;

/// The fewest and the most calls in a span: a key needs up to four, and the times of all are kept in one item.
const CALLS: std::ops::RangeInclusive<usize> = 4..=100;

/// The longest span, s.
const LONGEST_SPAN: i64 = 3600;

/// So much longer than the span itself is waited, since a call is sent up to 0.3 s after its time was written, and
/// clocks differ.
const MARGIN: SignedDuration = SignedDuration::from_millis(500);

/// At most so many calls of one partner, all together, in any span; written `5/30s`, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rate {
    /// No limit.
    Off,
    /// A limit.
    Limit {
        /// The number of calls, 4 to 100.
        calls: usize,
        /// The span, whole seconds.
        span: SignedDuration,
    },
}

impl Rate {
    /// How long a call counts.
    pub(super) fn counts_for(self) -> SignedDuration {
        match self {
            Self::Off => SignedDuration::ZERO,
            Self::Limit { span, .. } => span.saturating_add(MARGIN),
        }
    }

    /// The same limit for a span that is longer by `time`.
    #[must_use]
    pub fn with_longer_span(self, time: SignedDuration) -> Self {
        match self {
            Self::Off => Self::Off,
            Self::Limit { calls, span } => Self::Limit {
                calls,
                span: span.saturating_add(time),
            },
        }
    }

    /// The number of calls in a span; without a limit more than any work needs.
    pub fn calls(self) -> usize {
        match self {
            Self::Off => usize::MAX,
            Self::Limit { calls, .. } => calls,
        }
    }

    /// How many calls it allows in an hour; `None` without a limit.
    pub fn calls_per_hour(self) -> Option<u64> {
        let hour = SignedDuration::from_hours(1).as_millis();
        let one = self.counts_for().as_millis();
        let calls = i128::try_from(self.calls()).ok()?;
        let all = hour.saturating_mul(calls).checked_div(one)?;
        u64::try_from(all).ok()
    }
}

/// The limit that 360dialog documents for one resource, and that a client in production keeps for all calls together.
impl Default for Rate {
    fn default() -> Self {
        Self::Limit {
            calls: 5,
            span: SignedDuration::from_secs(30),
        }
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::Limit { calls, span } => write!(f, "{calls}/{}s", span.as_secs()),
        }
    }
}

/// A rate is not in the form `5/30s`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write calls and seconds, for example 5/30s, with 4 to 100 calls in 1 to 3600 seconds, or off"
)]
pub struct RateError;

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        if text == "off" {
            return Ok(Self::Off);
        }
        let (calls, span) = text.split_once('/').ok_or(RateError)?;
        let number = |digits: &str| {
            let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
            digits.parse::<i64>().ok().filter(|_| is_plain)
        };
        let seconds = span.strip_suffix('s').and_then(number).ok_or(RateError)?;
        let calls = number(calls).and_then(|calls| usize::try_from(calls).ok());
        let calls = calls
            .filter(|calls| CALLS.contains(calls))
            .ok_or(RateError)?;
        if !(1..=LONGEST_SPAN).contains(&seconds) {
            return Err(RateError);
        }
        let span = SignedDuration::from_secs(seconds);
        Ok(Self::Limit { calls, span })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_read_and_says_how_many_calls_an_hour_has() {
        for (text, per_hour) in [
            ("off", None),
            ("5/30s", Some(590)),
            ("4/1s", Some(9600)),
            ("100/3600s", Some(99)),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(
                (rate.to_string().as_str(), rate.calls_per_hour()),
                (text, per_hour)
            );
        }
        assert_eq!(Rate::default().to_string(), "5/30s");
    }

    #[test]
    fn a_longer_span_allows_as_many_calls_and_no_limit_stays_none() {
        let longer = |rate: &str| {
            let rate: Rate = rate.parse().unwrap();
            rate.with_longer_span(SignedDuration::from_secs(5))
                .to_string()
        };
        assert_eq!([longer("5/30s"), longer("off")], ["5/35s", "off"]);
    }

    #[test]
    fn a_rate_is_calls_and_whole_seconds_or_off() {
        let span = SignedDuration::from_secs(30);
        assert_eq!("5/30s".parse(), Ok(Rate::Limit { calls: 5, span }));
        assert_eq!("off".parse(), Ok(Rate::Off));
        for fine in ["4/1s", "100/3600s"] {
            assert!(fine.parse::<Rate>().is_ok(), "{fine}");
        }
        for bad in [
            "", "5", "5/30", "3/30s", "101/30s", "5/0s", "5/3601s", "+5/30s", "5/30m", "5/ 30s",
            "Off", "5/30ss", "-5/30s",
        ] {
            assert_eq!(bad.parse::<Rate>(), Err(RateError), "{bad}");
        }
    }
}
