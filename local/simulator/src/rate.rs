//! The rate limit of the Partner API: so many calls of one partner in any span.

use std::{
    collections::VecDeque,
    fmt,
    num::NonZeroUsize,
    str::FromStr,
    time::{Duration, Instant},
};

/// The span over which calls are counted if there is no limit.
const UNLIMITED_SPAN: Duration = Duration::from_secs(30);

/// So many calls in any span, written `5/30s`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The calls that are answered in any span.
    pub calls: NonZeroUsize,
    /// The span.
    pub span: Duration,
}

/// A text is not a rate such as `5/30s` or `20/500ms`.
#[derive(Debug, thiserror::Error)]
#[error("not a rate such as 5/30s")]
pub struct MalformedRate;

impl FromStr for Rate {
    type Err = MalformedRate;

    fn from_str(text: &str) -> Result<Self, MalformedRate> {
        let (calls, span) = text.split_once('/').ok_or(MalformedRate)?;
        let milliseconds = span.strip_suffix("ms").map(str::parse);
        let span = match (milliseconds, span.strip_suffix('s').map(str::parse)) {
            (Some(Ok(milliseconds)), _) => Duration::from_millis(milliseconds),
            (None, Some(Ok(seconds))) => Duration::from_secs(seconds),
            _ => return Err(MalformedRate),
        };
        let calls = calls.parse().map_err(|_| MalformedRate)?;
        if span.is_zero() {
            return Err(MalformedRate);
        }
        Ok(Self { calls, span })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, span } = self;
        match span.subsec_millis() {
            0 => write!(f, "{calls}/{}s", span.as_secs()),
            _ => write!(f, "{calls}/{}ms", span.as_millis()),
        }
    }
}

/// The calls of one partner, counted as they arrive, answered or refused.
#[derive(Default)]
pub(crate) struct Arrivals {
    recent: VecDeque<Instant>,
    highest: usize,
}

impl Arrivals {
    /// Counts a call; `true` if it is above the limit.
    pub(crate) fn count(&mut self, limit: Option<Rate>, now: Instant) -> bool {
        let span = limit.map_or(UNLIMITED_SPAN, |limit| limit.span);
        let is_old = |arrival: &Instant| now.saturating_duration_since(*arrival) >= span;
        while self.recent.front().is_some_and(is_old) {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.highest = self.highest.max(self.recent.len());
        limit.is_some_and(|limit| self.recent.len() > limit.calls.get())
    }

    /// The highest count in any span.
    pub(crate) fn highest(&self) -> usize {
        self.highest
    }

    /// Forgets the highest count, and none of the calls that count for the limit.
    pub(crate) fn forget_highest(&mut self) {
        self.highest = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_written_as_it_is_read() {
        for text in ["5/30s", "20/500ms", "1/1s"] {
            assert_eq!(text.parse::<Rate>().unwrap().to_string(), text);
        }
        for text in [
            "", "off", "5", "0/30s", "5/0s", "5/30", "5/30m", "-1/2s", "5/ms",
        ] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    #[test]
    fn any_span_is_counted_not_only_whole_ones() {
        let limit = Some("2/30s".parse().unwrap());
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        let mut arrivals = Arrivals::default();
        let is_above = [0, 29, 29, 30, 59, 60].map(|second| arrivals.count(limit, at(second)));
        assert_eq!(is_above, [false, false, true, true, false, false]);
        assert_eq!(arrivals.highest(), 3);
        assert!((0..9).all(|_| !Arrivals::default().count(None, start)));
    }
}
