//! The table: its keys, its indexes and its client. Each kind of item has its own prefix of the partition key, so that
//! a function's policy (`dynamodb:LeadingKeys`) can name just the kinds it needs.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::operation::create_table::{CreateTableError, CreateTableInput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType, Select, StreamSpecification,
    StreamViewType, TimeToLiveSpecification,
};
use dialog360::id::{ChannelId, ChannelRef, ClientId, PartnerId};
use onboarding::claim::ClaimId;
use onboarding::queue::Lane;
use onboarding::tenant::Tenant;
use std::collections::HashMap;
use std::sync::Arc;

use crate::sdk_error::code;

/// An item, in the form of the SDK.
pub type Item = HashMap<String, AttributeValue>;

/// Index of channels, claims that are not registered, and claimed ids by tenant.
pub const BY_TENANT: &str = "by_tenant";
/// Index of due work, a partition for each lane of a partner, and one for the channels whose facts are joined anew.
pub const BY_DUE: &str = "by_due";

/// Partition key.
pub const PK: &str = "pk";
/// Sort key.
pub const SK: &str = "sk";
/// Partition key of [`BY_TENANT`].
pub const TENANT_PK: &str = "tenant_pk";
/// Sort key of [`BY_TENANT`].
pub const TENANT_SK: &str = "tenant_sk";
/// Partition key of [`BY_DUE`].
pub const DUE_PK: &str = "due_pk";
/// Sort key of [`BY_DUE`]: a place in the line, or a time (ms).
pub const DUE_ORDER: &str = "due_order";
/// Time to live, s.
pub const EXPIRES_AT: &str = "expires_at";

/// The sort key of an item that is alone under its partition key.
pub const ALONE: &str = "-";

/// The prefixes of the kinds of items, without the `#` that follows.
pub mod prefix {
    #![expect(missing_docs, reason = "the kinds are described in ARCHITECTURE.md")]
    pub const SECOND: &str = "SECOND";
    pub const FACT: &str = "FACT";
    pub const RAW: &str = "RAW";
    pub const BODY: &str = "BODY";
    pub const CLAIM: &str = "CLAIM";
    pub const CLAIMED: &str = "CLAIMED";
    pub const CLIENT: &str = "CLIENT";
    pub const CHANNEL: &str = "CHANNEL";
    pub const KEY: &str = "KEY";
    pub const HOOK: &str = "HOOK";
    pub const WORK: &str = "WORK";
    pub const PACE: &str = "PACE";
    pub const SWEEP: &str = "SWEEP";
    pub const DUE: &str = "DUE";
    pub const REFOLD: &str = "REFOLD";
    pub const CONNECT: &str = "CONNECT";
    pub const OUTBOX: &str = "OUTBOX";
    pub const DEAD: &str = "DEAD";
    pub const HEARTBEAT: &str = "HEARTBEAT";
    pub const FINGERPRINT: &str = "FINGERPRINT";
}

/// The partition key of an item of the kind `prefix` for `rest` at `partner`.
///
/// No id holds a `#`, so no two different items share a key.
fn key(prefix: &str, partner: &PartnerId, rest: &str) -> String {
    format!("{prefix}#{partner}#{rest}")
}

/// The partition key of a partner's last signed second.
pub fn second(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::SECOND)
}

/// The partition key of the last second that a tenant took while few were free. The tenant comes last, since it may hold
/// a `#`.
pub fn second_of_tenant(partner: &PartnerId, tenant: &Tenant) -> String {
    format!("{}#{partner}#{tenant}", prefix::SECOND)
}

/// The partition key of the facts of a channel.
pub fn facts(channel: &ChannelRef) -> String {
    key(prefix::FACT, &channel.partner, channel.channel.as_str())
}

/// The beginning of the partition keys of all facts of a partner.
pub fn facts_of(partner: &PartnerId) -> String {
    key(prefix::FACT, partner, "")
}

/// The partition key of an event without a channel: one of 16, by the first digit of its id.
pub fn raw(partner: &PartnerId, event_id: &str) -> String {
    key(prefix::RAW, partner, event_id.get(..1).unwrap_or(ALONE))
}

/// The partition key of one part of a large body, in the table of bodies.
pub fn body(partner: &PartnerId, event_id: &str, part: usize) -> String {
    key(prefix::BODY, partner, &format!("{event_id}#{part}"))
}

/// The partition key of a claim.
pub fn claim(partner: &PartnerId, claim: &ClaimId) -> String {
    key(prefix::CLAIM, partner, claim.as_str())
}

