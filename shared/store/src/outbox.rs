//! The outbox: events that the event bus did not accept. They are sent again, and given up after a day.

use dialog360::id::PartnerId;
use jiff::{SignedDuration, Timestamp};

use super::{Table, as_text, keyed, millis, number, text, time_of};
use crate::table::{self, EXPIRES_AT, Item, PK, SK, StoreError};

/// How long an event is sent again.
const RETRY_FOR: SignedDuration = SignedDuration::from_hours(24);

/// How long an event that was given up is kept for operators.
const KEEP_DEAD_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// How the sort keys of events begin that were given up.
pub(crate) const DEAD_SORT: &str = "OUTBOX#";

const DETAIL_TYPE: &str = "detail_type";
const DETAIL: &str = "detail";
const PUT_AT: &str = "put_at";
/// Of an event that was given up: when (ms), and the last error of the bus.
pub(crate) const GIVEN_UP_AT: &str = "given_up_at";
pub(crate) const WHY: &str = "why";

/// An event that waits to be sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    /// The partner it is about.
    pub partner: PartnerId,
    /// The event's own id; unique with its type.
    pub id: String,
    /// Its type, such as `channel.changed`.
    pub detail_type: String,
    /// Its detail, as JSON.
    pub detail: String,
    /// When it was put into the outbox (ms).
    pub put_at: Timestamp,
}

impl WaitingEvent {
    /// Whether it has waited for a day, after which it is given up.
    pub fn is_given_up(&self, now: Timestamp) -> bool {
        now.duration_since(self.put_at) >= RETRY_FOR
    }

    fn sort_key(&self) -> String {
        format!("{}#{}", self.detail_type, self.id)
    }

    fn to_item(&self, pk: String) -> Item {
        let mut item = keyed(pk, self.sort_key());
        item.insert(DETAIL_TYPE.to_owned(), text(&self.detail_type));
        item.insert(DETAIL.to_owned(), text(&self.detail));
        item.insert(PUT_AT.to_owned(), millis(self.put_at));
        item
    }

    /// The event that an OUTBOX item holds, or a DEAD one.
    pub(crate) fn from_item(item: &Item) -> Option<Self> {
        let (_, partner, _) = table::parse(as_text(item, PK)?)?;
        let detail_type = as_text(item, DETAIL_TYPE)?;
        let sort = as_text(item, SK)?;
        let sort = sort.strip_prefix(DEAD_SORT).unwrap_or(sort);
        let id = sort.strip_prefix(detail_type)?;
        Some(Self {
            partner,
            id: id.strip_prefix('#')?.to_owned(),
            detail_type: detail_type.to_owned(),
            detail: as_text(item, DETAIL)?.to_owned(),
            put_at: time_of(item, PUT_AT)?,
        })
    }
}

/// A page of events that wait.
#[derive(Debug)]
pub struct WaitingPage {
    /// Those that can be read, by type and id.
    pub events: Vec<WaitingEvent>,
    /// How many others there are.
    pub unreadable: usize,
    /// What the next page comes after; `None` if this page is empty.
    pub last: Option<String>,
}

/// May add, read and remove events that wait for the bus.
#[derive(Clone)]
pub struct Outbox(Table);

impl Outbox {
    /// The outbox of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Adds an event. One that is there already stays unchanged.
    pub async fn keep(&self, event: &WaitingEvent) -> Result<(), StoreError> {
        let item = event.to_item(table::outbox(&event.partner));
        self.0.put_once(item).await.map(drop)
    }

    /// Up to `limit` waiting events that come after the page that ended with `after`. Those that cannot be read are
    /// counted.
    pub async fn list(
        &self,
        partner: &PartnerId,
        after: Option<&str>,
        limit: i32,
    ) -> Result<WaitingPage, StoreError> {
        // " " sorts before every sort key of ours.
        let after = after.unwrap_or(" ");
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .key_condition_expression("pk = :pk AND sk > :after")
            .expression_attribute_values(":pk", text(table::outbox(partner)))
            .expression_attribute_values(":after", text(after))
            .consistent_read(true)
            .limit(limit);
        let items = query.send().await?.items.unwrap_or_default();
        let last = items.last().and_then(|item| as_text(item, SK));
        let events: Vec<_> = items.iter().filter_map(WaitingEvent::from_item).collect();
        Ok(WaitingPage {
            unreadable: items.len().saturating_sub(events.len()),
            events,
            last: last.map(str::to_owned),
        })
    }

    /// Removes an event that the bus has accepted.
    pub async fn remove(&self, event: &WaitingEvent) -> Result<(), StoreError> {
        let delete = self.0.client.delete_item().table_name(&*self.0.name);
        let delete = delete
            .key(PK, text(table::outbox(&event.partner)))
            .key(SK, text(event.sort_key()));
        delete.send().await?;
        Ok(())
    }

    /// Gives an event up, because of `why`: moves it to the DEAD items.
    pub async fn give_up(
        &self,
        event: &WaitingEvent,
        why: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let mut dead = event.to_item(table::dead(&event.partner));
        let sort = format!("{DEAD_SORT}{}", event.sort_key());
        dead.insert(SK.to_owned(), text(sort));
        dead.insert(GIVEN_UP_AT.to_owned(), millis(now));
        dead.insert(WHY.to_owned(), text(why));
        let expires_at = now.saturating_add(KEEP_DEAD_FOR).unwrap_or(now);
        dead.insert(EXPIRES_AT.to_owned(), number(expires_at.as_second()));
        self.0.put_once(dead).await?;
        self.remove(event).await
    }
}
