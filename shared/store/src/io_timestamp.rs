//! The unique second: one item per partner holds the last second that was signed.
//!
//! Two updates can take one. The *step* takes the second after the last one; it holds while that lies in the window. The
//! *jump* takes the first second of the window; it holds while the last one lies before the window, or there is none.
//! Never do both hold. What a process remembers only chooses which of them comes first: the table alone decides.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use dialog360::id::PartnerId;

use super::{Update, Written, number, number_of};
use crate::table::{self, StoreError, Table};

const ISSUED: &str = "issued";

/// How many writes one request may take. Two are enough, since the last second only grows; the third is for an item that
/// somebody has deleted.
const WRITES: usize = 3;

/// Outcome of asking for a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This UNIX second is the caller's alone.
    Second(i64),
    /// None is free; the next one is in so many seconds, at least 1.
    NoneFor(u64),
}

/// May take seconds. Clones share what they remember.
#[derive(Clone)]
pub struct IoTimestamps {
    table: Table,
    /// The last second of each partner, as the table last answered.
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

    /// Takes a second that nobody has taken and that lies in `now - window ..= now`. It costs one write; two where another
    /// process has signed within the window and this one does not know.
    pub async fn take(
        &self,
        partner: &PartnerId,
        now: i64,
        window: i64,
    ) -> Result<Taken, StoreError> {
        let range = Range::new(now, window);
        let mut attempt = range.first_attempt(self.remembered().get(partner).copied());
        for _ in 0..WRITES {
            let outcome = self.update(partner, range, attempt).await?;
            self.remember(partner, outcome.last_second());
            match range.after(outcome) {
                ControlFlow::Break(taken) => return Ok(taken),
                ControlFlow::Continue(next) => attempt = next,
            }
        }
        Ok(Taken::NoneFor(1))
    }

    /// Opens the connection with an update that cannot succeed: a function that has only just started is then as fast as
    /// any other.
    pub async fn preconnect(&self, partner: &PartnerId) {
        let impossible = "attribute_exists(pk) AND attribute_not_exists(pk)";
        let update = Update {
            pk: table::second(partner),
            sets: "REMOVE nothing".into(),
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
        let (sets, condition, values) = match attempt {
            Attempt::Step => (
                "SET issued = issued + :one",
                "issued >= :floor AND issued < :now",
                vec![(":one", number(1)), floor, (":now", number(range.now))],
            ),
            Attempt::Jump => (
                "SET issued = :floor",
                "attribute_not_exists(issued) OR issued < :floor",
                vec![floor],
            ),
        };
        let update = Update {
            pk: table::second(partner),
            sets: sets.into(),
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

/// One of the two updates that take a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    /// Takes the second after the last one.
    Step,
    /// Takes the first second of the window.
    Jump,
}

/// The table's answer to an [`Attempt`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// The condition held, and this second is taken.
    Taken(i64),
    /// It did not, since this is the last second, if there is any.
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

/// The seconds that one request may take: `floor ..= now`.
#[derive(Clone, Copy, Debug)]
struct Range {
    floor: i64,
    now: i64,
}

impl Range {
    fn new(now: i64, window: i64) -> Self {
        let floor = now.saturating_sub(window);
        Self { floor, now }
    }

    /// The attempt to begin with. Where no second seems to be free the table is asked all the same.
    fn first_attempt(self, remembered: Option<i64>) -> Attempt {
        self.holds(remembered).unwrap_or(Attempt::Step)
    }

    /// The result of the request, or the attempt that comes next.
    fn after(self, outcome: Outcome) -> ControlFlow<Taken, Attempt> {
        match outcome {
            Outcome::Taken(second) => ControlFlow::Break(Taken::Second(second)),
            Outcome::Refused(last) => match self.holds(last) {
                Some(attempt) => ControlFlow::Continue(attempt),
                None => ControlFlow::Break(Taken::NoneFor(self.wait_after(last))),
            },
        }
    }

    /// The attempt whose condition holds while `last` is the last second; none does while no second is free.
    fn holds(self, last: Option<i64>) -> Option<Attempt> {
        match last {
            Some(last) if last >= self.now => None,
            Some(last) if last >= self.floor => Some(Attempt::Step),
            _ => Some(Attempt::Jump),
        }
    }

    /// How long it takes until the second after `last` is free, s.
    fn wait_after(self, last: Option<i64>) -> u64 {
        let next = last.unwrap_or(self.now).saturating_add(1);
        u64::try_from(next.saturating_sub(self.now)).unwrap_or(1)
    }
}

#[cfg(test)]
#[path = "io_timestamp_tests.rs"]
mod tests;
