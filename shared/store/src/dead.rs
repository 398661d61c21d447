//! DEAD items: events that were given up, which an operator can have sent again.

use dialog360::id::PartnerId;
use jiff::Timestamp;

use super::{Outbox, as_text, text, time_of};
use crate::outbox::{DEAD_SORT, GIVEN_UP_AT, WHY, WaitingEvent};
use crate::table::{self, Item, PK, SK, StoreError, Table};

/// An event that was given up, without its detail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadEvent {
    /// The event's own id; unique with its type.
    pub id: String,
    /// Its type, such as `channel.changed`.
    pub detail_type: String,
    /// The size of its detail, bytes.
    pub size: usize,
    /// When it was put into the outbox (ms).
    pub put_at: Timestamp,
    /// When it was given up (ms).
    pub given_up_at: Timestamp,
    /// The last error of the bus.
    pub why: String,
}

impl DeadEvent {
    fn from_item(item: &Item) -> Option<Self> {
        let waiting = WaitingEvent::from_item(item)?;
        Some(Self {
            size: waiting.detail.len(),
            id: waiting.id,
            detail_type: waiting.detail_type,
            put_at: waiting.put_at,
            given_up_at: time_of(item, GIVEN_UP_AT)?,
            why: as_text(item, WHY)?.to_owned(),
        })
    }

    fn sort_key(&self) -> String {
        format!("{DEAD_SORT}{}#{}", self.detail_type, self.id)
    }
}

/// The events of a partner that were given up.
#[derive(Debug)]
pub struct DeadList {
    /// Those that can be read, the longest waiting first.
    pub events: Vec<DeadEvent>,
    /// How many other items there are.
    pub unreadable: usize,
}

/// May read events that were given up, and have them sent again. For operators, never for a function.
#[derive(Clone)]
pub struct DeadEvents(Table);

impl DeadEvents {
    /// The events of `table` that were given up.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// All of a partner.
    pub async fn list(&self, partner: &PartnerId) -> Result<DeadList, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .key_condition_expression("pk = :pk")
            .expression_attribute_values(":pk", text(table::dead(partner)))
            .consistent_read(true);
        let mut items = query.into_paginator().items().send();
        let (mut events, mut unreadable) = (Vec::new(), 0_usize);
        while let Some(item) = items.next().await {
            match DeadEvent::from_item(&item?) {
                Some(event) => events.push(event),
                None => unreadable = unreadable.saturating_add(1),
            }
        }
        events.sort_by_key(|event| (event.put_at, event.sort_key()));
        Ok(DeadList { events, unreadable })
    }

    /// Puts an event back into the outbox, as if it had been put there `now`. Does nothing if it is gone.
    pub async fn put_back(
        &self,
        partner: &PartnerId,
        event: &DeadEvent,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let (pk, sk) = (table::dead(partner), event.sort_key());
        let Some(item) = self.0.read(pk.clone(), &sk).await? else {
            return Ok(());
        };
        let waiting = WaitingEvent::from_item(&item);
        let waiting = waiting.ok_or(StoreError::Malformed("an event that was given up"))?;
        let outbox = Outbox::new(self.0.clone());
        outbox
            .keep(&WaitingEvent {
                put_at: now,
                ..waiting
            })
            .await?;
        let delete = self.0.client.delete_item().table_name(&*self.0.name);
        let delete = delete.key(PK, text(pk)).key(SK, text(sk));
        delete.send().await?;
        Ok(())
    }
}
