//! The one table: its keys, its indexes and how it is reached. One partition key prefix per kind of item, so that
//! a function's policy (`dynamodb:LeadingKeys`) can name only its own.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::timeout::TimeoutConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::operation::create_table::builders::CreateTableInputBuilder;
use aws_sdk_dynamodb::operation::create_table::{CreateTableError, CreateTableInput};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement,
    KeyType, Projection, ProjectionType, ScalarAttributeType, StreamSpecification, StreamViewType,
    TimeToLiveSpecification,
};
use onboarding::claim::ClaimId;
use onboarding::id::{ChannelId, ClientId, PartnerId, Tenant};

use crate::sdk_connector;
use crate::sdk_error::words;

/// An item as DynamoDB has it.
pub type Item = HashMap<String, AttributeValue>;

/// Index of channels and open claims by tenant.
pub const BY_TENANT: &str = "by_tenant";
/// Index of mints and pending claims by the time they are due.
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
/// Sort key of [`BY_DUE`], ms.
pub const DUE_AT: &str = "due_at";
/// Time to live, s.
pub const EXPIRES_AT: &str = "expires_at";

/// The sort key of an item that is alone under its partition key.
pub const ALONE: &str = "-";

/// The prefix of every kind of item, without the `#` that follows it.
pub mod prefix {
    #![expect(missing_docs, reason = "the kinds are described in ARCHITECTURE.md")]
    pub const SECOND: &str = "SECOND";
    pub const FACT: &str = "FACT";
    pub const RAW: &str = "RAW";
    pub const CLAIM: &str = "CLAIM";
    pub const CLIENT: &str = "CLIENT";
    pub const CHANNEL: &str = "CHANNEL";
    pub const MINT: &str = "MINT";
    pub const WAKE: &str = "WAKE";
    pub const DUE: &str = "DUE";
    pub const CONNECT: &str = "CONNECT";
}

/// The partition key of an item of kind `prefix` about `rest` at `partner`.
///
/// No id holds a `#`, so no two different items share a key.
fn key(prefix: &str, partner: &PartnerId, rest: &str) -> String {
    format!("{prefix}#{partner}#{rest}")
}

/// Where `partner`'s last signed second is.
pub fn second(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::SECOND)
}

/// Where the facts of a channel are.
pub fn facts(partner: &PartnerId, channel: &ChannelId) -> String {
    key(prefix::FACT, partner, channel.as_str())
}

/// Where an event without a channel is; spread over 16 partitions by the first digit of its id.
pub fn raw(partner: &PartnerId, event_id: &str) -> String {
    key(prefix::RAW, partner, event_id.get(..1).unwrap_or(ALONE))
}

/// Where a claim is.
pub fn claim(partner: &PartnerId, claim: &ClaimId) -> String {
    key(prefix::CLAIM, partner, claim.as_str())
}

/// Where the owner of a client is.
pub fn client(partner: &PartnerId, client: &ClientId) -> String {
    key(prefix::CLIENT, partner, client.as_str())
}

/// Where a channel is.
pub fn channel(partner: &PartnerId, channel: &ChannelId) -> String {
    key(prefix::CHANNEL, partner, channel.as_str())
}

/// Where the lease and the intent of a channel's key are.
pub fn mint(partner: &PartnerId, channel: &ChannelId) -> String {
    key(prefix::MINT, partner, channel.as_str())
}

/// Where `partner`'s wake-ups are.
pub fn wake(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::WAKE)
}

/// Where the addresses that 360dialog had before `operator connect` are.
pub fn connect(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::CONNECT)
}

/// The partition of [`BY_DUE`].
pub fn due(partner: &PartnerId) -> String {
    format!("{}#{partner}", prefix::DUE)
}

/// The partition of [`BY_TENANT`]; the tenant comes last, since it may hold a `#`.
pub fn of_tenant(partner: &PartnerId, tenant: &Tenant) -> String {
    format!("{partner}#{tenant}")
}

/// The sort key of a channel in [`BY_TENANT`]; channels come before claims.
pub fn channel_of_tenant(channel: &ChannelId) -> String {
    format!("{}#{channel}", prefix::CHANNEL)
}

/// The sort key of an open claim in [`BY_TENANT`].
pub fn claim_of_tenant(claim: &ClaimId) -> String {
    format!("{}#{claim}", prefix::CLAIM)
}

