//! Unique seconds for IO signatures: one item per partner holds the last second that was signed.
//!
//! A second is taken by one of three conditional updates. The *jump* takes the first second of the window; its condition
//! holds while the last one lies before the window, or there is none. The *step* takes the second after the last one;
//! its condition holds while that lies in the first half of the window. The *fair step* does the same in the second half:
//! there a tenant must first take its turn, which it gets every ten seconds, so that no tenant uses up the window. No two
//! conditions hold together. A process remembers the last second only to choose which update to try first: the table
//! decides.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dialog360::id::PartnerId;
use onboarding::tenant::Tenant;

use super::{Update, Written, number, number_of};
use crate::table::{self, StoreError, Table};

const ISSUED: &str = "issued";
/// When a tenant last took its turn, s.
const TURN: &str = "turn";

/// How often a tenant gets a second while less than half of the window is free, s.
const TURN_EVERY: i64 = 10;

/// How long a turn is kept, s: nobody asks for it later.
const KEEP_TURN_FOR: i64 = 24 * 3600;

/// How many writes to the last second one request may take. Three are enough, since it only grows; the fourth is for an
/// item that was deleted.
const WRITES: usize = 4;

/// Outcome of taking a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This UNIX second belongs to the caller alone.
    Second(i64),
    /// No second is free; the next one is after so many seconds, at least 1.
    NoneFor(u64),
    /// Few seconds are free, and the tenant has had its turn; the next one is after so many seconds, at least 1.
    NoTurnFor(u64),
}

/// May take seconds. Clones share the remembered seconds.
#[derive(Clone)]
pub struct IoTimestamps {
    table: Table,
    /// The last second of each partner, from the table's last answer.
    remembered: Arc<Mutex<HashMap<PartnerId, i64>>>,
}

impl IoTimestamps {
    /// The seconds of `table`.
    pub fn new(table: Table) -> Self {
        Self {
            table,
            remembered: Arc::default(),
        }
    }

    /// Takes a second in `now - window ..= now` that nobody has taken. It costs one write, or two if another process
    /// has signed within the window and this one does not know of it; one more if less than half of the window is free.
    pub async fn take(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        now: i64,
        window: i64,
    ) -> Result<Taken, StoreError> {
        let range = Range::new(now, window);
        let mut attempt = range.first_attempt(self.remembered().get(partner).copied());
        let mut has_turn = false;
        for _ in 0..WRITES {
            if attempt == Attempt::FairStep && !has_turn {
                if let Some(wait) = self.take_turn(partner, tenant, now).await? {
                    return Ok(Taken::NoTurnFor(wait));
                }
                has_turn = true;
            }
            let outcome = self.update(partner, range, attempt).await?;
            self.remember(partner, outcome.last_second());
            match range.after(outcome) {
                ControlFlow::Break(taken) => return Ok(taken),
                ControlFlow::Continue(next) => attempt = next,
            }
        }
        Ok(Taken::NoneFor(1))
    }

    /// Opens the connection with an update that cannot succeed, so that the first request is as fast as the others.
    pub async fn preconnect(&self, partner: &PartnerId) {
        let impossible = "attribute_exists(pk) AND attribute_not_exists(pk)";
        let update = Update {
            pk: table::second(partner),
            expression: "REMOVE nothing".into(),
            condition: impossible,
            values: Vec::new(),
        };
        let _refused = update.send(&self.table).await;
    }

    async fn update(
        &self,
        partner: &PartnerId,
        range: Range,
        attempt: Attempt,
    ) -> Result<Outcome, StoreError> {
        let floor = (":floor", number(range.floor));
        let half = (":half", number(range.half));
        let (expression, condition, values) = match attempt {
            Attempt::Step => (
                "SET issued = issued + :one",
                "issued >= :floor AND issued < :half",
                vec![(":one", number(1)), floor, half],
            ),
            Attempt::FairStep => (
                "SET issued = issued + :one",
                "issued >= :half AND issued < :now",
                vec![(":one", number(1)), half, (":now", number(range.now))],
            ),
            Attempt::Jump => (
                "SET issued = :floor",
                "attribute_not_exists(issued) OR issued < :floor",
                vec![floor],
            ),
        };
        let update = Update {
            pk: table::second(partner),
            expression: expression.into(),
            condition,
            values,
        };
        match update.send(&self.table).await? {
            Written::Done(item) => number_of(&item, ISSUED)
                .map(Outcome::Taken)
                .ok_or(StoreError::Malformed("the last signed second")),
            Written::Conflict(item) => Ok(Outcome::Refused(
                item.as_ref().and_then(|item| number_of(item, ISSUED)),
            )),
        }
    }

