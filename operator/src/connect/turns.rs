//! The turns of the operator among the calls of one partner: it counts each call where the bundle's worker counts its own,
//! under the same lease.

use std::time::Duration;

use dialog360::id::PartnerId;
use jiff::{SignedDuration, Timestamp};
use onboarding::queue::{Lane, Rate, Stop, Work};
use runtime::{clock, token};
use store::{Error as StoreError, Works, Write};
use tokio::time::sleep;

use super::call_error::NotCounted;
use crate::reporter::Reporter;

/// How much longer than for the bundle a call counts: this machine's clock may be off by so much.
const CLOCK_MARGIN: SignedDuration = SignedDuration::from_secs(5);

/// How late a call may be sent after its counted time.
const SENT_WITHIN: SignedDuration = SignedDuration::from_millis(300);

/// How many turns may be too late for their call before the table counts as too slow.
const MOST_LATE: usize = 10;

/// The pause between two tries to take the lease.
const PAUSE: Duration = Duration::from_secs(1);

/// The pause after a turn during which the bundle has asked for the lease: it asks once a second.
const OTHERS_TURN: Duration = Duration::from_secs(3);

/// The longest sleep with the lease: after it the lease is extended.
const NAP: Duration = Duration::from_secs(4);

/// A longer wait than this is printed.
const LONG_WAIT: Duration = Duration::from_secs(10);

/// Counts the calls of one partner.
pub(crate) struct Turns {
    works: Works,
    partner: PartnerId,
    rate: Rate,
    /// Whether it was said that another holds the lease.
    has_told: bool,
    /// Whether the bundle has asked for the lease during the last turn.
    is_asked: bool,
    late: Option<LateCall>,
}

/// A call that was counted, but not sent: the state without it, and with it.
struct LateCall {
    before: Work,
    counted: Work,
}

/// A wait for a call, and the reason for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wait {
    time: Duration,
    reason: WaitReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WaitReason {
    /// The limit.
    Limit,
    /// A 429.
    Asked,
}

impl Wait {
    /// The wait for one more call at `now`, if there is one. A 429 that the bundle got is waited out. Refused credentials and
    /// silence are not: the operator tries again, and is told.
    fn of(work: &Work, rate: Rate, now: Timestamp) -> Option<Self> {
        let free = work.fits_at(rate, 1, now);
        let asked = match work.circuit.stopped(now) {
            Some((until, Stop::RateLimited)) => until,
            _ => now,
        };
        let until = free.max(asked);
        let reason = match asked > free {
            true => WaitReason::Asked,
            false => WaitReason::Limit,
        };
        let time = until.duration_since(now).unsigned_abs();
        (until > now).then_some(Self { time, reason })
    }

    fn print(self, reporter: &mut Reporter<'_>) {
        let seconds = self.time.as_secs();
        let text = match self.reason {
            WaitReason::Limit => format!("{seconds} s: 360dialog takes few requests at a time"),
            WaitReason::Asked => {
                format!("{seconds} s, as 360dialog asked the bundle to (HTTP 429)")
            }
        };
        reporter.item("waiting", &text);
    }
}

impl Turns {
    /// Turns at the calls of `partner`, of which the bundle makes as many as `rate` allows.
    pub(crate) fn new(works: Works, partner: &PartnerId, rate: Rate) -> Self {
        Self {
            works,
            partner: partner.clone(),
            rate: rate.with_longer_span(CLOCK_MARGIN),
            has_told: false,
            is_asked: false,
            late: None,
        }
    }

    /// Waits until a call may be sent, and counts it: it is to be sent at once. Without a limit it does nothing.
    pub(crate) async fn wait(&mut self, reporter: &mut Reporter<'_>) -> Result<(), NotCounted> {
        let mut late = 0;
        while self.rate != Rate::Off {
            if late == MOST_LATE {
                return Err(NotCounted::Slow);
            }
            let Some((at, call)) = self.count(reporter).await? else {
                continue;
            };
            sleep_until(at).await;
            if clock::now().duration_since(at) <= SENT_WITHIN {
                return Ok(());
            }
            self.late = Some(call);
            late += 1;
        }
        Ok(())
    }

