//! What is due, and the wake-ups that say "look again".

use aws_sdk_dynamodb::types::AttributeValue;
use jiff::Timestamp;
use onboarding::claim::ClaimId;
use onboarding::id::{ChannelId, PartnerId};

use super::{keyed, millis, number, text, time_of};
use crate::table::{self, DUE_AT, EXPIRES_AT, Item, PK, StoreError, Table, prefix};

/// How long a wake-up is kept, s.
const WAKE_SECONDS: i64 = 3600;

const SUBJECT: &str = "subject";

/// What is to be looked at again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The key of a channel.
    Channel(ChannelId),
    /// A pending claim.
    Claim(ClaimId),
}

impl Subject {
    fn of_key(kind: &str, rest: &str) -> Option<Self> {
        match kind {
            prefix::MINT => Some(Self::Channel(rest.parse().ok()?)),
            prefix::CLAIM => Some(Self::Claim(ClaimId::from_table(rest))),
            _ => None,
        }
    }

    fn pk(&self, partner: &PartnerId) -> String {
        match self {
            Self::Channel(channel) => table::mint(partner, channel),
            Self::Claim(claim) => table::claim(partner, claim),
        }
    }
}

/// Something that was due at `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The hub it is about.
    pub partner: PartnerId,
    /// What is to be looked at.
    pub subject: Subject,
    /// Since when (ms).
    pub due_at: Timestamp,
}

/// May read what is due and append wake-ups.
#[derive(Clone)]
pub struct Wakes(Table);

impl Wakes {
    /// The wake-ups of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Up to `limit` things that are due, the longest due first.
    pub async fn due(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<Due>, StoreError> {
        let query = self
            .0
            .client
            .query()
            .table_name(&*self.0.name)
            .index_name(table::BY_DUE)
            .limit(limit);
        let query = query
            .key_condition_expression("due_pk = :partner AND due_at <= :now")
            .expression_attribute_values(":partner", text(table::due(partner)))
            .expression_attribute_values(":now", millis(now));
        Ok(query
            .send()
            .await?
            .items
            .unwrap_or_default()
            .iter()
            .filter_map(due)
            .collect())
    }

    /// Appends a wake-up. The same one in the same minute is the same item, so no second record; in the next
    /// minute it is another, in case the first was lost.
    pub async fn wake(&self, due: &Due, now: Timestamp) -> Result<(), StoreError> {
        let subject = due.subject.pk(&due.partner);
        let minute = now.as_second().div_euclid(60);
        let sort = format!("{minute}#{subject}#{}", due.due_at.as_millisecond());
        let mut item = keyed(table::wake(&due.partner), sort);
        item.insert(SUBJECT.to_owned(), text(subject));
        item.insert(
            EXPIRES_AT.to_owned(),
            number(minute.saturating_mul(60).saturating_add(WAKE_SECONDS)),
        );
        self.0
            .client
            .put_item()
            .table_name(&*self.0.name)
            .set_item(Some(item))
            .send()
            .await?;
        Ok(())
    }

    /// What a WAKE item says to look at.
    pub fn subject(item: &Item) -> Option<(PartnerId, Subject)> {
        let (kind, partner, rest) = table::parse(item.get(SUBJECT).and_then(as_text)?)?;
        Some((partner, Subject::of_key(kind, rest)?))
    }
}

fn due(item: &Item) -> Option<Due> {
    let (kind, partner, rest) = table::parse(item.get(PK).and_then(as_text)?)?;
    Some(Due {
        partner,
        subject: Subject::of_key(kind, rest)?,
        due_at: time_of(item, DUE_AT)?,
    })
}

fn as_text(value: &AttributeValue) -> Option<&str> {
    value.as_s().ok().map(String::as_str)
}