/// The partition key of the open claims that name a channel.
pub fn claimed(channel: &ChannelRef) -> String {
    key(prefix::CLAIMED, &channel.partner, channel.channel.as_str())
}

/// The partition key of the owner of a client.
pub fn client(partner: &PartnerId, client: &ClientId) -> String {
    key(prefix::CLIENT, partner, client.as_str())
}

/// The partition key of a channel.
pub fn channel(channel: &ChannelRef) -> String {
    key(prefix::CHANNEL, &channel.partner, channel.channel.as_str())
}

/// The partition key of a channel's key, with its lease and the intent to make it.
pub fn mint(channel: &ChannelRef) -> String {
    key(prefix::KEY, &channel.partner, channel.channel.as_str())
}

/// The beginning of the partition keys of all channels of a partner.
pub fn channels_of(partner: &PartnerId) -> String {
    key(prefix::CHANNEL, partner, "")
}

/// The partition key of the time at which the facts of a channel are joined anew.
pub fn refold(channel: &ChannelRef) -> String {
    key(prefix::REFOLD, &channel.partner, channel.channel.as_str())
}

/// The partition key of a partner's channels in [`BY_DUE`], by the time at which their facts are joined anew. No lane of
/// the queue: `provision` may not read it.
pub fn refolds(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::REFOLD)
}

/// The partition key of a channel's messaging webhook.
pub fn hook(channel: &ChannelRef) -> String {
    key(prefix::HOOK, &channel.partner, channel.channel.as_str())
}

/// The partition key of the state of a partner's worker.
pub fn work(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::WORK)
}

/// The partition key of a tenant's next place. The tenant comes last, since it may hold a `#`.
pub fn pace(partner: &PartnerId, tenant: &Tenant) -> String {
    format!("{}#{partner}#{tenant}", prefix::PACE)
}

/// The partition key of a partner's sweep.
pub fn sweep(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::SWEEP)
}

/// The partition key of the addresses that 360dialog had before `operator connect`.
pub fn connect(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::CONNECT)
}

/// The partition key of the events of a partner that wait for the bus.
pub fn outbox(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::OUTBOX)
}

/// The partition key of the items that were given up and wait for an operator.
pub fn dead(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::DEAD)
}

/// The partition key of the heartbeat, which belongs to no partner.
pub fn heartbeat() -> String {
    format!("{}#{ALONE}", prefix::HEARTBEAT)
}

/// The partition key of the fingerprint of the key file, on one machine.
pub fn fingerprint() -> String {
    format!("{}#{ALONE}", prefix::FINGERPRINT)
}

/// The partition key of a partner's lane in [`BY_DUE`].
pub fn due(partner: &PartnerId, lane: Lane) -> String {
    format!("{}#{partner}#{}", prefix::DUE, lane.number())
}

/// The partition key of a partner's messaging webhooks in [`BY_DUE`], apart from its lanes.
pub fn due_hooks(partner: &PartnerId) -> String {
    format!("{}#{partner}#hook", prefix::DUE)
}

/// The sort key of the pointer to an open claim, beside the item of its client.
pub fn pointer(claim: &ClaimId) -> String {
    format!("claim#{claim}")
}

/// The partition key of a tenant in [`BY_TENANT`]. The tenant comes last, since it may hold a `#`.
pub fn tenant_partition(partner: &PartnerId, tenant: &Tenant) -> String {
    format!("{partner}#{tenant}")
}

/// The sort key of a channel in [`BY_TENANT`]; channels come before claims, and these before claimed ids.
pub fn channel_row(channel: &ChannelId) -> String {
    format!("{}#{channel}", prefix::CHANNEL)
}

/// The sort key of a claim that is not registered in [`BY_TENANT`].
pub fn claim_row(claim: &ClaimId) -> String {
    format!("{}#{claim}", prefix::CLAIM)
}

/// The sort key of a claimed id in [`BY_TENANT`].
pub fn claimed_row(channel: &ChannelId) -> String {
    format!("{}#{channel}", prefix::CLAIMED)
}

/// The parts of a partition key: its kind, its partner and the rest.
pub fn parse(pk: &str) -> Option<(&str, PartnerId, &str)> {
    let (kind, rest) = pk.split_once('#')?;
    let (partner, rest) = rest.split_once('#').unwrap_or((rest, ""));
    Some((kind, partner.parse().ok()?, rest))
}

