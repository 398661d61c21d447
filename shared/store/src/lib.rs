//! The DynamoDB table: the keys of its items, the records of its stream, and one handle for each kind of item. A
//! function holds only the handles it needs.

pub mod table;
pub mod stream;
pub mod sdk_error;
mod io_timestamp;
mod body;
mod fact;
mod channel;
mod claim;
mod claimed;
mod client;
mod mint;
mod queue;
mod sweep;
mod hook;
mod work;
mod connect;
mod outbox;
mod dead;
mod refold;
mod heartbeat;
mod fingerprint;
mod server_date;

pub use body::Bodies;
pub use channel::{Channels, PageStart, StoredChannel, TenantPage, TenantRow};
pub use claim::{Claims, Recorded, StoredClaim};
pub use claimed::ClaimedIds;
pub use client::{Clients, OpenClaims, StoredClient};
pub use connect::{Before, Connections, Kept, KeptAddress, StoredKept};
pub use dead::{DeadEvent, DeadEvents, DeadList};
pub use fact::{Events, Facts, RawEvent, StoredBody, StoredFact};
pub use fingerprint::KeyFingerprint;
pub use heartbeat::Heartbeat;
pub use hook::{Hook, Hooks};
pub use io_timestamp::{IoTimestamps, Taken};
pub use mint::{ClientSeen, LastAnswer, Leased, Mint, MintState, Mints, NextRun, StoredKey};
pub use outbox::{Outbox, WaitingEvent, WaitingPage};
pub use queue::{DueRow, Queue, StoredEntry, Subject};
pub use refold::{DueRefold, RefoldPage, Refolds};
pub use sweep::Sweeps;
pub use work::{Released, WorkState, Works};

use std::borrow::Cow;

use std::time::Duration;

use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::delete_item::DeleteItemError;
use aws_sdk_dynamodb::operation::put_item::PutItemError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, KeysAndAttributes, ReturnValuesOnConditionCheckFailure,
};
use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::table::{ALONE, Item, PK, SK, StoreError, Table};

pub use crate::table::StoreError as Error;

/// The attribute that holds the domain value of an item.
const VALUE: &str = "value";
/// The first pause before what DynamoDB left out of a batch is asked for again, and the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);
/// The attribute that counts the saves of an item.
const VERSION: &str = "version";

fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

fn binary(bytes: &[u8]) -> AttributeValue {
    AttributeValue::B(bytes.to_vec().into())
}

fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

fn millis(at: Timestamp) -> AttributeValue {
    number(at.as_millisecond())
}

fn keyed(pk: String, sk: impl Into<String>) -> Item {
    Item::from([(PK.to_owned(), text(pk)), (SK.to_owned(), text(sk))])
}

/// The key of an item of a table without sort keys.
fn keyed_alone(pk: String) -> Item {
    Item::from([(PK.to_owned(), text(pk))])
}

fn as_text<'a>(item: &'a Item, name: &str) -> Option<&'a str> {
    item.get(name)?.as_s().ok().map(String::as_str)
}

fn number_of(item: &Item, name: &str) -> Option<i64> {
    item.get(name)?.as_n().ok()?.parse().ok()
}

fn time_of(item: &Item, name: &str) -> Option<Timestamp> {
    Timestamp::from_millisecond(number_of(item, name)?).ok()
}

fn to_value(value: &impl Serialize) -> Result<AttributeValue, StoreError> {
    serde_dynamo::to_attribute_value(value)
        .map_err(|_| StoreError::Malformed("a value cannot be written"))
}

/// Reads the domain value of an item.
fn value_of<T: DeserializeOwned>(item: &Item, what: &'static str) -> Result<T, StoreError> {
    let value = item
        .get(VALUE)
        .cloned()
        .ok_or(StoreError::Malformed(what))?;
    serde_dynamo::from_attribute_value(value).map_err(|_| StoreError::Malformed(what))
}

/// Outcome of a conditional write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Write {
    /// The item is written.
    Done,
    /// The condition did not hold: another worker has written since, or before.
    Conflict,
}

/// The same with the item: the new one after a write, or the existing one after a conflict.
enum Written<T> {
    Done(T),
    Conflict(Option<Item>),
}

impl<T> From<Written<T>> for Write {
    fn from(written: Written<T>) -> Self {
        match written {
            Written::Done(_) => Self::Done,
            Written::Conflict(_) => Self::Conflict,
        }
    }
}

impl Table {
    async fn read(&self, pk: String, sk: &str) -> Result<Option<Item>, StoreError> {
        let got = self
            .client
            .get_item()
            .table_name(&*self.name)
            .consistent_read(true);
        Ok(got.key(PK, text(pk)).key(SK, text(sk)).send().await?.item)
    }

    /// Reads the items with these keys, 100 at most, as they are now.
    async fn batch_get(&self, mut keys: Vec<Item>) -> Result<Vec<Item>, StoreError> {
        let (mut items, mut pause) = (Vec::new(), FIRST_PAUSE);
        while !keys.is_empty() {
            let wanted = KeysAndAttributes::builder()
                .set_keys(Some(keys))
                .consistent_read(true)
                .build();
            let wanted = wanted.map_err(|_| StoreError::Malformed("a batch of keys"))?;
            let batch = self.client.batch_get_item();
            let got = batch.request_items(&*self.name, wanted).send().await?;
            items.extend(got.responses.unwrap_or_default().into_values().flatten());
            let left = got.unprocessed_keys.unwrap_or_default().into_values();
            keys = left.flat_map(|left| left.keys).collect();
            if !keys.is_empty() {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
            }
        }
        Ok(items)
    }