    /// Takes a tenant's turn; or else says after how many seconds it gets the next one.
    async fn take_turn(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        now: i64,
    ) -> Result<Option<u64>, StoreError> {
        let update = Update {
            pk: table::second_of_tenant(partner, tenant),
            expression: "SET turn = :now, expires_at = :end".into(),
            condition: "attribute_not_exists(turn) OR turn <= :before",
            values: vec![
                (":now", number(now)),
                (":end", number(now.saturating_add(KEEP_TURN_FOR))),
                (":before", number(now.saturating_sub(TURN_EVERY))),
            ],
        };
        let Written::Conflict(last) = update.send(&self.table).await? else {
            return Ok(None);
        };
        let last = last.as_ref().and_then(|item| number_of(item, TURN));
        let next = last.unwrap_or(now).saturating_add(TURN_EVERY);
        let wait = u64::try_from(next.saturating_sub(now)).unwrap_or(1);
        Ok(Some(wait.max(1)))
    }

    fn remember(&self, partner: &PartnerId, last: Option<i64>) {
        let mut remembered = self.remembered();
        match last {
            Some(last) => remembered.insert(partner.clone(), last),
            None => remembered.remove(partner),
        };
    }

    fn remembered(&self) -> MutexGuard<'_, HashMap<PartnerId, i64>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One of the updates that take a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// Takes the second after the last one, in the first half of the window.
    Step,
    /// The same in the second half, for a tenant whose turn it is.
    FairStep,
    /// Takes the first second of the window.
    Jump,
}

/// The table's answer to an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The condition held, and this second is taken.
    Taken(i64),
    /// It did not hold. This is the last second, if there is one.
    Refused(Option<i64>),
}

impl Outcome {
    fn last_second(self) -> Option<i64> {
        match self {
            Self::Taken(second) => Some(second),
            Self::Refused(last) => last,
        }
    }
}

/// The seconds that one request may take: `floor ..= now`. From `half` on, less than half of them is free.
#[derive(Clone, Copy, Debug)]
struct Range {
    floor: i64,
    half: i64,
    now: i64,
}

impl Range {
    fn new(now: i64, window: i64) -> Self {
        Self {
            floor: now.saturating_sub(window),
            half: now.saturating_sub(window / 2),
            now,
        }
    }

    /// The first attempt. If no second seems to be free, the table is asked all the same, by an update that costs no turn.
    fn first_attempt(self, remembered: Option<i64>) -> Attempt {
        self.holds(remembered).unwrap_or(Attempt::Step)
    }

    /// The result of the request, or the next attempt.
    fn after(self, outcome: Outcome) -> ControlFlow<Taken, Attempt> {
        match outcome {
            Outcome::Taken(second) => ControlFlow::Break(Taken::Second(second)),
            Outcome::Refused(last) => match self.holds(last) {
                Some(attempt) => ControlFlow::Continue(attempt),
                None => ControlFlow::Break(Taken::NoneFor(self.wait_after(last))),
            },
        }
    }

    /// The attempt whose condition holds if `last` is the last second; `None` if no second is free.
    fn holds(self, last: Option<i64>) -> Option<Attempt> {
        match last {
            Some(last) if last >= self.now => None,
            Some(last) if last >= self.half => Some(Attempt::FairStep),
            Some(last) if last >= self.floor => Some(Attempt::Step),
            _ => Some(Attempt::Jump),
        }
    }

    /// After how many seconds the second after `last` is free.
    fn wait_after(self, last: Option<i64>) -> u64 {
        let next = last.unwrap_or(self.now).saturating_add(1);
        u64::try_from(next.saturating_sub(self.now)).unwrap_or(1)
    }
}

#[cfg(test)]
#[path = "io_timestamp_tests.rs"]
mod tests;