/// What a partition key is about: its kind, its partner and what follows.
pub fn parse(pk: &str) -> Option<(&str, PartnerId, &str)> {
    let (kind, rest) = pk.split_once('#')?;
    let (partner, rest) = rest.split_once('#').unwrap_or((rest, ""));
    Some((kind, partner.parse().ok()?, rest))
}

/// The table could not be asked, or holds what we did not put there; the message never holds an item.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// DynamoDB refused, was throttled, or did not answer.
    #[error("DynamoDB: {0}")]
    Unavailable(String),
    /// An item is not in the form we write.
    #[error("an item is not in the form we write: {0}")]
    Malformed(&'static str),
}

impl<E: ProvideErrorMetadata, R> From<SdkError<E, R>> for StoreError {
    fn from(error: SdkError<E, R>) -> Self {
        match words(&error) {
            // Asked again it would say the same.
            "ValidationException" => Self::Malformed("DynamoDB will not take it"),
            words => Self::Unavailable(words.to_owned()),
        }
    }
}

/// The table and the client that reaches it.
#[derive(Clone)]
pub struct Table {
    pub(crate) client: Client,
    pub(crate) name: Arc<str>,
}

impl Table {
    /// The table `name` as `client` reaches it.
    pub fn new(client: Client, name: impl Into<Arc<str>>) -> Self {
        Self {
            client,
            name: name.into(),
        }
    }

    /// The table `name` of a DynamoDB at `endpoint` that checks no credentials: the embedded one, DynamoDB Local.
    pub fn at_endpoint(endpoint: &str, name: &str) -> Self {
        Self::new(Client::from_conf(local_config(endpoint)), name)
    }

    /// What the table looks like, here and in `template.yaml`: two indexes, a stream of both images.
    pub fn shape() -> Result<CreateTableInputBuilder, StoreError> {
        Ok(CreateTableInput::builder()
            .billing_mode(BillingMode::PayPerRequest)
            .set_attribute_definitions(Some(
                [PK, SK, TENANT_PK, TENANT_SK, DUE_PK, DUE_AT]
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
                keys(DUE_PK, DUE_AT),
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

    /// Creates the table unless it exists, as `template.yaml` does on AWS, with its time to live.
    pub async fn create(&self) -> Result<(), StoreError> {
        match Self::shape()?
            .table_name(&*self.name)
            .send_with(&self.client)
            .await
        {
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

    /// Every item, page after page; for operators and tests, never for a function.
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

/// The configuration of a DynamoDB client for an endpoint that checks no credentials.
pub fn local_config(endpoint: &str) -> aws_sdk_dynamodb::Config {
    aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static("eu-central-1"))
        .credentials_provider(Credentials::new("local", "local", None, None, "local"))
        .endpoint_url(endpoint)
        .http_client(sdk_connector::without_tls())
        .retry_config(sdk_connector::retries())
        .timeout_config(
            TimeoutConfig::builder()
                .operation_attempt_timeout(Duration::from_secs(5))
                .operation_timeout(Duration::from_secs(10))
                .build(),
        )
        .build()
}

fn attribute(name: &str) -> AttributeDefinition {
    let kind = if name == DUE_AT {
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
    let key = |name: &str, kind| {
        #[expect(clippy::expect_used, reason = "name and type are given")]
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("complete")
    };
    vec![key(hash, KeyType::Hash), key(range, KeyType::Range)]
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
    fn a_key_says_what_it_is_about() {
        let (partner, number) = ("aPA".parse().unwrap(), "bCH".parse().unwrap());
        assert_eq!(
            parse(&channel(&partner, &number)),
            Some(("CHANNEL", partner.clone(), "bCH"))
        );
        assert_eq!(parse(&wake(&partner)), Some(("WAKE", partner, "")));
        assert_eq!(parse("nonsense"), None);
    }

    #[test]
    fn what_dynamodb_refuses_for_good_is_not_tried_again() {
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
    fn a_tenant_with_a_number_sign_shares_no_partition() {
        let (a, b): (PartnerId, PartnerId) = ("a".parse().unwrap(), "b".parse().unwrap());
        assert_ne!(
            of_tenant(&a, &"b#c".parse().unwrap()),
            of_tenant(&b, &"c".parse().unwrap())
        );
        assert_eq!(of_tenant(&a, &"b#c".parse().unwrap()), "a#b#c");
    }
}
