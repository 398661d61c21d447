//! Due channels and claims, and the requeues that bring them to `provision` through the stream.

use dialog360::id::{ChannelRef, PartnerId};
use jiff::Timestamp;
use onboarding::claim::ClaimId;

use super::{as_text, keyed, millis, number, text, time_of};
use crate::table::{self, DUE_AT, EXPIRES_AT, Item, PK, StoreError, Table, prefix};

/// How many seconds a requeue is kept.
const KEEP_REQUEUE_SECONDS: i64 = 3600;

const SUBJECT: &str = "subject";

/// A channel or a claim that can be due.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// The key of a channel.
    Channel(ChannelRef),
    /// A pending claim.
    Claim(PartnerId, ClaimId),
}

impl Subject {
    fn from_pk(pk: &str) -> Option<Self> {
        let (kind, partner, rest) = table::parse(pk)?;
        match kind {
            prefix::MINT => Some(Self::Channel(ChannelRef::new(partner, rest.parse().ok()?))),
            prefix::CLAIM => Some(Self::Claim(partner, ClaimId::from_table(rest))),
            _ => None,
        }
    }

    fn partner(&self) -> &PartnerId {
        match self {
            Self::Channel(channel) => &channel.partner,
            Self::Claim(partner, _) => partner,
        }
    }

    fn pk(&self) -> String {
        match self {
            Self::Channel(channel) => table::mint(channel),
            Self::Claim(partner, claim) => table::claim(partner, claim),
        }
    }
}

/// A channel or a claim that is due since `due_at`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Due {
    /// The channel or the claim.
    pub subject: Subject,
    /// Since when (ms).
    pub due_at: Timestamp,
}

/// May read due items and append requeues.
#[derive(Clone)]
pub struct Requeues(Table);

impl Requeues {
    /// The requeues of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Up to `limit` due items, the oldest first.
    pub async fn due(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        limit: i32,
    ) -> Result<Vec<Due>, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .limit(limit)
            .key_condition_expression("due_pk = :partner AND due_at <= :now")
            .expression_attribute_values(":partner", text(table::due(partner)))
            .expression_attribute_values(":now", millis(now));
        let items = query.send().await?.items.unwrap_or_default();
        Ok(items.iter().filter_map(due).collect())
    }

    /// Appends a requeue. Within a minute the same requeue is the same item, so the stream gets one record. In the next
    /// minute it is a new item, in case the first record was lost.
    pub async fn requeue(&self, due: &Due, now: Timestamp) -> Result<(), StoreError> {
        let subject = due.subject.pk();
        let minute = now.as_second().div_euclid(60);
        let sort = format!("{minute}#{subject}#{}", due.due_at.as_millisecond());
        let expires_at = minute
            .saturating_mul(60)
            .saturating_add(KEEP_REQUEUE_SECONDS);
        let mut item = keyed(table::wake(due.subject.partner()), sort);
        item.insert(SUBJECT.to_owned(), text(subject));
        item.insert(EXPIRES_AT.to_owned(), number(expires_at));
        let put = self.0.client.put_item().table_name(&*self.0.name);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }

    /// The subject that a WAKE item names.
    pub fn subject(item: &Item) -> Option<Subject> {
        Subject::from_pk(as_text(item, SUBJECT)?)
    }
}

fn due(item: &Item) -> Option<Due> {
    Some(Due {
        subject: Subject::from_pk(as_text(item, PK)?)?,
        due_at: time_of(item, DUE_AT)?,
    })
}
