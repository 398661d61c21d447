//! The unique second: one item per partner holds the last second that was signed.

use dialog360::id::PartnerId;

use super::{Update, Written, number, number_of};
use crate::table::{self, Item, StoreError, Table};

const ISSUED: &str = "issued";

/// How often a sign request tries again when others race it for the very first second after a pause.
const RACES: usize = 3;

/// Outcome of asking for a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// This UNIX second is the caller's alone.
    Second(i64),
    /// None is free; the next one is in so many seconds, at least 1.
    NoneFor(u64),
}

/// May take seconds.
#[derive(Clone)]
pub struct IoTimestamps(Table);

impl IoTimestamps {
    /// The seconds of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Takes a second that nobody has taken and that lies in `now - window ..= now`; one write if the partner
    /// signed within the window, two if not, three when two race.
    pub async fn take(
        &self,
        partner: &PartnerId,
        now: i64,
        window: i64,
    ) -> Result<Taken, StoreError> {
        let floor = now.saturating_sub(window);
        for _ in 0..RACES {
            let seen = match self.step(partner, floor, now).await? {
                Written::Done(item) => return taken(&item),
                Written::Conflict(item) => item.as_ref().and_then(|item| number_of(item, ISSUED)),
            };
            if let Some(issued) = seen.filter(|issued| *issued >= floor) {
                let wait = issued.saturating_sub(now).saturating_add(1);
                return Ok(Taken::NoneFor(u64::try_from(wait).unwrap_or(1).max(1)));
            }
            if let Written::Done(item) = self.jump(partner, floor).await? {
                return taken(&item);
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
        let _refused = update.send(&self.0).await;
    }

    async fn step(
        &self,
        partner: &PartnerId,
        floor: i64,
        now: i64,
    ) -> Result<Written<Item>, StoreError> {
        let update = Update {
            pk: table::second(partner),
            sets: "SET issued = issued + :one".into(),
            condition: "issued >= :floor AND issued < :now",
            values: vec![
                (":one", number(1)),
                (":floor", number(floor)),
                (":now", number(now)),
            ],
        };
        update.send(&self.0).await
    }

    async fn jump(&self, partner: &PartnerId, floor: i64) -> Result<Written<Item>, StoreError> {
        let update = Update {
            pk: table::second(partner),
            sets: "SET issued = :floor".into(),
            condition: "attribute_not_exists(issued) OR issued < :floor",
            values: vec![(":floor", number(floor))],
        };
        update.send(&self.0).await
    }
}

fn taken(item: &Item) -> Result<Taken, StoreError> {
    number_of(item, ISSUED)
        .map(Taken::Second)
        .ok_or(StoreError::Malformed("the last signed second"))
}