/// A call to the table failed, or an item cannot be read. The message never holds an item.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused or throttled the call, or did not answer.
    #[error("DynamoDB: {0}")]
    Unavailable(String),
    /// An item is not in the form we write.
    #[error("an item is not in the form we write: {0}")]
    Malformed(&'static str),
}

impl<E: ProvideErrorMetadata, R> From<SdkError<E, R>> for StoreError {
    fn from(error: SdkError<E, R>) -> Self {
        match code(&error) {
            // A retry would get the same answer.
            "ValidationException" => Self::Malformed("DynamoDB refuses it as invalid"),
            code => Self::Unavailable(code.to_owned()),
        }
    }
}

/// The table: its name and its client.
#[derive(Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: Arc<str>,
}

impl Table {
    /// The table `name` in the account and region of `client`.
    pub fn new(client: Client, name: impl Into<Arc<str>>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Another table of the same DynamoDB.
    #[must_use]
    pub fn beside(&self, name: &str) -> Self {
        Self::new(self.client.clone(), name)
    }

    /// The definition of the table, the same as in `template.yaml`: two indexes, a stream with both images.
    pub fn shape() -> Result<CreateTableInputBuilder, StoreError> {
        Ok(CreateTableInput::builder()
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(
                [PK, SK, TENANT_PK, TENANT_SK, DUE_PK, DUE_ORDER]
                    .map(attribute)
                    .into_iter()
                    .collect(),
            ))
            .set_key_schema(Some(keys(PK, SK)))
            .global_secondary_indexes(index(
                BY_TENANT,
                keys(TENANT_PK, TENANT_SK),
                ProjectionType::All,
            ))
            .global_secondary_indexes(index(
                BY_DUE,
                keys(DUE_PK, DUE_ORDER),
                ProjectionType::KeysOnly,
            ))
            .stream_specification(
                StreamSpecification::builder()
                    .stream_enabled(true)
                    .stream_view_type(StreamViewType::NewAndOldImages)
                    .build()
                    .map_err(|_| StoreError::Malformed("stream specification"))?,
            ))
    }

    /// The definition of the table of large bodies, the same as in `template.yaml`: no stream, no sort key.
    pub fn shape_for_bodies() -> CreateTableInputBuilder {
        CreateTableInput::builder()
            .billing_mode(BillingMode::PayPerRequest)
            .attribute_definitions(attribute(PK))
            .key_schema(key_element(PK, KeyType::Hash))
    }

    /// Creates the table, with its time to live, unless it exists. On AWS `template.yaml` does this.
    pub async fn create(&self) -> Result<(), StoreError> {
        self.create_as(Self::shape()?).await
    }

    /// The same for the table of large bodies.
    pub async fn create_for_bodies(&self) -> Result<(), StoreError> {
        self.create_as(Self::shape_for_bodies()).await
    }

    async fn create_as(&self, shape: CreateTableInputBuilder) -> Result<(), StoreError> {
        match shape.table_name(&*self.name).send_with(&self.client).await {
            Err(error)
                if error
                    .as_service_error()
                    .is_some_and(CreateTableError::is_resource_in_use_exception) =>
            {
                return Ok(());
            }
            created => created?,
        };
        let expiry = TimeToLiveSpecification::builder()
            .attribute_name(EXPIRES_AT)
            .enabled(true)
            .build();
        let expiry = expiry.map_err(|_| StoreError::Malformed("time to live"))?;
        self.client
            .update_time_to_live()
            .table_name(&*self.name)
            .time_to_live_specification(expiry)
            .send()
            .await?;
        Ok(())
    }

    /// Whether the table is protected against deletion. For operators, never for a function.
    pub async fn is_protected(&self) -> Result<bool, StoreError> {
        let described = self.client.describe_table().table_name(&*self.name);
        let table = described.send().await?.table;
        Ok(table.is_some_and(|table| table.deletion_protection_enabled == Some(true)))
    }

    /// Protects the table against deletion. For operators, never for a function.
    pub async fn protect(&self) -> Result<(), StoreError> {
        let update = self.client.update_table().table_name(&*self.name);
        update.deletion_protection_enabled(true).send().await?;
        Ok(())
    }

    /// Removes an item.
    pub async fn remove(&self, item: &Item) -> Result<(), StoreError> {
        let key = item
            .iter()
            .filter(|(name, _)| [PK, SK].contains(&name.as_str()));
        let key = key.map(|(name, value)| (name.clone(), value.clone()));
        let delete = self.client.delete_item().table_name(&*self.name);
        delete.set_key(Some(key.collect())).send().await?;
        Ok(())
    }

