//! Events that the event bus did not take: kept until it does, and given up after a day.

use dialog360::id::PartnerId;
use jiff::{SignedDuration, Timestamp};

use super::{Table, as_text, keyed, millis, number, text, time_of};
use crate::table::{self, EXPIRES_AT, Item, PK, SK, StoreError, prefix};

/// How long an event is sent again.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// How long an event that was given up is kept, for an operator to see.
const DEAD_LIFE: SignedDuration = SignedDuration::from_hours(90 * 24);

const DETAIL_TYPE: &str = "detail_type";
const DETAIL: &str = "detail";
const PUT_AT: &str = "put_at";

/// An event that waits for the bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// The partner it is about.
    pub partner: PartnerId,
    /// The event's own id; unique with its type.
    pub id: String,
    /// Its type, such as `channel.changed`.
    pub detail_type: String,
    /// What it says, as JSON.
    pub detail: String,
    /// When it was first put here (ms).
    pub put_at: Timestamp,
}

impl WaitingEvent {
    /// Whether it has been waiting for a day, which is long enough.
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        now.duration_since(self.put_at) >= PATIENCE
    }

    fn sort(&self) -> String {
        format!("{}#{}", self.detail_type, self.id)
    }

    fn to_item(&self, pk: String) -> Item {
        let mut item = keyed(pk, self.sort());
        item.insert(DETAIL_TYPE.to_owned(), text(&self.detail_type));
        item.insert(DETAIL.to_owned(), text(&self.detail));
        item.insert(PUT_AT.to_owned(), millis(self.put_at));
        item
    }

    fn from_item(item: &Item) -> Option<Self> {
        let (_, partner, _) = table::parse(as_text(item, PK)?)?;
        let detail_type = as_text(item, DETAIL_TYPE)?;
        let id = as_text(item, SK)?.strip_prefix(detail_type)?;
        Some(Self {
            partner,
            id: id.strip_prefix('#')?.to_owned(),
            detail_type: detail_type.to_owned(),
            detail: as_text(item, DETAIL)?.to_owned(),
            put_at: time_of(item, PUT_AT)?,
        })
    }
}

/// May keep events for the bus, read them back and remove them.
#[derive(Clone)]
pub struct Outbox(Table);

impl Outbox {
    /// The outbox of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Keeps an event; one that is kept already stays as it is.
    pub async fn keep(&self, event: &WaitingEvent) -> Result<(), StoreError> {
        let item = event.to_item(table::outbox(&event.partner));
        self.0.put_once(item).await.map(drop)
    }

    /// Up to `limit` events that wait, by type and id, from the one behind `after` on.
    pub async fn list(
        &self,
        partner: &PartnerId,
        after: Option<&WaitingEvent>,
        limit: i32,
    ) -> Result<Vec<WaitingEvent>, StoreError> {
        // " " sorts before every sort key of ours.
        let after = after.map_or_else(|| " ".to_owned(), WaitingEvent::sort);
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", text(table::outbox(partner)))
            .expression_attribute_values(":after", text(after))
            .consistent_read(true)
            .limit(limit);
        let items = query.send().await?.items.unwrap_or_default();
        let event = |item| {
            WaitingEvent::from_item(item).ok_or(StoreError::Malformed("an event of the outbox"))
        };
        items.iter().map(event).collect()
    }

    /// Removes an event that the bus has taken.
    pub async fn remove(&self, event: &WaitingEvent) -> Result<(), StoreError> {
        let delete = self.0.client.delete_item().table_name(&*self.0.name);
        let delete = delete
            .key(PK, text(table::outbox(&event.partner)))
            .key(SK, text(event.sort()));
        delete.send().await?;
        Ok(())
    }

    /// Moves an event that is given up to the DEAD items.
    pub async fn give_up(&self, event: &WaitingEvent, now: Timestamp) -> Result<(), StoreError> {
        let mut dead = event.to_item(table::dead(&event.partner));
        let sort = format!("{}#{}", prefix::OUTBOX, event.sort());
        dead.insert(SK.to_owned(), text(sort));
        let expires_at = now.saturating_add(DEAD_LIFE).unwrap_or(now);
        dead.insert(EXPIRES_AT.to_owned(), number(expires_at.as_second()));
        self.0.put_once(dead).await?;
        self.remove(event).await
    }
}
