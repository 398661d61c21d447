//! Facts, and events without a channel. They are written once and never changed.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use dialog360::event::HubEvent;
use dialog360::id::{ChannelRef, PartnerId};
use jiff::{Timestamp, ToSpan};
use onboarding::fact::{Fact, PASSING_FACT_HOURS};

use super::{VALUE, Write, keyed, millis, number, text, time_of, to_value, value_of};
use crate::table::{self, ALONE, EXPIRES_AT, Item, PK, SK, StoreError, Table};

/// The attribute that holds an event's raw bytes.
const BODY: &str = "body";
/// The attribute that holds an event's name, for operators.
const NAME: &str = "name";
const RECEIVED_AT: &str = "received_at";

/// A fact as it was read, with the raw bytes of its event, if it comes from one.
#[derive(Clone, Debug)]
pub struct StoredFact {
    /// The fact.
    pub fact: Fact,
    /// The event's raw bytes.
    pub body: Option<Vec<u8>>,
}

impl StoredFact {
    /// The fact that a FACT item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let body = item
            .get(BODY)
            .and_then(|body| body.as_b().ok())
            .map(|body| body.as_ref().to_vec());
        Ok(Self {
            fact: value_of(item, "fact")?,
            body,
        })
    }
}

/// An event without a channel, as it was read.
#[derive(Clone, Debug)]
pub struct RawEvent {
    /// The SHA-256 of its bytes, hexadecimal.
    pub id: String,
    /// The partner whose webhook received it.
    pub partner: PartnerId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// When it was received (ms).
    pub received_at: Timestamp,
    /// Its raw bytes.
    pub body: Vec<u8>,
}

impl RawEvent {
    /// The event that a RAW item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let what = || StoreError::Malformed("a raw event");
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let (_, partner, _) = text(PK).and_then(|pk| table::parse(pk)).ok_or_else(what)?;
        let body = item
            .get(BODY)
            .and_then(|body| body.as_b().ok())
            .ok_or_else(what)?;
        Ok(Self {
            id: text(SK).ok_or_else(what)?.clone(),
            partner,
            name: text(NAME).cloned(),
            received_at: time_of(item, RECEIVED_AT).ok_or_else(what)?,
            body: body.as_ref().to_vec(),
        })
    }
}

/// May append facts and read them.
#[derive(Clone)]
pub struct Facts(Table);

impl Facts {
    /// The facts of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Opens the connection, as [`super::IoTimestamps::preconnect`] does.
    pub async fn preconnect(&self, partner: &PartnerId) {
        self.0.preconnect(table::raw(partner, ALONE)).await;
    }

    /// Appends a fact; a conflict if it exists already.
    pub async fn append(&self, fact: &Fact) -> Result<Write, StoreError> {
        self.put(fact_item(fact)?).await
    }

    /// Appends a verified event with its raw bytes: as a fact if it names a channel, else as a raw event of the partner.
    /// A conflict if it exists already.
    pub async fn append_event(
        &self,
        partner: &PartnerId,
        event: &HubEvent,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let mut item = match Fact::from_event(partner, event, now) {
            Some(fact) => fact_item(&fact)?,
            None => raw_item(partner, event, now),
        };
        item.insert(
            BODY.to_owned(),
            AttributeValue::B(Blob::new(event.raw.clone())),
        );
        self.put(item).await
    }

    /// All facts about a channel, oldest first.
    pub async fn list(&self, channel: &ChannelRef) -> Result<Vec<StoredFact>, StoreError> {
        let query = self
            .0
            .client
            .query()
            .table_name(&*self.0.name)
            .consistent_read(true);
        let query = query
            .key_condition_expression("#pk = :pk")
            .expression_attribute_names("#pk", PK);
        let query = query.expression_attribute_values(":pk", text(table::facts(channel)));
        let items = query
            .into_paginator()
            .items()
            .send()
            .collect::<Result<Vec<_>, _>>()
            .await?;
        let mut facts = items
            .iter()
            .map(StoredFact::from_item)
            .collect::<Result<Vec<_>, _>>()?;
        facts.sort_by(|a, b| {
            (a.fact.received_at, &a.fact.id).cmp(&(b.fact.received_at, &b.fact.id))
        });
        Ok(facts)
    }

    async fn put(&self, item: Item) -> Result<Write, StoreError> {
        Ok(self.0.put_once(item).await?.into())
    }
}

fn fact_item(fact: &Fact) -> Result<Item, StoreError> {
    let mut item = keyed(table::facts(&fact.channel), fact.id.as_str());
    item.insert(VALUE.to_owned(), to_value(fact)?);
    if let Some(expires_at) = fact.expires_at() {
        item.insert(EXPIRES_AT.to_owned(), number(expires_at.as_second()));
    }
    Ok(item)
}

fn raw_item(partner: &PartnerId, event: &HubEvent, now: Timestamp) -> Item {
    let mut item = keyed(table::raw(partner, event.id.as_str()), event.id.as_str());
    item.insert(RECEIVED_AT.to_owned(), millis(now));
    if let Some(name) = &event.name {
        item.insert(NAME.to_owned(), text(name));
    }
    if let Ok(expires_at) = now.checked_add(PASSING_FACT_HOURS.hours()) {
        item.insert(EXPIRES_AT.to_owned(), number(expires_at.as_second()));
    }
    item
}
