//! Claimed ids: one item for each channel and tenant while an open claim of the tenant names the channel. So a list of
//! thousands of claimed ids is read page by page, and one of them by its key.

use std::collections::BTreeSet;

use dialog360::id::{ChannelId, ChannelRef, ClientId};
use onboarding::channel::{Channel, ChannelView};
use onboarding::claim::Claim;
use onboarding::claimed::ClaimedId;
use onboarding::tenant::Tenant;

use super::{StoredChannel, VALUE, keyed, millis, refused_put, text, to_value, value_of};
use crate::table::{self, ALONE, Item, PK, StoreError, TENANT_PK, TENANT_SK, Table};

/// The attribute that names the claim, its generation included.
const CAUSE: &str = "cause";
/// The attribute that holds when the claim came in, ms.
const RECEIVED_AT: &str = "received_at";

/// How many tenants count, at most, when it is asked who claims a channel.
const MOST_TENANTS: i32 = 100;

/// May note the ids that open claims name, and read and forget them.
#[derive(Clone)]
pub struct ClaimedIds(Table);

impl ClaimedIds {
    /// The claimed ids of `table`.
    pub fn new(table: Table) -> Self {
        Self(table)
    }

    /// Notes each id that an open claim names and that is not settled, with the claim's status; one put for each.
    ///
    /// If two claims of a tenant name an id, the one that came in later counts. The same claim may be noted again.
    pub async fn note(&self, claim: &Claim) -> Result<(), StoreError> {
        let ids: BTreeSet<&ChannelId> = claim.unsettled().collect();
        for id in ids {
            let put = self.0.client.put_item().table_name(&*self.0.name);
            let put = put
                .set_item(Some(item(claim, id)?))
                .condition_expression("attribute_not_exists(pk) OR received_at <= :at")
                .expression_attribute_values(":at", millis(claim.received_at));
            if let Err(error) = put.send().await {
                let _of_a_later_claim = refused_put(error)?;
            }
        }
        Ok(())
    }

    /// Forgets those of `ids` that are still noted for this claim; one delete for each.
    pub async fn forget(&self, claim: &Claim, ids: &[ChannelId]) -> Result<(), StoreError> {
        for id in ids {
            let channel = ChannelRef::new(claim.partner.clone(), id.clone());
            let key = (table::claimed(&channel), claim.tenant.as_str());
            self.0.remove_if(key, CAUSE, text(claim.cause())).await?;
        }
        Ok(())
    }

    /// Forgets that a tenant claims a channel: it is the tenant's now, and listed as such. One delete.
    pub async fn forget_own(
        &self,
        channel: &ChannelRef,
        tenant: &Tenant,
    ) -> Result<(), StoreError> {
        let key = keyed(table::claimed(channel), tenant.as_str());
        self.0.remove(&key).await
    }

    /// A channel, and how `tenant` sees it because an open claim of it names the channel. One read of both.
    pub async fn read_with_channel(
        &self,
        channel: &ChannelRef,
        tenant: &Tenant,
    ) -> Result<(Channel, Option<ChannelView>), StoreError> {
        let keys = vec![
            keyed(table::channel(channel), ALONE),
            keyed(table::claimed(channel), tenant.as_str()),
        ];
        let (mut known, mut claimed) = (Channel::unknown(channel.clone()), None);
        for item in self.0.batch_get(keys).await? {
            if item.get(PK) == Some(&text(table::channel(channel))) {
                known = StoredChannel::from_item(&item)?.channel;
            } else {
                claimed = Some(claimed_id(&item)?.view());
            }
        }
        Ok((known, claimed))
    }

    /// The clients with which open claims name a channel, of at most 100 tenants.
    pub async fn clients(&self, channel: &ChannelRef) -> Result<BTreeSet<ClientId>, StoreError> {
        let query = self.0.client.query().table_name(&*self.0.name);
        let query = query
            .key_condition_expression("pk = :channel")
            .expression_attribute_values(":channel", text(table::claimed(channel)))
            .consistent_read(true)
            .limit(MOST_TENANTS);
        let items = query.send().await?.items.unwrap_or_default();
        let client = |item| claimed_id(item).map(|claimed| claimed.client);
        items.iter().map(client).collect()
    }
}

/// The claimed id that a CLAIMED item holds.
pub(crate) fn claimed_id(item: &Item) -> Result<ClaimedId, StoreError> {
    value_of(item, "a claimed id")
}

fn item(claim: &Claim, id: &ChannelId) -> Result<Item, StoreError> {
    let claimed = claim.claimed(id);
    let mut item = keyed(table::claimed(&claimed.channel), claim.tenant.as_str());
    let partition = table::tenant_partition(&claim.partner, &claim.tenant);
    item.extend([
        (VALUE.to_owned(), to_value(&claimed)?),
        (CAUSE.to_owned(), text(claim.cause())),
        (RECEIVED_AT.to_owned(), millis(claim.received_at)),
        (TENANT_PK.to_owned(), text(partition)),
        (TENANT_SK.to_owned(), text(table::claimed_row(id))),
    ]);
    Ok(item)
}