    /// Counts a call under the lease once one is free. Returns its time; `None` if the lease was lost.
    async fn count(
        &mut self,
        reporter: &mut Reporter<'_>,
    ) -> Result<Option<(Timestamp, LateCall)>, StoreError> {
        if std::mem::take(&mut self.is_asked) {
            // The bundle's turn: it has waited for the lease.
            sleep(OTHERS_TURN).await;
        }
        let (token, began) = (token::fresh(), clock::now());
        let mut work = self.lease(&token, reporter).await?;
        // Nobody has counted since: the call that was not sent is taken back.
        if let Some(late) = self.late.take().filter(|late| late.counted == work) {
            work = late.before;
        }
        let Some(now) = self.wait_with_lease(&token, &work, reporter).await? else {
            return Ok(None);
        };
        let before = work.clone();
        let at = work.count(self.rate, Lane::Line, now);
        let released = self.works.release(&self.partner, &token, &work).await?;
        self.is_asked = released.asked_at.is_some_and(|at| at >= began);
        let counted = work;
        Ok(match released.saved {
            Write::Done => Some((at, LateCall { before, counted })),
            Write::Conflict => None,
        })
    }

    /// Takes the lease, once no other holds it.
    async fn lease(
        &mut self,
        token: &str,
        reporter: &mut Reporter<'_>,
    ) -> Result<Work, StoreError> {
        loop {
            let leased = self.works.lease(&self.partner, token, clock::now()).await?;
            if let Some(work) = leased {
                return Ok(work);
            }
            if !self.has_told {
                let text = "while the bundle makes calls for this partner: they share one limit";
                reporter.item("waiting", text);
                self.has_told = true;
            }
            sleep(PAUSE).await;
        }
    }

    /// Waits until a call is free, and returns the time; `None` if the lease was lost.
    async fn wait_with_lease(
        &self,
        token: &str,
        work: &Work,
        reporter: &mut Reporter<'_>,
    ) -> Result<Option<Timestamp>, StoreError> {
        let mut is_first = true;
        loop {
            let now = clock::now();
            let Some(wait) = Wait::of(work, self.rate, now) else {
                return Ok(Some(now));
            };
            if is_first && wait.time > LONG_WAIT {
                wait.print(reporter);
            }
            is_first = false;
            sleep(wait.time.min(NAP)).await;
            let saved = self.works.save(&self.partner, token, work, clock::now());
            if saved.await? == Write::Conflict {
                return Ok(None);
            }
        }
    }
}

/// Sleeps until `at`, which lies ahead if another machine has counted a call by a faster clock.
async fn sleep_until(at: Timestamp) {
    let left = at.duration_since(clock::now());
    sleep(left.max(SignedDuration::ZERO).unsigned_abs()).await;
}

#[cfg(test)]
mod tests {
    use onboarding::queue::Heard;

    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_millisecond((seconds * 1000.0) as i64).unwrap()
    }

    fn rate() -> Rate {
        let rate: Rate = "4/30s".parse().unwrap();
        rate.with_longer_span(CLOCK_MARGIN)
    }

    fn of(work: &Work, now: f64) -> Option<(f64, WaitReason)> {
        let wait = Wait::of(work, rate(), at(now))?;
        Some((wait.time.as_secs_f64(), wait.reason))
    }

    #[test]
    fn a_call_waits_until_the_limit_allows_it_five_seconds_later_than_for_the_bundle() {
        let mut work = Work::default();
        for second in 0..4 {
            assert_eq!(of(&work, f64::from(second)), None);
            work.count(rate(), Lane::Line, at(f64::from(second)));
        }
        assert_eq!(of(&work, 4.0), Some((31.5, WaitReason::Limit)));
        assert_eq!(of(&work, 35.5), None);
    }

    #[test]
    fn of_what_stops_the_bundle_only_a_429_is_waited_for() {
        let heard = |heard| {
            let mut work = Work::default();
            for subject in ["a", "b", "a"] {
                work.circuit.hear(heard, subject, at(0.0));
            }
            assert!(work.circuit.stopped(at(1.0)).is_some());
            work
        };
        assert_eq!(of(&heard(Heard::BadCredentials), 1.0), None);
        assert_eq!(of(&heard(Heard::Nothing), 1.0), None);
        let mut work = heard(Heard::RateLimited(Some(Duration::from_secs(20))));
        assert_eq!(of(&work, 1.0), Some((19.0, WaitReason::Asked)));
        assert_eq!(of(&work, 20.0), None);
        for _ in 0..4 {
            work.count(rate(), Lane::Line, at(0.0));
        }
        assert_eq!(of(&work, 1.0), Some((34.5, WaitReason::Limit)));
    }
}