    /// Reads an item of a table without sort keys.
    async fn read_alone(&self, pk: String) -> Result<Option<Item>, StoreError> {
        let got = self.client.get_item().table_name(&*self.name);
        let got = got.key(PK, text(pk)).consistent_read(true);
        Ok(got.send().await?.item)
    }

    /// Opens the connection with a put that cannot succeed: the function has the right to it, and it writes nothing.
    async fn preconnect(&self, pk: String) {
        let put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(keyed(pk, ALONE)));
        let _refused = put
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(pk)")
            .send()
            .await;
    }

    /// Puts an item, whether or not one with its key exists.
    async fn put(&self, item: Item) -> Result<(), StoreError> {
        let put = self.client.put_item().table_name(&*self.name);
        put.set_item(Some(item)).send().await?;
        Ok(())
    }

    /// Whether there is an item with the key of `item`. It asks with a put that cannot succeed, to which a function that
    /// appends has the right; it could read nothing else.
    async fn has(&self, item: &Item) -> Result<bool, StoreError> {
        let key = item
            .iter()
            .filter(|(name, _)| [PK, SK].contains(&name.as_str()));
        let key = key.map(|(name, value)| (name.clone(), value.clone()));
        let put = self.client.put_item().table_name(&*self.name);
        let put = put
            .set_item(Some(key.collect()))
            .condition_expression("attribute_exists(pk) AND attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        match put.send().await {
            Ok(_) => Ok(false),
            Err(error) => Ok(refused_put(error)?.is_some_and(|item| !item.is_empty())),
        }
    }

    /// Removes an item if its attribute `name` still holds `value`; does nothing if it is gone or holds another.
    async fn remove_if(
        &self,
        (pk, sk): (String, &str),
        name: &str,
        value: AttributeValue,
    ) -> Result<(), StoreError> {
        let delete = self.client.delete_item().table_name(&*self.name);
        let delete = delete
            .key(PK, text(pk))
            .key(SK, text(sk))
            .condition_expression("#name = :value")
            .expression_attribute_names("#name", name)
            .expression_attribute_values(":value", value);
        match delete.send().await {
            Ok(_) => Ok(()),
            Err(error) => match error.as_service_error() {
                Some(DeleteItemError::ConditionalCheckFailedException(_)) => Ok(()),
                _ => Err(error.into()),
            },
        }
    }

    /// Puts an item unless one with its key exists.
    async fn put_once(&self, item: Item) -> Result<Written<()>, StoreError> {
        let put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .condition_expression("attribute_not_exists(pk)")
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match put {
            Ok(_) => Ok(Written::Done(())),
            Err(error) => refused_put(error).map(Written::Conflict),
        }
    }
}

impl Table {
    /// Puts an item if the existing one has version `seen`, or if there is none and `seen` is 0.
    async fn put_version(&self, item: Item, seen: i64) -> Result<Write, StoreError> {
        self.replace(item, seen).await.map(Write::from)
    }

    /// The same; after a conflict the answer holds the existing item.
    async fn replace(&self, mut item: Item, seen: i64) -> Result<Written<()>, StoreError> {
        item.insert(VERSION.to_owned(), number(seen.saturating_add(1)));
        let put = self
            .client
            .put_item()
            .table_name(&*self.name)
            .set_item(Some(item))
            .condition_expression("version = :seen OR (attribute_not_exists(pk) AND :seen = :none)")
            .expression_attribute_values(":seen", number(seen))
            .expression_attribute_values(":none", number(0))
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .send()
            .await;
        match put {
            Ok(_) => Ok(Written::Done(())),
            Err(error) => refused_put(error).map(Written::Conflict),
        }
    }
}

fn refused_put(error: SdkError<PutItemError>) -> Result<Option<Item>, StoreError> {
    match error.as_service_error() {
        Some(PutItemError::ConditionalCheckFailedException(refused)) => Ok(refused.item.clone()),
        _ => Err(error.into()),
    }
}

fn refused_update(error: SdkError<UpdateItemError>) -> Result<Option<Item>, StoreError> {
    match error.as_service_error() {
        Some(UpdateItemError::ConditionalCheckFailedException(refused)) => Ok(refused.item.clone()),
        _ => Err(error.into()),
    }
}

/// A conditional update of one item: the update expression, the condition, and the values of both.
struct Update {
    pk: String,
    expression: Cow<'static, str>,
    condition: &'static str,
    values: Vec<(&'static str, AttributeValue)>,
}

impl Update {
    /// Sends it, for the item that is alone under its partition key. Returns the item as it is afterwards.
    async fn send(self, table: &Table) -> Result<Written<Item>, StoreError> {
        let mut request = table
            .client
            .update_item()
            .table_name(&*table.name)
            .key(PK, text(self.pk))
            .key(SK, text(ALONE))
            .update_expression(&*self.expression)
            .condition_expression(self.condition)
            .return_values(aws_sdk_dynamodb::types::ReturnValue::AllNew)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld);
        for (name, value) in self.values {
            request = request.expression_attribute_values(name, value);
        }
        match request.send().await {
            Ok(done) => Ok(Written::Done(done.attributes.unwrap_or_default())),
            Err(error) => refused_update(error).map(Written::Conflict),
        }
    }
}
