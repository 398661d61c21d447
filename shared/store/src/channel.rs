//! Channels. Several functions read them; only `fold` saves them, with a version.

use std::collections::BTreeSet;

use dialog360::id::{ChannelId, ChannelRef, PartnerId};
use onboarding::channel::Channel;
use onboarding::claim::Claim;
use onboarding::claimed::ClaimedId;
use onboarding::tenant::Tenant;

use super::{VALUE, VERSION, Write, keyed, number_of, text, to_value, value_of};
use crate::claimed::claimed_id;
use crate::table::{self, ALONE, Item, StoreError, TENANT_PK, TENANT_SK, Table};

/// How many items one BatchGetItem may ask for.
const BATCH: usize = 100;

/// A channel as it was read.
#[derive(Clone, Debug)]
pub struct StoredChannel {
    /// The channel.
    pub channel: Channel,
    /// How often it was saved; the next save must find the same version. 0: it does not exist yet.
    pub version: i64,
}

impl StoredChannel {
    /// Whether it was in the table when it was read.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// The channel that a CHANNEL item holds.
    pub fn from_item(item: &Item) -> Result<Self, StoreError> {
        Ok(Self {
            channel: value_of(item, "channel")?,
            version: number_of(item, VERSION).unwrap_or(0),
        })
    }
}

/// One row of a tenant's list. Channels come first, by id; then claims, by their id; then claimed ids.
#[derive(Clone, Debug)]
pub enum TenantRow {
    /// A channel of the tenant.
    Channel(Box<Channel>),
    /// An open claim of the tenant that is not registered.
    Claim(Box<Claim>),
    /// An id that an open and registered claim of the tenant names.
    Claimed(Box<ClaimedId>),
}

/// The place at which a page of a tenant's list begins. The texts are sort keys of rows, which need not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PageStart {
    /// At the first row.
    First,
    /// At this row.
    At(String),
    /// Behind this row.
    After(String),
}

/// A page of a tenant's list.
#[derive(Clone, Debug)]
pub struct TenantPage {
    /// The rows, in their order.
    pub rows: Vec<TenantRow>,
    /// Whether no row can follow.
    pub is_last: bool,
}

/// May read channels and save them.
#[derive(Clone)]
pub struct Channels(Table);

impl Channels {
    /// The channels of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Opens the connection by reading an item that does not exist.
    pub async fn preconnect(&self, partner: &PartnerId) {
        let _nothing = self
            .0
            .read(
                format!("{}#{partner}#{ALONE}", table::prefix::CHANNEL),
                ALONE,
            )
            .await;
    }

    /// Reads a channel. A channel without facts is returned as unknown, not as missing.
    pub async fn read(&self, channel: &ChannelRef) -> Result<StoredChannel, StoreError> {
        match self.0.read(table::channel(channel), ALONE).await? {
            Some(item) => StoredChannel::from_item(&item),
            None => Ok(StoredChannel {
                channel: Channel::unknown(channel.clone()),
                version: 0,
            }),
        }
    }

    /// Saves a channel unless it was saved since it was read.
    pub async fn save(&self, stored: &StoredChannel) -> Result<Write, StoreError> {
        self.0
            .put_version(item(&stored.channel)?, stored.version)
            .await
    }

    /// Up to `limit` rows of a tenant's list. One query, which DynamoDB also ends at 1 MB: fewer rows may come although
    /// others follow.
    pub async fn list_for_tenant(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        start: &PageStart,
        limit: i32,
    ) -> Result<TenantPage, StoreError> {
        let (condition, from) = match start {
            // " " sorts before every row. DynamoDB does not allow an empty sort key.
            PageStart::First => ("tenant_pk = :tenant AND tenant_sk > :from", " "),
            PageStart::At(row) => ("tenant_pk = :tenant AND tenant_sk >= :from", &**row),
            PageStart::After(row) => ("tenant_pk = :tenant AND tenant_sk > :from", &**row),
        };
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .index_name(table::BY_TENANT)
            .limit(limit)
            .key_condition_expression(condition)
            .expression_attribute_values(":tenant", text(table::tenant_partition(partner, tenant)))
            .expression_attribute_values(":from", text(from));
        let page = query.send().await?;
        let items = page.items.unwrap_or_default();
        Ok(TenantPage {
            rows: items.iter().map(row).collect::<Result<_, _>>()?,
            is_last: page.last_evaluated_key.is_none_or(|key| key.is_empty()),
        })
    }

    /// The ids among `ids` that are channels of the tenant.
    pub async fn owned_by(
        &self,
        partner: &PartnerId,
        tenant: &Tenant,
        ids: &BTreeSet<ChannelId>,
    ) -> Result<BTreeSet<ChannelId>, StoreError> {
        let mut owned = BTreeSet::new();
        let ids: Vec<&ChannelId> = ids.iter().collect();
        for some in ids.chunks(BATCH) {
            let keys = some
                .iter()
                .map(|id| ChannelRef::new(partner.clone(), (*id).clone()))
                .map(|id| keyed(table::channel(&id), ALONE));
            for item in self.0.batch_get(keys.collect()).await? {
                let channel = StoredChannel::from_item(&item)?.channel;
                if channel.tenant() == Some(tenant) {
                    owned.insert(channel.id.channel);
                }
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
        Some((table::prefix::CLAIMED, _)) => Ok(TenantRow::Claimed(Box::new(claimed_id(item)?))),
        _ => Err(StoreError::Malformed("a row of a tenant")),
    }
}

fn item(channel: &Channel) -> Result<Item, StoreError> {
    let mut item = keyed(table::channel(&channel.id), ALONE);
    item.insert(VALUE.to_owned(), to_value(channel)?);
    if let Some(tenant) = channel.tenant() {
        item.insert(
            TENANT_PK.to_owned(),
            text(table::tenant_partition(&channel.id.partner, tenant)),
        );
        item.insert(
            TENANT_SK.to_owned(),
            text(table::channel_row(&channel.id.channel)),
        );
    }
    Ok(item)
}
