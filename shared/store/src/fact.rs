//! Facts, and events without a channel. They are written once and never changed. A large body lies in another table.

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use dialog360::event::HubEvent;
use dialog360::id::{ChannelRef, PartnerId};
use jiff::{Timestamp, ToSpan};
use onboarding::fact::{Fact, PASSING_FACT_HOURS};

use super::{
    Bodies, VALUE, Write, as_text, keyed, millis, number, number_of, text, time_of, to_value,
    value_of,
};
use crate::table::{self, ALONE, EXPIRES_AT, Item, PK, SK, StoreError, Table};

/// The attribute that holds an event's raw bytes.
const BODY: &str = "body";
/// Of a body that lies apart: its size, SHA-256 and number of parts.
const BODY_SIZE: &str = "body_size";
const BODY_SHA256: &str = "body_sha256";
const BODY_PARTS: &str = "body_parts";

/// The largest body that lies in the item itself, bytes.
const LARGEST_HERE: usize = 64 * 1024;

/// The attribute that holds an event's name, for operators.
const NAME: &str = "name";
const RECEIVED_AT: &str = "received_at";

/// The raw bytes of an event, or where they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StoredBody {
    /// They lie in the item.
    Here(Vec<u8>),
    /// They lie in the table of bodies, under the event's id.
    Apart {
        /// How many bytes there are.
        size: usize,
    },
}

impl StoredBody {
    fn from_item(item: &Item) -> Option<Self> {
        if let Some(body) = item.get(BODY).and_then(|body| body.as_b().ok()) {
            return Some(Self::Here(body.as_ref().to_vec()));
        }
        let size = usize::try_from(number_of(item, BODY_SIZE)?).ok()?;
        Some(Self::Apart { size })
    }
}

/// A fact as it was read, with the raw bytes of its event, if it comes from one.
#[derive(Clone, Debug)]
pub struct StoredFact {
    /// The fact.
    pub fact: Fact,
    /// The event's raw bytes.
    pub body: Option<StoredBody>,
}

impl StoredFact {
    /// The fact that a FACT item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        Ok(Self {
            fact: value_of(item, "fact")?,
            body: StoredBody::from_item(item),
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
    pub body: StoredBody,
}

impl RawEvent {
    /// The event that a RAW item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        let what = || StoreError::Malformed("a raw event");
        let text = |name: &str| item.get(name).and_then(|value| value.as_s().ok());
        let (_, partner, _) = text(PK).and_then(|pk| table::parse(pk)).ok_or_else(what)?;
        Ok(Self {
            id: text(SK).ok_or_else(what)?.clone(),
            partner,
            name: text(NAME).cloned(),
            received_at: time_of(item, RECEIVED_AT).ok_or_else(what)?,
            body: StoredBody::from_item(item).ok_or_else(what)?,
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

    /// Appends a fact; a conflict if it exists already.
    pub async fn append(&self, fact: &Fact) -> Result<Write, StoreError> {
        self.put(fact_item(fact)?).await
    }

    /// The raw event `id` of a partner: one that names no channel.
    pub async fn read_raw(
        &self,
        partner: &PartnerId,
        id: &str,
    ) -> Result<Option<RawEvent>, StoreError> {
        let item = self.0.read(table::raw(partner, id), id).await?;
        item.as_ref().map(RawEvent::from_item).transpose()
    }

    /// The fact `id` of any channel of a partner. It reads the whole table: for operators, never for a function.
    pub async fn find(
        &self,
        partner: &PartnerId,
        id: &str,
    ) -> Result<Option<StoredFact>, StoreError> {
        let scan = self.0.client.scan().table_name(&*self.0.name);
        let scan = scan
            .filter_expression("sk = :id AND begins_with(pk, :facts)")
            .expression_attribute_values(":id", text(id))
            .expression_attribute_values(":facts", text(table::facts_of(partner)));
        let mut items = scan.into_paginator().items().send();
        let found = items.next().await.transpose()?;
        found.as_ref().map(StoredFact::from_item).transpose()
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

    /// All facts about a channel in no order, without the bytes of their events, and how many others cannot be read.
    pub async fn read_all(&self, channel: &ChannelRef) -> Result<(Vec<Fact>, usize), StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .key_condition_expression("#pk = :pk")
            .projection_expression("#value")
            .expression_attribute_names("#pk", PK)
            .expression_attribute_names("#value", VALUE)
            .expression_attribute_values(":pk", text(table::facts(channel)))
            .consistent_read(true);
        let items = query.into_paginator().items().send();
        let items = items.collect::<Result<Vec<_>, _>>().await?;
        let facts = items.iter().map(|item| value_of(item, "fact"));
        let facts: Vec<Fact> = facts.filter_map(Result::ok).collect();
        let unreadable = items.len().saturating_sub(facts.len());
        Ok((facts, unreadable))
    }

    async fn put(&self, item: Item) -> Result<Write, StoreError> {
        Ok(self.0.put_once(item).await?.into())
    }
}

/// May append events, with their raw bytes.
#[derive(Clone)]
pub struct Events {
    facts: Facts,
    bodies: Bodies,
}

impl Events {
    /// The events of `table`, whose large bodies lie in `bodies`.
    pub fn new(table: Table, bodies: Table) -> Self {
        Self {
            facts: Facts::new(table),
            bodies: Bodies::new(bodies),
        }
    }

    /// Opens the connection, as [`super::IoTimestamps::preconnect`] does.
    pub async fn preconnect(&self, partner: &PartnerId) {
        let raw = table::raw(partner, ALONE);
        self.facts.0.preconnect(raw).await;
    }

    /// Appends a verified event: as a fact if it names a channel, else as a raw event of the partner. A conflict if it
    /// exists already.
    ///
    /// A large body, and one with chats, is written first, into the other table: an event that is there is whole. If the
    /// event is there already, nothing is written, so that no repetition keeps a body longer.
    pub async fn append(
        &self,
        partner: &PartnerId,
        event: &HubEvent,
        now: Timestamp,
    ) -> Result<Write, StoreError> {
        let mut item = match Fact::from_event(partner, event, now) {
            Some(fact) => fact_item(&fact)?,
            None => raw_item(partner, event, now),
        };
        if event.raw.len() > LARGEST_HERE || event.holds_chats() {
            if self.facts.0.has(&item).await? {
                return Ok(Write::Conflict);
            }
            let id = as_text(&item, SK).unwrap_or(event.id.as_str());
            let parts = self.bodies.put(partner, id, &event.raw, now).await?;
            item.insert(BODY_SIZE.to_owned(), number(event.raw.len()));
            item.insert(BODY_SHA256.to_owned(), text(event.id.as_str()));
            item.insert(BODY_PARTS.to_owned(), number(parts));
        } else {
            let body = AttributeValue::B(Blob::new(event.raw.clone()));
            item.insert(BODY.to_owned(), body);
        }
        self.facts.put(item).await
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
