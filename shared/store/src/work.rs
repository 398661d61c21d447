//! WORK items: the lease of a partner's worker, the place it took last, the times of its last calls, and the circuit.

use std::time::Duration;

use dialog360::id::PartnerId;
use jiff::Timestamp;
use onboarding::queue::Work;

use super::{Update, Write, Written, as_text, millis, number, text, time_of, to_value};
use crate::table::{self, ALONE, Item, StoreError, Table};

/// How long a lease is valid: longer than a call and the writes around it.
const WORK_LEASE: Duration = Duration::from_secs(20);

const LEASE: &str = "lease";
const LEASE_UNTIL: &str = "lease_until";

/// The state of a partner's worker, for operators.
#[derive(Clone, Debug, Default)]
pub struct WorkState {
    /// The place, the calls and the circuit.
    pub work: Work,
    /// Until when some worker holds the lease (ms).
    pub leased_until: Option<Timestamp>,
}

/// Outcome of giving a lease back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Released {
    /// Whether the state is saved; a conflict if the lease was lost.
    pub saved: Write,
    /// When the lease was last asked for (ms), if the state is saved.
    pub asked_at: Option<Timestamp>,
}

/// May be a partner's worker.
#[derive(Clone)]
pub struct Works(Table);

impl Works {
    /// The workers of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Takes the lease of a partner's worker under `token` for 20 s; `None` if another holds it, which is then told that it
    /// was asked for.
    pub async fn lease(
        &self,
        partner: &PartnerId,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<Work>, StoreError> {
        let update = Update {
            pk: table::work(partner),
            expression: "SET lease = :token, lease_until = :until".into(),
            condition: "attribute_not_exists(lease_until) OR lease_until < :now OR lease = :token",
            values: vec![
                (":token", text(token)),
                (":until", millis(until(now))),
                (":now", millis(now)),
            ],
        };
        match update.send(&self.0).await? {
            Written::Done(item) => Ok(Some(work(&item)?)),
            Written::Conflict(_) => {
                let update = Update {
                    pk: table::work(partner),
                    expression: "SET asked_at = :now".into(),
                    condition: "attribute_exists(lease)",
                    values: vec![(":now", millis(now))],
                };
                update.send(&self.0).await?;
                Ok(None)
            }
        }
    }

    /// Saves the state, and extends the lease to 20 s from `now`; a conflict if it is lost.
    pub async fn save(
        &self,
        partner: &PartnerId,
        token: &str,
        work: &Work,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::work(partner),
            expression: "SET worker_state = :value, place = :place, lease_until = :until".into(),
            condition: "lease = :token AND lease_until >= :now",
            values: vec![
                (":value", to_value(work)?),
                (":place", number(work.place.number())),
                (":until", millis(until(now))),
                (":token", text(token)),
                (":now", millis(now)),
            ],
        };
        Ok(update.send(&self.0).await?.into())
    }

    /// Saves the state, and ends the lease; if it is lost, its new holder goes on.
    pub async fn release(
        &self,
        partner: &PartnerId,
        token: &str,
        work: &Work,
    ) -> Result<Released, StoreError> {
        let update = Update {
            pk: table::work(partner),
            expression: "SET worker_state = :value, place = :place REMOVE lease, lease_until"
                .into(),
            condition: "lease = :token",
            values: vec![
                (":value", to_value(work)?),
                (":place", number(work.place.number())),
                (":token", text(token)),
            ],
        };
        let (saved, asked_at) = match update.send(&self.0).await? {
            Written::Done(item) => (Write::Done, time_of(&item, "asked_at")),
            Written::Conflict(_) => (Write::Conflict, None),
        };
        Ok(Released { saved, asked_at })
    }

    /// The state of a partner's worker; for operators.
    pub async fn inspect(&self, partner: &PartnerId) -> Result<WorkState, StoreError> {
        let item = self.0.read(table::work(partner), ALONE).await?;
        let item = item.unwrap_or_default();
        let leased_until = as_text(&item, LEASE).and_then(|_| time_of(&item, LEASE_UNTIL));
        Ok(WorkState {
            work: work(&item)?,
            leased_until,
        })
    }
}

fn until(now: Timestamp) -> Timestamp {
    now.saturating_add(WORK_LEASE).unwrap_or(now)
}

fn work(item: &Item) -> Result<Work, StoreError> {
    let Some(state) = item.get("worker_state").cloned() else {
        return Ok(Work::default());
    };
    serde_dynamo::from_attribute_value(state)
        .map_err(|_| StoreError::Malformed("the state of a worker"))
}
