//! Channels: read by all, saved only by the fold, with a version.

use std::collections::BTreeSet;

use aws_sdk_dynamodb::types::{KeysAndAttributes, ReturnValuesOnConditionCheckFailure};
use onboarding::channel::Channel;
use onboarding::claim::Claim;
use onboarding::id::{ChannelId, PartnerId, Tenant};

use super::{VALUE, VERSION, keyed, number, number_of, refused_put, text, to_value, value_of};
use crate::table::{self, ALONE, Item, PK, SK, StoreError, TENANT_PK, TENANT_SK, Table};

/// How many items one BatchGetItem may ask for.
const BATCH: usize = 100;

/// A channel as it was read.
#[derive(Clone, Debug)]
pub struct StoredChannel {
    /// The channel.
    pub channel: Channel,
    /// How often it was saved, which the next save must find; 0: it is not there yet.
    pub version: i64,
}

impl StoredChannel {
    /// Whether it was in the table when it was read.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// The channel that a CHANNEL item holds.
    pub fn of_item(item: &Item) -> Result<Self, StoreError> {
        Ok(Self {
            channel: value_of(item, "channel")?,
            version: number_of(item, VERSION).unwrap_or(0),
        })
    }
}

/// What a save came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// It is saved.
    Done,
    /// Somebody else saved it since it was read: read again.
    Outdated,
}

/// One row of a tenant's list.
#[derive(Clone, Debug)]
pub enum TenantRow {
    /// A channel that is the tenant's.
    Channel(Box<Channel>),
    /// A claim of the tenant that is open.
    Claim(Box<Claim>),
}

/// May read channels and save them.
#[derive(Clone)]
pub struct Channels(Table);

impl Channels {
    /// The channels of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Opens the connection with a read of nothing.
    pub async fn knock(&self, partner: &PartnerId) {
        let _nothing = self
            .0
            .read(
                format!("{}#{partner}#{ALONE}", table::prefix::CHANNEL),
                ALONE,
            )
            .await;
    }

    /// Reads a channel; one about which nothing was ever said is unknown, not missing.
    pub async fn read(
        &self,
        partner: &PartnerId,
        channel: &ChannelId,
    ) -> Result<StoredChannel, StoreError> {
        match self.0.read(table::channel(partner, channel), ALONE).await? {
            Some(item) => StoredChannel::of_item(&item),
            None => Ok(StoredChannel {
                channel: Channel::unknown(partner.clone(), channel.clone()),
                version: 0,
            }),
        }
    }

    /// Saves a channel if nobody saved it since it was read.
    pub async fn save(&self, stored: &StoredChannel) -> Result<Saved, StoreError> {
        let put = self
            .0
            .client
            .put_item()
            .table_name(&*self.0.name)
            .set_item(Some(item(
                &stored.channel,
                stored.version.saturating_add(1),
            )?))
            .condition_expression("version = :seen OR (attribute_not_exists(pk) AND :seen = :none)")
            .expression_attribute_values(":seen", number(stored.version))
            .expression_attribute_values(":none", number(0))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::None)
            .send()
            .await;
        match put {
            Ok(_) => Ok(Saved::Done),
            Err(error) => refused_put(error).map(|_| Saved::Outdated),
        }
    }

    /// Up to `limit` rows of a tenant's list, from the row behind `after` on: channels by id, then open claims.
    /// One query.
    pub async fn of_tenant(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        after: Option<&ChannelId>,
        limit: i32,
    ) -> Result<Vec<TenantRow>, StoreError> {
        // "" sorts before every row, and DynamoDB allows it in a condition on a sort key, but not as a value of one.
        let after = after.map_or_else(|| " ".to_owned(), table::channel_of_tenant);
        let query = self
            .0
            .client
            .query()
            .table_name(&*self.0.name)
            .index_name(table::BY_TENANT);
        let query = query
            .key_condition_expression("tenant_pk = :tenant AND tenant_sk > :after")
            .expression_attribute_values(":tenant", text(table::of_tenant(partner, tenant)))
            .expression_attribute_values(":after", text(after));
        let mut rows = Vec::new();
        let wanted = usize::try_from(limit).unwrap_or(1);
        let mut pages = query.limit(limit).into_paginator().send();
        // DynamoDB cuts a page at 1 MB: go on until there are enough rows.
        while let Some(page) = pages.next().await {
            rows.extend(page?.items.unwrap_or_default());
            if rows.len() >= wanted {
                break;
            }
        }
        rows.iter().take(wanted).map(row).collect()
    }

    /// Those of `ids` that are channels of the tenant.
    pub async fn owned(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        ids: &BTreeSet<ChannelId>,
    ) -> Result<BTreeSet<ChannelId>, StoreError> {
        let mut owned = BTreeSet::new();
        let ids: Vec<&ChannelId> = ids.iter().collect();
        for some in ids.chunks(BATCH) {
            let mut wanted: Vec<Item> = some
                .iter()
                .map(|id| keyed(table::channel(partner, id), ALONE))
                .collect();
            while !wanted.is_empty() {
                let keys = KeysAndAttributes::builder()
                    .set_keys(Some(wanted))
                    .consistent_read(true)
                    .build();
                let keys = keys.map_err(|_| StoreError::Malformed("a batch of keys"))?;
                let got = self
                    .0
                    .client
                    .batch_get_item()
                    .request_items(&*self.0.name, keys)
                    .send()
                    .await?;
                for item in got.responses.unwrap_or_default().into_values().flatten() {
                    let channel = StoredChannel::of_item(&item)?.channel;
                    if channel.tenant() == Some(tenant) {
                        owned.insert(channel.id);
                    }
                }
                let left = got
                    .unprocessed_keys
                    .unwrap_or_default()
                    .into_values()
                    .next();
                wanted = left.map(|left| left.keys).unwrap_or_default();
            }
        }
        Ok(owned)
    }
}

fn row(item: &Item) -> Result<TenantRow, StoreError> {
    let sort = item
        .get(TENANT_SK)
        .and_then(|sort| sort.as_s().ok())
        .ok_or(StoreError::Malformed("a row"))?;
    match sort.split_once('#') {
        Some((table::prefix::CHANNEL, _)) => {
            Ok(TenantRow::Channel(Box::new(value_of(item, "channel")?)))
        }
        Some((table::prefix::CLAIM, _)) => Ok(TenantRow::Claim(Box::new(value_of(item, "claim")?))),
        _ => Err(StoreError::Malformed("a row of a tenant")),
    }
}

fn item(channel: &Channel, version: i64) -> Result<Item, StoreError> {
    let mut item = keyed(table::channel(&channel.partner, &channel.id), ALONE);
    debug_assert!(item.contains_key(PK) && item.contains_key(SK));
    item.insert(VALUE.to_owned(), to_value(channel)?);
    item.insert(VERSION.to_owned(), number(version));
    if let Some(tenant) = channel.tenant() {
        item.insert(
            TENANT_PK.to_owned(),
            text(table::of_tenant(&channel.partner, tenant)),
        );
        item.insert(
            TENANT_SK.to_owned(),
            text(table::channel_of_tenant(&channel.id)),
        );
    }
    Ok(item)
}
