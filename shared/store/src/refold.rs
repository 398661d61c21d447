//! REFOLD items: when all facts of a channel are joined anew. They stand in the index of due work, in a partition of their
//! own for each partner, which only `fold` reads.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::types::{AttributeValue, Select};
use dialog360::id::{ChannelId, ChannelRef, PartnerId};
use jiff::Timestamp;

use super::{Update, Write, as_text, millis, text, time_of};
use crate::table::{self, ALONE, DUE_ORDER, Item, PK, SK, StoreError, Table, prefix};

/// A channel whose facts are due to be joined anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueRefold {
    /// The channel.
    pub channel: ChannelRef,
    /// Since when it is due (ms).
    pub due: Timestamp,
}

impl DueRefold {
    fn from_item(item: &Item) -> Option<Self> {
        let (kind, partner, rest) = table::parse(as_text(item, PK)?)?;
        let channel = ChannelRef::new(partner, rest.parse().ok()?);
        let due = time_of(item, DUE_ORDER)?;
        (kind == prefix::REFOLD).then_some(Self { channel, due })
    }
}

/// A page of due channels.
#[derive(Debug)]
pub struct RefoldPage {
    /// Those that are longest due come first. The index lags behind the items.
    pub rows: Vec<DueRefold>,
    /// The item that the next page comes after; `None` if this is the last.
    pub last: Option<Item>,
}

/// May read and change when the facts of channels are joined anew.
#[derive(Clone)]
pub struct Refolds(Table);

impl Refolds {
    /// The due times of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Has the facts of a channel joined anew every day, at `first` for the first time unless it is due before.
    pub async fn begin(&self, channel: &ChannelRef, first: Timestamp) -> Result<(), StoreError> {
        let update = Update {
            pk: table::refold(channel),
            expression:
                "SET due_pk = :lane, due_order = if_not_exists(due_order, :first), daily = :daily"
                    .into(),
            condition: "attribute_exists(pk) OR attribute_not_exists(pk)",
            values: vec![
                (":lane", text(table::refolds(&channel.partner))),
                (":first", millis(first)),
                (":daily", AttributeValue::Bool(true)),
            ],
        };
        update.send(&self.0).await.map(drop)
    }

    /// Makes a channel due now, if it is not so already.
    pub async fn make_due(&self, channel: &ChannelRef, now: Timestamp) -> Result<(), StoreError> {
        let update = Update {
            pk: table::refold(channel),
            expression: "SET due_pk = :lane, due_order = :now".into(),
            condition: "attribute_not_exists(due_order) OR due_order > :now",
            values: vec![
                (":lane", text(table::refolds(&channel.partner))),
                (":now", millis(now)),
            ],
        };
        // A conflict: it is due already.
        update.send(&self.0).await.map(drop)
    }

    /// Up to `limit` channels of a partner that are due at `now` and come after the page that ended with `after`. One
    /// query of the index.
    pub async fn due(
        &self,
        partner: &PartnerId,
        after: Option<Item>,
        now: Timestamp,
        limit: i32,
    ) -> Result<RefoldPage, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .limit(limit)
            .set_exclusive_start_key(after)
            .key_condition_expression("due_pk = :lane AND due_order <= :latest")
            .expression_attribute_values(":lane", text(table::refolds(partner)))
            .expression_attribute_values(":latest", millis(now));
        let page = query.send().await?;
        let items = page.items.unwrap_or_default();
        Ok(RefoldPage {
            rows: items.iter().filter_map(DueRefold::from_item).collect(),
            last: page.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }

    /// How many channels of a partner are due at `now`, counted up to `most`. Some queries of the index; for operators.
    pub async fn count_due(
        &self,
        partner: &PartnerId,
        now: Timestamp,
        most: usize,
    ) -> Result<usize, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_DUE)
            .select(Select::Count)
            .limit(i32::try_from(most).unwrap_or(i32::MAX))
            .key_condition_expression("due_pk = :lane AND due_order <= :latest")
            .expression_attribute_values(":lane", text(table::refolds(partner)))
            .expression_attribute_values(":latest", millis(now));
        let mut pages = query.into_paginator().send();
        let mut all = 0_usize;
        while all < most
            && let Some(page) = pages.next().await
        {
            all = all.saturating_add(usize::try_from(page?.count).unwrap_or(0));
        }
        Ok(all.min(most))
    }

    /// The channels of a partner that have facts, or were saved. It reads the whole table: for operators, never for a
    /// function.
    pub async fn known_channels(
        &self,
        partner: &PartnerId,
    ) -> Result<BTreeSet<ChannelId>, StoreError> {
        let scan = self.0.client.scan().table_name(&*self.0.name);
        let scan = scan
            .filter_expression("begins_with(pk, :facts) OR begins_with(pk, :channels)")
            .expression_attribute_values(":facts", text(table::facts_of(partner)))
            .expression_attribute_values(":channels", text(table::channels_of(partner)))
            .projection_expression(PK)
            .consistent_read(true);
        let mut items = scan.into_paginator().items().send();
        let mut known = BTreeSet::new();
        while let Some(item) = items.next().await {
            let item = item?;
            let parts = as_text(&item, PK).and_then(table::parse);
            known.extend(parts.and_then(|(_, _, rest)| rest.parse::<ChannelId>().ok()));
        }
        Ok(known)
    }

    /// Takes a due channel: it is put off until `until`, should whoever takes it die. A conflict if it has been taken, or
    /// made due anew, since it was read.
    pub async fn take(&self, row: &DueRefold, until: Timestamp) -> Result<Write, StoreError> {
        let update = Update {
            pk: table::refold(&row.channel),
            expression: "SET due_order = :until".into(),
            condition: "due_order = :seen",
            values: vec![(":until", millis(until)), (":seen", millis(row.due))],
        };
        update.send(&self.0).await.map(Write::from)
    }

    /// Records that the facts of a bound channel, which was taken until `taken`, are joined, and when they are due next.
    /// If it was made due meanwhile, it stays due.
    pub async fn done(
        &self,
        channel: &ChannelRef,
        taken: Timestamp,
        next: Timestamp,
    ) -> Result<(), StoreError> {
        let update = Update {
            pk: table::refold(channel),
            expression: "SET due_order = :next, daily = :daily".into(),
            condition: "due_order = :seen",
            values: vec![
                (":next", millis(next)),
                (":seen", millis(taken)),
                (":daily", AttributeValue::Bool(true)),
            ],
        };
        update.send(&self.0).await.map(drop)
    }

    /// Ends the due time of a channel that is bound to nobody and was taken until `taken`, unless it was made due or bound
    /// meanwhile.
    pub async fn end(&self, channel: &ChannelRef, taken: Timestamp) -> Result<(), StoreError> {
        let delete = self.0.client.delete_item().table_name(&*self.0.name);
        let delete = delete
            .key(PK, text(table::refold(channel)))
            .key(SK, text(ALONE))
            .condition_expression("due_order = :seen AND attribute_not_exists(daily)")
            .expression_attribute_values(":seen", millis(taken));
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }
}