    /// Counts all items. For tests, never for a function.
    pub async fn count(&self) -> Result<usize, StoreError> {
        let pages = self.client.scan().table_name(&*self.name);
        let pages = pages.select(Select::Count).consistent_read(true);
        let mut pages = pages.into_paginator().send();
        let mut all = 0_usize;
        while let Some(page) = pages.next().await {
            all = all.saturating_add(usize::try_from(page?.count).unwrap_or(0));
        }
        Ok(all)
    }

    /// Reads all items of `kinds` of a partner. It goes through the whole table: for operators, never for a function.
    pub async fn scan_kinds(
        &self,
        partner: &PartnerId,
        kinds: &[&str],
    ) -> Result<Vec<Item>, StoreError> {
        let mut scan = self.client.scan().table_name(&*self.name);
        let mut conditions = Vec::new();
        for (index, kind) in kinds.iter().enumerate() {
            conditions.push(format!("begins_with(pk, :kind{index})"));
            let start = AttributeValue::S(key(kind, partner, ""));
            scan = scan.expression_attribute_values(format!(":kind{index}"), start);
        }
        let scan = scan.filter_expression(conditions.join(" OR "));
        let items = scan.consistent_read(true).into_paginator().items().send();
        let items = items.collect::<Result<Vec<_>, _>>().await;
        items.map_err(StoreError::from)
    }

    /// Reads all items. For operators and tests, never for a function.
    pub async fn scan(&self) -> Result<Vec<Item>, StoreError> {
        let pages = self
            .client
            .scan()
            .table_name(&*self.name)
            .consistent_read(true)
            .into_paginator()
            .items()
            .send();
        pages
            .collect::<Result<Vec<_>, _>>()
            .await
            .map_err(StoreError::from)
    }
}

fn attribute(name: &str) -> AttributeDefinition {
    let kind = if name == DUE_ORDER {
        ScalarAttributeType::N
    } else {
        ScalarAttributeType::S
    };
    #[expect(clippy::expect_used, reason = "name and type are given")]
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(kind)
        .build()
        .expect("complete")
}

fn keys(hash: &str, range: &str) -> Vec<KeySchemaElement> {
    vec![
        key_element(hash, KeyType::Hash),
        key_element(range, KeyType::Range),
    ]
}

fn key_element(name: &str, kind: KeyType) -> KeySchemaElement {
    #[expect(clippy::expect_used, reason = "name and type are given")]
    KeySchemaElement::builder()
        .attribute_name(name)
        .key_type(kind)
        .build()
        .expect("complete")
}

fn index(
    name: &str,
    keys: Vec<KeySchemaElement>,
    projection: ProjectionType,
) -> GlobalSecondaryIndex {
    let projection = Projection::builder().projection_type(projection).build();
    #[expect(clippy::expect_used, reason = "name and keys are given")]
    GlobalSecondaryIndex::builder()
        .index_name(name)
        .set_key_schema(Some(keys))
        .projection(projection)
        .build()
        .expect("complete")
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ErrorMetadata;

    use super::*;

    #[test]
    fn a_key_is_parsed_into_its_parts() {
        let number = ChannelRef::new("aPA".parse().unwrap(), "bCH".parse().unwrap());
        let partner = number.partner.clone();
        assert_eq!(
            parse(&channel(&number)),
            Some(("CHANNEL", partner.clone(), "bCH"))
        );
        assert_eq!(parse(&work(&partner)), Some(("WORK", partner, "")));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn a_validation_error_is_not_retried() {
        let error = |code: &str| {
            let error = CreateTableError::generic(
                ErrorMetadata::builder()
                    .code(code)
                    .message("needle")
                    .build(),
            );
            StoreError::from(SdkError::service_error(error, ()))
        };
        assert!(matches!(
            error("ValidationException"),
            StoreError::Malformed(_)
        ));
        let again = error("ThrottlingException");
        assert_eq!(again.to_string(), "DynamoDB: ThrottlingException");
    }

    #[test]
    fn a_tenant_with_a_number_sign_has_a_partition_of_its_own() {
        let (a, b): (PartnerId, PartnerId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_ne!(
            tenant_partition(&a, &"b#c".parse().unwrap()),
            tenant_partition(&b, &"c".parse().unwrap())
        );
        assert_eq!(tenant_partition(&a, &"b#c".parse().unwrap()), "a#b#c");
    }
}
