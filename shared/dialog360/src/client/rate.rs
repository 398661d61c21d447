//! How many calls 360dialog takes.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// At most so many calls in any span of time. It counts and tells; it neither waits nor asks for the time.
///
/// 360dialog documents 5 requests per 30 seconds for one resource, and answers bursts of a partner's calls with 429.
/// Source: <https://docs.360dialog.com/partner/partner-api/overview>, rate limits.
#[derive(Clone, Debug)]
pub struct Rate {
    calls: usize,
    span: Duration,
    sent: VecDeque<Instant>,
}

impl Rate {
    /// At most `calls` calls, one at least, in any `span`.
    pub fn new(calls: usize, span: Duration) -> Self {
        Self {
            calls: calls.max(1),
            span,
            sent: VecDeque::new(),
        }
    }

    /// The span in which calls are counted.
    pub fn span(&self) -> Duration {
        self.span
    }

    /// How long after `now` the next call may be sent; zero if it may be sent at once.
    pub fn wait(&self, now: Instant) -> Duration {
        let counting = self.sent.len().checked_sub(self.calls);
        let oldest = counting.and_then(|index| self.sent.get(index));
        oldest.map_or(Duration::ZERO, |oldest| {
            (*oldest + self.span).saturating_duration_since(now)
        })
    }

    /// Counts a call that is sent at `now`.
    pub fn count(&mut self, now: Instant) {
        if self.sent.len() >= self.calls {
            self.sent.pop_front();
        }
        self.sent.push_back(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_than_four_calls_fall_into_thirty_seconds() {
        let mut rate = Rate::new(4, Duration::from_secs(30));
        let start = Instant::now();
        let mut now = start;
        let mut times = Vec::new();
        for _ in 0..9 {
            now += rate.wait(now);
            rate.count(now);
            times.push((now - start).as_secs());
        }
        assert_eq!(times, [0, 0, 0, 0, 30, 30, 30, 30, 60]);
        assert_eq!(rate.wait(now + Duration::from_secs(31)), Duration::ZERO);
        assert_eq!(rate.wait(now + Duration::from_secs(29)), Duration::ZERO);
        assert_eq!(rate.span(), Duration::from_secs(30));
    }

    #[test]
    fn a_rate_of_nothing_still_lets_one_call_through() {
        let (mut rate, now) = (Rate::new(0, Duration::from_secs(1)), Instant::now());
        assert_eq!(rate.wait(now), Duration::ZERO);
        rate.count(now);
        assert_eq!(rate.wait(now), Duration::from_secs(1));
    }
}
